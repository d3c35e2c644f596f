"""An origin that tells the time: to every 8 bytes it answers the 8 bytes of its clock, read when they arrived.

An echo that also says when the echoed thing came, so that one direction of a proxy can be measured alone.
`python bench_clock.py PORT` serves until it is ended.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from typing import cast

import uvloop

STAMP = struct.Struct("!q")
"""CLOCK_MONOTONIC in nanoseconds, which all processes of a machine share."""


class Clock(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._left_over = 0

    def data_received(self, data: bytes) -> None:
        now = STAMP.pack(time.monotonic_ns())
        whole, self._left_over = divmod(self._left_over + len(data), STAMP.size)
        self._transport.write(now * whole)


async def serve(port: int) -> None:
    """Answer on a loopback port until cancelled."""
    server = await asyncio.get_running_loop().create_server(Clock, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
