"""What load workers counted and noted beside their requests: reconnects, lost messages, slow queries, leaks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from chaosrunner.report import words
from chaosrunner.report.markup import Child, el, table

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from chaosrunner.model.verdict import Verdict

NOTES_SHOWN = 50
"""On a page; the journal has them all."""

NOTE_CHARS = 2_000


def counted(verdict: Verdict) -> Iterator[str]:
    """One line a kind: what was counted, by phase; of several steps together, the page and JSON have each."""
    kinds: dict[str, list[str]] = {}
    for name in verdict.counts:
        kinds.setdefault(name.partition(".")[2] or name, []).append(name)
    for kind, names in kinds.items():
        sums: Counter[str] = Counter()
        for name in names:
            sums.update(verdict.counts[name])
        parts = (f"{words.count(n)} {phase or 'outside any phase'}" for phase, n in _told(sums))
        yield f"{names[0] if len(names) == 1 else f'{kind} of {len(names)} steps'}: {', '.join(parts)}"


def beside_section(verdict: Verdict) -> ET.Element | None:
    """The counts as a table and the notes as a list; None when there is neither."""
    if not verdict.counts and not verdict.notes:
        return None
    phases = list(dict.fromkeys(phase for by_phase in verdict.counts.values() for phase in by_phase))
    body: list[list[Child]] = [
        [words.printable(name), *(words.count(by_phase.get(phase, 0)) for phase in phases)]
        for name, by_phase in verdict.counts.items()
    ]
    heads = ["", *(words.PHASE_TEXT.get(phase, phase) or "outside any phase" for phase in phases)]
    numeric = frozenset(range(1, len(heads)))
    return el(
        "section",
        el("h2", "Beside the requests"),
        table(heads, body, numeric=numeric) if body else None,
        el("ul", *[_note(note) for note in verdict.notes[:NOTES_SHOWN]], class_="findings") if verdict.notes else None,
        _more(len(verdict.notes) - NOTES_SHOWN),
    )


def _told(by_phase: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for phase, n in by_phase.items():
        yield words.PHASE_TEXT.get(phase, phase), n


def _note(note: Mapping[str, object]) -> ET.Element:
    text = json.dumps(note["data"], ensure_ascii=False, indent=1, default=str)
    shown = text if len(text) <= NOTE_CHARS else text[:NOTE_CHARS] + " …"
    lines: list[Child] = []
    for line in shown.splitlines():
        lines += [words.printable(line), el("br")]
    return el("li", el("strong", words.printable(str(note["about"]))), f" worker {note['worker']} ", el("code", *lines))


def _more(left: int) -> ET.Element | None:
    return el("p", f"{words.plural(left, 'note')} more in the journal.", class_="note") if left > 0 else None
