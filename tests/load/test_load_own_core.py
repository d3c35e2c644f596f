"""Who may wait awake: only where a core is free for that."""

from __future__ import annotations

import asyncio
import json
import math
import os

import pytest
from load_rig import OK, Books, BootClock, Keys, Target, always, finished, profile

from chaosrunner.alarm import Awake
from chaosrunner.load.driver import LoadDriver
from chaosrunner.load.ledger import Ledger
from chaosrunner.load.orders import Orders
from chaosrunner.load.own_core import Cores, Waiting, target_here, why_asleep
from chaosrunner.model.events import Event, LoadStarted
from chaosrunner.model.http_step import Request


def cores(ours: int, leads: int | None = None, *, online: int = 8, quota: float = math.inf) -> Cores:
    """The first `ours` of a host's cores; the process that leads has the last `leads`, or the same."""
    last = range(online - leads, online) if leads is not None else range(ours)
    return Cores(ours=frozenset(range(ours)), leads=frozenset(last), online=online, quota=quota)


ENOUGH = [
    pytest.param(1, "", cores(2, online=2), id="a target elsewhere"),
    pytest.param(3, "", cores(8), id="three workers of eight cores"),
    pytest.param(1, "localhost", cores(4, online=4), id="a target here, two cores for it"),
    pytest.param(1, "localhost", cores(1, 1, online=2), id="a core of its own"),
    pytest.param(2, "localhost", cores(2, 6), id="a core of its own for each"),
]
TOO_FEW = [
    pytest.param(1, "", cores(1, online=1), "on 1 core", id="one core"),
    pytest.param(1, "localhost", cores(2, online=2), "localhost", id="beside a target on two cores"),
    pytest.param(2, "", cores(2, online=2), "2 workers", id="no core for who leads"),
    pytest.param(2, "", cores(1, 7), "2 workers on 1 core", id="two on one core of their own"),
    pytest.param(1, "", cores(8, quota=2.5), "a quota of 2.5 CPUs", id="a quota"),
    pytest.param(1, "localhost", cores(3, online=3), "localhost", id="one core for the target"),
]


@pytest.mark.parametrize(("workers", "here", "which"), ENOUGH)
def test_where_a_core_is_free_workers_need_not_sleep(workers: int, here: str, which: Cores) -> None:
    """A core a worker, one for who leads and two for a target here, or cores of their own, are enough."""
    assert why_asleep(workers, here, which) == ""


@pytest.mark.parametrize(("workers", "here", "which", "why"), TOO_FEW)
def test_where_none_is_free_they_sleep_and_say_why(workers: int, here: str, which: Cores, why: str) -> None:
    """Where a core would be missing to somebody, workers sleep."""
    assert why in why_asleep(workers, here, which)


def test_this_process_has_cores() -> None:
    """What is said of this host is possible."""
    here = Cores.here()
    assert 1 <= len(here.ours) <= here.online
    assert here.quota > 0


@pytest.mark.parametrize(
    ("entry", "path", "places", "found"),
    [
        ("http://localhost:1/", "/", {}, "localhost"),
        ("", "http://127.0.0.1:9/x", {}, "127.0.0.1"),
        ("http://192.0.2.1/", "/", {"db": "postgresql://a@127.0.0.1:5432/b"}, "127.0.0.1"),
        ("http://192.0.2.1/", "/", {}, ""),
    ],
)
def test_a_target_on_this_host_is_found_wherever_it_is_named(
    entry: str, path: str, places: dict[str, str], found: str
) -> None:
    """The entry, a step's own URL and a database's DSN may each name this host."""
    load = profile(Request(name="get", method="GET", path=path))
    orders = Orders(profile=load, entry=entry, places=places, shard=0, of=1, seed=1, longest_s=1)
    assert target_here(orders) == found


async def test_who_has_to_wait_for_its_core_leaves_it_to_others() -> None:
    """More than 2 % of a frame's time spent waiting for the core ends waiting awake, for good, and is noted."""
    ledger = Ledger(worker=0, names=1)
    waiting = Waiting(ledger, "")
    made = waiting.alarm(asyncio.get_running_loop(), lambda: None)
    assert isinstance(made, Awake)
    waiting.look({"wait_us": 4_000.0, "span_us": 250_000.0})
    assert not made.dozes
    waiting.look({"wait_us": 6_000.0, "span_us": 250_000.0})
    waiting.look({"wait_us": 6_000.0, "span_us": 250_000.0})
    assert made.dozes
    awake, asleep = ledger.notes()
    assert awake == {"about": "waiting", "data": {"awake": True, "why": "a core is free for it"}}
    assert "2% of the time" in json.dumps(asleep)
    made.close()


async def test_who_sleeps_has_an_alarm_that_sleeps() -> None:
    """With a reason to sleep the alarm is the ordinary one, nothing is noted and no time is spent awake."""
    ledger = Ledger(worker=0, names=1)
    waiting = Waiting(ledger, "no core")
    made = waiting.alarm(asyncio.get_running_loop(), lambda: None)
    assert not isinstance(made, Awake)
    waiting.look({"wait_us": 200_000.0, "span_us": 250_000.0})
    assert ledger.notes() == []
    assert waiting.spun_ns() == 0
    made.close()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
async def test_a_worker_with_a_core_of_its_own_waits_awake_and_does_not_count_as_busy() -> None:
    """It says in the journal that it waits awake; the CPU time of waiting is told apart, and it keeps its schedule."""
    allowed = os.sched_getaffinity(0)
    books = Books()

    def report(event: Event) -> None:
        if isinstance(event, LoadStarted):
            for pid in load.pids():
                os.sched_setaffinity(pid, {max(allowed)})
        books.report(event)

    os.sched_setaffinity(0, {min(allowed)})
    try:
        async with Target(always(OK)) as target:
            shape = profile(rate=6_000, lasts_s=0.2, max_in_flight=2_000)
            load = LoadDriver(shape, entry=target.url, seed=1, longest_s=20, clock=BootClock(), tools=Keys())
            running = asyncio.create_task(load.run(report))
            await books.until(finished(1_200))
            load.stop()
            await running
    finally:
        os.sched_setaffinity(0, allowed)
    books.check()
    assert books.noted("waiting")[0] == {"awake": True, "why": "a core is free for it"}
    spun_us = sum(frame.watch.get("spin_us", 0) for frame in books.frames)
    used_us = sum(frame.cpu_us for frame in books.frames)
    assert spun_us <= used_us  # that it is above 0 cannot be asked of a busy machine; the alarm's own test does
