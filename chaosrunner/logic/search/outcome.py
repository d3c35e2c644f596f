"""What one run says of its level: whether it held, and what users saw."""

from __future__ import annotations

from dataclasses import replace

from chaosrunner.logic.findings import findings_of
from chaosrunner.logic.fold import State
from chaosrunner.logic.judge import judge
from chaosrunner.logic.traffic import Sample, Traffic
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.search import Trial
from chaosrunner.model.verdict import Finding, Outcome

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
    before = [one for one in _before(experiment, state) if of_load and one.outcome is Outcome.BROKEN]
    verdict = judge(experiment, state)
    findings = before or [one for one in verdict.findings if one.outcome is verdict.outcome is not Outcome.HELD]
    span = traffic.span(Phase.FAULT) or traffic.span(Phase.BASELINE)
    trial = Trial(
        level=level,
        outcome=Outcome.BROKEN if before else verdict.outcome,
        why="; ".join(map(_said, findings[:MOST])) + (f"; {len(findings) - MOST} more" if findings[MOST:] else ""),
        run=verdict.run,
        lasted_s=verdict.seconds,
    )
    return trial if span is None else _measured(trial, traffic.sample(span))


def _before(experiment: Experiment, state: State) -> list[Finding]:
    """The findings of the baseline as of an experiment without faults: there it is the test itself."""
    return findings_of(Traffic(replace(experiment, faults=()), state), Phase.BASELINE)


def _said(finding: Finding) -> str:
    why = f" ({finding.why})" if finding.why not in ("", finding.observed) else ""
    return f"{finding.name}: {finding.observed}{why}"


def _measured(trial: Trial, sample: Sample) -> Trial:
    if not sample.seconds or not sample.hits:
        return trial
    slot = sample.slot
    waited_us = sum((one.mean() or 0.0) * one.total for one in (slot.ok, slot.failed))
    return replace(
        trial,
        seconds=sample.seconds,
        offered=slot.due / sample.seconds,
        goodput=sample.rate,
        errors=sample.failures / sample.hits,
        p50=sample.quantile(0.5),
        p95=sample.quantile(0.95),
        p99=sample.quantile(0.99),
        inside=waited_us / 1e6 / sample.seconds,
    )
