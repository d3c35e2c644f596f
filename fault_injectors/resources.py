"""Take CPU, memory or process slots of this host, or of one cgroup, from whoever else wants them.

A holder process takes them and keeps its own deadline, so that they come back even if nobody undoes anything.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Any, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Bytes, Share
from fault_injectors import leased
from fault_injectors import resources_lease as lease
from fault_injectors import resources_measure as measure

LOOK_S = 0.5
"""How long CPU time is watched for evidence."""
MOST_PROCESSES = 20_000
_CGROUP = field(default="", metadata={"help": "Directory of a cgroup that the holder joins; none: the whole host."})


class Held:
    """What all of these have in common: a holder takes, and its end gives back."""

    name: ClassVar[str]
    kind: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"

    def available(self) -> Availability:
        """Where a holder can be found again by its command line."""
        return lease.available()

    def recipe(self, fault: Fault, context: Context, *, says: str, claim: str, data: dict[str, object]) -> Recipe:
        """A recipe of this kind."""
        return Recipe(
            injector=self.name,
            says=f"{says}, put back by ending the holder",
            data={"tag": context.tag(fault), "kind": self.kind, "cgroup": "", **data},
            claims=(claim,),
            settle_s=leased.SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Start the holder and wait until it has taken."""
        await asyncio.to_thread(lease.start, recipe)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """End the holder; the kernel gives back what it held."""
        await asyncio.to_thread(lease.end, recipe)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No holder is left."""
        return lease.none_left(recipe)

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """A recipe that ends them for each tag whose holders live on this host."""
        return [
            Recipe(
                injector=self.name,
                says=f"holders of {tag}, put back by ending them",
                data={"tag": tag, "kind": self.kind},
                claims=(tag,),
                settle_s=leased.SETTLE_S,
                guard=self.guard,
            )
            for tag in sorted(lease.tags(self.kind))
        ]


class Cpu(Held):
    """Keeps CPUs busy."""

    name: ClassVar[str] = "resources.cpu"
    kind: ClassVar[str] = "cpu"
    about: ClassVar[str] = "Keeps CPUs of this host busy for a share of the time, one burner a CPU."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How busy, and how many."""

        load: Share = field(default=Share(1.0), metadata={"help": "Share of each CPU's time that the burner wants."})
        cores: int = field(default=0, metadata={"help": "How many CPUs, of those we may run on; 0 = all of them."})
        cgroup: str = _CGROUP

        def __post_init__(self) -> None:
            """Something to burn."""
            if not 0 < self.load <= 1 or self.cores < 0:
                raise ValueError("'load' is above 0 % and at most 100 %, 'cores' at least 0")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Draw the CPUs."""
        params = fault.params
        assert isinstance(params, Cpu.Params)
        allowed = sorted(os.sched_getaffinity(0))
        if params.cores > len(allowed):
            raise InjectorError(f"{params.cores} CPUs are asked for, we may run on {len(allowed)}")
        cpus = sorted(context.rng.sample(allowed, params.cores or len(allowed)))
        return self.recipe(
            fault,
            context,
            says=f"a burner wants {params.load * 100:g} % of CPU {', '.join(map(str, cpus))}{_within(params.cgroup)}",
            claim=f"{params.cgroup or 'host'}:cpu",
            data={"load": params.load, "cpus": cpus, "cgroup": params.cgroup},
        )

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel's own count of these CPUs' busy time; in a cgroup, of the burners' CPU time."""
        cpus, load = _list(recipe.data["cpus"]), float(str(recipe.data["load"]))
        burners = lease.children(recipe)
        if len(burners) < len(cpus):
            return Evidence(ok=False, says=f"{len(burners)} of {len(cpus)} burners alive")
        before, ours = measure.busy_ticks(cpus), _cpu_seconds(burners)
        await asyncio.sleep(LOOK_S)
        after, used = measure.busy_ticks(cpus), _cpu_seconds(burners) - ours
        busy = (after[0] - before[0]) / max(1, after[1] - before[1])
        data = {"busy": busy, "burnt_s": used}
        says = f"CPU {', '.join(map(str, cpus))} {busy * 100:.0f} % busy, {used:.2f} s of it ours in {LOOK_S:g} s"
        within = not recipe.data["cgroup"] or all(
            measure.in_cgroup(one.pid, str(recipe.data["cgroup"])) for one in burners
        )
        enough = used > 0 and within and (bool(recipe.data["cgroup"]) or busy >= 0.8 * load)
        return Evidence(ok=True if enough else None, says=says, data=data)


class Memory(Held):
    """Takes memory until so much is used, but never so much that the kernel has to kill somebody."""

    name: ClassVar[str] = "resources.memory"
    kind: ClassVar[str] = "memory"
    about: ClassVar[str] = (
        "Takes memory of this host or of a cgroup, up to a floor that stays free; the holder is first in line for the "
        "kernel's OOM killer."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How much: until a share is used, or so many bytes."""

        to: Share | None = field(default=None, metadata={"help": "Share of all memory that is used then."})
        size: Bytes | None = field(default=None, metadata={"help": "Or: bytes to take."})
        floor: Bytes = field(
            default=Bytes(256 * 2**20), metadata={"help": "Bytes that stay available to others; given back in time."}
        )
        cgroup: str = _CGROUP

        def __post_init__(self) -> None:
            """One of two."""
            if (self.to is None) is (self.size is None):
                raise ValueError("say either 'to: 90%' or 'size: 1GB'")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """See how much is there, and refuse what the floor forbids."""
        params = fault.params
        assert isinstance(params, Memory.Params)
        total, free = measure.memory_total(params.cgroup), measure.memory_free(params.cgroup)
        wanted = params.size if params.to is None else int(params.to * total) - (total - free)
        assert wanted is not None
        if wanted <= 0:
            raise InjectorError(f"{(total - free) / total:.0%} of the memory is used already")
        if free - wanted < params.floor:
            raise InjectorError(
                f"{_mb(wanted)} would leave {_mb(free - wanted)} of {_mb(free)} available, less than the floor of "
                f"{_mb(params.floor)}"
            )
        return self.recipe(
            fault,
            context,
            says=f"{_mb(wanted)} of memory taken, at least {_mb(params.floor)} left{_within(params.cgroup)}",
            claim=f"{params.cgroup or 'host'}:memory",
            data={"bytes": wanted, "floor": params.floor, "cgroup": params.cgroup},
        )

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """What the kernel counts as the holder's resident memory."""
        holder = lease.head(recipe)
        if holder is None:
            return Evidence(ok=False, says="no holder is alive")
        cgroup, wanted = str(recipe.data["cgroup"]), int(str(recipe.data["bytes"]))
        resident, free = _resident(holder.pid), measure.memory_free(cgroup)
        says = f"{_mb(resident)} resident in the holder, {_mb(free)} available to others"
        enough = resident >= 0.95 * wanted and (not cgroup or measure.in_cgroup(holder.pid, cgroup))
        return Evidence(ok=True if enough else None, says=says, data={"resident": resident, "available": free})


class ProcessTable(Held):
    """Takes places in the table of processes."""

    name: ClassVar[str] = "resources.processes"
    kind: ClassVar[str] = "processes"
    about: ClassVar[str] = "Starts processes that sleep, so that fork and new threads meet their limit."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How many."""

        count: int = field(metadata={"help": f"Processes to start, at most {MOST_PROCESSES:,}."})
        leave: int = field(default=500, metadata={"help": "Refuse if fewer than this could be started afterwards."})
        cgroup: str = _CGROUP

        def __post_init__(self) -> None:
            """A number that one host can take; on the whole host some stay, for our own way back."""
            if not 1 <= self.count <= MOST_PROCESSES:
                raise ValueError(f"'count' is 1 to {MOST_PROCESSES:,}")
            if self.leave < (0 if self.cgroup else 100):
                raise ValueError("'leave' is at least 100, or 0 in a 'cgroup'")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """See how many more there can be."""
        params = fault.params
        assert isinstance(params, ProcessTable.Params)
        free = measure.pids_free(params.cgroup)
        # The holder itself is one more.
        if free - params.count - 1 < params.leave:
            raise InjectorError(f"{free} more processes are possible; {params.count} would not leave {params.leave}")
        return self.recipe(
            fault,
            context,
            says=f"{params.count} of {free} possible further processes started{_within(params.cgroup)}",
            claim=f"{params.cgroup or 'host'}:processes",
            data={"count": params.count, "cgroup": params.cgroup},
        )

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """They are all in /proc."""
        found, count = lease.children(recipe), int(str(recipe.data["count"]))
        cgroup = str(recipe.data["cgroup"])
        if len(found) < count:
            return Evidence(ok=False, says=f"{len(found)} of {count} processes alive")
        if cgroup and not measure.in_cgroup(found[-1].pid, cgroup):
            return Evidence(ok=False, says=f"they are not in {cgroup}")
        return Evidence(ok=True, says=f"{count} processes alive, {measure.pids_free(cgroup)} more are possible")


def _within(cgroup: str) -> str:
    return f" in {cgroup}" if cgroup else ""


def _mb(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


def _list(value: object) -> list[int]:
    assert isinstance(value, list)
    return value


def _resident(pid: int) -> int:
    import psutil

    try:
        resident: int = psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0
    return resident


def _cpu_seconds(burners: list[Any]) -> float:
    import psutil

    total = 0.0
    for one in burners:
        try:
            times = psutil.Process(one.pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
