"""What every toxic at work on one direction of one connection has in common.

A stage takes items from the stage before it and hands them to the next, in order. It holds nothing but what it
delays, says how much that is, and gives everything up at once when it is retired.
"""

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from chaosrunner.proxy.agenda import Agenda, Entry
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics.luck import Luck


class End(enum.Enum):
    """How a stream ends; travels through the stages behind the last byte."""

    FIN = "this direction is finished, the other may go on"
    CLOSE = "both directions are closed once this has arrived"
    RESET = "both sides see a TCP reset"


Item = bytes | End
Sink = Callable[[Item], None]

SMALL_ROOM_BYTES = 64 * 1024
# What is due so soon goes now: waking up for it would take as long.
SOON_S = 0.00005


@dataclass(frozen=True, slots=True)
class Means:
    """What a stage works with.

    Attributes:
        review: To be called after a timer let something go, so that back-pressure is looked at again.
        agenda: To do something later.
        restarting_timeouts: Whether a timeout toxic's clock starts anew with each piece of data, as Toxiproxy's does.
    """

    review: Callable[[], None]
    agenda: Agenda
    restarting_timeouts: bool = False


class Stage:
    """A stage that holds nothing back; the others build on it.

    Attributes:
        applied: The toxic and its counters.
        next: Where items go from here.
        held_bytes: Bytes held back now.
    """

    room_bytes: ClassVar[int] = SMALL_ROOM_BYTES
    __slots__ = ("_entry", "_luck", "_means", "applied", "held_bytes", "next")

    def __init__(self, applied: AppliedToxic, luck: Luck, means: Means) -> None:
        self.applied = applied
        self.next: Sink = _nowhere
        self.held_bytes = 0
        self._luck = luck
        self._means = means
        self._entry: Entry | None = None

    def start(self) -> None:
        """Begin to act; `next` is set."""

    def take(self, item: Item) -> None:
        """Act on one item."""
        self._count(item)
        self.next(item)

    def retune(self) -> None:
        """Act on by the toxic's changed attributes, also on what is held."""

    def retire(self) -> None:
        """Stop acting: hand on what is held, at once and in order."""
        self._sleep()

    def drop(self) -> None:
        """Forget what is held, because the connection is gone."""
        self._sleep()
        self.held_bytes = 0

    def _count(self, item: Item) -> None:
        if isinstance(item, bytes):
            self._luck.touch()
            self.applied.bytes += len(item)

    def _sleep(self) -> None:
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    def _wake_at(self, due_s: float) -> None:
        self._sleep()
        self._entry = self._means.agenda.at(due_s, self._fire)

    def _fire(self) -> None:
        self._entry = None
        self._on_time()
        self._means.review()

    def _on_time(self) -> None:
        """Do what the timer was set for."""

    def _delayed(self, since: float) -> None:
        self.applied.delayed(time.monotonic() - since)


def size_bytes(item: Item) -> int:
    """How many bytes of payload an item is; an end is none."""
    return len(item) if isinstance(item, bytes) else 0


def _nowhere(_item: Item) -> None:
    """Where items go before a stage has been linked: nowhere, since none has been taken."""
    raise AssertionError("a stage acted before it was linked")
