"""The six faults of the shipped questions, done by hand: signals, the fault proxy's API, Postgres."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import asyncpg

from chaosrunner.demo.postgres import RESERVED_SESSIONS
from chaosrunner.demo.running import Demo


def replica_lost(demo: Demo) -> AbstractAsyncContextManager[None]:
    """SIGKILL one replica; nothing here brings it back."""

    @asynccontextmanager
    async def fault() -> AsyncIterator[None]:
        os.kill(_pid(demo, "api-2"), signal.SIGKILL)
        yield

    return fault()


@asynccontextmanager
async def replica_paused(demo: Demo) -> AsyncIterator[None]:
    """SIGSTOP one replica; SIGCONT at the end."""
    pid = _pid(demo, "api-2")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def database_slow(demo: Demo) -> AbstractAsyncContextManager[None]:
    """Every answer of Postgres comes 250 ms later."""
    return _toxic(demo, "database", {"latency": 250, "jitter": 0})


def model_slow(demo: Demo) -> AbstractAsyncContextManager[None]:
    """Every answer of the model comes 400±300 ms later."""
    return _toxic(demo, "model", {"latency": 400, "jitter": 300})


@asynccontextmanager
async def database_away(demo: Demo) -> AsyncIterator[None]:
    """The way to Postgres is closed, and open again at the end."""
    async with aiohttp.ClientSession(demo.fault_proxy) as client:
        await _ok(client.patch("/proxies/database", json={"enabled": False}))
        try:
            yield
        finally:
            await _ok(client.patch("/proxies/database", json={"enabled": True}))


@asynccontextmanager
async def pool_exhausted(demo: Demo) -> AsyncIterator[None]:
    """The application's sessions are ended and their slots held by others."""
    place = {"host": "127.0.0.1", "port": demo.ports.database, "database": "shop"}
    admin = await asyncpg.connect(user="postgres", **place)
    held: list[asyncpg.Connection] = []
    try:
        await _take_all_slots(admin, held, place)
        yield
    finally:
        for connection in held:
            connection.terminate()
        await admin.close()


async def _take_all_slots(admin: asyncpg.Connection, held: list[asyncpg.Connection], place: dict) -> None:
    slots = int(await admin.fetchval("SHOW max_connections")) - RESERVED_SESSIONS
    end_theirs = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE usename = 'app' AND application_name LIKE 'shop/%'"""
    for _ in range(100):
        await admin.execute(end_theirs)
        while len(held) < slots:
            try:
                held.append(await asyncpg.connect(user="app", timeout=2, **place))
            except asyncpg.TooManyConnectionsError:
                break
        else:
            return
        if not await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'shop/%'"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the application kept its sessions")


@asynccontextmanager
async def _toxic(demo: Demo, proxy: str, attributes: dict[str, int]) -> AsyncIterator[None]:
    toxic = {"name": "test", "type": "latency", "stream": "downstream", "attributes": attributes}
    async with aiohttp.ClientSession(demo.fault_proxy) as client:
        await _ok(client.post(f"/proxies/{proxy}/toxics", json=toxic))
        try:
            yield
        finally:
            await _ok(client.delete(f"/proxies/{proxy}/toxics/test"))


async def _ok(request: aiohttp.client._RequestContextManager) -> None:
    async with request as response:
        response.raise_for_status()


def _pid(demo: Demo, part: str) -> int:
    pid = demo.pid_of(part)
    assert pid is not None
    return pid
