"""The clock of another machine, as it is seen from here."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from chaosrunner.logic.clocks import Compared, Ping, compared, error_now

PINGS = 20
"""So many questions at the start, and so many of the latest ones afterwards, are looked at together."""

INSTANTS = ("epoch", "at")


class FarClock:
    """CLOCK_BOOTTIME of another machine: what is told is turned by an offset measured once, whose error is watched."""

    def __init__(self) -> None:
        self.seen = Compared(0, 0)
        self.error_ns = 0
        """The most by which instants that were turned may be off, as far as is known by now."""
        self._pings: deque[Ping] = deque(maxlen=PINGS)

    async def compare(self, ask: Callable[[], Awaitable[int]]) -> None:
        """Ask for the time there, a few times."""
        for _ in range(PINGS):
            sent_ns = here()
            there_ns = await ask()
            self._pings.append(Ping(sent_ns, there_ns, here()))
        self.seen = compared(self._pings)
        self.error_ns = self.seen.error_ns

    def answered(self, sent_ns: int, there_ns: int) -> None:
        """Take note of any answer that says what time it was there."""
        self._pings.append(Ping(sent_ns, there_ns, here()))
        self.error_ns = max(self.error_ns, error_now(self.seen, self._pings))

    def theirs(self, message: Mapping[str, object]) -> dict[str, object]:
        """What a worker is told, its instants turned into those of the clock there."""
        return {
            key: value + self.seen.offset_ns if key in INSTANTS and isinstance(value, int) else value
            for key, value in message.items()
        }


def here() -> int:
    """CLOCK_BOOTTIME in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
