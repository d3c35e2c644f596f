"""Containers that get less CPU time or less memory: their control group's limit is written, and written back.

The kernel's own file is changed, not the engine's setting: what stood there is put back to the letter, which the engine
cannot do where there was no limit. It takes root on the engine's host. A container that is started again gets a new
control group with the engine's limits, and nothing is left to put back. A limit that somebody else changed
meanwhile is no longer ours, and left alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.units import Bytes
from fault_injectors import docker_cgroups as cgroups
from fault_injectors import docker_engine as engine
from fault_injectors import processes
from fault_injectors.docker_aim import Box, aim, host_process, processes_of
from fault_injectors.docker_cgroups import Group
from fault_injectors.processes import Process

SETTLE_S = 0.5
LEAST_CORES = 0.01
LEAST_MEMORY = 6_291_456
"""The engine allows no container less than 6 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value of one file, before and during the fault."""

    path: str
    before: str
    during: str
    stat: str
    """The file beside it that counts what the limit did."""
    struck: int
    """What it had counted before."""

    def to_json(self) -> dict[str, object]:
        """JSON values only."""
        return {name: getattr(self, name) for name in self.__slots__}


class LimitFault:
    """A limit of the control groups of containers; a subclass says which."""

    name: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("containers",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    Params: ClassVar[type]
    what: ClassVar[str]

    def available(self) -> Availability:
        """Where the SDK and root are."""
        if os.geteuid() != 0:
            return Availability(ok=False, why="changing the control group of a container needs root")
        return engine.available()

    def setting(self, group: Group, params: object, box: Box) -> Setting:
        """What stands in the group now, and what will."""
        raise NotImplementedError

    def says(self, params: object) -> str:
        """The limit, for people."""
        raise NotImplementedError

    def evidence(self, setting: Setting, says: str) -> Evidence:
        """Whether a limit that is in force does something."""
        raise NotImplementedError

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose, and read the limits that there are."""
        chosen = await aim(fault, context)
        members, settings = [], {}
        for box in chosen.boxes:
            member = host_process(box)
            setting = self.setting(_group(member, self.what), fault.params, box)
            if setting.before.split() == setting.during.split():
                raise InjectorError(f"{box.says} has that limit already", claims=[box.claim(self.what)])
            members.append(member.to_json())
            settings[str(member.pid)] = setting.to_json()
        return Recipe(
            injector=self.name,
            says=f"{self.says(fault.params)} for {chosen.says}, put back by writing the old limit",
            data={**chosen.data(), "processes": members, "settings": settings},
            claims=chosen.claims(self.what),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Write the limit."""
        for member, setting in _settings(recipe):
            if processes.now(member) is None:
                raise InjectorError(f"{member.says} was gone before its limit could be changed")
            _write(Path(setting.path), setting.during, member)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel's file says so, and what it counts."""
        says = []
        for member, setting in _settings(recipe):
            found = _read(Path(setting.path))
            if processes.now(member) is None or found is None:
                return Evidence(ok=False, says=f"{member.says} ended, and its control group with it", ended=True)
            if found.split() != setting.during.split():
                return Evidence(ok=False, says=f"{member.says} has the limit {found}, not {setting.during}")
            answer = self.evidence(setting, member.says)
            if not answer.ok:
                return answer
            says.append(answer.says)
        return Evidence(ok=True, says="; ".join(says))

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Write the old limit where ours still stands."""
        for member, setting in _settings(recipe):
            if _is_ours(member, setting):
                _write(Path(setting.path), setting.before, member)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Our limit stands nowhere."""
        left = [member.says for member, setting in _settings(recipe) if _is_ours(member, setting)]
        if left:
            return Evidence(ok=False, says=f"the limit is still at {', '.join(left)}")
        return Evidence(ok=True, says="no limit of ours is left")


class Cpu(LimitFault):
    """Leaves containers only so much CPU time."""

    name: ClassVar[str] = "docker.cpu"
    about: ClassVar[str] = "Leaves containers only so much CPU time (the quota of their control group)."
    what: ClassVar[str] = "cpu"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How much is left."""

        cores: float = field(metadata={"help": "CPU time a second that each may use; 0.5 is half of one core."})

        def __post_init__(self) -> None:
            """A share that the kernel can hand out."""
            if not LEAST_CORES <= self.cores <= 1024:
                raise ValueError("'cores' is at least 0.01")

    def setting(self, group: Group, params: object, box: Box) -> Setting:
        """The quota; its period stays."""
        assert isinstance(params, Cpu.Params)
        path = group.path / cgroups.cpu_file(group.version)
        before = _must_read(path, box)
        period = _must_read(group.path / "cpu.cfs_period_us", box) if group.version == 1 else before.split()[1]
        stat = group.path / "cpu.stat"
        return Setting(
            path=str(path),
            before=before,
            during=cgroups.cpu_value(group.version, params.cores, int(period)),
            stat=str(stat),
            struck=cgroups.throttled(_must_read(stat, box)),
        )

    def says(self, params: object) -> str:
        """The cores."""
        assert isinstance(params, Cpu.Params)
        return f"at most {params.cores:g} cores of CPU time"

    def evidence(self, setting: Setting, says: str) -> Evidence:
        """It had to wait for CPU time since."""
        struck = cgroups.throttled(_read(Path(setting.stat)) or "") - setting.struck
        if struck <= 0:
            return Evidence(ok=None, says=f"{says} has not wanted more than the limit yet")
        return Evidence(ok=True, says=f"{says} was held back in {struck:,} periods, counted by the kernel")


class Memory(LimitFault):
    """Leaves containers only so much memory."""

    name: ClassVar[str] = "docker.memory"
    about: ClassVar[str] = "Leaves containers only so much memory (the limit of their control group)."
    what: ClassVar[str] = "memory"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How much is left."""

        limit: Bytes = field(metadata={"help": "What each may use; never less than it cannot do without now."})

        def __post_init__(self) -> None:
            """A limit that the engine would take."""
            if self.limit < LEAST_MEMORY:
                raise ValueError("'limit' is at least 6MiB")

    def setting(self, group: Group, params: object, box: Box) -> Setting:
        """The limit, in whole pages; refused where it would be the end of the container at once."""
        assert isinstance(params, Memory.Params)
        path = group.path / cgroups.memory_file(group.version)
        usage = group.path / ("memory.usage_in_bytes" if group.version == 1 else "memory.current")
        needed = cgroups.working_set(int(_must_read(usage, box)), _must_read(group.path / "memory.stat", box))
        limit = params.limit - params.limit % os.sysconf("SC_PAGE_SIZE")
        if needed > limit:
            raise InjectorError(
                f"{box.says} uses {needed:,} bytes now, more than {limit:,}: it would be killed at once",
                advice="docker.crash kills it",
            )
        return Setting(path=str(path), before=_must_read(path, box), during=str(limit), stat=str(usage), struck=0)

    def says(self, params: object) -> str:
        """The limit."""
        assert isinstance(params, Memory.Params)
        return f"at most {params.limit:,} bytes of memory"

    def evidence(self, setting: Setting, says: str) -> Evidence:
        """It lives below the limit."""
        used = int(_read(Path(setting.stat)) or 0)
        return Evidence(ok=True, says=f"{says} uses {used:,} of {int(setting.during):,} bytes, says the kernel")


def _group(member: Process, what: str) -> Group:
    """The control group of a container's main process. Raises InjectorError."""
    try:
        groups = (processes.PROC / str(member.pid) / "cgroup").read_text()
        mounts = (processes.PROC / "self/mountinfo").read_text()
    except OSError as error:
        raise InjectorError(f"the control group of {member.says} cannot be found: {error.strerror}") from None
    found = cgroups.group_of(groups, mounts, what)
    if found is None or not found.path.is_dir():
        raise InjectorError(f"the {what} control group of {member.says} is not mounted here")
    return found


def _settings(recipe: Recipe) -> list[tuple[Process, Setting]]:
    settings = recipe.data["settings"]
    assert isinstance(settings, Mapping)
    return [(member, Setting(**settings[str(member.pid)])) for member in processes_of(recipe)]


def _is_ours(member: Process, setting: Setting) -> bool:
    found = _read(Path(setting.path)) if processes.now(member) is not None else None
    return found is not None and found.split() == setting.during.split()


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None  # the group is gone, with the container


def _must_read(path: Path, box: Box) -> str:
    found = _read(path)
    if found is None:
        raise InjectorError(f"{path} of {box.says} cannot be read; the kernel or the engine sets no such limit")
    return found


def _write(path: Path, value: str, member: Process) -> None:
    try:
        path.write_text(value)
    except FileNotFoundError:
        return  # the group is gone, with the container
    except OSError as error:
        raise InjectorError(f"{path.name} of {member.says} does not take {value}: {error.strerror}") from None
