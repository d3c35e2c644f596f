"""The conditions of recovery: every `after` tolerance, as a question to raw hits, slots or a probe's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from chaosrunner.logic.findings import usual_answer
from chaosrunner.logic.levels import SLOT_US, Level
from chaosrunner.logic.measure import bound_of, holds, measure
from chaosrunner.logic.trace import Rule, Trace
from chaosrunner.logic.traffic import Sample, Traffic
from chaosrunner.model.experiment import Phase
from chaosrunner.model.histogram import highest_in, lowest_in
from chaosrunner.model.hypothesis import Against, Stat, Tolerance
from chaosrunner.model.journey import SERIES
from chaosrunner.model.load import OURS, Outcome
from chaosrunner.model.slots import Hit, Slot

Condition = Trace | Level


class NoConditionError(Exception):
    """A tolerance cannot be made a condition of recovery; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen from shortly before the first inject until the end of the watch."""

    traffic: Traffic
    first: int
    """Slots [first, last)."""
    last: int
    hits: Sequence[Hit]
    """Raw hits by due time, without those the generator never fired; empty if some are missing."""
    due: Sequence[int]
    """When something was due: hits, or slots where raw hits are missing. µs after the load's epoch."""
    failed_due: Sequence[int]

    @property
    def exact(self) -> bool:
        """Whether all raw hits are there."""
        return bool(self.hits)


def look(traffic: Traffic, first: int, last: int) -> Seen:
    """Gather the raw hits due in slots [first, last), or, if any is missing, the slots."""
    state = traffic.state
    begin_us, end_us = first * SLOT_US, last * SLOT_US
    hits = [hit for hit in state.hits if begin_us <= hit.due_us < end_us and hit.outcome not in OURS]
    if len(hits) >= sum(state.answered(number) for number in range(first, last)):
        failed = [hit.due_us for hit in hits if hit.outcome is not Outcome.OK]
        return Seen(traffic=traffic, first=first, last=last, hits=hits, due=[h.due_us for h in hits], failed_due=failed)
    due, failed = [], []
    for number in range(first, last):
        own = state.slots.get(number, {}).values()
        due += [number * SLOT_US] if any(slot.due for slot in own) else []
        failed += [number * SLOT_US] if any(slot.errors for slot in own) else []
    return Seen(traffic=traffic, first=first, last=last, hits=(), due=due, failed_due=failed)


def conditions(seen: Seen, tolerances: Sequence[Tolerance]) -> list[Condition]:
    """One condition a tolerance. `in any 10s` is left to the findings: recovery looks at the whole hold time.

    Raises:
        NoConditionError: a relative tolerance without a baseline, or one that asks for slowness.
    """
    return [_condition(seen, tolerance) for tolerance in tolerances]


def _condition(seen: Seen, tolerance: Tolerance) -> Condition:
    bound = _bound(seen.traffic, tolerance)
    match tolerance.metric.stat:
        case Stat.PROBE:
            return _answers(seen, Rule(tolerance, bound))
        case Stat.MEAN | Stat.RATE:
            return _level(seen, tolerance, bound)
        case _:
            if tolerance.cmp not in ("<", "<="):
                raise NoConditionError(
                    f"'{tolerance.text}' asks for the worse: it cannot say that something has recovered"
                )
            rule = Rule(tolerance, bound, _names(seen.traffic, tolerance))
            of_series = any(name >= SERIES for name in rule.names or ())
            return _of_hits(seen, rule) if seen.exact and not of_series else _of_slots(seen, rule)


def _bound(traffic: Traffic, tolerance: Tolerance) -> float:
    if tolerance.against is Against.ABSOLUTE:
        return tolerance.value
    value = _usual(traffic, tolerance)
    if value is None:
        raise NoConditionError(f"'{tolerance.text}': the baseline has no data to compare with")
    return bound_of(tolerance, value)


def _usual(traffic: Traffic, tolerance: Tolerance) -> float | None:
    if tolerance.metric.stat is Stat.PROBE:
        return usual_answer(traffic, tolerance.metric.probe)
    sample = _baseline(traffic, tolerance.metric.of)
    seen = measure(tolerance.metric, sample) if sample else None
    return seen.value if seen else None


def _baseline(traffic: Traffic, name: str) -> Sample | None:
    span = traffic.span(Phase.BASELINE)
    return traffic.sample(span, name) if span else None


def _names(traffic: Traffic, tolerance: Tolerance) -> frozenset[int] | None:
    return traffic.experiment.load.called(tolerance.metric.of) if tolerance.metric.of else None


def _of_hits(seen: Seen, rule: Rule) -> Trace:
    own = seen.hits if rule.names is None else [hit for hit in seen.hits if hit.name in rule.names]
    limit = rule.limit_us
    return Trace(
        rule=rule,
        due=seen.due if rule.names is None else [hit.due_us for hit in own],
        before=range(len(own) + 1),
        bad=[(i, 1) for i, hit in enumerate(own) if hit.outcome is not Outcome.OK or hit.response_us > limit],
        failed_due=seen.failed_due,
        longest_gap_us=_longest_gap(seen.traffic, rule),
    )


def _of_slots(seen: Seen, rule: Rule) -> Trace:
    due: list[int] = []
    hits: list[int] = []
    bad: list[tuple[int, int]] = []
    for number in range(seen.first, seen.last):
        own = list(seen.traffic.state.named(number, rule.names))
        if count := sum(slot.finished - slot.ours for slot in own):
            wrong = sum(slot.errors + slot.ok.above(rule.limit_us) for slot in own)
            bad += [(len(due), wrong)] if wrong else []
            due.append(number * SLOT_US)
            hits.append(count)
    before = list(accumulate(hits, initial=0))
    return Trace(
        rule=rule,
        due=due,
        before=before,
        bad=bad,
        width_us=SLOT_US,
        failed_due=seen.failed_due,
        longest_gap_us=max(_longest_gap(seen.traffic, rule), 2 * SLOT_US),
    )


def _longest_gap(traffic: Traffic, rule: Rule) -> float:
    """Ten times the usual distance of hits of this name, at least 1 s; infinite for all names: arrivals go on."""
    sample = _baseline(traffic, rule.tolerance.metric.of) if rule.names is not None else None
    if sample is None or not sample.hits:
        return float("inf")
    return max(1.0, 10 * sample.seconds / sample.hits) * 1e6


def _answers(seen: Seen, rule: Rule) -> Trace:
    state, tolerance = seen.traffic.state, rule.tolerance
    assert state.load_epoch_ns is not None
    due: list[int] = []
    bad: list[tuple[int, int]] = []
    for at, ok, value in state.probes.get(tolerance.metric.probe, []):
        micros = (at - state.load_epoch_ns) // 1000
        if seen.first * SLOT_US <= micros < seen.last * SLOT_US:
            if not ok or value is None or not holds(value, tolerance.cmp, rule.bound):
                bad.append((len(due), 1))
            due.append(micros)
    silence_us = seen.traffic.experiment.silence_of(tolerance.metric.probe) * 1e6
    return Trace(rule=rule, due=due, before=range(len(due) + 1), bad=bad, longest_gap_us=silence_us, paced=True)


def _level(seen: Seen, tolerance: Tolerance, bound: float) -> Level:
    names = _names(seen.traffic, tolerance)
    amount, weight, hits = [], [], []
    for number in range(seen.first, seen.last):
        own = list(seen.traffic.state.named(number, names))
        ok = sum(slot.done.get(Outcome.OK, 0) for slot in own)
        rate = tolerance.metric.stat is Stat.RATE
        amount.append(float(ok) if rate else sum(map(_seconds, own)))
        weight.append(SLOT_US / 1e6 if rate else float(ok))
        hits.append(sum(slot.finished for slot in own))
    return Level(
        tolerance=tolerance,
        bound=bound,
        first=seen.first,
        amount=list(accumulate(amount, initial=0.0)),
        weight=list(accumulate(weight, initial=0.0)),
        hits=list(accumulate(hits, initial=0)),
    )


def _seconds(slot: Slot) -> float:
    """The successful responses of a slot, summed."""
    return sum((lowest_in(cell) + highest_in(cell)) / 2 * count for cell, count in slot.ok) / 1e6
