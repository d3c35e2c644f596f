"""What is to be done when: one precise alarm for all the delays of a process, instead of a loop timer for each."""

import asyncio
import heapq
import time
from collections.abc import Callable

from chaosrunner.alarm import FAR_NS, Alarm, alarm

# Entries done in one turn of the loop, so that a storm of them leaves time for the sockets.
PER_TURN = 512
# Cancelled entries stay until they are due; more than this, and more than half, are swept out.
SWEEP_ABOVE = 1024


class Entry:
    """One thing to do at its time, unless it is cancelled before."""

    __slots__ = ("_agenda", "due_ns", "todo")

    def __init__(self, due_ns: int, todo: Callable[[], None], agenda: "Agenda") -> None:
        self.due_ns = due_ns
        self.todo: Callable[[], None] | None = todo
        self._agenda = agenda

    def cancel(self) -> None:
        """Do not do it; harmless when it is done."""
        if self.todo is not None:
            self.todo = None
            self._agenda.one_cancelled()

    def __lt__(self, other: "Entry") -> bool:
        return self.due_ns < other.due_ns


class Agenda:
    """Entries by the time they are due (CLOCK_MONOTONIC); each is done once, in order, never early."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._cancelled = 0
        self._alarm: Alarm | None = None  # made when first needed: it belongs to a running loop
        self._set_ns = FAR_NS
        self._closed = False

    def __len__(self) -> int:
        """How many entries it remembers, cancelled ones included."""
        return len(self._entries)

    def at(self, due_s: float, todo: Callable[[], None]) -> Entry:
        """Do `todo` at an instant.

        Args:
            due_s: `time.monotonic()` of it; one in the past is done at the next turn of the loop.
            todo: Called in the loop.
        """
        entry = Entry(int(due_s * 1e9), todo, self)
        heapq.heappush(self._entries, entry)
        if entry.due_ns < self._set_ns:
            self._set_alarm(entry.due_ns)
        return entry

    def one_cancelled(self) -> None:
        """Take note of an entry that is not to be done."""
        self._cancelled += 1
        if self._cancelled > SWEEP_ABOVE and self._cancelled * 2 > len(self._entries):
            kept = [entry for entry in self._entries if entry.todo is not None]
            self._cancelled -= len(self._entries) - len(kept)
            self._entries = kept
            heapq.heapify(kept)

    def close(self) -> None:
        """Do nothing any more."""
        self._entries.clear()
        self._closed = True
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    def _ring(self) -> None:
        try:
            self._do_due()
        finally:
            self._set_alarm(self._entries[0].due_ns if self._entries else FAR_NS)

    def _do_due(self) -> None:
        # Taken out first: what they put on the agenda again, already due, waits for the next turn of the loop.
        now_ns, due = time.monotonic_ns(), list[Entry]()
        while self._entries and self._entries[0].due_ns <= now_ns and len(due) < PER_TURN:
            due.append(heapq.heappop(self._entries))
        due.reverse()
        try:
            while due:
                entry = due.pop()
                todo, entry.todo = entry.todo, None
                if todo is None:
                    self._cancelled -= 1
                else:
                    todo()
        finally:  # one that fails does not take the others along
            for entry in due:
                heapq.heappush(self._entries, entry)

    def _set_alarm(self, at_ns: int) -> None:
        if self._closed:
            return
        if self._alarm is None:
            self._alarm = alarm(asyncio.get_running_loop(), self._ring)
        self._set_ns = at_ns
        self._alarm.set(at_ns)
