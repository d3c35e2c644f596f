"""Two oracles, by maximum likelihood from single hits: what can be known of a return at best.

`shape_oracle` knows the law of the return and that the noise is log-normal with spikes, and estimates all numbers of
both. `oracle` is told the usual response and the noise to the digit as well, which nobody who measures can be.

Spikes are told from the others by expectation and maximization; the steps of the other numbers are Gauss and Newton's,
begun at the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import mul
from statistics import fmean

from scripted_target import MARGIN, USUAL_S, Noise, Target

from chaosrunner.logic.return_laws import solved

ROUNDS = 8
SPIKE = math.log(5)
Law = Callable[[float, float, float], float]
"""(time, how much slower, how long) → the level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """What succeeded, by (seconds since the end of the effect, response in seconds)."""

    before: Sequence[tuple[float, float]]
    """The baseline."""
    during: Sequence[tuple[float, float]]
    after: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What is thought of a return so far."""

    usual: float
    """Logarithm of the usual response over the true one."""
    numbers: tuple[float, ...]
    """How much slower, how many seconds long, and of swings how many seconds each."""
    noise: Noise


def shape_oracle(target: Target, noise: Noise, hits: Hits) -> float:
    """When it would say that p95 crossed the bound.

    Args:
        target: its shape is known, and for a slow start since when it listens; its numbers are where the search begins.
        noise: where the search for it begins, and which bound was asked for.
        hits: what was seen.
    """
    assert target.truth_s is not None
    if target.shape == "step":
        return _shape_of_step(target.truth_s, noise, hits)
    known = dict(target.known or {})
    since = known.get("since", 0.0)
    lasts = known.get("tau") or _lasts(target, target.truth_s - since)
    begin = (3.0, lasts, known["period"]) if target.shape == "oscillation" else (3.0, lasts)
    ill = [(max(0.0, t - since), math.log(y / USUAL_S)) for t, y in (*hits.during, *hits.after) if t >= since or t < 0]
    well = [math.log(y / USUAL_S) for _, y in hits.before]
    guess = Guess(usual=0.0, numbers=begin, noise=noise)
    for _ in range(ROUNDS):
        guess = _guess_again(target.shape, guess, well, ill)
    bound = MARGIN * noise.p95() / (guess.noise.p95() * math.exp(guess.usual))
    return since + _crossing(_law_of(target.shape, guess.numbers), *guess.numbers[:2], bound)


def _law_of(shape: str, numbers: tuple[float, ...]) -> Law:
    return _law(shape, {"period": numbers[-1]})


def _guess_again(shape: str, guess: Guess, well: Sequence[float], ill: Sequence[tuple[float, float]]) -> Guess:
    """One step: the usual level and all numbers of the law at once, then the noise by what they leave."""
    levels = _levels(shape, guess.numbers, ill)
    slopes = []
    for nth, number in enumerate(guess.numbers):
        moved = (*guess.numbers[:nth], number * 1.001, *guess.numbers[nth + 1 :])
        there = _levels(shape, moved, ill)
        slopes.append([0.0] * len(well) + [(b - a) / 0.001 for a, b in zip(levels, there, strict=True)])
    off = [y - guess.usual for y in well] + [y - level - guess.usual for (_, y), level in zip(ill, levels, strict=True)]
    rests = [_without_spike(one, guess.noise) for one in off]
    middles = [fmean(slope) for slope in slopes]  # taken out: the usual level follows whatever the numbers do
    level = fmean(rests)
    centred = [[one - middle for one in slope] for slope, middle in zip(slopes, middles, strict=True)]
    products = [[sum(map(mul, a, b)) for b in centred] for a in centred]
    moves = [_tame(move) for move in solved(products, [sum(map(mul, a, rests)) for a in centred])]
    by_usual = _tame(level - sum(map(mul, middles, moves)))
    explained = [by_usual + sum(map(mul, moves, some)) for some in zip(*slopes, strict=True)]
    return Guess(
        usual=guess.usual + by_usual,
        numbers=tuple(number * math.exp(move) for number, move in zip(guess.numbers, moves, strict=True)),
        noise=replace(
            guess.noise,
            sigma=math.sqrt(fmean((rest - one) ** 2 for rest, one in zip(rests, explained, strict=True))),
            spikes=fmean(_spiked(one, guess.noise) for one in off),
        ),
    )


def _levels(shape: str, numbers: tuple[float, ...], ill: Sequence[tuple[float, float]]) -> list[float]:
    law = _law_of(shape, numbers)
    return [math.log(law(t, *numbers[:2])) for t, _ in ill]


def _shape_of_step(truth_s: float, noise: Noise, hits: Hits) -> float:
    """Both levels and the noise by what lies on either side of the moment, the moment by them; in turns."""
    at = truth_s
    after = [(t, math.log(y / USUAL_S)) for t, y in hits.after]
    for _ in range(ROUNDS):
        slow = [math.log(y / USUAL_S) for _, y in hits.during] + [y for t, y in after if t < at]
        usual = [math.log(y / USUAL_S) for _, y in hits.before] + [y for t, y in after if t >= at]
        middles = []
        for side, start in ((slow, math.log(3)), (usual, 0.0)):
            middle = start
            for _ in range(ROUNDS):
                middle += sum(_without_spike(y - middle, noise) for y in side) / max(1, len(side))
            middles.append(middle)
        rests = [y - middle for side, middle in zip((slow, usual), middles, strict=True) for y in side]
        sigma = math.sqrt(sum(_without_spike(rest, noise) ** 2 for rest in rests) / len(rests))
        spikes = sum(_spiked(rest, noise) for rest in rests) / len(rests)
        noise = replace(noise, sigma=sigma, spikes=spikes)
        at = _step(after, noise, *middles)
    return at


def oracle(target: Target, noise: Noise, hits: Sequence[tuple[float, float]]) -> float:
    """When it would say that the level crossed the bound.

    Args:
        target: its shape and constants are known, its truth is where the search begins.
        noise: known.
        hits: (seconds since the end of the effect, response in seconds) of what succeeded after it.
    """
    assert target.truth_s is not None
    logs = [(t, math.log(response / USUAL_S)) for t, response in hits]
    if target.shape == "step":
        return _step(logs, noise, math.log(3), 0.0)
    known = dict(target.known or {})
    since = known.get("since", 0.0)
    lasts = known.get("tau") or _lasts(target, target.truth_s - since)
    law = _law(target.shape, known)
    extra = 3.0
    for _ in range(ROUNDS):
        extra, lasts = _better(law, [(t - since, y) for t, y in logs if t >= since], noise, (extra, lasts))
    return since + _crossing(law, extra, lasts, MARGIN)


def _lasts(target: Target, truth_s: float) -> float:
    return truth_s / (1 - (MARGIN - 1) / 3) if target.shape == "line" else truth_s / math.log(3 / (MARGIN - 1))


def _law(shape: str, known: dict[str, float]) -> Law:
    if shape == "line":
        return lambda t, extra, lasts: 1 + extra * max(0.0, 1 - t / lasts)
    if shape == "oscillation":
        half = math.pi / known["period"]
        return lambda t, extra, lasts: 1 + extra * math.exp(-t / lasts) * math.cos(half * t) ** 2
    return lambda t, extra, lasts: 1 + extra * math.exp(-t / lasts)


def _better(
    law: Law, logs: Sequence[tuple[float, float]], noise: Noise, numbers: tuple[float, float]
) -> tuple[float, float]:
    """One step: a weighted linear regression of what is left on the two slopes."""
    extra, lasts = numbers
    aa = ab = bb = ay = by = 0.0
    for t, y in logs:
        level = math.log(law(t, extra, lasts))
        a = (math.log(law(t, extra * 1.001, lasts)) - level) / 0.001
        b = (math.log(law(t, extra, lasts * 1.001)) - level) / 0.001
        rest = _without_spike(y - level, noise)
        aa, ab, bb, ay, by = aa + a * a, ab + a * b, bb + b * b, ay + a * rest, by + b * rest
    determinant = aa * bb - ab * ab
    if determinant <= 1e-12:
        return numbers
    by_extra = (bb * ay - ab * by) / determinant
    by_lasts = (aa * by - ab * ay) / determinant
    return extra * math.exp(_tame(by_extra)), lasts * math.exp(_tame(by_lasts))


def _tame(move: float) -> float:
    return min(0.3, max(-0.3, move))


def _without_spike(rest: float, noise: Noise) -> float:
    """What is left, less a spike's share in it as far as it is likely to be one."""
    return rest - _spiked(rest, noise) * SPIKE


def _spiked(rest: float, noise: Noise) -> float:
    """How likely it is one."""
    if not noise.spikes:
        return 0.0
    plain = (1 - noise.spikes) * math.exp(-0.5 * (rest / noise.sigma) ** 2)
    spiked = noise.spikes * math.exp(-0.5 * ((rest - SPIKE) / noise.sigma) ** 2)
    return spiked / (plain + spiked) if plain + spiked > 0 else float(rest > SPIKE / 2)


def _crossing(law: Law, extra: float, lasts: float, bound: float) -> float:
    """The last instant above the bound, to a millisecond."""
    end = lasts * max(0.0, math.log(max(extra, 1e-9) / max(1e-9, bound - 1))) + lasts
    while end > 0 and law(end, extra, lasts) <= bound:
        end -= 1e-3
    return max(0.0, end)


def _step(logs: Sequence[tuple[float, float]], noise: Noise, slow: float, usual: float) -> float:
    """The moment at which the likelihood of one level before and the other after is the highest."""
    total, best, at = 0.0, 0.0, 0.0
    for nth, (t, y) in enumerate(logs):
        total += _density(y - slow, noise) - _density(y - usual, noise)
        if total > best:
            following = logs[nth + 1][0] if nth + 1 < len(logs) else t
            best, at = total, (t + following) / 2
    return at


def _density(rest: float, noise: Noise) -> float:
    plain = (1 - noise.spikes) * math.exp(-0.5 * (rest / noise.sigma) ** 2)
    spiked = noise.spikes * math.exp(-0.5 * ((rest - SPIKE) / noise.sigma) ** 2)
    return math.log(max(1e-300, plain + spiked))
