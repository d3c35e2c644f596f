"""A metric of a sample: its value, how far it may be trusted, and whether there was enough to tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

from chaosrunner.logic import stats
from chaosrunner.logic.traffic import Sample
from chaosrunner.model.histogram import Histogram, highest_in, lowest_in
from chaosrunner.model.hypothesis import Against, Metric, Stat, Tolerance
from chaosrunner.model.slots import Slot
from chaosrunner.model.units import human_duration

LATENCIES = frozenset({Stat.QUANTILE, Stat.MEAN, Stat.MAX})
"""Statistics in seconds: those that the generator's own lag can spoil."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure with its 95 % interval. Seconds, a share, or per second; `inf` = answered by a failure."""

    value: float
    low: float
    high: float


def measure(metric: Metric, sample: Sample, *, adjusted: bool = False) -> Measured | None:
    """The metric of a sample; None without any hit.

    Args:
        metric: a load statistic. Quantiles count failures as infinitely slow, a mean is over what succeeded.
        sample: hits of the metric's name.
        adjusted: take the generator's lag off the responses.

    Raises:
        ValueError: the metric is a probe, which has no hits.
    """
    if not sample.hits:
        return None
    answered = sample.slot.adjusted if adjusted else sample.slot.ok
    match metric.stat:
        case Stat.QUANTILE:
            return _quantile(metric.quantile, answered, sample.failures)
        case Stat.MEAN:
            return _mean(answered)
        case Stat.MAX:
            failed_us = _failed_without_lag(sample.slot) if adjusted else sample.slot.failed.max() or 0.0
            slowest = max(answered.max() or 0.0, failed_us) / 1e6
            return Measured(slowest, slowest, slowest)
        case Stat.ERRORS:
            return Measured(sample.failures / sample.hits, *stats.wilson(sample.failures, sample.hits))
        case Stat.RATE:
            half = stats.Z * math.sqrt(sample.oks) / sample.seconds
            return Measured(sample.rate, sample.rate - half, sample.rate + half)
        case Stat.PROBE:
            raise ValueError(f"{metric.probe} is a probe: it has no hits")
        case _:
            assert_never(metric.stat)


def _quantile(share: float, answered: Histogram, failures: int) -> Measured:
    hits = answered.total + failures
    low, high = stats.rank_interval(share, hits)
    return Measured(
        answered.rank(stats.rank_of(share, hits), failures) / 1e6,
        answered.rank(low, failures) / 1e6 if low else 0.0,
        answered.rank(high, failures) / 1e6 if high <= hits else math.inf,
    )


def _failed_without_lag(slot: Slot) -> float:
    """The longest that a failure surely took the target, µs: the slowest of them may owe us the longest lags."""
    lags = reversed(slot.lag.pairs())
    slowest, seen, told, lag_us = 0, 0, 0, 0
    for cell, count in reversed(slot.failed.pairs()):
        seen += count
        while told < seen:
            lag_cell, known = next(lags, (0, seen))
            told, lag_us = told + known, highest_in(lag_cell)
        slowest = max(slowest, highest_in(cell) - lag_us)
    return float(slowest)


def _mean(answered: Histogram) -> Measured:
    mean = answered.mean()
    if mean is None:  # nothing succeeded: whoever waited for an answer still waits
        return Measured(math.inf, math.inf, math.inf)
    squares = sum(((lowest_in(cell) + highest_in(cell)) / 2 - mean) ** 2 * count for cell, count in answered)
    half = stats.Z * math.sqrt(squares) / answered.total
    return Measured(mean / 1e6, (mean - half) / 1e6, (mean + half) / 1e6)


def enough(tolerance: Tolerance, bound: float) -> int:
    """Hits needed before the observed value decides about `bound`."""
    match tolerance.metric.stat:
        case Stat.QUANTILE:
            return stats.enough_for_quantile(tolerance.metric.quantile)
        case Stat.ERRORS:
            return stats.enough_for_share(bound)
        case _:
            return stats.FEW


def beyond_repair(tolerance: Tolerance, sample: Sample, bound: float, *, adjusted: bool = False) -> bool:
    """Whether a sample too small to be judged is violated whatever the hits it lacks had been.

    The missing ones are taken as good, so that an outage which leaves few requests is not merely unknown.
    """
    if tolerance.cmp not in ("<", "<="):
        return False
    metric, needed = tolerance.metric, max(enough(tolerance, bound), sample.hits)
    match metric.stat:
        case Stat.ERRORS:
            return not holds(sample.failures / needed, tolerance.cmp, bound)
        case Stat.QUANTILE:
            answered = sample.slot.adjusted if adjusted else sample.slot.ok
            bad = sample.failures + answered.above(bound * 1e6)
            return bad > needed - stats.rank_of(metric.quantile, needed)
        case Stat.MAX:
            measured = measure(metric, sample, adjusted=adjusted)
            return measured is not None and not holds(measured.value, tolerance.cmp, bound)
        case _:
            return False


def holds(value: float, cmp: str, bound: float) -> bool:
    """`value cmp bound`. Raises ValueError for a comparison that is none."""
    match cmp:
        case "<=":
            return value <= bound
        case "<":
            return value < bound
        case ">=":
            return value >= bound
        case ">":
            return value > bound
        case _:
            raise ValueError(f"{cmp!r} is no comparison")


def bound_of(tolerance: Tolerance, baseline: float) -> float:
    """The bound, given the baseline's value of the same metric (any number for an absolute tolerance)."""
    match tolerance.against:
        case Against.ABSOLUTE:
            return tolerance.value
        case Against.TIMES_BASELINE:
            return tolerance.value * baseline
        case Against.PLUS_BASELINE:
            return baseline + tolerance.value
        case _:
            assert_never(tolerance.against)


def human(metric: Metric, value: float | None) -> str:
    """A value as people write it: `340 ms`, `3.1 %`, `98 /s`."""
    if value is None:
        return "no data"
    if math.isinf(value):
        return "failed"
    match metric.stat:
        case Stat.ERRORS:
            return f"{value * 100:.3g} %"
        case Stat.RATE:
            return f"{value:.4g} /s"
        case Stat.PROBE:
            return f"{value:g}"
        case _:
            return human_duration(value)


def expected(tolerance: Tolerance, bound: float | None) -> str:
    """`<2 %`, `≤680 ms`; without a bound, what the user wrote."""
    if bound is None:
        return tolerance.text
    sign = {"<=": "≤", ">=": "≥"}.get(tolerance.cmp, tolerance.cmp)
    window = f" in any {human_duration(tolerance.window_s)}" if tolerance.window_s else ""
    return f"{sign}{human(tolerance.metric, bound)}{window}"
