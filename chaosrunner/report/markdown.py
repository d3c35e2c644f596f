"""The verdict as a short Markdown page, for a CI step summary or a chat."""

from __future__ import annotations

import re

from chaosrunner.model.experiment import Experiment
from chaosrunner.model.verdict import Verdict
from chaosrunner.report import composites
from chaosrunner.report.beside import counted
from chaosrunner.report.prose import as_before, cost, lost, recovered, recovery_label, restored, trusted
from chaosrunner.report.table import Cell, others, rows
from chaosrunner.report.words import PHASE_WORDS, judged, printable, subtitle, title

SIGNS = {"HELD": "✅", "BROKEN": "❌", "UNKNOWN": "❔"}
"""A sign before the word, never instead of it."""


def markdown(verdict: Verdict, experiment: Experiment) -> str:
    """Headline, table, faults, recovery and trust. Texts of users are escaped: they can be neither markup nor HTML."""
    word = title(verdict)
    lines = [
        f"## {SIGNS.get(word, '⚠️')} {word}: {_escaped(verdict.question)}",
        "",
        _escaped(subtitle(verdict)),
        "",
        "| | before | during | after |",
        "|---|---|---|---|",
    ]
    for row in rows(verdict, experiment):
        lines.append(f"| {_escaped(row.label)} | " + " | ".join(_cell(row.cell(phase)) for phase in PHASE_WORDS) + " |")
    lines.append("")
    for members in composites.together(verdict.faults):
        what, proof = composites.lines(members)
        lines.append(f"- **fault** {_escaped(what)}: {_escaped(proof)}")
    for finding in others(verdict, experiment):
        if not finding.name.startswith("recover"):
            lines.append(f"- **{judged(finding.outcome)}** {_escaped(finding.name)}: {_escaped(finding.observed)}")
    lines += [
        f"- **{recovery_label(verdict.recovery)}** {_escaped(recovered(verdict.recovery))}",
        *[f"- {_escaped(line)}" for line in filter(None, [as_before(verdict.recovery)])],
        f"- **users lost** {_escaped(lost(verdict.recovery))}",
        *[f"- **impact** {_escaped(line)}" for line in filter(None, [cost(verdict.recovery)])],
        *[f"- **counted** {_escaped(line)}" for line in counted(verdict)],
        f"- **restored** {_escaped(restored(verdict))}",
        *[f"- **trust** {_escaped(line)}" for line in trusted(verdict.trust)],
        "",
        f"exit {int(verdict.exit)}: {_escaped(verdict.headline)}",
    ]
    return "\n".join(lines) + "\n"


def _cell(cell: Cell) -> str:
    if not cell.asked:
        return _escaped(cell.value)
    word = judged(cell.outcome)
    return f"{_escaped(cell.value)} {word if word == 'ok' else f'**{word}**'} {_escaped(cell.bound)}"


def _escaped(text: str) -> str:
    """`text` with every sign that Markdown or HTML would read escaped."""
    safe = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~@])", r"\\\1", safe)
