"""An oracle: it is told the law of the return, the usual response and the noise, and estimates what is left of it.

Maximum likelihood from single hits. Spikes are told from the others by expectation and maximization; the steps of the
two unknown numbers, how much slower and how long, are Gauss and Newton's, begun at the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from scripted_target import MARGIN, USUAL_S, Noise, Target

ROUNDS = 8
Law = Callable[[float, float, float], float]
"""(time, how much slower, how long) → the level."""


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
        return _step(logs, noise)
    known = dict(target.known or {})
    since = known.get("since", 0.0)
    lasts = known.get("tau") or _lasts(target, target.truth_s - since)
    law = _law(target.shape, known)
    extra = 3.0
    for _ in range(ROUNDS):
        extra, lasts = _better(law, [(t - since, y) for t, y in logs if t >= since], noise, (extra, lasts))
    return since + _crossing(law, extra, lasts)


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
    if not noise.spikes:
        return rest
    spike = math.log(5)
    plain = (1 - noise.spikes) * math.exp(-0.5 * (rest / noise.sigma) ** 2)
    spiked = noise.spikes * math.exp(-0.5 * ((rest - spike) / noise.sigma) ** 2)
    chance = spiked / (plain + spiked) if plain + spiked > 0 else float(rest > spike / 2)
    return rest - chance * spike


def _crossing(law: Law, extra: float, lasts: float) -> float:
    """The last instant above the bound, to a millisecond."""
    end = lasts * max(0.0, math.log(max(extra, 1e-9) / (MARGIN - 1))) + lasts
    while end > 0 and law(end, extra, lasts) <= MARGIN:
        end -= 1e-3
    return max(0.0, end)


def _step(logs: Sequence[tuple[float, float]], noise: Noise) -> float:
    """The moment at which the likelihood of three times as slow before and as usual after is the highest."""
    slow = math.log(3)
    total, best, at = 0.0, 0.0, 0.0
    for nth, (t, y) in enumerate(logs):
        total += _density(y - slow, noise) - _density(y, noise)
        if total > best:
            following = logs[nth + 1][0] if nth + 1 < len(logs) else t
            best, at = total, (t + following) / 2
    return at


def _density(rest: float, noise: Noise) -> float:
    plain = (1 - noise.spikes) * math.exp(-0.5 * (rest / noise.sigma) ** 2)
    spiked = noise.spikes * math.exp(-0.5 * ((rest - math.log(5)) / noise.sigma) ** 2)
    return math.log(max(1e-300, plain + spiked))
