"""A day's changes, one for each of its seconds, in half a minute: nothing piles up, and everything still works."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
import pytest
from proxy_processes import own_process
from proxy_rig import Api, EchoServer, api_at, connected, eventually, free_port, port_of, until
from soak_rig import ByHttp, Day, InProcess

from chaosrunner.proxy.agenda import SWEEP_ABOVE, Agenda
from chaosrunner.proxy.control import Control
from chaosrunner.proxy.leases import Lease
from chaosrunner.proxy.proxies import Proxy, Shared
from chaosrunner.proxy.relay import Connection
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics.luck import Luck
from chaosrunner.proxy.toxics.stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DAY = 24 * 60 * 60
# A whole day's changes over HTTP take minutes: CHAOSRUNNER_SOAK=86400.
OVER_HTTP = int(os.environ.get("CHAOSRUNNER_SOAK", "6000"))

pytestmark = [pytest.mark.asyncio(loop_factories=["uvloop"]), pytest.mark.timeout(3600)]


class CountingAudit:
    """Counts what happened, and keeps nothing else."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()

    def info(self, event: str, **_values: object) -> None:
        """Count it."""
        self.events[event] += 1

    error = info


@dataclass(frozen=True)
class Footprint:
    """What this process holds: Python's memory blocks, resident bytes, and descriptors."""

    blocks: int = field(default_factory=sys.getallocatedblocks)
    resident_bytes: int = field(default_factory=lambda: psutil.Process().memory_info().rss)
    descriptors: int = field(default_factory=lambda: psutil.Process().num_fds())


def alive() -> Counter[str]:
    """How many of each thing that could pile up there are, found by asking the garbage collector."""
    gc.collect()
    kinds = (Proxy, Connection, AppliedToxic, Luck, Lease, Stage)
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds))


async def test_a_day_of_changes_leaves_nothing_behind(echo: EchoServer) -> None:
    """After 86,400 changes of every sort, under traffic, with leases that end, nothing of them is left in memory."""
    audit, agenda = CountingAudit(), Agenda()
    control = Control(Shared(seed=1, audit=audit, agenda=agenda), loopback_only=True)
    day, before = Day(InProcess(control), [echo.port, 9], seed=2), alive()
    footprints = []
    for _ in range(3):
        await day.live(DAY // 3)
        await until(lambda: alive() <= before)
        echo.writers.clear()
        assert (len(control.leases), control.proxies()) == (0, [])
        assert len(agenda) <= 2 * SWEEP_ABOVE
        gc.collect()
        footprints.append(Footprint())
    warm, _, last = footprints
    assert last.blocks < warm.blocks * 1.02
    assert last.resident_bytes < warm.resident_bytes * 1.05
    assert last.descriptors <= warm.descriptors
    assert day.done.total() == DAY
    assert min(day.done.values()) > 100, day.done
    assert (day.visits > 1000, day.echoed_bytes > 1_000_000) == (True, True)
    assert (audit.events["ttl ended"] > 1000, audit.events["undo failed, trying again"]) == (True, 0)
    await control.close(0)
    agenda.close()


async def test_a_process_stays_as_large_as_it_was(tmp_path: Path, echo: EchoServer) -> None:
    """A proxy process that is changed over HTTP, under traffic, is no larger at the end than after a third."""
    async with running_day(tmp_path / "audit", echo) as (process, api, day):
        sizes = []
        for _ in range(3):
            await day.live(OVER_HTTP // 3)
            echo.writers.clear()
            sizes.append((process.memory_info().rss, process.num_fds()))
        made = await api.ok("POST", "/proxies", {"name": "p", "upstream": f"127.0.0.1:{echo.port}"})
        async with connected(port_of(made)) as client:
            await client.ask()
        assert await api.ok("GET", "/owners") == {}
    assert sizes[2][0] < sizes[0][0] * 1.05
    assert sizes[2][1] <= sizes[0][1] + 2
    assert (min(day.done.values()) >= OVER_HTTP / 2000, day.visits > 100) == (True, True)


@asynccontextmanager
async def running_day(audit: Path, echo: EchoServer) -> AsyncIterator[tuple[psutil.Process, Api, Day]]:
    """A proxy process, its API, and a day for it."""
    with own_process(audit) as ours:
        async with api_at(ours.url) as api:
            yield psutil.Process(ours.pid), api, Day(ByHttp(api), [echo.port, 9], seed=3)


async def test_what_ends_a_connection_while_its_toxics_go_leaves_nothing_behind(api: Api, echo: EchoServer) -> None:
    """A timeout's end that slow_close holds ends the connection when both go, and no stage waits for anything then."""
    before = alive()
    async with connected(await api.proxy_to(echo.port)) as client:
        await api.toxic("timeout", timeout=20)
        await api.toxic("slow_close", delay=600_000)
        client.writer.write(b"swallowed")

        async def held() -> bool:
            return bool((await api.stats())["toxics"]["slow_close_downstream"]["connections"])

        await eventually(held)
        await api.ok("POST", "/reset")
        assert await client.end() == "fin"
    await api.ok("DELETE", "/proxies/p")
    await until(lambda: alive() <= before)


async def test_what_arrives_at_the_last_moment_waits_for_nothing(api: Api) -> None:
    """Of 200 connections that are cut while they are let in and talk, none leaves a byte waiting in a toxic."""
    before = alive()
    port = await api.proxy_to(free_port())
    await api.toxic("latency", more={"stream": "upstream"}, latency=600_000)
    for _ in range(20):
        async with AsyncExitStack() as stack:
            for _ in range(10):
                client = await stack.enter_async_context(connected(port))
                client.writer.write(b"too late")
            await api.ok("PATCH", "/proxies/p", {"enabled": False})
            await api.ok("PATCH", "/proxies/p", {"enabled": True})
    await api.ok("DELETE", "/proxies/p")
    await until(lambda: alive() <= before)
