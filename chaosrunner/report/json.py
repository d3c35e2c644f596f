"""The verdict as JSON for programs, schema `chaosrunner/verdict/v1`.

Every number carries its unit in its key: `_s` seconds, `_share` 0..1, `_per_s` per second, `_ns` CLOCK_BOOTTIME
nanoseconds; counts are bare. `null` means there is no number, which is never a pass. A latency quantile that falls on
a failed request is infinite and spelled `"Infinity"` (JSON has no such number; `float()` and `Number()` read it).
A measured `value`, its `baseline` and its `limit` are in `unit`: `s`, `share`, `per_s` or `number`.

Within v1 keys are only added, never renamed or removed.
"""

from __future__ import annotations

from collections.abc import Mapping

from chaosrunner.logic.fold import State
from chaosrunner.logic.parse.arrivals import render
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Stat, Tolerance
from chaosrunner.model.verdict import FaultReport, Finding, PhaseStats, Spread, Verdict
from chaosrunner.report.numbers import number
from chaosrunner.report.recovery_json import recovery_json
from chaosrunner.report.table import finding_name, tolerances
from chaosrunner.report.words import limit_of, title

SCHEMA = "chaosrunner/verdict/v1"

UNITS = {Stat.ERRORS: "share", Stat.RATE: "per_s", Stat.PROBE: "number"}
"""What a statistic is measured in; everything else is a latency in seconds."""


def verdict_json(verdict: Verdict, experiment: Experiment, state: State) -> dict[str, object]:
    """The verdict as JSON values; `json.dumps(..., allow_nan=False)` takes it."""
    asked = {finding_name(phase, tolerance): tolerance for phase, tolerance in tolerances(experiment)}
    return {
        "schema": SCHEMA,
        "run": verdict.run,
        "question": verdict.question,
        "title": title(verdict),
        "outcome": verdict.outcome.name,
        "exit": int(verdict.exit),
        "headline": verdict.headline,
        "restored": verdict.restored,
        "residue": list(verdict.residue),
        "system": {"name": verdict.system, "environment": verdict.environment, "file": experiment.system.file},
        "experiment": {"file": experiment.file, "seed": state.started.seed if state.started else None},
        "chaosrunner": state.started.version if state.started else None,
        "lasted_s": verdict.seconds,
        "load": _load(verdict, experiment, state),
        "findings": [_finding(finding, asked.get(finding.name)) for finding in verdict.findings],
        "recovery": recovery_json(verdict.recovery),
        "faults": [_fault(fault) for fault in verdict.faults],
        "phases": [_phase(stats) for stats in verdict.phases],
        "trust": {
            "generator_lag_p99_s": number(verdict.trust.lag_p99_s),
            "response_p99_s": number(verdict.trust.response_p99_s),
            "service_p99_s": number(verdict.trust.service_p99_s),
            "connection_wait_p99_s": number(verdict.trust.wait_p99_s),
            "offered": verdict.trust.offered,
            "fired": verdict.trust.fired,
            "unaccounted": verdict.trust.unaccounted,
            "skipped": verdict.trust.skipped,
            "notes": list(verdict.trust.notes),
        },
        "counts": {name: dict(by_phase) for name, by_phase in verdict.counts.items()},
        "notes": list(verdict.notes),
        "journal": {"last_event": state.n, "ended": state.ended, "aborted": state.aborted, "signals": state.signals},
    }


def _load(verdict: Verdict, experiment: Experiment, state: State) -> dict[str, object]:
    """What was asked for; what only a closed model has is null in an open one."""
    streams = experiment.load.streams
    closed = [stream.closed for stream in streams if stream.closed]
    models = ("closed model" if len(closed) == len(streams) else "open and closed model") if closed else "open model"
    iterations = {one.iterations for one in closed}
    return {
        "model": models,
        "asked": render(experiment.load),
        "users_per_s": verdict.users_per_s,
        "requests_per_s": verdict.requests_per_s,
        "users": verdict.users,
        "iterations": iterations.pop() if len(iterations) == 1 else None,
        "behind": state.behind if closed else None,
    }


def _finding(finding: Finding, tolerance: Tolerance | None) -> dict[str, object]:
    unit, limit = None, None
    if tolerance is not None:
        unit = UNITS.get(tolerance.metric.stat, "s")
        limit = limit_of(tolerance, finding.baseline)
    return {
        "name": finding.name,
        "phase": finding.phase,
        "outcome": finding.outcome.name,
        "expected": finding.expected,
        "observed": finding.observed,
        "why": finding.why,
        "unit": unit,
        "value": number(finding.value),
        "baseline": number(finding.baseline),
        "limit": number(limit),
        "of": tolerance.metric.of if tolerance else "",
        "evidence": list(finding.evidence),
    }


def _fault(fault: FaultReport) -> dict[str, object]:
    return {
        "title": fault.title,
        "says": fault.says,
        "proven": fault.proven,
        "evidence": fault.evidence,
        "lasted_s": number(fault.lasted_s),
        "restored": fault.restored,
        "note": fault.note,
        "composite": fault.group.title if fault.group else None,
    }


def _phase(stats: PhaseStats) -> dict[str, object]:
    outcomes: Mapping[str, int] = stats.by_outcome
    return {
        "phase": stats.phase,
        "name": stats.name,
        "of": stats.of.value,
        "lasted_s": stats.seconds,
        "hits": stats.hits,
        "errors": stats.errors,
        "p50_s": number(stats.p50),
        "p95_s": number(stats.p95),
        "p99_s": number(stats.p99),
        "max_s": number(stats.max),
        "ok_per_s": number(stats.rate),
        "by_outcome": dict(outcomes),
        "service": _spread(stats.service),
        "connection_wait": _spread(stats.wait),
        "generator_lag": _spread(stats.lag),
        "amplification": number(stats.amplification),
        "time_to_success": _spread(stats.success),
        "answers_per_s": number(stats.throughput),
    }


def _spread(times: Spread) -> dict[str, object]:
    return {
        "p50_s": number(times.p50),
        "p95_s": number(times.p95),
        "p99_s": number(times.p99),
        "max_s": number(times.max),
    }
