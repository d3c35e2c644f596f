"""How contended this host is while the experiment runs, and by whom: what the kernel says, once a second.

Three questions. Did tasks wait for a CPU (`/proc/pressure/cpu`)? Did the target's threads (their run-queue delay, in
`/proc/<pid>/task/*/schedstat`)? And who had the CPUs meanwhile: the target, we, or somebody who has no part in this
experiment (`/proc/stat` minus what target and runner used)? A target that waits because it is overloaded fills the
CPUs itself; one that waits for strangers must not be judged by it (`chaosrunner.logic.relief`).

Where a kernel does not tell, nothing is written, and the verdict says that contention was not measured.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.model.events import Pressure
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.model.events import Event
    from chaosrunner.world.clock import Clock

EVERY_NS = NANOS

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""What the kernel counts CPU time in."""

BUSY = 0.2
"""A stranger that uses at least so many CPUs is named."""


@dataclass(frozen=True, slots=True)
class Spent:
    """A process and the CPU time it has used, its reaped children's with it. In ticks."""

    parent: int
    ticks: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the host. Counters since boot."""

    at_ns: int
    stalled_us: int | None
    """Time in which some task waited for a CPU; None where the kernel does not count it."""
    busy: Mapping[int, int] = field(default_factory=dict)
    """CPU → ticks in which it was not idle."""
    processes: Mapping[int, Spent] = field(default_factory=dict)
    target: frozenset[int] = frozenset()
    """The target's processes."""
    ours: frozenset[int] = frozenset()
    """The runner's and its children's, unless they are the target's."""
    threads: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Thread of the target → time it has run, and time it has waited on a run queue; ns."""
    cpus: frozenset[int] = frozenset()
    """CPUs that the target's processes may use."""
    meet: bool = False
    """Whether ours may use any of them."""


async def watch_pressure(pids: Callable[[], Iterable[int]], *, clock: Clock, report: Callable[[Event], object]) -> None:
    """Write one Pressure a second until cancelled; return at once where the kernel does not tell.

    Args:
        pids: the target's processes on this host; their children count as well.
        clock: CLOCK_BOOTTIME.
        report: takes the facts.
    """
    before = await asyncio.to_thread(look, clock.now, pids)
    while before.stalled_us is not None:
        await clock.sleep_until(before.at_ns + EVERY_NS)
        after = await asyncio.to_thread(look, clock.now, pids)
        if after.stalled_us is not None:
            report(between(before, after))
        before = after


def look(now: Callable[[], int], pids: Callable[[], Iterable[int]]) -> Look:
    """Look at the host once; a few milliseconds.

    On a crowded host it takes seconds until we have had them. So what may be done beforehand is, the counters are read
    one right after the other, and the time is that at which they were read.
    """
    if stalled_us() is None:
        return Look(at_ns=now(), stalled_us=None)
    wanted = pids()
    busy, processes = busy_ticks(), spent()
    at_ns, stalled = now(), stalled_us()
    target = family_of(wanted, processes)
    threads = threads_of(target)
    ours = family_of([os.getpid()], processes) - target
    cpus = _cpus(target)
    return Look(
        at_ns=at_ns,
        stalled_us=stalled,
        busy=busy,
        processes=processes,
        target=target,
        ours=ours,
        threads=threads,
        cpus=cpus,
        meet=bool(cpus & _cpus(ours)),
    )


def between(before: Look, after: Look) -> Pressure:
    """What happened between two looks. Shares and CPUs are means over that time."""
    span_s = (after.at_ns - before.at_ns) / NANOS
    assert before.stalled_us is not None
    assert after.stalled_us is not None
    waits, awake = [], []
    for thread, (ran_ns, waited_ns) in after.threads.items():
        ran_before, waited_before = before.threads.get(thread, (ran_ns, waited_ns))
        waits.append(waited_ns - waited_before)
        awake.append(waited_ns - waited_before + ran_ns - ran_before)
    pressure = Pressure(
        at_ns=after.at_ns,
        cpu_some=round((after.stalled_us - before.stalled_us) / 1e6 / span_s, 3),
        target_wait_s=round(sum(waits) / NANOS / span_s, 3),
        target_awake=round(min(1.0, max(awake, default=0) / NANOS / span_s), 3),
        lasted_s=round(span_s, 3),
    )
    if not after.target:
        return pressure
    target = used(before, after, before.target | after.target)
    ours = used(before, after, before.ours | after.ours) if after.meet else 0
    busy = sum(after.busy[cpu] - before.busy.get(cpu, after.busy[cpu]) for cpu in after.cpus & after.busy.keys())
    return replace(
        pressure,
        target_cpu=round(target * TICK_S / span_s, 3),
        our_cpu=round(ours * TICK_S / span_s, 3),
        others_cpu=round(max(0, busy - target - ours) * TICK_S / span_s, 3),
        busiest=_busiest(before, after, span_s),
    )


def used(before: Look, after: Look, group: frozenset[int]) -> int:
    """Ticks that a group used between two looks.

    What a child used passes to its parent when that reaps it, so only the sum counts: what a dead child had used
    before is taken off what its parent has inherited.
    """
    total = 0
    for pid in group:
        then, now = before.processes.get(pid), after.processes.get(pid)
        if now is not None:
            total += now.ticks - (then.ticks if then else 0)
        elif then is not None and then.parent in group:
            total -= then.ticks
    return max(0, total)


def family_of(pids: Iterable[int], processes: Mapping[int, Spent]) -> frozenset[int]:
    """These processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    found: set[int] = set()
    todo = [pid for pid in pids if pid in processes]
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, ())
    return frozenset(found)


def _busiest(before: Look, after: Look, span_s: float) -> str:
    """The stranger that used most, as `name (pid)`; empty when none used much."""
    known = after.target | after.ours
    ticks = {
        pid: now.ticks - before.processes[pid].ticks
        for pid, now in after.processes.items()
        if pid in before.processes and pid not in known
    }
    pid = max(ticks, key=lambda one: ticks[one], default=0)
    if not pid or ticks[pid] * TICK_S / span_s < BUSY:
        return ""
    return f"{after.processes[pid].name} ({pid})"


# --- what the kernel says


def stalled_us(path: Path = Path("/proc/pressure/cpu")) -> int | None:
    """Microseconds since boot in which some task waited for a CPU; None where the kernel does not count it."""
    try:
        some = path.read_text().splitlines()[0]
        return int(some.rpartition("total=")[2])
    except (OSError, ValueError, IndexError):
        return None


def busy_ticks(path: Path = Path("/proc/stat")) -> dict[int, int]:
    """CPU → ticks since boot in which it was not idle; time that a hypervisor gave to others counts as busy."""
    found = {}
    for line in path.read_text().splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, numbers[:8])
            found[int(name[3:])] = user + nice + system + irq + softirq + steal
    return found


def spent(proc: Path = Path("/proc")) -> dict[int, Spent]:
    """Every process that can be seen."""
    found = {}
    for entry in os.scandir(proc):
        if not entry.name.isdigit():
            continue
        try:
            name, fields = _parts(Path(entry.path, "stat").read_text())
            # proc(5): state is field 3, ppid 4, utime stime cutime cstime 14–17.
            found[int(entry.name)] = Spent(int(fields[1]), sum(map(int, fields[11:15])), name)
        except (OSError, ValueError, IndexError):
            continue  # gone meanwhile
    return found


def _parts(stat: str) -> tuple[str, list[str]]:
    """The name, which may hold anything, and the fields after it."""
    _, _, rest = stat.partition("(")
    name, _, fields = rest.rpartition(")")
    return name, fields.split()


def threads_of(pids: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Thread → nanoseconds it has run and waited on a run queue, of these processes; what is gone is left out."""
    found = {}
    for pid in pids:
        try:
            threads = list(Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            continue
        for thread in threads:
            try:
                ran, waited, _ = (thread / "schedstat").read_text().split()
                found[int(thread.name)] = int(ran), int(waited)
            except (OSError, ValueError):
                continue
    return found


def _cpus(pids: Iterable[int]) -> frozenset[int]:
    """The CPUs that any of these may use."""
    found: set[int] = set()
    for pid in pids:
        try:
            found |= os.sched_getaffinity(pid)
        except OSError:
            continue
    return frozenset(found)
