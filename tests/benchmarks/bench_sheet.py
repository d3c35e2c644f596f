"""What was measured, section by section: a table of generators, and claims that are met or missed."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that is to hold of ours.

    Attributes:
        says: What is bounded, with its unit.
        bound: For the median of the rounds.
        least: Whether it must be at least the bound; else at most.
    """

    says: str
    bound: float
    least: bool = True

    def met_by(self, values: Sequence[float]) -> bool | None:
        """Whether it holds; None if nothing was measured."""
        if not values:
            return None
        return median(values) >= self.bound if self.least else median(values) <= self.bound


@dataclass(slots=True)
class Section:
    """One table: a row for each generator, a column for each thing it says, one value a round.

    Attributes:
        title: What is done.
        columns: By the name of a value, its head with the unit.
        notes: Said beneath the table.
    """

    title: str
    columns: dict[str, str]
    notes: list[str] = field(default_factory=list)
    _cells: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    _claims: dict[Claim, list[float]] = field(default_factory=dict)

    def put(self, row: str, **values: float | None) -> None:
        """Take note of a round of one row; None if it has no such value."""
        cells = self._cells.setdefault(row, {})
        for name, value in values.items():
            if value is not None:
                cells.setdefault(name, []).append(value)

    def claim(self, claim: Claim, value: float | None) -> None:
        """Take note of a round of a claim; None if there is no value in this one."""
        values = self._claims.setdefault(claim, [])
        if value is not None:
            values.append(value)

    def values(self, row: str, name: str) -> list[float]:
        """All rounds of a cell."""
        return self._cells.get(row, {}).get(name, [])

    def missed(self) -> list[str]:
        """Claims that do not hold."""
        return [_said(claim) for claim, values in self._claims.items() if claim.met_by(values) is False]

    def unknown(self) -> list[str]:
        """Claims that nothing was measured for."""
        return [_said(claim) for claim, values in self._claims.items() if claim.met_by(values) is None]

    def lines(self) -> list[str]:
        """Markdown that is aligned for a terminal."""
        rows = [
            [row, *(f"{_number(median(cells[name]))}" if cells.get(name) else NOTHING for name in self.columns)]
            for row, cells in self._cells.items()
        ]
        claims = [
            [claim.says, _spread(values), f"{'≥' if claim.least else '≤'} {claim.bound:g}", _verdict(claim, values)]
            for claim, values in self._claims.items()
        ]
        tables = [(["", *self.columns.values()], rows), (["", "measured", "target", ""], claims)]
        text = [f"## {self.title}"]
        for head, body in tables:
            if body:
                text += ["", *_aligned([head, *body])]
        return [*text, *(line for note in self.notes for line in ("", note))]


def _said(claim: Claim) -> str:
    return f"{claim.says} {'≥' if claim.least else '≤'} {claim.bound:g}"


def _verdict(claim: Claim, values: Sequence[float]) -> str:
    return {True: "met", False: "MISSED", None: "not measured"}[claim.met_by(values)]


def _number(value: float) -> str:
    """Three digits that matter, or all before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return NOTHING
    if len(values) == 1:
        return _number(values[0])
    return f"{_number(median(values))} ({_number(min(values))}–{_number(max(values))})"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(lines[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    body = [
        [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return [f"| {' | '.join(line)} |" for line in (body[0], rule, *body[1:])]
