"""A day's changes, one for each of its seconds, in half a minute: nothing piles up, and everything still works."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest
from proxy_processes import own_process
from proxy_rig import EchoServer, api_at, connected, port_of, until
from soak_rig import ByHttp, Day, InProcess

from chaosrunner.proxy.agenda import SWEEP_ABOVE, Agenda
from chaosrunner.proxy.control import Control
from chaosrunner.proxy.leases import Lease
from chaosrunner.proxy.luck import Luck
from chaosrunner.proxy.proxies import Proxy, Shared
from chaosrunner.proxy.relay import Connection
from chaosrunner.proxy.stage import Stage
from chaosrunner.proxy.stats import AppliedToxic

if TYPE_CHECKING:
    from pathlib import Path

DAY = 24 * 60 * 60
# A real day's worth over HTTP takes minutes: CHAOSRUNNER_SOAK=86400.
OVER_HTTP = int(os.environ.get("CHAOSRUNNER_SOAK", "6000"))


class CountingAudit:
    """Counts what happened, and keeps nothing else."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()

    def info(self, event: str, **_values: object) -> None:
        """Count it."""
        self.events[event] += 1

    error = info


def alive() -> Counter[str]:
    """How many of each thing that could pile up there are, found by asking the garbage collector."""
    gc.collect()
    kinds = (Proxy, Connection, AppliedToxic, Luck, Lease, Stage)
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds))


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.timeout(600)
async def test_a_day_of_changes_leaves_nothing_behind(echo: EchoServer) -> None:
    """86,400 changes of every sort, under traffic, with leases that end: memory after a third is memory at the end."""
    audit, agenda = CountingAudit(), Agenda()
    control = Control(Shared(seed=1, audit=audit, agenda=agenda), loopback_only=True)
    day = Day(InProcess(control), [echo.port, 9], seed=2)
    before = alive()
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(3):
            await day.live(DAY // 3)
            await until(lambda: not alive() - before)
            echo.writers.clear()
            assert (len(control.leases), control.proxies()) == (0, [])
            assert len(agenda) <= 2 * SWEEP_ABOVE
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[2] < sizes[0] * 1.05 + 50_000
    assert day.done.total() == DAY
    assert min(day.done.values()) > 100, day.done
    assert (day.visits > 1000, day.echoed_bytes > 1_000_000) == (True, True)
    assert (audit.events["ttl ended"] > 1000, audit.events["undo failed, trying again"]) == (True, 0)
    await control.close(0)
    agenda.close()


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.timeout(3600)
async def test_a_process_stays_as_large_as_it_was(tmp_path: Path, echo: EchoServer) -> None:
    """A proxy process that is changed over HTTP, under traffic, is no larger at the end than after a third."""
    with own_process(tmp_path / "audit") as process:
        async with api_at(process.url) as api:
            day = Day(ByHttp(api), [echo.port, 9], seed=3)
            sizes = []
            for _ in range(3):
                await day.live(OVER_HTTP // 3)
                echo.writers.clear()
                sizes.append(psutil.Process(process.pid).memory_info().rss)
            made = await api.ok("POST", "/proxies", {"name": "p", "upstream": f"127.0.0.1:{echo.port}"})
            async with connected(port_of(made)) as client:
                await client.ask()
            assert await api.ok("GET", "/owners") == {}
    assert sizes[2] < sizes[0] * 1.05
    assert (min(day.done.values()) > OVER_HTTP / 1000, day.visits > 100) == (True, True)
