"""The sections of the page that explain the verdict: figures, findings, faults, recovery, traffic, trust."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from chaosrunner.logic.fault_state import FaultState
from chaosrunner.logic.fold import State
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.hypothesis import Stat
from chaosrunner.model.units import NANOS, human_duration
from chaosrunner.model.verdict import FaultReport, Finding, Outcome, Recovery, Return, Verdict
from chaosrunner.report import composites, words
from chaosrunner.report.markup import Child, el, table
from chaosrunner.report.prose import (
    bounded,
    explain_errors,
    fault_lines,
    lost,
    outcomes,
    restored,
    trusted,
)
from chaosrunner.report.table import Cell, Row, others, rows, stats_of

HEADS = {Phase.BASELINE: "before (baseline)", Phase.FAULT: "during", Phase.AFTER: "after"}

SHORT_STATES = {"never": "NEVER", "late": "too late", "unknown": "UNKNOWN", "none": "nothing to recover from"}


def section(title: str, *children: Child) -> ET.Element:
    """A section of the page."""
    return el("section", el("h2", title), *children)


def key_figures(verdict: Verdict, experiment: Experiment) -> ET.Element:
    """The handful of numbers one looks for first."""
    seen = verdict.recovery
    during = stats_of(verdict, Phase.FAULT)
    items: list[tuple[str, str, str]] = [
        ("time to recover", *_recovery_figure(seen)),
        ("failed during faults", *_errors_figure(verdict, experiment)),
        ("p95 during faults", words.seconds(during.p95 if during else None), _was(verdict)),
        ("users lost", *lost(seen).partition(", ")[::2]),
        ("restored", *_restored_figure(verdict)),
    ]
    return el(
        "dl", *[el("div", el("dt", what), el("dd", value), el("dd", more)) for what, value, more in items], class_="key"
    )


def findings_section(verdict: Verdict, experiment: Experiment, known: frozenset[int]) -> ET.Element:
    """The hypothesis against what was seen; `known` are the events that can be linked to."""
    head = ["", *HEADS.values()]
    body: list[list[Child]] = []
    for row in rows(verdict, experiment):
        body.append([words.printable(row.label), *[_cell(row, phase, verdict, known) for phase in HEADS]])
    more = others(verdict, experiment)
    return section(
        "What was asked, and what was seen",
        table(head, body) if body else el("p", "The hypothesis is empty."),
        el("ul", *[_other(finding, known) for finding in more], class_="findings") if more else None,
    )


def faults_section(verdict: Verdict, experiment: Experiment, state: State) -> ET.Element:
    """What was done, how it was proven, and how it ended."""
    body: list[list[Child]] = []
    begins: set[int] = set()
    pairs = list(zip(verdict.faults, experiment.faults, strict=False))
    for members in composites.together(verdict.faults):
        if len(members) > 1:
            begins.add(len(body))
            title, proof = composites.lines(members)
            mark = el("span", words.printable(proof), class_=None if composites.well(members) else "unknown")
            body.append([words.printable(title), mark, "", "", ""])
        body += [_fault_row(report, state.faults.get(fault.index), state) for report, fault in pairs[: len(members)]]
        del pairs[: len(members)]
    note = "An inject and an undo take effect somewhere between being called and being answered; both ends are given."
    return section(
        "Faults",
        table(["fault", "evidence", "injected", "undone", ""], body, begins=frozenset(begins))
        if body
        else el("p", "No fault was asked for."),
        el("p", restored(verdict), class_="ok" if verdict.restored else "broken"),
        el("p", note, class_="note") if body else None,
    )


def _fault_row(report: FaultReport, current: FaultState | None, state: State) -> list[Child]:
    what, proof = fault_lines(report)
    begun = _between(state, current.inject_called_ns, current.inject_answered_ns) if current else words.NOTHING
    ended = _between(state, current.undone_called_ns, current.undone_answered_ns) if current else words.NOTHING
    final = current is not None and current.recipe is not None and not current.reversible
    word = "nothing to undo" if final else "restored" if report.restored else "MAY STILL BE IN PLACE"
    return [
        el("span", words.printable(report.title), el("small", words.printable(what))),
        el("span", words.printable(proof), class_=None if report.proven else "unknown"),
        begun,
        ended,
        el("span", word, class_="ok" if report.restored else "broken"),
    ]


def traffic_section(verdict: Verdict, experiment: Experiment) -> ET.Element:
    """Every phase by request name, and what became of the requests."""
    head = ["phase", "request", "requests", "failed", "p50", "p95", "p99", "max", "answers/s", "well/s", "failures"]
    body: list[list[Child]] = []
    begins = set()
    for number, stats in enumerate(sorted(verdict.phases, key=lambda s: list(Phase).index(s.phase))):
        share = f" ({words.share(stats.errors / stats.hits)})" if stats.errors and stats.hits else ""
        figures = [words.seconds(value) for value in (stats.p50, stats.p95, stats.p99, stats.max)]
        counts = [words.count(stats.hits), words.count(stats.errors) + share]
        rate, answers = (words.rate(per_s).removesuffix("/s") for per_s in (stats.rate, stats.throughput))
        failures = words.printable(outcomes(dict(stats.by_outcome)))
        phase = stats.phase.value
        if not stats.name:
            begins.add(number)
            body.append([phase, el("strong", "all"), *counts, *figures, answers, rate, failures])
        else:
            hidden = el("span", phase, class_="hidden")  # said once for the eye, on every row for a screen reader
            body.append([hidden, words.printable(stats.name), *counts, *figures, answers, rate, failures])
    note = (
        "A failed request counts as infinitely slow: a quantile that falls on one reads “failed”. Answers are good and "
        "bad ones (throughput), well are the good ones (goodput)."
    )
    numeric = frozenset(range(2, 10))
    return section(
        "Requests by phase and name",
        table(head, body, numeric=numeric, begins=frozenset(begins)) if body else el("p", "No request was sent."),
        el("p", note, class_="note"),
        *(_where_time_went(verdict) if body else ()),
    )


def _where_time_went(verdict: Verdict) -> tuple[ET.Element, ET.Element, ET.Element]:
    """The parts of every response: the target's service, its wait for a connection, and the generator's lag."""
    head = [
        "phase",
        "request",
        *[f"{what} {q}" for what in ("success", "service", "wait", "lag") for q in ("p50", "p99", "max")],
    ]
    body: list[list[Child]] = []
    begins = set()
    for number, stats in enumerate(sorted(verdict.phases, key=lambda s: list(Phase).index(s.phase))):
        times = [
            words.seconds(value)
            for spread in (stats.success, stats.service, stats.wait, stats.lag)
            for value in (spread.p50, spread.p99, spread.max)
        ]
        if not stats.name:
            begins.add(number)
        phase = el("span", stats.phase.value, class_="hidden") if stats.name else stats.phase.value
        body.append([phase, words.printable(stats.name) if stats.name else el("strong", "all"), *times])
    note = (
        "Response, in the table above, is done − due. Success is time to success: the same of requests "
        "that had one, retries of the client included. Service is done − sent, of requests that succeeded; wait is "
        "sent − fired, the wait for a connection; both are the target's. Lag is fired − due: the generator's own."
    )
    numeric = frozenset(range(2, 14))
    return (
        el("h3", "Where the time went"),
        table(head, body, numeric=numeric, begins=frozenset(begins)),
        el("p", note, class_="note"),
    )


def trust_section(verdict: Verdict, state: State) -> ET.Element:
    """How far the generator may be believed."""
    seen = verdict.trust
    facts = [
        ("response p99", words.seconds(seen.response_p99_s)),
        ("service p99", words.seconds(seen.service_p99_s)),
        ("connection wait p99", words.seconds(seen.wait_p99_s)),
        ("generator lag p99", words.seconds(seen.lag_p99_s)),
        ("requests due", words.count(seen.offered)),
        ("fired", words.count(seen.fired)),
        ("without any outcome", words.count(seen.unaccounted)),
        ("steps skipped after a failure", words.count(seen.skipped)),
        ("load workers", _workers(state)),
        ("connections opened", words.count(state.connects)),
        ("generator CPU time", words.seconds(state.cpu_us / 1e6)),
    ]
    return section(
        "Trust",
        el("p", trusted(seen)[0], class_="lead"),
        el("dl", *[el("div", el("dt", what), el("dd", value)) for what, value in facts], class_="facts"),
        el("ul", *[el("li", words.printable(note)) for note in seen.notes]) if seen.notes else None,
    )


def _workers(state: State) -> str:
    """How many, why, and how far apart their clocks may be."""
    count = words.count(state.workers)
    why = f": {words.printable(state.workers_why)}" if state.workers_why else ""
    off = f"; clocks to ±{words.seconds(state.clock_error_us / 1e6)}" if state.clock_error_us else ""
    return f"{count}{why}{off}"


def _cell(row: Row, phase: Phase, verdict: Verdict, known: frozenset[int]) -> ET.Element:
    cell: Cell = row.cell(phase)
    parts: list[Child] = [el("span", words.printable(cell.value), class_="value")]
    if cell.asked:
        parts += [" ", _mark(cell.outcome), " ", el("span", words.printable(cell.bound), class_="bound")]
        parts += _links(cell.evidence, known)
    if cell.asked and cell.outcome is not Outcome.HELD:
        explained = explain_errors(verdict, phase, row.metric.of) if row.metric.stat is Stat.ERRORS else ""
        for text in (cell.why, explained):
            parts.append(el("small", words.printable(text)) if text else None)
    return el("span", *parts)


def _mark(outcome: Outcome | None) -> ET.Element:
    slug = "unknown" if outcome is None else "ok" if outcome is Outcome.HELD else outcome.name.lower()
    return el("strong", words.judged(outcome), class_=slug)


def _links(evidence: tuple[int, ...], known: frozenset[int]) -> list[Child]:
    linked = [number for number in evidence if number in known][:5]
    return [item for number in linked for item in (" ", el("a", f"#{number}", href=f"#e{number}", class_="evidence"))]


def _other(finding: Finding, known: frozenset[int]) -> ET.Element:
    said = f" {finding.name}: expected {finding.expected}, observed {finding.observed}"
    why = f" ({finding.why})" if finding.why and finding.why != finding.observed else ""
    return el("li", _mark(finding.outcome), words.printable(said + why), *_links(finding.evidence, known))


def _errors_figure(verdict: Verdict, experiment: Experiment) -> tuple[str, str]:
    """The share of failed requests during the faults, and what was allowed."""
    allowed = [
        row.cell(Phase.FAULT).bound
        for row in rows(verdict, experiment)
        if row.metric.stat is Stat.ERRORS and not row.metric.of and row.cell(Phase.FAULT).asked
    ]
    stats = stats_of(verdict, Phase.FAULT)
    seen = stats.errors / stats.hits if stats and stats.hits else None
    return words.share(seen), f"allowed {allowed[0]}" if allowed else "no limit was asked for"


def _was(verdict: Verdict) -> str:
    base = stats_of(verdict, Phase.BASELINE)
    return f"baseline {words.seconds(base.p95 if base else None)}"


def _recovery_figure(seen: Recovery) -> tuple[str, str]:
    """The time, and its bounds and target; a verdict that speaks against it comes last."""
    target = f"target {human_duration(seen.target_s)}"
    if seen.verdict in (Return.NOT_RECOVERED, Return.RELAPSED):
        target += f", {seen.verdict}"
    if seen.time_s is None:
        return SHORT_STATES.get(seen.state, words.NOTHING), target
    time, _, bounds = bounded(seen.time_s, seen.low_s, seen.high_s).partition(" (")
    late = ", too late" if seen.state == "late" else ""
    unit = "ms" if time.endswith("ms") else "s"
    return time, f"{bounds.removesuffix(')')} {unit}, {target}{late}" if bounds else target + late


def _restored_figure(verdict: Verdict) -> tuple[str, str]:
    if verdict.restored:
        return "yes", restored(verdict)
    return "NO", restored(verdict).removeprefix("NO, ")


def _between(state: State, called_ns: int | None, answered_ns: int | None) -> str:
    """`21.02–21.05 s`, in seconds after the load began."""
    if called_ns is None or state.load_epoch_ns is None:
        return words.NOTHING
    called = (called_ns - state.load_epoch_ns) / NANOS
    if answered_ns is None:
        return f"called at {called:.2f} s, not answered"
    return f"{called:.2f}–{(answered_ns - state.load_epoch_ns) / NANOS:.2f}\N{NO-BREAK SPACE}s"
