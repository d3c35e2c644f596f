"""What one run says of its level: whether it held, and what users saw."""

from __future__ import annotations

from dataclasses import replace

from chaosrunner.logic.doubt import busy_worker
from chaosrunner.logic.findings import findings_of
from chaosrunner.logic.fold import State
from chaosrunner.logic.judge import judge
from chaosrunner.logic.measure import holds
from chaosrunner.logic.search import room
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Sample, Span, Traffic
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.hypothesis import Stat, Tolerance
from chaosrunner.model.search import Trial
from chaosrunner.model.verdict import Finding, Outcome, Verdict

MOST = 2
"""Findings that a reason names; the run's own report has all."""


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
    outcome = _outcome(verdict)
    findings = before or [one for one in map(_as_seen, verdict.findings) if one.outcome is outcome is not Outcome.HELD]
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
    beyond, allowed = _beyond(traffic, span) or (None, None)
    measured = replace(measured, slowed=room.since_first(traffic, span), beyond=beyond, allowed=allowed)
    return measured if of_load else _fair(measured, traffic, span)


def _fair(trial: Trial, traffic: Traffic, span: Span) -> Trial:
    """The trial of a dose, UNKNOWN where it would hold had we had the connections and the CPU that it takes."""
    lacking = room.ours(traffic, span, trial) if trial.outcome is Outcome.BROKEN else None
    if lacking is None or _outcome(judge(traffic.experiment, lacking[1])) is Outcome.BROKEN:
        return trial
    return room.doubted(trial, lacking[0])


def _outcome(verdict: Verdict) -> Outcome:
    """The outcome of a run, shares that chance may explain taken as they were seen."""
    return max((_as_seen(one).outcome for one in verdict.findings), default=verdict.outcome)


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
    refused = room.refused(sample.slot) / max(1, sample.hits)
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


def _beyond(traffic: Traffic, span: Span) -> tuple[float, float] | None:
    """The share of requests that broke a tolerance and the share it allows, of the one nearest to its limit, or beyond.

    None with faults, and where anything is asked that is not about a share of the requests of the whole span.
    """
    asked = traffic.experiment.hypothesis.before
    shares = [_share(traffic.sample(span, one.metric.of), one) for one in asked if _of_shares(one)]
    if traffic.experiment.faults or len(shares) < len(asked):
        return None
    return max(shares, key=lambda one: one[0] / one[1], default=None)


def _of_shares(tolerance: Tolerance) -> bool:
    wanted = tolerance.metric.stat in (Stat.QUANTILE, Stat.ERRORS) and tolerance.cmp in ("<", "<=")
    return wanted and not tolerance.window_s and 0 < _allowed(tolerance) < 1


def _allowed(tolerance: Tolerance) -> float:
    return tolerance.value if tolerance.metric.stat is Stat.ERRORS else 1 - tolerance.metric.quantile


def _share(sample: Sample, tolerance: Tolerance) -> tuple[float, float]:
    slow = sample.slot.ok.above(tolerance.value * 1e6) if tolerance.metric.stat is Stat.QUANTILE else 0
    return (sample.failures + slow) / max(1, sample.hits), _allowed(tolerance)


def _measured(trial: Trial, sample: Sample, longer_s: float) -> Trial:
    if not sample.seconds or not sample.hits:
        return trial
    slot = sample.slot
    service = slot.service.quantile(room.LATE)
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
        taken=room.taken(slot, sample.seconds),
    )
