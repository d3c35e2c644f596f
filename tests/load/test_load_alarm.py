"""Alarms ring once, on time, never early; and clocks are compared honestly."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import pytest

from chaosrunner.alarm import FAR_NS, NEAR_NS, Alarm, Awake, LoopTimer, alarm
from chaosrunner.load.worker import slept_ns

ALARMS = [
    pytest.param(alarm, id="best"),
    pytest.param(LoopTimer, id="loop timer"),
    pytest.param(Awake, id="awake"),
]
Make = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Alarm]


class Bell:
    def __init__(self, make: Make) -> None:
        self.rung: list[int] = []
        self._news = asyncio.Event()
        self.alarm = make(asyncio.get_running_loop(), self._ring)

    @property
    def awake(self) -> Awake:
        assert isinstance(self.alarm, Awake)
        return self.alarm

    def _ring(self) -> None:
        self.rung.append(time.monotonic_ns())
        self._news.set()

    async def wait(self) -> int:
        async with asyncio.timeout(10):
            await self._news.wait()
        self._news.clear()
        return self.rung[-1]


@pytest.mark.parametrize("make", ALARMS)
async def test_an_alarm_never_rings_early(make: Make) -> None:
    """It rings at or after its instant, once for each time it is set."""
    bell = Bell(make)
    for millis in (0.0, 0.3, 1.5, 20):
        at = time.monotonic_ns() + int(millis * 1e6)
        bell.alarm.set(at)
        assert await bell.wait() >= at
    bell.alarm.close()
    assert len(bell.rung) == 4


@pytest.mark.parametrize("make", ALARMS)
async def test_an_instant_gone_by_rings_at_once(make: Make) -> None:
    """An instant in the past rings without waiting for anything else."""
    bell = Bell(make)
    bell.alarm.set(1)
    await bell.wait()
    bell.alarm.close()


@pytest.mark.parametrize("make", ALARMS)
async def test_setting_again_replaces(make: Make) -> None:
    """Only the latest instant counts, and never means never."""
    bell = Bell(make)
    bell.alarm.set(time.monotonic_ns() + 1_000_000)
    bell.alarm.set(FAR_NS)
    other = Bell(make)
    other.alarm.set(time.monotonic_ns() + 30_000_000)
    await other.wait()
    assert bell.rung == []
    bell.alarm.set(time.monotonic_ns())
    await bell.wait()
    bell.alarm.close()
    other.alarm.close()
    assert len(bell.rung) == 1


async def test_waiting_awake_is_counted_and_sleeping_is_not() -> None:
    """Of a wait of 50 ms at most the end is spent awake, and what is told of it is never more than the wait."""
    bell = Bell(Awake)
    for _ in range(20):  # until there is a quiet moment on a busy machine
        before, begun = bell.awake.spun_ns, time.monotonic_ns()
        bell.alarm.set(begun + 50_000_000)
        rung = await bell.wait()
        spun = bell.awake.spun_ns - before
        assert spun <= rung - begun
        if spun:
            break
    assert 0 < spun <= 10 * NEAR_NS
    bell.alarm.close()


async def test_who_dozes_does_not_wait_awake_any_more() -> None:
    """An alarm told to doze, before or while it waits awake, rings once, not early, and turns the loop no more."""
    bell = Bell(Awake)
    for millis in (0.1, 20):
        at = time.monotonic_ns() + int(millis * 1e6)
        bell.alarm.set(at)
        bell.awake.doze()
        assert await bell.wait() >= at
    spun = bell.awake.spun_ns
    bell.alarm.set(time.monotonic_ns() + NEAR_NS // 2)
    await bell.wait()
    assert bell.awake.spun_ns == spun
    assert len(bell.rung) == 3
    bell.alarm.close()


async def test_an_alarm_that_waits_awake_can_be_put_off() -> None:
    """While it turns the loop, a later instant replaces the one before it."""
    bell = Bell(Awake)
    bell.alarm.set(time.monotonic_ns() + NEAR_NS)
    at = time.monotonic_ns() + 20_000_000
    bell.alarm.set(at)
    assert await bell.wait() >= at
    bell.alarm.close()
    assert len(bell.rung) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
async def test_linux_has_the_fine_one() -> None:
    """On Linux the alarm is a timerfd, not the loop's timer."""
    best = alarm(asyncio.get_running_loop(), lambda: None)
    assert not isinstance(best, LoopTimer)
    best.close()


def test_the_two_clocks_keep_their_distance() -> None:
    """What the machine slept does not change while it is awake: two looks agree to a millisecond."""
    assert abs(slept_ns() - slept_ns()) < 1_000_000
