"""The one source of time: CLOCK_BOOTTIME for deadlines, wall time for people, the boot id to tell two boots apart."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import Protocol

from chaosrunner.model.units import NANOS

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """What tells the time and waits for it. `chaosrunner.testing.FakeClock` jumps instead of waiting."""

    def now(self) -> int:
        """CLOCK_BOOTTIME in nanoseconds: never steps back, and counts while the host sleeps."""
        ...

    def wall(self) -> str:
        """ISO 8601 with the local offset, to the millisecond: for people, never for arithmetic."""
        ...

    def boot(self) -> str:
        """The id of this boot: instants of another one mean nothing here."""
        ...

    async def sleep_until(self, ns: int) -> None:
        """Return once `now()` is at least `ns`; at once (but not before others had a turn) if it is already."""
        ...


class RealClock:
    """The clock of this host."""

    def now(self) -> int:
        """CLOCK_BOOTTIME in nanoseconds."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall(self) -> str:
        """ISO 8601 with the local offset, to the millisecond."""
        return datetime.now().astimezone().isoformat(timespec="milliseconds")

    def boot(self) -> str:
        """The kernel's boot id."""
        return BOOT_ID.read_text().strip()

    async def sleep_until(self, ns: int) -> None:
        """Return once `now()` is at least `ns`."""
        left = ns - self.now()
        while left > 0:
            # The loop's own clock stands still while the host sleeps, so a long wait looks again now and then.
            await asyncio.sleep(min(left / NANOS, 1.0))
            left = ns - self.now()
        await asyncio.sleep(0)
