"""Was it ill again after it had been well? The illnesses of a run, one after the other.

A cumulative sum (Page 1954) opens an illness when chance explains it once in a hundred runs. Another one closes it: the
evidence must be as strong that no more than `WELL` of the requests are bad as it had to be that something was wrong.
Once closed, only an outage opens it again, where most requests are bad rather than few, beside those that still were
since it closed: a slow return whose share of bad requests sinks, however it wavers, passes the first mark once and the
second never. And if more was bad in between than is allowed, all along, then it was not well there, and both are one:
what remains of an illness is no other one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from chaosrunner.logic import stats
from chaosrunner.logic.change import SURE
from chaosrunner.logic.trace import Trace
from chaosrunner.model.verdict import Relapse

WELL = 0.2
"""Share of bad requests against which it is tested that a system is well again."""

APART_US = 1_000_000
"""Illnesses with less than this between them are one."""


@dataclass(slots=True)
class _Sum:
    """A cumulative sum of evidence for one hypothesis against another, and where it last left zero. µs."""

    per_bad: float
    per_good: float
    total: float = 0.0
    since_us: int = 0

    def add(self, bad: int, good: int, due_us: int) -> float:
        """Count the good hits before a bad point, and the point itself, which was due then."""
        for amount in (good * self.per_good, bad * self.per_bad):
            self.total = max(0.0, self.total)
            self.since_us = due_us if self.total == 0.0 else self.since_us
            self.total += amount
        return self.total


def illnesses(trace: Trace, begin_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """Due times of the first and last bad hit of each illness in [begin, end), in order.

    Args:
        trace: the hits of a rule; where it allows none, or more than `WELL`, no illness can be told from chance so.
        begin_us: µs after the load's epoch.
        end_us: the same.
    """
    joined: tuple[int, int] | None = None
    for first, last in _excursions(trace, begin_us, end_us):
        if joined is not None and not _well(trace, joined[1] + 1, first):
            joined = joined[0], last
            continue
        if joined is not None:
            yield joined
        joined = first, last
    if joined is not None:
        yield joined


def _well(trace: Trace, begin_us: int, end_us: int) -> bool:
    """Whether in [begin, end) there was a time of health: not more bad than is allowed in either half, by a deviation.

    One illness may fade before there is health, and another may come by and by.
    """
    middle = (begin_us + end_us) // 2
    halves = trace.counts(begin_us, middle), trace.counts(middle, end_us)
    return any(not hits or stats.wilson(bad, hits, z=1.0)[0] <= trace.rule.allowed for bad, hits in halves)


def _excursions(trace: Trace, begin_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """From where evidence for an illness rose until it was sure, to where evidence against it did."""
    allowed = trace.rule.allowed
    if not 0 < allowed < WELL:
        return
    sure = math.log(max(2, trace.counts(begin_us, end_us)[1]) / SURE)
    outage, few = _towards(allowed, (1 + allowed) / 2), _towards(allowed, 3 * allowed)
    opening: list[_Sum] = [outage, few]
    closing: _Sum | None = None
    first, last, again = 0, begin_us, False
    for due, bad, good in _points(trace, begin_us, end_us):
        if closing is not None:
            if closing.total + good * closing.per_good < sure:
                last = due if closing.add(bad, good, due) <= 0 and bad else last
                continue
            yield first, last
            closing, opening, again = None, [_again(trace, last, due)], True
            # The good hits have spoken already: they closed what was before.
            sums = [one for one in opening if one.add(bad, 0, due) >= sure]
        else:
            if again and opening[0].total + good * opening[0].per_good <= 0:
                opening = [_again(trace, last, due)]
            sums = [one for one in opening if one.add(bad, good, due) >= sure]
        if sums:
            first, last = min(one.since_us for one in sums), due
            closing = _back(max(WELL, 3 * allowed), allowed)
    if closing is not None:
        yield first, last


def relapses(traces: Sequence[Trace], since_us: int, begin_us: int, end_us: int) -> tuple[Relapse, ...]:
    """Illnesses that began after the effect had ended, each with an earlier one that was over before.

    Args:
        traces: of the conditions of recovery.
        since_us: the last inject; what was ill before is another story. µs after the load's epoch.
        begin_us: when the effect ended.
        end_us: until when it was watched.
    """
    spans = sorted(span for trace in traces for span in illnesses(trace, since_us, end_us))
    joined: list[tuple[int, int]] = []
    for first, last in spans:
        if joined and first - joined[-1][1] < APART_US:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return tuple(
        Relapse(
            well_s=max(0, before[1] - begin_us) / 1e6, begin_s=(first - begin_us) / 1e6, end_s=(last - begin_us) / 1e6
        )
        for before, (first, last) in pairwise(joined)
        if first >= begin_us
    )


def answered_ill(traces: Sequence[Trace], well_us: int, begin_us: int) -> tuple[Relapse, ...]:
    """Bad answers of probes after a recovery, as each of them decides; those in a row are one relapse.

    Args:
        traces: of conditions on probes.
        well_us: when it had recovered. µs after the load's epoch.
        begin_us: when the effect ended.
    """
    found: list[Relapse] = []
    for trace in traces:
        points = trace.bad_points[trace.first_bad(well_us) :]
        for _, stretch in groupby(enumerate(points), key=lambda one: one[1] - one[0]):
            due = [(trace.due[point] - begin_us) / 1e6 for _, point in stretch]
            found.append(Relapse(well_s=max(0, well_us - begin_us) / 1e6, begin_s=due[0], end_s=due[-1]))
    return tuple(found)


def alarm(trace: Trace, begin_us: int, end_us: int) -> int | None:
    """Due time of the hit with which it was sure that something was wrong; None if it never was.

    The first alarm of two cumulative sums, one for an outage and one for a brown-out of three times what is allowed;
    chance raises either once in a hundred runs (Wald 1945). Where nothing is allowed, one bad hit is enough.
    """
    allowed = trace.rule.allowed
    sure = math.log(max(2, trace.counts(begin_us, end_us)[1]) / SURE)
    outage = (1 + allowed) / 2
    sums = [_towards(allowed, ill) for ill in (outage, min(outage, 3 * allowed)) if 0 < allowed < ill < 1]
    for due, bad, good in _points(trace, begin_us, end_us):
        evidence = [one.add(bad, good, due) for one in sums]
        if max(evidence, default=0.0) >= sure or (bad and allowed <= 0):
            return due
    return None


def _towards(usual: float, ill: float) -> _Sum:
    return _Sum(per_bad=math.log(ill / usual), per_good=-math.log((1 - usual) / (1 - ill)))


def _again(trace: Trace, last_us: int, due_us: int) -> _Sum:
    """Towards another outage, from what was still bad in between (Laplace's estimate), never more than is well."""
    bad, hits = trace.counts(last_us + 1, due_us)
    usual = min(max(WELL, 3 * trace.rule.allowed), max(trace.rule.allowed, (bad + 1) / (hits + 2)))
    return _towards(usual, (1 + usual) / 2)


def _back(ill: float, usual: float) -> _Sum:
    return _Sum(per_bad=-math.log(ill / usual), per_good=math.log((1 - usual) / (1 - ill)))


def _points(trace: Trace, begin_us: int, end_us: int) -> Iterator[tuple[int, int, int]]:
    """(due, bad hits, good hits since the point before) of each bad point, and a last one for the good at the end."""
    seen = trace.hits_before(begin_us)
    for nth in range(trace.first_bad(begin_us), trace.first_bad(end_us)):
        point, count = trace.bad[nth]
        after = trace.before[point + 1]
        yield trace.due[point], count, after - seen - count
        seen = after
    yield end_us, 0, trace.hits_before(end_us) - seen
