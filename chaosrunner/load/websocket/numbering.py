"""Numbered one-way messages: which were lost, came twice, or came late. Pure; instants are CLOCK_MONOTONIC ns."""

from __future__ import annotations

from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

LOST_AFTER_NS = NANOS
"""A number that is missing for so long, while later ones came, is lost. Should it come after all, it is late."""

KEPT = 1_000
"""Missing numbers that are waited for, at most; of a larger gap the rest is lost at once."""


class Numbering:
    """One sequence of whole numbers, each one more than the one before, as it arrives."""

    __slots__ = ("_first", "_highest", "_missing", "_reopened", "lost")

    def __init__(self) -> None:
        self._first: int | None = None
        self._highest = 0
        self._missing: dict[int, int] = {}
        """Number → when it was found missing, oldest first."""
        self._reopened = False
        self.lost = 0
        """Lost since the last `take_lost`."""

    @property
    def last(self) -> int:
        """The highest number so far; 0 before the first."""
        return self._highest

    @property
    def waiting(self) -> bool:
        """Whether numbers are missing that may still come."""
        return bool(self._missing)

    def reopened(self) -> None:
        """The connection was lost and is open again: the next number tells whether the sequence goes on."""
        self._reopened = self._first is not None

    def came(self, number: int, now_ns: int) -> tuple[Outcome, bool | None]:
        """A number has come.

        Returns:
            OK, REPEATED or REORDERED; and, of the first one after a reconnect, whether the sequence went on (None: it
            is not the first one). It went on unless it began again where it had begun at first, or below.
        """
        went_on: bool | None = None
        if self._reopened:
            self._reopened = False
            went_on = self._first is not None and number > self._first
            if not went_on:
                self._begin_again()
        self._expire(now_ns)
        if self._first is None:
            self._first = self._highest = number
            return Outcome.OK, went_on
        if number > self._highest:
            self._gap(self._highest + 1, number, now_ns)
            self._highest = number
            return Outcome.OK, went_on
        if number < self._first:  # it began earlier than was seen
            self._gap(number + 1, self._first, now_ns)
            self._first = number
            return Outcome.REORDERED, went_on
        late = self._missing.pop(number, None) is not None
        return Outcome.REORDERED if late else Outcome.REPEATED, went_on

    def take_lost(self, *, all_missing: bool = False) -> int:
        """How many were lost since the last time; with `all_missing`, those still waited for are, too."""
        if all_missing:
            self.lost += len(self._missing)
            self._missing.clear()
        lost, self.lost = self.lost, 0
        return lost

    def _gap(self, begin: int, end: int, now_ns: int) -> None:
        room = KEPT - len(self._missing)
        first_kept = max(begin, end - room)
        self.lost += first_kept - begin
        self._missing.update(dict.fromkeys(range(first_kept, end), now_ns))

    def _expire(self, now_ns: int) -> None:
        """What is missing for too long is lost."""
        while self._missing:
            number, since_ns = next(iter(self._missing.items()))
            if now_ns - since_ns < LOST_AFTER_NS:
                break
            del self._missing[number]
            self.lost += 1

    def _begin_again(self) -> None:
        self.lost += len(self._missing)
        self._missing.clear()
        self._first = None
