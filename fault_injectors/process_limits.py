"""Make processes of this host worse off without ending them: no file descriptor left, or hardly any CPU priority.

Both are settings that the kernel keeps for each process (or thread), so undo sets back what was there, and only where
our own value still stands: what somebody else has set since is theirs.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from fault_injectors import processes
from fault_injectors.process_targets import CAP_SYS_NICE, CAP_SYS_RESOURCE, available, capable, said, targets_of
from fault_injectors.processes import Process

SETTLE_S = 0.2


class Fds:
    """Lowers the limit of open files to the lowest free descriptor: what is open stays open, nothing new can be.

    A connection that closes frees its descriptor, and one may be opened in its place: the process is capped, not hung.
    """

    name: ClassVar[str] = "process.fds"
    about: ClassVar[str] = (
        "Leaves processes no file descriptor: accept, connect and open fail (EMFILE) until their limit is set back."
    )
    needs: ClassVar[tuple[str, ...]] = ("processes",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    tagged: ClassVar[bool] = False
    """A limit does not say who set it."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How many are left."""

        leave: int = field(default=0, metadata={"help": "Descriptors that can still be opened."})
        with_children: bool = field(default=False, metadata={"help": "Limit its descendants as well."})

        def __post_init__(self) -> None:
            """Not fewer than none."""
            if self.leave < 0:
                raise ValueError("'leave' is at least 0")

    def available(self) -> Availability:
        """Where there are pidfds, and limits of others can be set."""
        here = available()
        if here.ok and not hasattr(resource, "prlimit"):
            return Availability(ok=False, why="no prlimit: needs Linux")
        return here

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look at limits and open files; a process that never comes near the new limit is refused."""
        params = fault.params
        assert isinstance(params, Fds.Params)
        targets = targets_of(fault, context, with_children=params.with_children)
        if any(_other_user(target) for target in targets) and not capable(CAP_SYS_RESOURCE):
            raise InjectorError(f"the limits of {said(targets)} can be set by their own user, or with CAP_SYS_RESOURCE")
        members = [_member(target, params.leave) for target in targets]
        return Recipe(
            injector=self.name,
            says=f"no file descriptor beyond {params.leave} for {said(targets)}, put back by setting the limit back",
            data={"members": members},
            claims=tuple(f"{target.claim}:fds" for target in targets),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Lower each soft limit; the hard one stays."""
        for target, member in _members(recipe):
            if processes.now(target) is None:
                raise InjectorError(f"{target.says} was gone before its limit could be set")
            _set_limit(target, member["limit"], member["hard"])

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel's limit is ours, and its list of the process's open files has no free number below it."""
        free: dict[str, int] = {}
        for target, member in _members(recipe):
            if processes.now(target) is None:
                return Evidence(ok=False, says=f"{target.says} ended or was replaced", ended=True)
            if _limit(target)[0] != member["limit"]:
                return Evidence(ok=False, says=f"the limit of {target.says} is not ours")
            opened = _open(target.pid)
            free[target.says] = len(set(range(member["limit"])) - opened)
            if free[target.says] > member["leave"]:
                return Evidence(ok=None, says=f"{target.says} has closed some, {free[target.says]} left", data=free)
        return Evidence(ok=True, says=", ".join(f"{who}: {n} descriptors left" for who, n in free.items()), data=free)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Set back each limit that is still ours."""
        for target, member in _members(recipe):
            if processes.now(target) is not None and _limit(target)[0] == member["limit"]:
                _set_limit(target, member["soft"], member["hard"])

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No limit is ours."""
        ours = [t for t, member in _members(recipe) if processes.now(t) and _limit(t)[0] == member["limit"]]
        if ours:
            return Evidence(ok=False, says=f"{said(ours)} still limited")
        return Evidence(ok=True, says="no limit of ours is left")


class Priority:
    """Gives every thread of processes the lowest CPU priority (nice), so that whoever else runs comes first."""

    name: ClassVar[str] = "process.priority"
    about: ClassVar[str] = "Lowers the CPU priority of processes, thread by thread (nice), then sets it back."
    needs: ClassVar[tuple[str, ...]] = ("processes",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    tagged: ClassVar[bool] = False
    """A priority does not say who set it."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How low."""

        nice: int = field(default=19, metadata={"help": "1 to 19, the lowest; shows only where CPUs are contended."})
        with_children: bool = field(default=False, metadata={"help": "Its descendants as well."})

        def __post_init__(self) -> None:
            """Only downwards."""
            if not 1 <= self.nice <= 19:
                raise ValueError("'nice' is 1 to 19")

    def available(self) -> Availability:
        """Where a priority, once lowered, may be raised again."""
        here = available()
        if here.ok and not capable(CAP_SYS_NICE):
            return Availability(ok=False, why="a lowered priority could not be raised again: needs CAP_SYS_NICE")
        return here

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Remember the priority of every thread."""
        params = fault.params
        assert isinstance(params, Priority.Params)
        targets = targets_of(fault, context, with_children=params.with_children)
        members = []
        for target in targets:
            before = {str(tid): nice for tid in _threads(target.pid) if (nice := _nice(tid)) is not None}
            if any(nice >= params.nice for nice in before.values()):
                raise InjectorError(
                    f"a thread of {target.says} has nice {max(before.values())} already",
                    claims=[f"{target.claim}:nice"],
                )
            members.append({**target.to_json(), "before": before})
        return Recipe(
            injector=self.name,
            says=f"nice {params.nice} for {said(targets)}, put back thread by thread",
            data={"members": members, "nice": params.nice},
            claims=tuple(f"{target.claim}:nice" for target in targets),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Lower every thread there is now; those born later inherit from them."""
        nice = recipe.data["nice"]
        assert isinstance(nice, int)
        for target, _ in _members(recipe):
            if processes.now(target) is None:
                raise InjectorError(f"{target.says} was gone before its priority could be set")
            for tid in _threads(target.pid):
                _set_nice(tid, nice)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Every thread has it, says the kernel."""
        targets = [target for target, _ in _members(recipe)]
        if gone := [target for target in targets if processes.now(target) is None]:
            return Evidence(ok=False, says=f"{said(gone)} ended or was replaced", ended=True)
        others = [tid for t in targets for tid in _threads(t.pid) if _nice(tid) not in (recipe.data["nice"], None)]
        if others:
            return Evidence(ok=None, says=f"threads {others} have another priority")
        return Evidence(ok=True, says=f"nice {recipe.data['nice']} on every thread of {said(targets)}")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Set back each thread that has our priority; one born meanwhile gets what its process had."""
        for target, member in _members(recipe):
            before: Mapping[str, int] = member["before"]
            for tid in self._ours(target, recipe):
                _set_nice(tid, before.get(str(tid), before.get(str(target.pid), 0)))

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No thread has our priority."""
        ours = [tid for target, _ in _members(recipe) for tid in self._ours(target, recipe)]
        if ours:
            return Evidence(ok=False, says=f"threads {ours} still have nice {recipe.data['nice']}")
        return Evidence(ok=True, says="no priority of ours is left")

    def _ours(self, target: Process, recipe: Recipe) -> list[int]:
        if processes.now(target) is None:
            return []
        return [tid for tid in _threads(target.pid) if _nice(tid) == recipe.data["nice"]]


def _member(target: Process, leave: int) -> dict[str, object]:
    """A target with its limit before, and the one that leaves it so many descriptors."""
    soft, hard = _limit(target)
    opened = _open(target.pid)
    free = (number for number in range(len(opened) + leave + 1) if number not in opened)
    limit = [number for _, number in zip(range(leave + 1), free, strict=False)][-1]
    if limit >= soft:
        raise InjectorError(
            f"{target.says} is at its limit of {soft} open files already", claims=[f"{target.claim}:fds"]
        )
    return {**target.to_json(), "soft": soft, "hard": hard, "limit": limit, "leave": leave}


def _members(recipe: Recipe) -> list[tuple[Process, Mapping[str, Any]]]:
    members = recipe.data["members"]
    assert isinstance(members, Sequence)
    return [(processes.from_json(raw), raw) for raw in members]


def _limit(target: Process) -> tuple[int, int]:
    try:
        return resource.prlimit(target.pid, resource.RLIMIT_NOFILE)
    except ProcessLookupError:
        return (-1, -1)
    except PermissionError:
        raise InjectorError(f"the limits of {target.says} cannot be read; run as its user or as root") from None


def _set_limit(target: Process, soft: int, hard: int) -> None:
    try:
        resource.prlimit(target.pid, resource.RLIMIT_NOFILE, (soft, hard))
    except ProcessLookupError:
        pass  # it ended this instant, and its limit with it
    except PermissionError:
        raise InjectorError(f"the limits of {target.says} cannot be set; run as its user or as root") from None


def _open(pid: int) -> set[int]:
    try:
        return {int(name) for name in os.listdir(processes.PROC / str(pid) / "fd")}  # noqa: PTH208 - names are enough
    except FileNotFoundError:
        return set()
    except PermissionError:
        raise InjectorError(f"the open files of pid {pid} cannot be seen; run as its user or as root") from None


def _other_user(target: Process) -> bool:
    return (processes.PROC / str(target.pid)).stat().st_uid != os.geteuid()


def _threads(pid: int) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(processes.PROC / str(pid) / "task"))  # noqa: PTH208
    except (FileNotFoundError, ProcessLookupError):
        return []


def _nice(tid: int) -> int | None:
    try:
        return os.getpriority(os.PRIO_PROCESS, tid)
    except ProcessLookupError:
        return None


def _set_nice(tid: int, nice: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, tid, nice)
    except ProcessLookupError:
        pass  # that thread has ended
    except PermissionError:
        raise InjectorError(f"the priority of thread {tid} cannot be set: needs CAP_SYS_NICE") from None
