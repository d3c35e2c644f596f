"""What one run says of its level: whether it held, and what users saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from chaosrunner.logic.doubt import busy_worker
from chaosrunner.logic.findings import findings_of
from chaosrunner.logic.fold import State
from chaosrunner.logic.judge import judge
from chaosrunner.logic.measure import holds
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Sample, Span, Traffic
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.hypothesis import Stat, Tolerance
from chaosrunner.model.load import Outcome as Reply
from chaosrunner.model.search import Trial
from chaosrunner.model.slots import Slot
from chaosrunner.model.verdict import Finding, Outcome

MOST = 2
"""Findings that a reason names; the run's own report has all."""

FULL = 0.9
"""From this share on of our connections all of them count as taken."""

AS_QUICK = 1.5
"""Answers that take at most so many times as long as at the lowest level that held are as quick as ever."""

LATE, WORTH = 0.95, 0.1
"""The quantile that is looked at, and the share of a service time from which on a wait is one."""

FIRST = 20
"""The first so many answers of a run say how quick the target is while it has hardly anything to do."""

WAITING = (Reply.SHED, Reply.UNFINISHED, Reply.TIMEOUT, Reply.POOL)
"""What becomes of requests that wait too long for a connection."""


def trial_of(experiment: Experiment, state: State, level: float, *, of_load: bool = True) -> Trial:
    """The trial that a run was.

    What does not hold before anything is broken says nothing of the faults, and all of the load: where that is what is
    varied, such a level does not hold.

    Args:
        experiment: what was played.
        state: the fold of its journal.
        level: what was varied.
        of_load: it is the load that was varied; False: a dose.
    """
    traffic = Traffic(experiment, state)
    broken, doubted = _before(experiment, state) if of_load else ([], [])
    verdict = judge(experiment, state)
    before = broken or doubted
    seen = [_as_seen(one) for one in verdict.findings]
    outcome = max((one.outcome for one in seen), default=verdict.outcome) if verdict.outcome else verdict.outcome
    findings = before or [one for one in seen if one.outcome is outcome is not Outcome.HELD]
    span = traffic.span(Phase.FAULT) or traffic.span(Phase.BASELINE)
    trial = Trial(
        level=level,
        outcome=before[0].outcome if before else outcome,
        why="; ".join(map(_said, findings[:MOST])) + (f"; {len(findings) - MOST} more" if findings[MOST:] else ""),
        run=verdict.run,
        lasted_s=verdict.seconds,
    )
    if span is None:
        return trial
    measured = _measured(trial, traffic.sample(span), _longer_s(traffic, span))
    return replace(measured, slowed=_since_first(traffic, span))


def without_room(trial: Trial, others: Sequence[Trial], connections: int) -> Trial:
    """The trial, UNKNOWN where our own connections were the limit, and not the target, or where that cannot be told.

    They are if nearly all of them were taken (Little's law) and requests waited for one, while the target answered what
    it got as quickly as at the lowest level that held, or (where none did yet) as its first requests: with more
    connections it would have served more. A target that is overloaded takes all of them, too, but by answering late.

    Args:
        trial: of a load.
        others: trials before it.
        connections: that may be open at once.
    """
    if trial.outcome is not Outcome.BROKEN or trial.taken < FULL * connections:
        return trial
    slowed = _slowed(trial, others)
    if slowed is not None and slowed > AS_QUICK:
        return trial
    quick = "nothing says how quick the target can be" if slowed is None else "the target was as quick as ever"
    why = f"all {connections} connections of ours were taken and {quick}; use more `connections`"
    return replace(trial, outcome=Outcome.UNKNOWN, why=f"{trial.why} ({why})")


def _slowed(trial: Trial, others: Sequence[Trial]) -> float | None:
    """How many times as long the target took as it does with little to do; None if nothing says that."""
    held = [one for one in others if one.outcome is Outcome.HELD and one.service]
    least = min(held, key=lambda one: one.level, default=None)
    if least is None:
        return trial.slowed
    return (trial.service or math.inf) / (least.service or math.inf)


def taken(slot: Slot, seconds: float) -> float:
    """Connections taken at once, on average: what succeeded per second times how long it had one (Little's law).

    0 where nobody waited for one, and where more than one request in a hundred was refused or answered wrongly: what
    breaks there is the target.
    """
    wait, service = slot.wait.quantile(LATE), slot.service.quantile(LATE)
    if wait is None or service is None or wait < WORTH * service or _refused(slot) > 0.01 * slot.due:
        return 0.0
    return (slot.service.mean() or 0.0) * slot.service.total / 1e6 / seconds


def _refused(slot: Slot) -> int:
    """Errors that are the target's answers, and no waiting that was given up."""
    return slot.errors - sum(slot.done.get(outcome, 0) for outcome in WAITING)


def _before(experiment: Experiment, state: State) -> tuple[list[Finding], list[Finding]]:
    """What is broken in the baseline as of an experiment without faults, where it is the test itself, and what would
    be, had the generator not been too busy to see answers in time.
    """
    traffic = Traffic(replace(experiment, faults=()), state)
    span = traffic.span(Phase.BASELINE)
    busy = busy_worker(traffic, span) if span else ""
    broken: list[Finding] = []
    doubted: list[Finding] = []
    found = map(_as_seen, findings_of(traffic, Phase.BASELINE))
    for finding, tolerance in zip(found, experiment.hypothesis.before, strict=True):
        if finding.outcome is Outcome.BROKEN:
            ours = span is not None and busy and _of_waiting(traffic.sample(span, tolerance.metric.of), tolerance)
            doubted += [replace(finding, outcome=Outcome.UNKNOWN, why=busy)] if ours else []
            broken += [] if ours else [finding]
    return broken, doubted


def _as_seen(finding: Finding) -> Finding:
    """A search makes many looks and knows that each may err: what was seen counts, also where it may be chance."""
    return replace(finding, outcome=Outcome.BROKEN) if finding.by_chance else finding


def _of_waiting(sample: Sample, tolerance: Tolerance) -> bool:
    """Whether errors would hold without the requests that waited too long; a latency is doubted by its finding."""
    refused = _refused(sample.slot) / max(1, sample.hits)
    return tolerance.metric.stat is Stat.ERRORS and holds(refused, tolerance.cmp, tolerance.value)


def _said(finding: Finding) -> str:
    why = f" ({finding.why})" if finding.why not in ("", finding.observed) else ""
    return f"{finding.name}: {finding.observed}{why}"


def _longer_s(traffic: Traffic, span: Span) -> float:
    """By how much longer the answers of a span came than its requests did: the response of its last second less that
    of its first. In a queue that grows all may succeed in the end, at the rate of the server and not of the load.
    """
    if span.last - span.first < 2 * SLOTS_A_SECOND:
        return 0.0
    sides = (
        replace(span, last=span.first + SLOTS_A_SECOND),
        replace(span, first=span.last - SLOTS_A_SECOND),
    )
    begin, end = (traffic.sample(side).slot.ok.mean() or 0.0 for side in sides)
    return max(0.0, end - begin) / 1e6


def _since_first(traffic: Traffic, span: Span) -> float | None:
    """How many times as long as the first requests of the run those of a span took once they were sent (medians).

    With faults it is the first ones a second after those were in place. None if either had no answer, or if it is no
    longer known second by second.
    """
    begin = 0 if span.phase is Phase.BASELINE else span.first + SLOTS_A_SECOND
    first, number = Slot(), max(begin, traffic.state.detail.until, traffic.state.coarse_until)
    if number > begin:
        return None
    while first.service.total < FIRST and number < span.last:
        number += 1
        first.add(traffic.recent(number, 1).slot)
    quick, usual = first.service.quantile(0.5), traffic.sample(span).slot.service.quantile(0.5)
    return usual / quick if quick and usual else None


def _measured(trial: Trial, sample: Sample, longer_s: float) -> Trial:
    if not sample.seconds or not sample.hits:
        return trial
    slot = sample.slot
    service = slot.service.quantile(LATE)
    waited_us = sum((one.mean() or 0.0) * one.total for one in (slot.ok, slot.failed))
    return replace(
        trial,
        seconds=sample.seconds,
        offered=slot.due / sample.seconds,
        goodput=sample.rate * sample.seconds / (sample.seconds + longer_s),
        errors=sample.failures / sample.hits,
        p50=sample.quantile(0.5),
        p95=sample.quantile(0.95),
        p99=sample.quantile(0.99),
        inside=waited_us / 1e6 / sample.seconds,
        service=None if service is None else service / 1e6,
        taken=taken(slot, sample.seconds),
    )
