"""How contended this host is: what the kernel says, and what is made of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from world_rig import eventually

from chaosrunner.model.events import Pressure
from chaosrunner.model.units import NANOS
from chaosrunner.testing import FakeClock
from chaosrunner.world.clock import RealClock
from chaosrunner.world.pressure import stalled_us, waited_ns, watch_pressure

needs_pressure = pytest.mark.skipif(stalled_us() is None, reason="this kernel does not count CPU pressure")


def test_the_stall_counter_is_the_total_of_some(tmp_path: Path) -> None:
    """Of the kernel's two lines the `some` total counts."""
    file = tmp_path / "cpu"
    file.write_text(
        "some avg10=0.22 avg60=0.17 avg300=1.11 total=58761459\nfull avg10=0.0 avg60=0.0 avg300=0.0 total=7\n"
    )
    assert stalled_us(file) == 58_761_459


@pytest.mark.parametrize("text", ["", "some avg10=0.22", "some total=many"])
def test_what_cannot_be_read_is_not_measured(tmp_path: Path, text: str) -> None:
    """An empty, shortened or strange file is no measurement, never a zero."""
    file = tmp_path / "cpu"
    file.write_text(text)
    assert stalled_us(file) is None
    assert stalled_us(tmp_path / "missing") is None


def test_run_queue_delay_is_per_process_and_of_the_living() -> None:
    """A live process has a delay of at least 0; one that is gone has none."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert waited_ns([child.pid])[child.pid] >= 0
    finally:
        child.communicate(b"\n")
    assert waited_ns([child.pid, 2**22 + 1]) == {}


@needs_pressure
async def test_pressure_is_written_once_a_second() -> None:
    """Every second of the clock gives one fact, with shares from 0 up."""
    clock, facts = FakeClock(), []
    began = clock.now()
    watching = asyncio.create_task(watch_pressure(list, clock=clock, report=facts.append))
    for _ in range(5000):
        if len(facts) >= 3:
            break
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert [fact.at_ns for fact in facts[:3]] == [began + (n + 1) * NANOS for n in range(3)]
    assert all(isinstance(fact, Pressure) and fact.cpu_some >= 0 and fact.target_wait_s == 0 for fact in facts)


@needs_pressure
async def test_a_target_that_waits_for_the_cpu_is_seen() -> None:
    """Processes that compete for one core show a run-queue delay."""
    spin = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"
    children = [await asyncio.create_subprocess_exec(sys.executable, "-c", spin) for _ in range(2)]
    facts: list[Pressure] = []
    pids = [child.pid for child in children]
    try:
        watching = asyncio.create_task(watch_pressure(lambda: pids, clock=RealClock(), report=facts.append))
        await eventually(lambda: any(fact.target_wait_s > 0.1 for fact in facts))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    finally:
        for child in children:
            child.kill()
            await child.wait()
