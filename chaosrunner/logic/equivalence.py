"""Is a later stretch as the baseline was? Two one-sided tests on the proper scale, read off one interval.

Latencies and goodput are compared as ratios (their logarithms), shares of errors as differences. Each stretch gets an
interval of its own, as wide as its pieces are unlike each other (`stretch`); the two are joined by recovering the
variances from their ends (MOVER, Zou & Donner 2008; for shares that is Newcombe's interval). The 95 % interval of the
change then says which of these is proven, each side with an error of 2.5 %:

- *worse*: all of it is beyond the margin on the side where harm lies;
- *equal*: all of it is within the margin; *better*: the harmful side is excluded, the other is not.

Neither is *unclear*, and so is whatever had too little data: not to see a difference proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chaosrunner.logic import stats
from chaosrunner.logic.stretch import FEWEST, Stretch, alike, student, variance_of_sum, without_trend
from chaosrunner.model.histogram import Histogram, highest_in, lowest_in
from chaosrunner.model.hypothesis import Metric, Stat
from chaosrunner.model.slots import Slot
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import Change, Residual

COMPARABLE = frozenset({Stat.QUANTILE, Stat.MEAN, Stat.ERRORS, Stat.RATE})
"""Statistics that have an interval: a maximum has none."""

SIDE = 0.025
"""Error of each side of an interval."""

HOPELESS = 100.0
"""When a hundred times the data would be needed, the change is as good as on the margin."""


@dataclass(frozen=True, slots=True)
class _Figure:
    """A value with its interval, and the same on the scale of comparison."""

    value: float
    at: float
    low: float
    high: float


def compare(
    metric: Metric, stretches: tuple[Stretch, Stretch], margin: float, side: float = SIDE, *, trend: bool = False
) -> Residual:
    """How a metric changed from one stretch to the other, and what that proves.

    Args:
        metric: a quantile, a mean, errors or a rate.
        stretches: before and after, cut into pieces of the same length.
        margin: how much worse it may be: 0.1 = by a tenth (ratio), 0.01 = by a point (errors).
        side: error of each side of the interval.
        trend: whether each stretch may have one of its own, that is not to be taken for noise.

    Raises:
        ValueError: the statistic has no interval, or the margin is not above 0.
    """
    if metric.stat not in COMPARABLE or margin <= 0:
        raise ValueError(f"{metric.stat} cannot be compared within {margin}")
    plain = Residual(
        metric=label(metric),
        scale="difference" if metric.stat is Stat.ERRORS else "ratio",
        before=None,
        after=None,
        margin=margin,
    )
    if lack := _lack(metric, stretches):
        return replace(plain, why=lack)
    before, after = _figures(metric, stretches, side, trend=trend)
    plain = replace(plain, before=before.value, after=after.value)
    if math.isinf(before.at):
        return replace(plain, why="the baseline itself fails")
    change = _difference(before, after)
    back = math.exp if plain.scale == "ratio" else _same
    seen = replace(plain, change=back(change.at), low=back(change.low), high=back(change.high))
    proves = _proves(metric, change, margin)
    why = _missing(metric, change, stretches, margin) if proves is Change.UNCLEAR else ""
    return replace(seen, proves=proves, why=why)


def pooled(metric: Metric, kinds: Sequence[tuple[int, Residual]], margin: float) -> Residual | None:
    """The mean change of several kinds of requests, each weighted by how many there were.

    Its interval is the mean of theirs: never too narrow, however much the kinds share their noise.

    Args:
        metric: a quantile or a mean.
        kinds: (requests, the comparison of that kind).
        margin: as in `compare`.

    Returns:
        None if one of the kinds could not be compared, or is proven to be worse.
    """
    if any(not 0 < (one.change or 0.0) < math.inf or one.proves is Change.WORSE for _, one in kinds):
        return None
    before, after, at, low, high = (
        _mean_log([(weight, getattr(one, figure)) for weight, one in kinds])
        for figure in ("before", "after", "change", "low", "high")
    )
    return Residual(
        metric=f"{label(metric)} by kind",
        scale="ratio",
        before=math.exp(before),
        after=math.exp(after),
        change=math.exp(at),
        low=math.exp(low),
        high=math.exp(high),
        margin=margin,
        proves=_proves(metric, _Figure(after, at, low, high), margin),
    )


def _mean_log(weighted: Sequence[tuple[int, float]]) -> float:
    """Of numbers from 0 to ∞, both included."""
    logs = [(weight, math.log(value) if value > 0 else -math.inf) for weight, value in weighted]
    return math.fsum(weight * value for weight, value in logs) / sum(weight for weight, _ in logs)


def label(metric: Metric) -> str:
    """`p95`, `errors of log in`."""
    what = f"p{metric.quantile * 100:g}" if metric.stat is Stat.QUANTILE else metric.stat.value
    return what + (f" of {metric.of}" if metric.of else "")


def allowed(metric: Metric, margin: float) -> float:
    """A margin on the scale of comparison, as a distance towards harm."""
    match metric.stat:
        case Stat.ERRORS:
            return margin
        case Stat.RATE:
            return -math.log(max(1e-9, 1.0 - margin))
        case _:
            return math.log1p(margin)


def _same(value: float) -> float:
    return value


def _lack(metric: Metric, stretches: tuple[Stretch, Stretch]) -> str:
    """Why there is too little to compare, and what would do; empty when there is enough."""
    needed = stats.enough_for_quantile(metric.quantile) if metric.stat is Stat.QUANTILE else stats.FEW
    for which, one in zip(("the baseline", "the time after"), stretches, strict=True):
        if len(one.pieces) < FEWEST:
            least = human_duration(one.seconds * FEWEST / len(one.pieces) if one.pieces else 1.0)
            return f"{which} is only {human_duration(one.seconds)} long; {least} would do"
        if one.whole.hits < needed:
            longer = human_duration(math.ceil(one.seconds * needed / max(1, one.whole.hits)))
            return f"{which} has {one.whole.hits} requests of the {needed} it takes; {longer} would do"
    return ""


def _figures(metric: Metric, stretches: tuple[Stretch, Stretch], side: float, *, trend: bool) -> list[_Figure]:
    measure = {Stat.QUANTILE: _quantile, Stat.ERRORS: _errors, Stat.MEAN: _mean, Stat.RATE: _rate}[metric.stat]
    residuals = [_residuals(metric, one) for one in stretches]
    residuals = [without_trend(one) for one in residuals] if trend else residuals
    correlation = alike(*residuals)
    found = []
    for one, left in zip(stretches, residuals, strict=True):
        spread = variance_of_sum(left, correlation)
        found.append(measure(metric, one, spread, student(1 - side, len(one.pieces) - 1)))
    return found


def _residuals(metric: Metric, one: Stretch) -> list[float]:
    """What each piece has more than its share of the whole: of bad requests, of seconds waited, of successes."""
    match metric.stat:
        case Stat.RATE:
            mean = one.whole.oks / len(one.pieces)
            return [piece.ok.total - mean for piece in one.pieces]
        case Stat.MEAN:
            middle = one.whole.slot.ok.mean() or 0.0
            return [_total(piece.ok) - middle * piece.ok.total for piece in one.pieces]
        case _:
            bad = _bad(metric, one)
            share = bad(one.whole.slot) / one.whole.hits
            return [bad(piece) - share * _hits(piece) for piece in one.pieces]


def _bad(metric: Metric, one: Stretch) -> Callable[[Slot], int]:
    """How many hits of a piece failed, or lie above the quantile of the whole."""
    if metric.stat is Stat.ERRORS:
        return _failures
    at = one.whole.slot.ok.quantile(metric.quantile, one.whole.failures) or 0.0
    return lambda piece: _failures(piece) + piece.ok.above(at)


def _hits(piece: Slot) -> int:
    return piece.due - piece.ours


def _failures(piece: Slot) -> int:
    return _hits(piece) - piece.ok.total


def _total(times: Histogram) -> float:
    return math.fsum((lowest_in(cell) + highest_in(cell)) / 2 * count for cell, count in times)


def _design(spread: float, share: float, hits: int) -> float:
    """How many times the binomial variance the pieces show, at least once (the design effect; Kish 1965)."""
    binomial = hits * share * (1.0 - share)
    return max(1.0, spread / binomial) if binomial > 0 else 1.0


def _quantile(metric: Metric, one: Stretch, spread: float, t: float) -> _Figure:
    """By order statistics, whose ranks stray as far as the pieces say; failures are infinitely slow."""
    hits, share, failures = one.whole.hits, metric.quantile, one.whole.failures
    design = _design(spread, share, hits)
    half = t * math.sqrt(hits * share * (1.0 - share) * design)
    low, high = math.floor(share * hits - half), math.ceil(share * hits + half) + 1
    ranks = (stats.rank_of(share, hits), low, high)
    values = [_at_rank(one.whole.slot.ok, rank, hits, failures) for rank in ranks]
    return _Figure(values[0] / 1e6, *(_log(value) for value in values))


def _at_rank(times: Histogram, rank: int, hits: int, failures: int) -> float:
    if rank < 1:
        return -math.inf
    return times.rank(rank, failures) if rank <= hits else math.inf


def _errors(_metric: Metric, one: Stretch, spread: float, t: float) -> _Figure:
    """Wilson's interval on as many requests as they are worth."""
    hits, failures = one.whole.hits, one.whole.failures
    share = failures / hits
    worth = hits / _design(spread, share, hits)
    return _Figure(share, share, *stats.wilson(share * worth, worth, t))


def _mean(_metric: Metric, one: Stretch, spread: float, t: float) -> _Figure:
    """Of what succeeded; the pieces' spread, but never less than that of single requests."""
    times = one.whole.slot.ok
    mean = times.mean()
    if not mean:
        return _Figure(math.inf, math.inf, math.inf, math.inf)
    single = math.fsum(((lowest_in(cell) + highest_in(cell)) / 2 - mean) ** 2 * count for cell, count in times)
    return _around(mean / 1e6, t * math.sqrt(max(spread, single)) / times.total / mean)


def _rate(_metric: Metric, one: Stretch, spread: float, t: float) -> _Figure:
    oks = one.whole.oks
    if not oks:
        return _Figure(0.0, -math.inf, -math.inf, math.log(t * t / one.seconds))
    return _around(one.whole.rate, t * math.sqrt(spread) / oks)


def _around(value: float, half: float) -> _Figure:
    """A value whose relative error is `half`: by the delta method its logarithm's error is the same."""
    return _Figure(value, math.log(value), math.log(value) - half, math.log(value) + half)


def _log(micros: float) -> float:
    """Of a time in µs, in log seconds; what took no time that could be measured took a microsecond."""
    return micros if micros == -math.inf else math.log(max(1.0, micros) / 1e6)


def _difference(before: _Figure, after: _Figure) -> _Figure:
    """After minus before, with the interval that MOVER recovers from theirs."""
    if math.isinf(after.at):
        # A quantile that falls on a failure, or no goodput at all: only the near end of its interval is a number.
        near = after.low if after.at > 0 else after.high
        far = before.high if after.at > 0 else before.low
        ends = (near - far, math.inf) if after.at > 0 else (-math.inf, near - far)
        return _Figure(after.value, after.at, *ends)
    at = after.at - before.at
    low = at - math.hypot(after.at - after.low, before.high - before.at)
    high = at + math.hypot(after.high - after.at, before.at - before.low)
    return _Figure(after.value, at, low, high)


def _harm(metric: Metric, change: _Figure) -> tuple[float, float, float]:
    """(at, low, high) of a change, with harm on the upper side."""
    if metric.stat is Stat.RATE:
        return -change.at, -change.high, -change.low
    return change.at, change.low, change.high


def _proves(metric: Metric, change: _Figure, margin: float) -> Change:
    _, low, high = _harm(metric, change)
    bound = allowed(metric, margin)
    if low > bound:
        return Change.WORSE
    if high > bound:
        return Change.UNCLEAR
    return Change.EQUAL if low >= -bound else Change.BETTER


def _missing(metric: Metric, change: _Figure, stretches: Sequence[Stretch], margin: float) -> str:
    """How much could hide, and how much longer both stretches should be to tell."""
    at, low, high = _harm(metric, change)
    bound = allowed(metric, margin)
    could = f"it may be {_said(metric, high)} worse, the margin is {_said(metric, bound)}"
    half, goal = (high - at, bound - max(0.0, at)) if at <= bound else (at - low, at - bound)
    if not math.isfinite(half) or not goal > 0 or (half / goal) ** 2 > HOPELESS:
        return could if not math.isfinite(half) else f"{could}; too close to the margin to tell"
    # A little more than the square of what is missing: the next sample will not be the same.
    factor = 1.2 * (half / goal) ** 2
    times = [human_duration(math.ceil(one.seconds * factor)) for one in stretches]
    return f"{could}; {times[0]} of baseline and {times[1]} of hold would do"


def _said(metric: Metric, harm: float) -> str:
    """A distance towards harm in words: `12 %`, `1.4 points`."""
    if not math.isfinite(harm):
        return "any amount"
    match metric.stat:
        case Stat.ERRORS:
            points = f"{harm * 100:.2g}"
            return f"{points} point" if points == "1" else f"{points} points"
        case Stat.RATE:
            return f"{(1 - math.exp(-harm)) * 100:.2g} %"
        case _:
            return f"{math.expm1(harm) * 100:.3g} %"
