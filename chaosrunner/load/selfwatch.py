"""A worker watches itself: was its loop awake, had it a CPU, does it run out of anything, did its clock jump?

Without a busy timer: a beat every 10 ms, of which only the late ones are noted. A beat that comes 30 ms late says that
the loop did nothing for that long, so no request due then was fired and no answer that had come was seen; whether
the process lacked a CPU or was busy with itself, the target had no part in it.

What the keys of an account mean is said in `chaosrunner.logic.strain`, which folds them.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Callable

BEAT_NS = 10_000_000

STALL_NS = 10_000_000
"""A beat later than this is a stall."""

STEP_NS = 50_000_000
"""A wall clock that goes more than this apart from CLOCK_MONOTONIC between two accounts was set, not slewed."""

SLOWLY_NS = NANOS
"""What can run out is looked at once a second."""

SCHEDSTAT = Path("/proc/self/schedstat")
SOCKETS = Path("/proc/net/sockstat")
PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


class SelfWatch:
    """Takes the account; made and used in the thread of the loop.

    Args:
        epoch_ns: the load's epoch on CLOCK_MONOTONIC.
        wall: CLOCK_REALTIME in ns.
    """

    def __init__(self, epoch_ns: int, wall: Callable[[], int] = time.time_ns) -> None:
        self._epoch_ns = epoch_ns
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._stalls = 0
        self._stalled_ns = 0
        self._longest_ns = 0
        self._spun_ns = 0
        self._waited_ns = waited_ns()
        self._ports = local_ports()
        self._ahead_ns = self._ahead()
        self._since_ns = self._slowly_ns = time.monotonic_ns()
        self._due_ns = self._since_ns + BEAT_NS
        self._timer = self._loop.call_later(BEAT_NS / NANOS, self._beat)

    def spun(self, ns: int) -> None:
        """So much CPU time was spent on waiting awake: it is not load."""
        self._spun_ns += ns

    def close(self) -> None:
        """No more beats."""
        self._timer.cancel()

    def take(self) -> dict[str, float]:
        """The account since the last one; times in µs, nothing that is zero."""
        now = time.monotonic_ns()
        self._notice(now - self._due_ns, now)  # a stall that is not over yet, or one just before this
        waited = waited_ns()
        account = {
            "wait_us": (waited - self._waited_ns) // 1000,
            "stalls": self._stalls,
            "stall_us": self._stalled_ns // 1000,
            "stall_max_us": self._longest_ns // 1000,
            "spin_us": self._spun_ns // 1000,
            **self._step(),
            **(self._slowly(now) if now - self._slowly_ns >= SLOWLY_NS else {}),
        }
        span_us, at_us = (now - self._since_ns) / 1000, (now - self._epoch_ns) / 1000
        self._stalls = self._stalled_ns = self._longest_ns = self._spun_ns = 0
        self._since_ns, self._waited_ns = now, waited
        return {"at_us": round(max(0.0, at_us)), "span_us": round(span_us)} | {k: v for k, v in account.items() if v}

    def _beat(self) -> None:
        now = time.monotonic_ns()
        self._notice(now - self._due_ns, now)
        self._due_ns = now + BEAT_NS
        self._timer = self._loop.call_later(BEAT_NS / NANOS, self._beat)

    def _notice(self, late_ns: int, now: int) -> None:
        if late_ns > STALL_NS:
            self._stalls += 1
            self._stalled_ns += late_ns
            self._longest_ns = max(self._longest_ns, late_ns)
            self._due_ns = now  # what is noted is not noted again by the beat itself

    def _step(self) -> dict[str, float]:
        ahead = self._ahead()
        step, self._ahead_ns = abs(ahead - self._ahead_ns), ahead
        return {"clock_steps": 1, "clock_step_max_us": step // 1000} if step > STEP_NS else {}

    def _ahead(self) -> int:
        """Wall clock − CLOCK_MONOTONIC: the narrowest of three looks, so that no preemption is part of it."""
        looks = []
        for _ in range(3):
            before = time.monotonic_ns()
            wall = self._wall()
            after = time.monotonic_ns()
            looks.append((after - before, wall - (before + after) // 2))
        return min(looks)[1]

    def _slowly(self, now: int) -> dict[str, float]:
        self._slowly_ns = now
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return {
            "files_max": open_files(),
            "files_allowed_max": 0 if soft == resource.RLIM_INFINITY else soft,
            "time_wait_max": time_wait(),
            "ports_max": self._ports,
        }


def waited_ns(path: Path = SCHEDSTAT) -> int:
    """Time the main thread was ready to run and had no CPU, ns; 0 where the kernel does not count it."""
    try:
        return int(path.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def open_files() -> int:
    """About how many files are open: the lowest free descriptor, which costs the same however many there are."""
    try:
        free = os.dup(2)
    except OSError:  # none is free, or there is no stderr: either way the limit says more
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.close(free)
    return free


def time_wait(path: Path = SOCKETS) -> int:
    """Sockets in TIME_WAIT in this network namespace; each keeps its local port for a minute. 0 where not told."""
    try:
        words = next(line for line in path.read_text().splitlines() if line.startswith("TCP:")).split()
        return int(words[words.index("tw") + 1])
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def local_ports(path: Path = PORTS) -> int:
    """How many local ports a connection may choose from; 0 where the system does not tell."""
    try:
        low, high = map(int, path.read_text().split())
    except (OSError, ValueError):
        return 0
    return high - low + 1
