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

STYLES = {Outcome.HELD: "green", Outcome.UNKNOWN: "yellow", Outcome.BROKEN: "bold red"}

HEADS = {Phase.BASELINE: "baseline", Phase.FAULT: "during", Phase.AFTER: "after"}


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
    cells = {
        (id(row), phase): _parts(row.cell(phase), say, bare=phase is Phase.BASELINE) for row in table for phase in HEADS
    }
    widths = {
        phase: [max(len(cells[id(row), phase][part][0]) for row in table) for part in range(3)]
        for phase in HEADS
        if table
    }
    spans = {phase: max(len(HEADS[phase]), sum(w + 2 for w in parts if w) - 2) for phase, parts in widths.items()}
    stacked = sum(span + 4 for span in spans.values()) - 4 > width
    if not stacked and table:
        yield "", _joined([(f"{HEADS[phase]:<{span + 4}}", "dim") for phase, span in spans.items()])
    for row in table:
        if stacked:
            for number, phase in enumerate(HEADS):
                parts = [(text, style) for text, style in cells[id(row), phase] if text]
                spaced = [(f"{text}  ", style) for text, style in parts]
                yield row.label if number == 0 else "", _joined([(f"{HEADS[phase]:<10}", "dim"), *spaced])
        else:
            line: list[tuple[str, str]] = []
            for phase, span in spans.items():
                line += _padded(cells[id(row), phase], widths[phase], span + 4)
            yield row.label, _joined(line)
        for text in below(row):
            yield "", _joined([(say("└ " + text), "")])


def _parts(cell: Cell, say: Say, *, bare: bool) -> list[tuple[str, str]]:
    """Value, outcome, bound. A baseline that is as asked is only a number to compare with."""
    value = (say(cell.value), "" if cell.asked else "dim")
    if not cell.asked or (bare and cell.outcome is Outcome.HELD):
        return [value, ("", ""), ("", "")]
    style = STYLES[cell.outcome] if cell.outcome is not None else "yellow"
    return [value, (judged(cell.outcome), style), (say(cell.bound), "dim")]


def _padded(parts: list[tuple[str, str]], widths: list[int], span: int) -> list[tuple[str, str]]:
    spaced = [(f"{text:<{width + 2}}", style) for (text, style), width in zip(parts, widths, strict=True) if width]
    used = sum(len(text) for text, _ in spaced)
    return [*spaced, (" " * max(0, span - used), "")]


def _joined(parts: list[tuple[str, str]]) -> Text:
    from rich.text import Text

    text = Text.assemble(*[(part, style) for part, style in parts])
    text.rstrip()
    return text
