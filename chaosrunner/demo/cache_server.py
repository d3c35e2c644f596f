"""A Redis of the demo's own to cache in: found on PATH, started on a leash, with nothing on disk."""

from __future__ import annotations

import asyncio
import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING

from chaosrunner.demo.binaries import server_uid
from chaosrunner.demo.options import HOST, DemoUnavailable
from chaosrunner.demo.processes import Command

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "redis-server"
SETTINGS = {
    "bind": HOST,
    "protected-mode": "yes",
    # A cache may lose everything at any time, and this one writes nowhere.
    "save": "",
    "appendonly": "no",
    "maxmemory": "32mb",
    "maxmemory-policy": "allkeys-lru",
    # Many times what the replicas use, and few enough to be taken all.
    "maxclients": "256",
}
"""docker/compose.yaml starts one with the same, but for who may come."""


def find_redis() -> str:
    """The program to start.

    Raises:
        DemoUnavailable: It is not there, or nobody could speak with it.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise DemoUnavailable(
            f"a cache needs {PROGRAM}, which is not on PATH; install the package redis-server (Debian, Ubuntu) or redis"
        )
    if find_spec("redis") is None:
        raise DemoUnavailable("a cache needs redis-py, which is not installed; pip install 'chaosrunner[redis]'")
    return found


def cache_command(program: str, port: int, log: Path) -> Command:
    """How to start it. Not as root, because whoever is on this host may tell it what to do."""
    settings = [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    return Command(name="cache", argv=(program, "--port", str(port), *settings), log=log, uid=server_uid())


async def pinged(port: int) -> None:
    """Wait until it answers; bounded by the caller."""
    while not await _pongs(port):  # noqa: ASYNC110 - another process changes it, there is nothing to wait on
        await asyncio.sleep(0.05)


async def _pongs(port: int) -> bool:
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
