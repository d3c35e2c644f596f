"""The table of metrics in columns for a terminal: aligned when it fits, one phase a line when it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from chaosrunner.model.experiment import Phase
from chaosrunner.model.verdict import Outcome
from chaosrunner.report.table import Cell, Row
from chaosrunner.report.words import judged

if TYPE_CHECKING:
    from rich.text import Text

Say = Callable[[str], str]
"""Makes a text fit for the terminal: printable, and ASCII where it must be."""

Parts = tuple[tuple[str, str], ...]
"""(text, style) of a cell's value, its outcome and its bound."""

STYLES = {Outcome.HELD: "green", Outcome.UNKNOWN: "yellow", Outcome.BROKEN: "bold red"}

HEADS = {Phase.BASELINE: "baseline", Phase.FAULT: "during", Phase.AFTER: "after"}

GAP = 4
"""Blanks between phases."""


def table_lines(
    table: list[Row], width: int, say: Say, below: Callable[[Row], list[str]]
) -> Iterator[tuple[str, Text]]:
    """(label, content) lines of the table.

    Args:
        table: the rows.
        width: cells that the content may take.
        say: makes texts fit for the terminal.
        below: lines that explain a row, printed under it.
    """
    if not table:
        return
    parts = [{phase: _parts(row.cell(phase), phase, say) for phase in HEADS} for row in table]
    widths = {phase: [max(len(line[phase][part][0]) for line in parts) for part in range(3)] for phase in HEADS}
    spans = {phase: max(len(HEADS[phase]), sum(w + 2 for w in columns if w) - 2) for phase, columns in widths.items()}
    aligned = sum(spans.values()) + GAP * (len(spans) - 1) <= width
    if aligned:
        yield "", _joined([(f"{HEADS[phase]:<{span + GAP}}", "dim") for phase, span in spans.items()])
    for row, line in zip(table, parts, strict=True):
        if aligned:
            lines = [
                _joined([piece for phase, span in spans.items() for piece in _padded(line[phase], widths[phase], span)])
            ]
        else:
            lines = _stacked(line)
        lines += [_joined([(say("└ " + text), "")]) for text in below(row)]
        yield row.label, _under_each_other(lines)


def _stacked(line: dict[Phase, Parts]) -> list[Text]:
    return [
        _joined([(f"{HEADS[phase]:<10}", "dim"), *[(f"{text}  ", style) for text, style in parts if text]])
        for phase, parts in line.items()
    ]


def _under_each_other(lines: list[Text]) -> Text:
    from rich.text import Text

    return Text("\n").join(lines)


def _parts(cell: Cell, phase: Phase, say: Say) -> Parts:
    """A baseline that is as asked is only a number to compare with."""
    if not cell.asked or (phase is Phase.BASELINE and (cell.outcome is Outcome.HELD or cell.hint == "")):
        return ((say(cell.value), ""), ("", ""), ("", ""))
    style = STYLES[cell.outcome] if cell.outcome is not None else "yellow"
    word = judged(cell.outcome) if cell.hint is None else cell.hint
    return ((say(cell.value), ""), (word, style), (say(cell.bound), "dim"))


def _padded(parts: Parts, widths: list[int], span: int) -> list[tuple[str, str]]:
    spaced = [(f"{text:<{width + 2}}", style) for (text, style), width in zip(parts, widths, strict=True) if width]
    used = sum(len(text) for text, _ in spaced)
    return [*spaced, (" " * max(0, span + GAP - used), "")]


def _joined(parts: list[tuple[str, str]]) -> Text:
    from rich.text import Text

    text = Text.assemble(*parts)
    text.rstrip()
    return text
