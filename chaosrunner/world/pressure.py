"""How contended this host is while the experiment runs: pressure stall information and the target's run-queue delay.

Both come from the kernel (`/proc/pressure/cpu`, `/proc/<pid>/schedstat`); where a kernel has neither, nothing is
written, and the verdict says that contention was not measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.model.events import Pressure
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chaosrunner.model.events import Event
    from chaosrunner.world.clock import Clock

EVERY_NS = NANOS


async def watch_pressure(pids: Callable[[], Iterable[int]], *, clock: Clock, report: Callable[[Event], object]) -> None:
    """Write one Pressure a second until cancelled; return at once where the kernel does not tell."""
    before = (clock.now(), stalled_us(), waited_ns(pids()))
    while before[1] is not None:
        await clock.sleep_until(before[0] + EVERY_NS)
        after = (clock.now(), stalled_us(), waited_ns(pids()))
        if after[1] is not None:
            span = after[0] - before[0]
            waited = sum(max(0, ns - before[2].get(pid, ns)) for pid, ns in after[2].items())
            some = (after[1] - before[1]) * 1000 / span
            report(Pressure(at_ns=after[0], cpu_some=round(some, 3), target_wait_s=round(waited / span, 3)))
        before = after


def stalled_us(path: Path = Path("/proc/pressure/cpu")) -> int | None:
    """Microseconds since boot in which some task waited for a CPU; None where the kernel does not count it."""
    try:
        some = path.read_text().splitlines()[0]
        return int(some.rpartition("total=")[2])
    except (OSError, ValueError, IndexError):
        return None


def waited_ns(pids: Iterable[int]) -> dict[int, int]:
    """Pid → nanoseconds its main thread has waited on a run queue; processes that are gone are left out."""
    found = {}
    for pid in pids:
        try:
            found[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
    return found
