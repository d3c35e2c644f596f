"""One alarm on CLOCK_MONOTONIC that rings on time: event loops' timers tick at a millisecond, a timerfd does not.

Without spinning: the process sleeps in the kernel until the instant, and the loop wakes by a readable descriptor.
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
