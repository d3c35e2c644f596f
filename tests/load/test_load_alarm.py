"""Alarms ring once, on time, never early; and clocks are compared honestly."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import pytest

from chaosrunner.alarm import FAR_NS, Alarm, LoopTimer, alarm
from chaosrunner.load.worker import slept_ns

ALARMS = [pytest.param(alarm, id="best"), pytest.param(LoopTimer, id="loop timer")]
Make = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Alarm]


class Bell:
    def __init__(self, make: Make) -> None:
        self.rung: list[int] = []
        self._news = asyncio.Event()
        self.alarm = make(asyncio.get_running_loop(), self._ring)

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


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux's")
async def test_linux_has_the_fine_one() -> None:
    """On Linux the alarm is a timerfd, not the loop's timer."""
    best = alarm(asyncio.get_running_loop(), lambda: None)
    assert not isinstance(best, LoopTimer)
    best.close()


def test_the_two_clocks_keep_their_distance() -> None:
    """What the machine slept does not change while it is awake: two looks agree to a millisecond."""
    assert abs(slept_ns() - slept_ns()) < 1_000_000
