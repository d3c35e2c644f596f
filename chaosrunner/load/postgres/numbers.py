"""The acknowledged-write ledger: which numbered commits the server acknowledged, and which of them it still has.

Each numbered transaction also writes the next number of its step into a table of ours. The client's side needs no
memory for what went well: all numbers up to the last were acknowledged, but for the exceptions it remembers.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MARK_EVERY_NS = 1_000_000_000
"""How finely it is known when a number was acknowledged."""


@dataclass(slots=True)
class Findings:
    """What reading back a range of numbers said."""

    there: int = 0
    """Acknowledged, and found."""
    lost: list[int] = field(default_factory=list)
    """Acknowledged, and not found."""
    in_doubt_landed: int = 0
    """The connection was lost during COMMIT: neither acknowledged nor refused, and found."""
    in_doubt_gone: int = 0
    unasked: int = 0
    """Reported as failed, and yet found."""


class Numbers:
    """The numbers of one step in one worker, from 1."""

    def __init__(self, writer: int) -> None:
        self.writer = writer
        """Who writes them: the number in the table's first column."""
        self.last = 0
        self._open: set[int] = set()
        """Given out, neither acknowledged nor refused yet."""
        self._refused: set[int] = set()
        self._doubt: set[int] = set()
        self._marks: list[tuple[int, int]] = []
        """(number, when it was acknowledged), about one a second, rising in both."""
        self.lost: set[int] = set()
        self.read = 0
        """All up to this one were looked for once."""
        self.booked = 0
        """How many were booked as found."""

    def next(self) -> int:
        """A number for a transaction: one that was refused before, or else a new one."""
        if self._refused:
            number = self._refused.pop()
        else:
            self.last += 1
            number = self.last
        self._open.add(number)
        return number

    def acknowledged(self, number: int, now_ns: int) -> None:
        """Its commit was acknowledged."""
        self._open.discard(number)
        if not self._marks or (now_ns - self._marks[-1][1] >= MARK_EVERY_NS and number > self._marks[-1][0]):
            self._marks.append((number, now_ns))

    def refused(self, number: int) -> None:
        """Its transaction was surely not committed; another may have the number."""
        self._open.discard(number)
        self._refused.add(number)

    def in_doubt(self, number: int) -> None:
        """The answer to its commit never came."""
        self._open.discard(number)
        self._doubt.add(number)

    @property
    def doubtful(self) -> int:
        """How many commits were never answered."""
        return len(self._doubt)

    def before(self, at_ns: int) -> int:
        """A number that was acknowledged before that instant, or 0: where to begin to read back from there on."""
        marks = [when for _, when in self._marks]
        at = bisect_left(marks, at_ns) - 1
        return self._marks[at][0] if at >= 0 else 0

    def about_when(self, number: int) -> int:
        """When it was acknowledged, to about a second (later, if the number was refused first)."""
        at = bisect_left(self._marks, (number + 1, 0)) - 1
        return self._marks[max(at, 0)][1] if self._marks else 0

    def acknowledged_in(self, first: int, last: int) -> Iterator[int]:
        """The numbers of a range (both ends included) whose commits were acknowledged."""
        settled = self._refused | self._doubt | self._open
        return (number for number in range(first, last + 1) if number not in settled)

    def compare(self, first: int, last: int, missing: Collection[int]) -> Findings:
        """What a range (both ends included) says, of which those `missing` were not found in the table."""
        gone, found = frozenset(missing), Findings()
        settled = self._refused | self._doubt | self._open
        found.lost = sorted(number for number in gone if number not in settled)
        inside = [number for number in settled if first <= number <= last]
        for number in inside:
            if number in self._doubt:
                found.in_doubt_gone += number in gone
                found.in_doubt_landed += number not in gone
            elif number in self._refused:
                found.unasked += number not in gone
        found.there = last - first + 1 - len(inside) - len(found.lost)
        return found
