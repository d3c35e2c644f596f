"""What the faults did to users: how bad it was, how much error budget it cost, what remained in flight, and the curve.

Degradation classes, from the first injection until recovery (or the end of the watch), in windows of a second or of
ten requests, whichever is longer:

- *outage*: in some window at least 95 % of the requests failed;
- *partial outage*: more requests failed than chance explains, by at least a point above the baseline's share: in some
  window, or in all of the time;
- *degraded*: not that, but p50 or p95 is proven to be slower than its margin, or a tolerance of `after` was violated
  for longer than chance explains;
- *none*: nothing of it was proven.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from chaosrunner.logic.conditions import Seen
from chaosrunner.logic.equivalence import compare
from chaosrunner.logic.levels import SLOT_US
from chaosrunner.logic.relapse import alarm
from chaosrunner.logic.residual import ALWAYS, FAILING, GOODPUT, LESS, SLOWER, Comparison, pair
from chaosrunner.logic.stats import wilson
from chaosrunner.logic.trace import Trace
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Sample, Span, slots_in
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.hypothesis import Against, Metric, Stat
from chaosrunner.model.slots import Slot
from chaosrunner.model.verdict import Change, Degradation, Impact, Recovery, Residual

GONE = 0.95
"""Share of failed requests from which a window counts as an outage."""

IN_WINDOW = 10
"""Requests in a window of the classes, at least."""

POINTS = 600
"""The resilience curve has at most so many points."""

EARLY_S = 5.0
"""How long after recovery overshoot is looked for, at most half of the hold time."""

SURELY = 0.01
"""Chance of calling noise a partial outage."""

TYPICAL = Metric(stat=Stat.QUANTILE, quantile=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is asked: traffic, the conditions of recovery, and when things happened. µs after the load's epoch."""

    seen: Seen
    traces: Sequence[Trace]
    inject_us: int
    """The first inject was answered."""
    ended_us: int
    """The end of the last fault's effect was answered."""
    over_us: int
    """Recovered, or the end of the watch."""


def impact(measured: Recovery, course: Course, baseline: range) -> Impact:
    """The impact of a run's faults.

    Args:
        measured: the recovery, with its episode.
        course: traffic and times.
        baseline: its slots.
    """
    traffic = course.seen.traffic
    usual = traffic.sample(Span(Phase.BASELINE, baseline.start, baseline.stop))
    curve, step_s, area_s = _curve(course, usual)
    budget_s, share = _budget(traffic.experiment, measured.lost, usual)
    alarms = [at for trace in course.traces if (at := alarm(trace, course.inject_us, course.over_us)) is not None]
    drained = _drained(course)
    return Impact(
        degradation=_degradation(measured, course, usual, baseline),
        sure_s=(min(alarms) - course.inject_us) / 1e6 if alarms else None,
        budget_s=budget_s,
        budget_share=share,
        drain_s=drained[0] if drained else None,
        in_flight=drained[1] if drained else None,
        early=_early(measured, course, baseline),
        curve=curve,
        step_s=step_s,
        area_s=area_s,
    )


def _degradation(measured: Recovery, course: Course, usual: Sample, baseline: range) -> Degradation:
    windows = [one for one in _windows(course, usual) if one.hits >= IN_WINDOW / 2]
    if any(one.failures >= GONE * one.hits for one in windows):
        return Degradation.OUTAGE
    if usual.hits and windows and _failing(windows, usual):
        return Degradation.PARTIAL
    slow = measured.detected_s is not None or any(_slower(course, baseline))
    return Degradation.DEGRADED if slow else Degradation.NONE


def _windows(course: Course, usual: Sample) -> list[Sample]:
    per_slot = usual.hits / max(1.0, usual.seconds * SLOTS_A_SECOND)
    size = max(SLOTS_A_SECOND, math.ceil(IN_WINDOW / per_slot)) if per_slot else SLOTS_A_SECOND
    first, last = course.inject_us // SLOT_US, max(course.inject_us, course.over_us) // SLOT_US + 1
    return [_sample(course, range(begin, min(begin + size, last))) for begin in range(first, last, size)]


def _failing(windows: Sequence[Sample], usual: Sample) -> bool:
    """Whether more failed than chance explains, in one of the windows or in all of them together."""
    most = wilson(usual.failures, usual.hits)[1] + FAILING
    single = NormalDist().inv_cdf(1 - SURELY / len(windows))
    failures, hits = sum(one.failures for one in windows), sum(one.hits for one in windows)
    return any(wilson(one.failures, one.hits, single)[0] > most for one in windows) or (
        wilson(failures, hits, NormalDist().inv_cdf(1 - SURELY))[0] > most
    )


def _slower(course: Course, baseline: range) -> Iterator[bool]:
    """Whether p50 and p95 are proven to be slower from injection to the end of the effect, or to recovery."""
    last = max(course.ended_us, course.over_us) // SLOT_US
    during = Comparison(course.seen.traffic, baseline, range(course.inject_us // SLOT_US, last))
    for metric in ALWAYS:
        if metric.stat is Stat.QUANTILE:
            yield compare(metric, pair(during, ""), SLOWER).proves is Change.WORSE


def _sample(course: Course, slots: range) -> Sample:
    slot = Slot()
    for number in slots:
        for part in course.seen.traffic.state.named(number):
            slot.add(part)
    return Sample(slot, len(slots) / SLOTS_A_SECOND)


def _budget(experiment: Experiment, lost: int, usual: Sample) -> tuple[float | None, float | None]:
    """Failed requests ÷ (requests a second × the share that may fail); the strictest of `before` and `during`."""
    asked = (*experiment.hypothesis.before, *experiment.hypothesis.during)
    shares = [
        one.value
        for one in asked
        if one.metric == Metric(stat=Stat.ERRORS) and one.against is Against.ABSOLUTE and "<" in one.cmp
    ]
    share = min((value for value in shares if value > 0), default=None)
    if share is None or not usual.hits:
        return None, None
    return lost * usual.seconds / (usual.hits * share), share


def _drained(course: Course) -> tuple[float, int] | None:
    """When no more requests were in flight than at most before the faults, and stayed so for a second; the peak."""
    hits = course.seen.hits
    done = sorted(hit.due_us + hit.response_us for hit in hits)

    def in_flight(at_us: int) -> int:
        return bisect_right(course.seen.due, at_us) - bisect_right(done, at_us)

    before = [in_flight(at) for at in range(course.seen.first * SLOT_US, course.inject_us, SLOT_US)]
    after = [in_flight(at) for at in range(course.ended_us, course.seen.last * SLOT_US, SLOT_US)]
    if not hits or len(before) < SLOTS_A_SECOND:
        return None
    usual = max(before)
    for nth in range(len(after) - SLOTS_A_SECOND + 1):
        if max(after[nth : nth + SLOTS_A_SECOND]) <= usual:
            return nth * SLOT_US / 1e6, max(after[: nth + 1])
    return None


def _early(measured: Recovery, course: Course, baseline: range) -> tuple[Residual, ...]:
    if measured.at_ns is None:
        return ()
    traffic = course.seen.traffic
    begin = -(-course.over_us // SLOT_US)
    length = min(slots_in(EARLY_S), slots_in(traffic.experiment.recover.hold_s) // 2)
    first = Comparison(traffic, baseline, range(begin, min(begin + length, course.seen.last)))
    return tuple(
        replace(compare(metric, pair(first, ""), margin), judged=False)
        for metric, margin in ((TYPICAL, SLOWER), (GOODPUT, LESS))
    )


def _curve(course: Course, usual: Sample) -> tuple[tuple[tuple[float, float], ...], float, float | None]:
    """Points, the length of one in seconds, and the area up to recovery."""
    first, last = course.inject_us // SLOT_US, course.seen.last
    size = SLOTS_A_SECOND * max(1, -(-(last - first) // (SLOTS_A_SECOND * POINTS)))
    step_s = size / SLOTS_A_SECOND
    if not usual.rate:
        return (), step_s, None
    points, area_s = [], 0.0
    for begin in range(first, last - size + 1, size):
        ratio = _sample(course, range(begin, begin + size)).rate / usual.rate
        points.append(((begin - first) / SLOTS_A_SECOND, ratio))
        area_s += (1.0 - ratio) * step_s if begin * SLOT_US < course.over_us else 0.0
    return tuple(points), step_s, area_s
