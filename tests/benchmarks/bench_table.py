"""The table: what was measured of whom, the ratios to ours, and which targets they meet."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from bench_peers import DIRECT, HAPROXY, OURS, TOXIPROXY

PEERS = (OURS, TOXIPROXY, HAPROXY, DIRECT)
COMPARED = (TOXIPROXY, HAPROXY)
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for our value divided by a peer's.

    Attributes:
        peer: Whose.
        bound: Of the median ratio over the rounds.
        least: Whether it must be at least the bound; else at most.
    """

    peer: str
    bound: float
    least: bool = True

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.bound:g} × {self.peer}"

    def met_by(self, ratio: float) -> bool:
        """Whether a median ratio is good enough."""
        return ratio >= self.bound if self.least else ratio <= self.bound


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured.

    Attributes:
        says: What it is, with the unit.
        targets: What ours must keep.
        digits: Behind the decimal point.
    """

    says: str
    targets: tuple[Target, ...] = ()
    digits: int = 0


PER_S = Row("requests/s, no toxic", (Target(TOXIPROXY, 0.9), Target(HAPROXY, 0.8)))
P50_US = Row("· p50, µs")
P99_US = Row("· p99, µs")
CPU_US = Row("· CPU of the proxy a request, µs", digits=1)
WAITED_PERCENT = Row("· the proxy waited for its core, % of the time", digits=1)
PER_S_1MS = Row("requests/s, latency toxic 1 ms", (Target(TOXIPROXY, 0.8),))
PER_S_10MS = Row("requests/s, latency toxic 10 ms", (Target(TOXIPROXY, 0.8),))
ADDED_P50_US = Row("added by an idle relay, p50, µs", (Target(TOXIPROXY, 1.2, least=False),), 1)
ADDED_P99_US = Row("added by an idle relay, p99, µs", (Target(TOXIPROXY, 1.2, least=False),), 1)
LATE_1_US = Row("100 ms toxic misses by, 1 connection, µs", (Target(TOXIPROXY, 1.0, least=False),), 1)
LATE_50_US = Row("100 ms toxic misses by, 50 connections, µs", (Target(TOXIPROXY, 1.0, least=False),), 1)
CONNECTS_PER_S = Row("new connections/s", (Target(TOXIPROXY, 0.7),))
CONNECT_CPU_US = Row("· CPU of the proxy a connection, µs", digits=1)
BULK_MB_PER_S = Row("bulk, 64 KB answers, MB/s")
IDLE_KB = Row("memory of an idle connection, KB", digits=1)
IDLE_CPU_MS = Row("CPU of all idle connections in 5 s, ms")

ROWS = (
    PER_S,
    P50_US,
    P99_US,
    CPU_US,
    WAITED_PERCENT,
    PER_S_1MS,
    PER_S_10MS,
    ADDED_P50_US,
    ADDED_P99_US,
    LATE_1_US,
    LATE_50_US,
    CONNECTS_PER_S,
    CONNECT_CPU_US,
    BULK_MB_PER_S,
    IDLE_KB,
    IDLE_CPU_MS,
)


class Board:
    """Values as they come in, by row and peer, one a round."""

    def __init__(self) -> None:
        self._values: dict[tuple[Row, str], list[float]] = defaultdict(list)

    def put(self, row: Row, peer: str, value: float) -> None:
        """Take note of the value of the next round."""
        self._values[row, peer].append(value)

    def missed(self) -> list[str]:
        """The targets that are not met."""
        return [text for text, ratio, target in self._judged() if ratio is not None and not target.met_by(ratio)]

    def unknown(self) -> list[str]:
        """The targets that could not be measured."""
        return [text for text, ratio, _ in self._judged() if ratio is None]

    def lines(self) -> list[str]:
        """The table, in Markdown that is aligned for a terminal."""
        head = ["", *PEERS, *(f"÷ {peer}" for peer in COMPARED), "target"]
        cells = [head, *(self._cells(row) for row in ROWS)]
        widths = [max(len(line[place]) for line in cells) for place in range(len(head))]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:-1]), "-" * widths[-1]]
        return ["| " + " | ".join(_fitted(line, widths)) + " |" for line in (cells[0], rule, *cells[1:])]

    def _judged(self) -> list[tuple[str, float | None, Target]]:
        found = []
        for row in ROWS:
            for target in row.targets:
                ratios = self._ratios(row, target.peer)
                found.append((f"{row.says}: {target}", median(ratios) if ratios else None, target))
        return found

    def _cells(self, row: Row) -> list[str]:
        values = [self._values[row, peer] for peer in PEERS]
        return [
            row.says,
            *(f"{median(value):,.{row.digits}f}" if value else NOTHING for value in values),
            *(_spread(self._ratios(row, peer)) for peer in COMPARED),
            ", ".join(self._verdict(row, target) for target in row.targets),
        ]

    def _verdict(self, row: Row, target: Target) -> str:
        ratios = self._ratios(row, target.peer)
        if not ratios:
            return f"{target} not measured"
        return f"{target} {'met' if target.met_by(median(ratios)) else 'MISSED'}"

    def _ratios(self, row: Row, peer: str) -> list[float]:
        """Ours divided by theirs, round by round; a peer that used nothing has no ratio."""
        return [
            ours / theirs
            for ours, theirs in zip(self._values[row, OURS], self._values[row, peer], strict=False)
            if theirs > 0
        ]


def _spread(ratios: list[float]) -> str:
    if not ratios:
        return NOTHING
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def _fitted(line: list[str], widths: list[int]) -> list[str]:
    first, *middle, last = (
        cell.ljust(width) if place in {0, len(line) - 1} else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return [first, *middle, last]
