"""One alarm on CLOCK_MONOTONIC that rings on time: event loops' timers tick at a millisecond, a timerfd does not.

The process sleeps in the kernel until the instant, and the loop wakes by a readable descriptor; that takes some ten
microseconds, and on a busy or virtual machine hundreds. Who has a core to itself can wait awake instead (`Awake`).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

from chaosrunner.model.units import NANOS

FAR_NS = 1 << 62
"""Never: an instant a century away."""

NEAR_NS = 200_000
"""Closer than this an alarm that waits awake does not fall asleep any more: waking may take as long."""

IDLE_TURN_NS = 5_000
"""A turn of the loop that took less than this did nothing else. One with a hit in it takes longer."""

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class Alarm(Protocol):
    """Rings once after each `set`."""

    def set(self, at_ns: int) -> None:
        """Ring at an instant of CLOCK_MONOTONIC instead of whenever it was to ring; `FAR_NS` = never."""
        ...

    def close(self) -> None:
        """Never ring again."""
        ...


def alarm(loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> Alarm:
    """The finest alarm this platform has; `ring` is called in the loop, never before the instant."""
    if sys.platform == "linux":
        try:
            return _TimerFd(loop, ring)
        except (OSError, AttributeError):
            pass  # a libc or a sandbox without timerfd: the loop's timers do, a millisecond coarser
    return LoopTimer(loop, ring)


class Awake:
    """Sleeps until shortly before the instant, then turns the loop until it has come: late by the length of one turn.

    Only for a process with a core of its own; `doze` turns it into an alarm that sleeps, for good.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self.spun_ns = 0
        """How long it has waited awake, in all: turns in which nothing else was done, as far as their length tells."""
        self._loop = loop
        self._ring = ring
        self._sleeper = alarm(loop, self._near)
        self._at_ns = FAR_NS
        self._turn_ns = 0
        """When the latest turn began; 0 = not turning."""
        self._dozes = False

    @property
    def dozes(self) -> bool:
        """Whether it only sleeps, from now on."""
        return self._dozes

    def set(self, at_ns: int) -> None:
        """Ring at an instant."""
        self._at_ns = at_ns
        if self._turn_ns:
            return  # the next turn sees it
        now = time.monotonic_ns()
        if self._dozes:
            self._sleeper.set(at_ns)
        elif at_ns - now > NEAR_NS:
            self._sleeper.set(at_ns if at_ns >= FAR_NS else at_ns - NEAR_NS)
        else:
            self._sleeper.set(FAR_NS)
            self._turn_ns = now
            self._loop.call_soon(self._turn)

    def doze(self) -> None:
        """Sleep, from now on: somebody else wants the core."""
        self._dozes = True

    def close(self) -> None:
        """Never ring again."""
        self._at_ns = FAR_NS
        self._sleeper.close()
        self._dozes = True

    def _near(self) -> None:
        """Asleep long enough."""
        if time.monotonic_ns() < self._at_ns:
            self.set(self._at_ns)
        else:
            self._at_ns = FAR_NS
            self._ring()

    def _turn(self) -> None:
        """One turn of the loop: ring, or wait for the next one."""
        now = time.monotonic_ns()
        took = now - self._turn_ns
        if took < IDLE_TURN_NS:
            self.spun_ns += took
        self._turn_ns = now
        at_ns = self._at_ns
        if now >= at_ns:
            self._at_ns = FAR_NS
            self._ring()
            at_ns = self._at_ns
        if at_ns - now > NEAR_NS or self._dozes:
            self._turn_ns = 0
            if at_ns < FAR_NS:
                self.set(at_ns)
        else:
            self._loop.call_soon(self._turn)


class _TimerSpec(ctypes.Structure):
    _fields_ = (("repeat_s", ctypes.c_long), ("repeat_ns", ctypes.c_long), ("s", ctypes.c_long), ("ns", ctypes.c_long))


class _TimerFd:
    """timerfd(2); Python has it from 3.13 on, libc since 2008."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._spec = _TimerSpec()
        self._pointer = ctypes.byref(self._spec)
        self._loop = loop
        self._ring = ring
        self._at_ns = FAR_NS
        self._closed = False
        self._fd: int = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._fd, self._readable)

    def set(self, at_ns: int) -> None:
        # Setting it also takes back a ring that was not heard yet.
        self._at_ns = at_ns
        self._spec.s, self._spec.ns = (0, 0) if at_ns >= FAR_NS else divmod(max(1, at_ns), NANOS)
        if self._settime(self._fd, _ABSOLUTE, self._pointer, None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        self._closed = True
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        if time.monotonic_ns() < self._at_ns:
            return  # set again between the wake-up and now: it will ring at the new instant
        self._at_ns = FAR_NS
        try:
            self._ring()
        finally:
            if self._at_ns == FAR_NS and not self._closed:
                self.set(FAR_NS)  # else it stays readable; what rings has usually set the next instant already


class LoopTimer:
    """The loop's own timer, about a millisecond coarse."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._at_ns = FAR_NS
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at_ns: int) -> None:
        """Ring at an instant."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._at_ns = at_ns
        if at_ns < FAR_NS:
            # At least 1 ms: uvloop rounds less down to nothing, and that would be spinning.
            self._handle = self._loop.call_later(max(0.001, (at_ns - time.monotonic_ns()) / NANOS), self._timeout)

    def close(self) -> None:
        """Never ring again."""
        self.set(FAR_NS)

    def _timeout(self) -> None:
        if time.monotonic_ns() < self._at_ns:
            self.set(self._at_ns)
        else:
            self._handle = None
            self._ring()
