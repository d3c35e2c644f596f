"""The sections of the page that let a reader check it: the journal's events, the environment and the files."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from chaosrunner.logic.fold import State
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.units import NANOS
from chaosrunner.model.verdict import Verdict
from chaosrunner.report import words
from chaosrunner.report.markup import Child, block, el
from chaosrunner.report.story import Line

MOST_EVENTS = 1000
"""More than this are cut out of the middle; the journal has them all."""


def events_section(told: Sequence[Line], state: State) -> ET.Element:
    """The journal's small events, numbered as evidence refers to them."""
    shown = list(told) if len(told) <= MOST_EVENTS else [*told[: MOST_EVENTS // 2], *told[-MOST_EVENTS // 2 :]]
    rows: list[Child] = []
    for line in shown:
        cells = [
            el("th", str(line.n), scope="row", class_="n"),
            el("td", _since(line.at_ns, state), class_="n"),
            el("td", words.printable(line.wall), class_="wall"),
            el("td", words.printable(line.what)),
        ]
        rows.append(el("tr", *cells, id=f"e{line.n}", class_="loud" if line.loud else None))
    head = [
        el("th", text, scope="col", class_="n" if n < 2 else None)
        for n, text in enumerate(("event", "at", "time", "what"))
    ]
    events = el(
        "div",
        el("table", el("thead", el("tr", *head)), el("tbody", *rows)),
        class_="wide events",
        tabindex="0",
        role="region",
        aria_label="events",
    )
    left_out = len(told) - len(shown)
    note = f"{words.plural(len(told), 'event')}; traffic is kept beside them in slots." + (
        f" {words.count(left_out)} from the middle are only in events.jsonl." if left_out else ""
    )
    return el("section", el("h2", "Journal"), el("p", note, class_="note"), events)


def sources_section(verdict: Verdict, experiment: Experiment, state: State) -> ET.Element:
    """Where and by what this was made, and the files as they were read; secrets in them are references."""
    started = state.started
    facts = [
        ("run", verdict.run),
        ("chaosrunner", started.version if started else words.NOTHING),
        ("seed", str(started.seed) if started else words.NOTHING),
        ("plan", started.plan or words.NOTHING if started else words.NOTHING),
        ("boot", started.boot if started else words.NOTHING),
        ("experiment", experiment.file),
        ("system", experiment.system.file),
        ("ended", state.ended or words.NOTHING),
    ]
    return el(
        "section",
        el("h2", "Environment"),
        el(
            "dl",
            *[el("div", el("dt", what), el("dd", words.printable(value))) for what, value in facts],
            class_="facts",
        ),
        _source(experiment.file, experiment.source),
        _source(experiment.system.file, experiment.system_source),
    )


def _source(name: str, text: str) -> Child:
    if not text:
        return None
    return el("details", el("summary", words.printable(name)), el("pre", block(text), tabindex="0"))


def _since(at_ns: int, state: State) -> str:
    """Seconds after the load began; a dash when there was no load."""
    if state.load_epoch_ns is None:
        return words.NOTHING
    return f"{(at_ns - state.load_epoch_ns) / NANOS:.2f} s"
