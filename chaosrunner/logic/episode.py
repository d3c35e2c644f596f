"""What the faults cost: when users first noticed, how deep it went, how long, and what was lost on the way."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

from chaosrunner.logic import change
from chaosrunner.logic.conditions import Condition, Seen
from chaosrunner.logic.levels import SLOT_US
from chaosrunner.logic.stats import wilson
from chaosrunner.logic.trace import Trace
from chaosrunner.logic.traffic import Sample, Span, slots_in
from chaosrunner.model.experiment import Phase
from chaosrunner.model.histogram import Histogram, highest_in, lowest_in
from chaosrunner.model.hypothesis import Stat
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Hit
from chaosrunner.model.verdict import Recovery

SECOND_US = 1_000_000

WAITED_IN_VAIN = frozenset({Outcome.OK, Outcome.TIMEOUT, Outcome.UNFINISHED})
"""Outcomes of bad hits that were bad from the start: slow, or never answered. Any other says how things were when it
came.
"""


def with_episode(recovery: Recovery, seen: Seen, asked: Sequence[Condition], times: tuple[int, int, int]) -> Recovery:
    """Add to a recovery what lies between injection and its end.

    Args:
        recovery: state and times.
        seen: the traffic since shortly before the first inject.
        asked: the conditions of recovery; theirs are the bad hits.
        times: inject called, inject answered, recovered (or the end of the watch); µs after the load's epoch.
    """
    called, answered, end = times
    traces = [one for one in asked if isinstance(one, Trace) and one.rule.tolerance.metric.stat is not Stat.PROBE]
    found = [episode for trace in traces if (episode := change.episode(trace, called, end)) is not None]
    span = Span(Phase.RECOVERY, called // SLOT_US, -(-end // SLOT_US))
    sample = seen.traffic.sample(span)
    residual = _residual(seen, end) if recovery.at_ns is not None else None
    recovery = replace(recovery, lost=sample.failures, waited_s=_waited(seen, sample), residual=residual)
    if not found:
        return recovery
    begin = min(begins for begins, _ in found)
    last = max(ends for _, ends in found)
    low, high = _bounds(seen, begin, last)
    depth, depth_low, depth_high = max(_depth(trace, begin, last) for trace in traces)
    return replace(
        recovery,
        detected_s=max(0, begin - answered) / 1e6,
        outage_s=(last - begin + (0 if seen.exact else SLOT_US)) / 1e6,
        outage_low_s=low / 1e6,
        outage_high_s=high / 1e6,
        depth=depth,
        depth_low=depth_low,
        depth_high=depth_high,
    )


def _bounds(seen: Seen, begin: int, last: int) -> tuple[int, int]:
    """How short and how long an outage may have been that showed in the hits due at `begin` … `last`. µs.

    A hit tells how things were at some moment between due and done, not exactly when it was due: at the shortest the
    outage began when the first bad hit was done, at the longest it lasted until the first good one after it was.
    """
    before, after = bisect_left(seen.due, begin) - 1, bisect_right(seen.due, last)
    good_before = seen.due[before] if before >= 0 else begin
    good_after = seen.due[after] if after < len(seen.due) else last
    if not seen.exact:
        return max(0, last - begin - SLOT_US), max(good_after, last + SLOT_US) - good_before
    answer = seen.hits[after].response_us if after < len(seen.hits) else 0
    return max(0, last - begin - _soon(seen, seen.hits[before + 1])), good_after + answer - good_before


def _soon(seen: Seen, bad: Hit) -> int:
    """How long after it was due, at most, things were bad for a bad hit. µs."""
    if bad.outcome not in WAITED_IN_VAIN:
        return bad.response_us
    # It would have had its answer by then, however late it gave up.
    baseline = seen.traffic.span(Phase.BASELINE)
    usual = seen.traffic.sample(baseline).slot.ok.quantile(0.99) if baseline else None
    return min(bad.response_us, int(usual or 0))


def _depth(trace: Trace, begin: int, last: int) -> tuple[float, float, float]:
    """The worst share of bad hits in any of the seconds that follow each other from the first bad one on, and bounds.

    Wilson's interval of that second, at 1 − 5 %/m for m seconds (Bonferroni): whichever is the worst was chosen.
    """
    counts = [trace.counts(at, at + SECOND_US) for at in range(begin, last + 1, SECOND_US)]
    shares = [(bad / hits, bad, hits) for bad, hits in counts if hits]
    if not shares:
        return 0.0, 0.0, 1.0
    share, bad, hits = max(shares)
    low, high = wilson(bad, hits, NormalDist().inv_cdf(1 - 0.025 / len(shares)))
    return share, low, high


def _waited(seen: Seen, sample: Sample) -> float:
    """Seconds that requests, successful or not, waited beyond the baseline's median, summed; as many requests of the
    baseline would have waited some of it too, and that is taken off.
    """
    baseline = seen.traffic.span(Phase.BASELINE)
    usual = seen.traffic.sample(baseline).slot.ok if baseline else Histogram()
    median = usual.quantile(0.5)
    if median is None:
        return 0.0
    requests = sample.slot.ok.total + sample.slot.failed.total
    extra = _beyond(sample.slot.ok, median) + _beyond(sample.slot.failed, median)
    return max(0.0, extra - requests * _beyond(usual, median) / usual.total) / 1e6


def _beyond(histogram: Histogram, micros: float) -> float:
    middles = (((lowest_in(cell) + highest_in(cell)) / 2, count) for cell, count in histogram)
    return sum(max(0.0, middle - micros) * count for middle, count in middles)


def _residual(seen: Seen, at_us: int) -> float | None:
    """p95 over the hold time ÷ p95 of the baseline; None where either has none."""
    baseline = seen.traffic.span(Phase.BASELINE)
    first = -(-at_us // SLOT_US)
    held = Span(Phase.AFTER, first, first + slots_in(seen.traffic.experiment.recover.hold_s))
    after = seen.traffic.sample(held).quantile(0.95)
    before = seen.traffic.sample(baseline).quantile(0.95) if baseline else None
    if before is None or after is None or not 0 < before < float("inf"):
        return None
    return after / before
