"""One self-contained page: no script, no request, readable on paper, on a phone, in the dark and by a screen reader."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from chaosrunner.logic.fold import State
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.verdict import Verdict
from chaosrunner.report import words
from chaosrunner.report.beside import beside_section
from chaosrunner.report.charts import charts
from chaosrunner.report.markup import Child, el, serialised
from chaosrunner.report.recovery import recovery_section
from chaosrunner.report.sections import (
    faults_section,
    findings_section,
    key_figures,
    traffic_section,
    trust_section,
)
from chaosrunner.report.series import timeline
from chaosrunner.report.sources import events_section, sources_section
from chaosrunner.report.story import story

SLUGS = {"NOT RESTORED": "not-restored", "INTERNAL ERROR": "not-restored", "INTERRUPTED": "unknown"}
"""The colour of a headline, where it is not the outcome's own."""


def html(verdict: Verdict, experiment: Experiment, state: State, entries: Sequence[e.Entry]) -> str:
    """The whole report.

    Args:
        verdict: the answer.
        experiment: what was asked.
        state: the fold of the journal; charts are drawn from its slots.
        entries: the journal, for its readable events.
    """
    style = files("chaosrunner.report").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    told = story(entries, experiment)
    word = words.title(verdict)
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_policy(digest)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{word}: {words.printable(verdict.question)}"),
        el("style", style),
    )
    body = el(
        "body",
        el("header", *_headline(verdict, word)),
        el(
            "main",
            key_figures(verdict, experiment),
            findings_section(verdict, experiment, frozenset(line.n for line in told)),
            _time_section(verdict, experiment, state),
            faults_section(verdict, experiment, state),
            recovery_section(verdict, experiment),
            traffic_section(verdict, experiment),
            beside_section(verdict),
            trust_section(verdict, state),
            events_section(told, state),
            sources_section(verdict, experiment, state),
        ),
    )
    return "<!doctype html>\n" + serialised(el("html", head, body, lang="en")) + "\n"


def _policy(style_digest: str) -> str:
    return f"default-src 'none'; style-src 'sha256-{style_digest}'; base-uri 'none'; form-action 'none'"


def _headline(verdict: Verdict, word: str) -> list[Child]:
    return [
        el("p", el("strong", word, class_=f"badge {SLUGS.get(word, word.lower())}"), class_="outcome"),
        el("h1", words.printable(verdict.question)),
        el("p", words.printable(words.subtitle(verdict)), class_="where"),
        el("p", el("code", f"exit {int(verdict.exit)}"), " ", words.printable(verdict.headline), class_="why"),
    ]


def _time_section(verdict: Verdict, experiment: Experiment, state: State) -> Child:
    line = timeline(experiment, verdict, state)
    if line is None:
        return el("section", el("h2", "Over time"), el("p", "No load was sent: there is nothing to draw."))
    note = "Seconds count from the moment the load began. "
    if state.coarse_until:
        note += f"The first {state.coarse_until // 10:,} s were summed up and are not drawn. "
    return el("section", el("h2", "Over time"), el("p", note, class_="note"), *charts(line))
