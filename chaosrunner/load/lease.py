"""A lease: permission to go on until an instant, which somebody must renew."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from chaosrunner.model.units import NANOS


@dataclass(slots=True)
class Lease:
    """Counted by CLOCK_BOOTTIME of the machine it is for, which goes on while that machine sleeps."""

    until_ns: int | None = None
    """None: it never runs out."""

    def renew(self, seconds: float) -> None:
        """From now on it is good for that long."""
        self.until_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(seconds * NANOS)

    @property
    def left_s(self) -> float | None:
        """How long it is still good for, in seconds; not above 0 once it has run out, None when it never does."""
        if self.until_ns is None:
            return None
        return (self.until_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / NANOS

    @property
    def over(self) -> bool:
        """Whether it has run out."""
        left_s = self.left_s
        return left_s is not None and left_s <= 0

    async def line(self, stream: asyncio.StreamReader) -> bytes:
        """The next line of a stream; empty at its end, or when the lease has run out, whatever may stand there."""
        reading = asyncio.ensure_future(stream.readline())
        try:
            while not self.over:
                done, _ = await asyncio.wait({reading}, timeout=self.left_s)
                if done and not self.over:  # a process that was stopped meanwhile finds old lines
                    return reading.result()
            return b""
        finally:
            reading.cancel()
