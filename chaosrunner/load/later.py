"""Later steps of journeys under way: those in their think time, and those due as soon as what has come is read."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from chaosrunner.alarm import FAR_NS

if TYPE_CHECKING:
    from chaosrunner.load.journey import Journey


class Later:
    """Steps that are due at an instant of CLOCK_MONOTONIC, the earliest first."""

    __slots__ = ("_soon", "_thinking", "_ties")

    def __init__(self) -> None:
        self._thinking: list[tuple[int, int, int, Journey]] = []
        """A heap: (due, tie-breaker, leg, journey)."""
        self._ties = count()
        self._soon: deque[tuple[int, int, Journey]] = deque()
        """(due, leg, journey), in that order already: no heap is needed for them."""

    def add(self, due_ns: int, leg: int, journey: Journey) -> None:
        """A step is due at any instant."""
        heapq.heappush(self._thinking, (due_ns, next(self._ties), leg, journey))

    def add_soon(self, now_ns: int, leg: int, journey: Journey) -> bool:
        """A step is due now, not before any of those added so; whether it is the only one of them."""
        soon = self._soon
        soon.append((now_ns, leg, journey))
        return len(soon) == 1

    def next_ns(self) -> int:
        """When the next one is due; `FAR_NS` = never."""
        soon, thinking = self._soon, self._thinking
        if not thinking:
            return soon[0][0] if soon else FAR_NS
        return min(soon[0][0], thinking[0][0]) if soon else thinking[0][0]

    def take(self) -> tuple[int, int, Journey]:
        """Take out the next one: (due, leg, journey)."""
        soon, thinking = self._soon, self._thinking
        if soon and not (thinking and thinking[0][0] < soon[0][0]):
            return soon.popleft()
        due_ns, _, leg, journey = heapq.heappop(thinking)
        return due_ns, leg, journey
