"""A worker watches itself."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from load_rig import OK, Books, BootClock, Keys, Target, always, finished, playing, profile, work

from chaosrunner.load.driver import LoadDriver
from chaosrunner.load.selfwatch import SelfWatch, local_ports, open_files, time_wait, waited_ns
from chaosrunner.model.slots import Frame


async def test_a_loop_that_stands_still_is_seen() -> None:
    """Work that keeps the loop for 60 ms is a stall of about that long, noted once."""
    watch = SelfWatch(time.monotonic_ns())
    await asyncio.sleep(0.03)
    watch.take()
    time.sleep(0.06)  # noqa: ASYNC251 - the very thing that must not happen
    await asyncio.sleep(0.03)
    account = watch.take()
    watch.close()
    assert 40_000 <= account["stall_max_us"] <= account["stall_us"] <= account["span_us"]
    assert 1 <= account["stalls"] <= account["stall_us"] / 10_000


async def test_a_stall_that_is_not_over_is_in_the_account() -> None:
    """An account that is taken in the middle of a stall has what there is of it, and the next one has the rest."""
    watch = SelfWatch(time.monotonic_ns())
    time.sleep(0.06)  # noqa: ASYNC251
    first = watch.take()
    time.sleep(0.04)  # noqa: ASYNC251
    second = watch.take()
    watch.close()
    assert first["stall_us"] >= 45_000
    assert 25_000 <= second["stall_us"] <= second["span_us"]


async def test_accounts_follow_each_other_without_a_gap() -> None:
    """Each account stands for the time since the one before, and says when it was taken."""
    watch = SelfWatch(time.monotonic_ns())
    accounts = []
    for _ in range(3):
        await asyncio.sleep(0.02)
        accounts.append(watch.take())
    watch.close()
    assert sum(one["span_us"] for one in accounts) <= accounts[-1]["at_us"] + 3
    assert [one["at_us"] for one in accounts] == sorted(one["at_us"] for one in accounts)
    assert all(value for one in accounts for value in one.values())


async def test_a_clock_that_is_set_is_seen() -> None:
    """A wall clock that jumps is counted with the size of its jump; one that goes on is not."""
    jump = [0]
    watch = SelfWatch(time.monotonic_ns(), wall=lambda: time.time_ns() + jump[0])
    assert "clock_steps" not in watch.take()
    jump[0] = -3_000_000_000
    account = watch.take()
    assert account["clock_steps"] == 1
    assert account["clock_step_max_us"] == pytest.approx(3_000_000, rel=0.01)
    assert "clock_steps" not in watch.take()
    watch.close()


async def test_time_waited_awake_is_told() -> None:
    """What the worker spent on purpose, to fire on time, is told apart from its work."""
    watch = SelfWatch(time.monotonic_ns())
    watch.spun(5_000_000)
    watch.spun(2_000_000)
    assert watch.take()["spin_us"] == 7_000
    assert "spin_us" not in watch.take()
    watch.close()


def test_open_files_are_about_right() -> None:
    """Where no descriptor below is free, fifty files more are fifty more."""
    with ExitStack() as opened:
        highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        while opened.enter_context(Path("/dev/null").open()).fileno() <= highest:
            pass
        before = open_files()
        for _ in range(50):
            opened.enter_context(Path("/dev/null").open())
        assert open_files() - before == 50


def test_when_no_file_can_be_opened_the_limit_is_reached() -> None:
    """A process at its limit of open files says that it is, and does not fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        assert open_files() == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_kernel_files_that_are_not_there_say_nothing(tmp_path: Path) -> None:
    """What the kernel does not tell is zero, which the reader takes for nothing known."""
    nowhere = tmp_path / "nowhere"
    assert (waited_ns(nowhere), time_wait(nowhere), local_ports(nowhere)) == (0, 0, 0)
    for text in ("", "5", "TCP: inuse 3", "TCP: tw many", "a b"):
        (tmp_path / "odd").write_text(text)
        odd = tmp_path / "odd"
        assert (waited_ns(odd), time_wait(odd), local_ports(odd)) == (0, 0, 0)


def test_kernel_files_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    """Run-queue delay is the second number; TIME_WAIT is `tw`; both ends of the port range count."""
    (tmp_path / "schedstat").write_text("123 456 7\n")
    (tmp_path / "sockstat").write_text("sockets: used 20\nTCP: inuse 2 orphan 0 tw 173 alloc 2 mem 117\n")
    (tmp_path / "ports").write_text("32768\t60999\n")
    assert waited_ns(tmp_path / "schedstat") == 456
    assert time_wait(tmp_path / "sockstat") == 173
    assert local_ports(tmp_path / "ports") == 28_232
    assert waited_ns() >= 0


def kept(frames: list[Frame]) -> dict[str, float]:
    """The high-water marks of a load's frames."""
    marks: dict[str, float] = {}
    for frame in frames:
        for key, value in frame.watch.items():
            marks[key] = max(marks.get(key, 0), value)
    return marks


async def test_every_frame_has_an_account() -> None:
    """A worker's accounts add up to the time of its load, with its limits looked at once a second."""
    async with Target(always(OK)) as target:
        books = await work(profile(rate=50, lasts_s=1.4), target.url, until=finished(70))
    assert all(frame.watch["span_us"] > 0 for frame in books.frames)
    whole = sum(frame.watch["span_us"] for frame in books.frames) / 1e6
    assert 1.3 <= whole <= books.frames[-1].watch["at_us"] / 1e6 + 0.5
    marks = kept(books.frames)
    assert marks["files_max"] >= 3
    assert marks["ports_max"] == local_ports()


async def test_a_stopped_worker_knows_that_it_was() -> None:
    """A worker that the system stopped for half a second says so, when it goes on."""
    books = Books()
    async with Target(always(OK)) as target:
        load = profile(rate=100, lasts_s=None)
        driver = LoadDriver(load, entry=target.url, seed=1, longest_s=60, clock=BootClock(), tools=Keys())
        async with playing(driver, books):
            await books.until(finished(20))
            (pid,) = driver.pids()
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0.5)  # the stall itself
            os.kill(pid, signal.SIGCONT)
            await books.until(lambda books: kept(books.frames).get("stall_max_us", 0) > 400_000)
    books.check()
