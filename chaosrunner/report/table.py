"""The table every report shows: one row a metric, its baseline, and what was seen during and after the faults."""

from __future__ import annotations

from dataclasses import dataclass, field

from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.hypothesis import Metric, Stat, Tolerance
from chaosrunner.model.verdict import Finding, Outcome, PhaseStats, Verdict
from chaosrunner.report.words import NOTHING, PHASE_WORDS, beside, bound_of, label_of, limit_of, measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What was seen in one phase, and what was allowed."""

    value: str = NOTHING
    outcome: Outcome | None = None
    bound: str = ""
    """Empty = nothing was asked of this phase."""
    hint: str | None = None
    """While the run goes on, what stands in the place of an outcome: `over` or nothing."""
    why: str = ""
    evidence: tuple[int, ...] = ()

    @property
    def asked(self) -> bool:
        """Whether the hypothesis says anything about it."""
        return bool(self.bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric over the phases."""

    label: str
    metric: Metric
    cells: dict[Phase, Cell] = field(default_factory=dict)
    """For BASELINE, FAULT and AFTER; a phase without a cell was not seen."""

    def cell(self, phase: Phase) -> Cell:
        """The cell of a phase; an empty one when there is none."""
        return self.cells.get(phase, Cell())


def tolerances(experiment: Experiment) -> list[tuple[Phase, Tolerance]]:
    """All of the hypothesis, in the order of the file."""
    asked = experiment.hypothesis
    return [
        (phase, tolerance)
        for phase, group in ((Phase.BASELINE, asked.before), (Phase.FAULT, asked.during), (Phase.AFTER, asked.after))
        for tolerance in group
    ]


def finding_name(phase: Phase, tolerance: Tolerance) -> str:
    """`during: errors < 2%`: the name under which a tolerance is judged."""
    return f"{PHASE_WORDS[phase]}: {tolerance.text}"


def grouped(experiment: Experiment) -> list[tuple[str, Metric, dict[Phase, Tolerance]]]:
    """The hypothesis by metric: (label, metric, one tolerance a phase at most); a second bound gets its own row."""
    groups: list[tuple[str, Metric, dict[Phase, Tolerance]]] = []
    for phase, tolerance in tolerances(experiment):
        label = label_of(tolerance)
        free = next((group for group in groups if group[0] == label and phase not in group[2]), None)
        if free is None:
            free = (label, tolerance.metric, {})
            groups.append(free)
        free[2][phase] = tolerance
    return groups


def rows(verdict: Verdict, experiment: Experiment) -> list[Row]:
    """The table of a finished run."""
    findings = {finding.name: finding for finding in verdict.findings}
    return [
        Row(
            label=label,
            metric=metric,
            cells={phase: _cell(verdict, findings, phase, (label, metric, asked)) for phase in PHASE_WORDS},
        )
        for label, metric, asked in grouped(experiment)
    ]


def others(verdict: Verdict, experiment: Experiment) -> list[Finding]:
    """Findings that are not a tolerance of the hypothesis: recovery, safeguards, what went wrong."""
    known = {finding_name(phase, tolerance) for phase, tolerance in tolerances(experiment)}
    return [finding for finding in verdict.findings if finding.name not in known]


def stats_of(verdict: Verdict, phase: Phase, name: str = "") -> PhaseStats | None:
    """The traffic of a phase, overall or of one request name; None when there was none."""
    return next((stats for stats in verdict.phases if stats.phase is phase and stats.name == name), None)


def _cell(
    verdict: Verdict, findings: dict[str, Finding], phase: Phase, row: tuple[str, Metric, dict[Phase, Tolerance]]
) -> Cell:
    _, metric, asked = row
    windowed = any(tolerance.window_s for tolerance in asked.values())  # the worst window is not the whole phase
    seen = None if windowed else _observed(stats_of(verdict, phase, metric.of), metric)
    if phase not in asked:
        relative = [f.baseline for p, t in asked.items() if (f := findings.get(finding_name(p, t)))]
        if phase is Phase.BASELINE:
            seen = next((value for value in relative if value is not None), seen)
        return Cell(value=measured(metric.stat, seen))
    tolerance = asked[phase]
    finding = findings.get(finding_name(phase, tolerance))
    if finding is None:
        return Cell(value=measured(metric.stat, seen), bound=bound_of(tolerance, None), why="it was not judged")
    limit = limit_of(tolerance, finding.baseline)
    text = beside(metric.stat, finding.value, limit) if finding.value is not None else finding.observed or NOTHING
    return Cell(
        value=text,
        outcome=finding.outcome,
        bound=bound_of(tolerance, finding.baseline),
        why=finding.why,
        evidence=finding.evidence,
    )


def _observed(stats: PhaseStats | None, metric: Metric) -> float | None:
    """The metric's value among a phase's statistics, where it is one of those kept."""
    if stats is None or not stats.hits:
        return None
    match metric.stat:
        case Stat.QUANTILE:
            return {0.5: stats.p50, 0.95: stats.p95, 0.99: stats.p99}.get(metric.quantile)
        case Stat.MAX:
            return stats.max
        case Stat.ERRORS:
            return stats.errors / stats.hits
        case Stat.RATE:
            return stats.rate
        case Stat.MEAN | Stat.PROBE:
            return None
