"""A latency histogram with HdrHistogram's layout at three digits: relative error ≤ 0.1 %, merging is adding.

Its range is 1 µs to 1 h, so it never has more than `TOP_CELL + 1` (23,221) cells, whatever is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

SUB_BITS = 10
"""Each power of two above 2047 is cut in 2**10 cells: three significant digits."""

DIGITS = 3

HOUR_US = 3_600_000_000
"""The end of the range: what takes longer is counted in the last cell, and `hour_or_more` tells how many those are."""


def cell_of(micros: int) -> int:
    """The index of the cell that holds `micros` (µs, ≥ 0); above an hour the last one."""
    if micros > HOUR_US:
        return TOP_CELL
    shift = max(0, micros.bit_length() - SUB_BITS - 1)
    return (shift << SUB_BITS) + (micros >> shift)


TOP_CELL = cell_of(HOUR_US)


def lowest_in(cell: int) -> int:
    """The smallest value (µs) that `cell` holds."""
    if cell < 1 << (SUB_BITS + 1):
        return cell
    shift = (cell >> SUB_BITS) - 1
    return (cell - (shift << SUB_BITS)) << shift


def highest_in(cell: int) -> int:
    """The largest value (µs) that `cell` holds; quantiles report it, so they never flatter."""
    return lowest_in(cell + 1) - 1


@dataclass(slots=True)
class Histogram:
    """Counts by cell. The one mutable value in the model: it is filled, merged, and read."""

    cells: dict[int, int] = field(default_factory=dict)
    total: int = 0

    def record(self, micros: int) -> None:
        """Count one value in µs; negative counts as 0."""
        cell = cell_of(max(0, micros))
        self.cells[cell] = self.cells.get(cell, 0) + 1
        self.total += 1

    def add(self, other: Histogram) -> None:
        """Merge `other` into this one: lossless, associative, commutative."""
        if not other.total:
            return  # most slots have no failure
        if self.total:
            for cell, count in other.cells.items():
                self.cells[cell] = self.cells.get(cell, 0) + count
        else:
            self.cells = dict(other.cells)  # most are merged once, into nothing
        self.total += other.total

    def rank(self, rank: int, infinite: int = 0) -> float:
        """The `rank`-th smallest value in µs (1-based) of these values and `infinite` failures above them all.

        Returns `inf` when the rank falls on a failure. Raises ValueError when rank is outside 1..n.
        """
        if not 1 <= rank <= self.total + infinite:
            raise ValueError(f"rank {rank} of {self.total + infinite}")
        seen = 0
        for cell in sorted(self.cells):
            seen += self.cells[cell]
            if seen >= rank:
                return float(highest_in(cell))
        return float("inf")

    def quantile(self, share: float, infinite: int = 0) -> float | None:
        """The nearest-rank quantile in µs, failures counted as infinitely slow; None without any value."""
        count = self.total + infinite
        if not count:
            return None
        # ceil(share * n) in integers' spirit: 0.95 * 20 is 19.000000000000004 in floats, and must stay rank 19.
        return self.rank(min(count, max(1, -int(-(share * count - 1e-9) // 1))), infinite)

    def above(self, micros: float) -> int:
        """How many values are surely above `micros`: those in cells that lie wholly above it."""
        return sum(count for cell, count in self.cells.items() if lowest_in(cell) > micros)

    def mean(self) -> float | None:
        """The mean in µs, each value taken at the middle of its cell; None when empty."""
        if not self.total:
            return None
        return sum((lowest_in(c) + highest_in(c)) / 2 * n for c, n in self.cells.items()) / self.total

    def max(self) -> float | None:
        """The largest value in µs; None when empty."""
        return float(highest_in(max(self.cells))) if self.cells else None

    @property
    def hour_or_more(self) -> int:
        """How many values were too long to be told apart: they took an hour (to a thousandth), or longer."""
        return self.cells.get(TOP_CELL, 0)

    def pairs(self) -> list[list[int]]:
        """`[[cell, count], …]`, sorted: the wire form."""
        return [[cell, self.cells[cell]] for cell in sorted(self.cells)]

    @classmethod
    def of(cls, pairs: Iterable[Iterable[int]]) -> Histogram:
        """From the wire form."""
        cells = {cell: count for cell, count in pairs}  # noqa: C416 - dict(pairs) does not type-check on lists
        return cls(cells, sum(cells.values()))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(cell, count) in ascending order."""
        return iter(sorted(self.cells.items()))
