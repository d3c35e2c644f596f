"""How contended this host is: what the kernel says, and what is made of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from world_rig import eventually

from chaosrunner.logic import detail, relief
from chaosrunner.model.events import Pressure
from chaosrunner.model.units import NANOS
from chaosrunner.testing import FakeClock
from chaosrunner.world.clock import RealClock
from chaosrunner.world.pressure import (
    Look,
    Spent,
    between,
    busy_ticks,
    look,
    spent,
    stalled_us,
    threads_of,
    used,
    watch_pressure,
)

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


def test_run_queue_delay_is_per_thread_and_of_the_living() -> None:
    """Every thread of a live process has its times, the main thread as well; one that is gone has none."""
    program = "import threading; threading.Thread(target=input).start(); print(flush=True)"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        found = threads_of([child.pid])
        assert child.pid in found
        assert len(found) == 2
        assert all(ran >= 0 and waited >= 0 for ran, waited in found.values())
    finally:
        child.communicate(b"\n")
    assert threads_of([child.pid, 2**22 + 1]) == {}


@needs_pressure
async def test_pressure_is_written_once_a_second() -> None:
    """Every second of the clock gives one fact, with shares from 0 up."""
    clock, facts = FakeClock(), []
    began = clock.now()
    watching = asyncio.create_task(watch_pressure(list, clock=clock, report=facts.append))
    await eventually(lambda: len(facts) >= 3)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert [fact.at_ns for fact in facts[:3]] == [began + (n + 1) * NANOS for n in range(3)]
    assert all(isinstance(fact, Pressure) and fact.cpu_some >= 0 and fact.target_wait_s == 0 for fact in facts)
    assert all(fact.others_cpu == fact.target_cpu == 0 for fact in facts)


@needs_pressure
def test_a_look_is_of_the_moment_at_which_the_counters_were_read() -> None:
    """However long it takes to find the target, what was counted meanwhile is not told of an earlier time."""
    now = [7 * NANOS]

    def slowly() -> list[int]:
        now[0] += 3 * NANOS
        return []

    assert look(lambda: now[0], slowly).at_ns == 10 * NANOS


HOG = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"


def shared(fact: Pressure) -> bool:
    """Whether target and runner both had some of the CPU in this second, and the target waited for more.

    A stranger may take nearly all of that CPU for seconds.
    """
    return fact.target_wait_s > 0.1 and fact.our_cpu > 0.1 and fact.target_cpu > 0.1


@needs_pressure
async def test_who_had_the_cpu_is_told_apart() -> None:
    """Of two processes that compete for one CPU the target's is the target's; the other is ours, for we started it."""
    target, other = [await asyncio.create_subprocess_exec(sys.executable, "-c", HOG) for _ in range(2)]
    facts: list[Pressure] = []
    try:
        watching = asyncio.create_task(watch_pressure(lambda: [target.pid], clock=RealClock(), report=facts.append))
        await eventually(lambda: any(map(shared, facts)))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    finally:
        for child in (target, other):
            child.kill()
            await child.wait()
    seen = next(filter(shared, facts))
    assert seen.target_cpu < 0.9
    assert seen.target_awake > 0.5
    assert seen.lasted_s >= 0.5


def host(**changes: object) -> Look:
    """A host with the target (10, its child 11), the runner (20, its worker 21) and a stranger (30)."""
    processes = {
        10: Spent(1, 100, "api"),
        11: Spent(10, 50, "api"),
        20: Spent(1, 10, "runner"),
        21: Spent(20, 10, "worker"),
        30: Spent(1, 500, "hog (old)"),
    }
    plain = Look(
        at_ns=0,
        stalled_us=0,
        busy={0: 1000, 1: 1000},
        processes=processes,
        target=frozenset({10, 11}),
        ours=frozenset({20, 21}),
        threads={10: (0, 0), 11: (0, 0)},
        cpus=frozenset({0, 1}),
        meet=True,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def later(**ticks: int) -> dict[int, Spent]:
    """The processes a second later: `p30=80` is 80 ticks more."""
    return {pid: replace(one, ticks=one.ticks + ticks.get(f"p{pid}", 0)) for pid, one in host().processes.items()}


def test_what_nobody_else_used_others_did() -> None:
    """CPU time that is neither the target's nor ours is others', short-lived processes' as well."""
    second_later = host(
        at_ns=NANOS,
        stalled_us=600_000,
        busy={0: 1090, 1: 1100},
        processes=later(p10=20, p11=10, p20=5, p21=15, p30=80),
        threads={10: (200_000_000, 400_000_000), 11: (100_000_000, 10_000_000), 12: (5, 7)},
    )
    assert between(host(), second_later) == Pressure(
        at_ns=NANOS,
        cpu_some=0.6,
        target_wait_s=0.41,
        target_awake=0.6,
        lasted_s=1.0,
        target_cpu=0.3,
        our_cpu=0.2,
        others_cpu=1.4,
        busiest="hog (old) (30)",
    )


def test_only_the_cpus_of_the_target_matter() -> None:
    """Where the target is kept to one CPU, what happens on others is not in its way, and neither is the load there."""
    apart = {"cpus": frozenset({0}), "meet": False}
    seen = between(host(**apart), host(at_ns=NANOS, busy={0: 1040, 1: 1100}, processes=later(p10=40, p21=95), **apart))
    assert (seen.target_cpu, seen.our_cpu, seen.others_cpu, seen.busiest) == (0.4, 0, 0, "")


def test_a_child_that_ended_is_counted_once() -> None:
    """What a child used passes to the parent that reaps it: the sum is what was used since the look before."""
    after = {pid: one for pid, one in later(p10=50 + 7).items() if pid != 11}
    assert used(host(), host(processes=after), frozenset({10, 11})) == 7


def test_a_child_that_nobody_inherits_from_takes_nothing_away() -> None:
    """A process that is gone and whose parent is somebody else leaves the others' sum alone."""
    after = {pid: one for pid, one in later(p10=7).items() if pid != 30}
    assert used(host(), host(processes=after), frozenset({10, 30})) == 7


def test_a_process_found_later_begins_at_what_it_had() -> None:
    """A process that is only now known to be the target's adds what it used since, not what it ever used."""
    assert used(host(), host(processes=later(p30=9)), frozenset({10, 30})) == 9


def test_kernel_files_are_read_as_documented(tmp_path: Path) -> None:
    """Idle and waiting for disks is not busy, stolen time is; a name may hold blanks and brackets."""
    (tmp_path / "stat").write_text(
        "cpu  9 9 9 9 9 9 9 9\ncpu0 1 2 4 1000 2000 8 16 32 0 0\ncpu1 1 0 0 0 0 0 0 0 5 5\nx\n"
    )
    assert busy_ticks(tmp_path / "stat") == {0: 63, 1: 1}
    for pid, text in {"7": f"7 (a) b (c) S 3 {' 0' * 9} 10 20 40 80 0 0", "8": "8 (x", "9": ""}.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "stat").write_text(text)
    (tmp_path / "11").mkdir()
    assert spent(tmp_path) == {7: Spent(3, 150, "a) b (c")}


def test_ten_seconds_are_what_slots_are_merged_to() -> None:
    """The kindest view of a run looks at the same ten seconds that slots of a long run are merged to."""
    assert relief.GROUP_SLOTS == detail.GROUP
