"""Inside a container: its temporary directory fills up, one of its processes is killed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Bytes
from fault_injectors import docker_engine as engine
from fault_injectors import docker_files as files
from fault_injectors import processes
from fault_injectors.docker_aim import Box, aim, box_of, boxes_of, each, host_process, in_container, processes_of
from fault_injectors.processes import Process

SETTLE_S = 0.5
SLACK = 1_000_000
"""Free space moves while others write: so much more than the floor still counts as full."""


TMP = "/tmp"  # noqa: S108 - the container's
MARK = "chaosrunner-"


class Fill:
    """Fills a directory of containers, down to a floor of free space."""

    name: ClassVar[str] = "docker.fill"
    about: ClassVar[str] = (
        "Fills the temporary directory of containers with one file, down to a floor, and removes the file."
    )
    needs: ClassVar[tuple[str, ...]] = ("containers",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Where, and how far."""

        at_most: Bytes = field(
            metadata={"help": "Never write more. A container without a disk of its own fills the engine's."}
        )
        leave: Bytes = field(default=Bytes(64_000_000), metadata={"help": "Free space that is left in any case."})
        path: str = field(default=TMP, metadata={"help": "A directory in the container."})

        def __post_init__(self) -> None:
            """Something to write, somewhere."""
            if self.at_most <= 0:
                raise ValueError("'at_most' is more than nothing")
            if not self.path.startswith("/") or ".." in PurePosixPath(self.path).parts:
                raise ValueError("'path' begins with '/' and holds no '..'")

    def available(self) -> Availability:
        """Where the SDK and root are."""
        if os.geteuid() != 0:
            return Availability(ok=False, why="writing to the file system of a container needs root")
        return engine.available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose, and see how much room there is."""
        params = fault.params
        assert isinstance(params, Fill.Params)
        chosen = await aim(fault, context)
        members, lengths = [], {}
        for box in chosen.boxes:
            if place := files.lives_longer(chosen.seen[box.id], params.path):
                raise InjectorError(f"{place} of {box.says} is a volume, which would keep our file when it is replaced")
            member = host_process(box)
            with files.directory(member, params.path) as handle:
                room = 0 if handle is None else files.free(handle) - params.leave
            if room <= 0:
                raise InjectorError(f"{params.path} of {box.says} has less than {params.leave:,} bytes left already")
            members.append(member.to_json())
            lengths[box.id] = min(params.at_most, room)
        total = sum(lengths.values())
        name = context.tag(fault).replace("/", "-")
        return Recipe(
            injector=self.name,
            says=f"{total:,} bytes in {params.path} of {chosen.says}, put back by removing {name}",
            data={
                **chosen.data(),
                "processes": members,
                "path": params.path,
                "file": name,
                "lengths": lengths,
                "leave": params.leave,
            },
            claims=chosen.claims("disk"),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Write the files."""
        path, name = _where(recipe)
        for box, member in zip(boxes_of(recipe), processes_of(recipe), strict=True):
            with files.directory(member, path) as handle:
                if handle is None:
                    raise InjectorError(f"{box.says} ended before its {path} could be filled")
                try:
                    files.write(handle, name, _length(recipe, box))
                except OSError as error:
                    raise InjectorError(f"{path} of {box.says}: {error.strerror}") from None

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The file is there in full, and the file system says how much is left."""
        path, name = _where(recipe)
        says = []
        for box, member in zip(boxes_of(recipe), processes_of(recipe), strict=True):
            with files.directory(member, path) as handle:
                if handle is None:
                    return Evidence(ok=False, says=f"{box.says} ended or was started anew", ended=True)
                length, left = files.size(handle, name), files.free(handle)
            if length != _length(recipe, box):
                return Evidence(ok=False, says=f"the file at {box.says} has {length or 0:,} bytes")
            full = "full" if left <= _floor(recipe) + SLACK else "not full"
            says.append(f"{path} of {box.name} holds {length:,} bytes of ours and is {full}: {left:,} are left")
        return Evidence(ok=True, says="; ".join(says))

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Remove the files, also of a container that was started anew meanwhile: its layer has kept it."""
        path, name = _where(recipe)
        for box in boxes_of(recipe):
            member = await _now(recipe, box)
            if member is not None:
                with files.directory(member, path) as handle:
                    if handle is not None:
                        files.remove(handle, name)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No file of that name; a container that does not run cannot be looked into."""
        path, name = _where(recipe)
        for box in boxes_of(recipe):
            member = await _now(recipe, box)
            if member is None:
                continue
            with files.directory(member, path) as handle:
                if handle is None:
                    return Evidence(ok=None, says=f"{box.says} is ending")
                if files.size(handle, name) is not None:
                    return Evidence(ok=False, says=f"{path}/{name} is still at {box.says}")
        return Evidence(ok=True, says=f"no file {name} is left")

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """A recipe that removes it for each file of ours in `/tmp` of a container of the system; not elsewhere."""
        found = []
        for component in system.components.values():
            for alone in await each(component) if component.containers else ():
                member = host_process(alone.boxes[0])
                with files.directory(member, TMP) as handle:
                    names = [] if handle is None else files.names(handle, MARK)
                found += [
                    Recipe(
                        injector=self.name,
                        says=f"{TMP}/{name} of {alone.says}, put back by removing it",
                        data={
                            **alone.data(),
                            "processes": [member.to_json()],
                            "path": TMP,
                            "file": name,
                            "lengths": {},
                            "leave": 0,
                        },
                        claims=alone.claims("disk"),
                        settle_s=SETTLE_S,
                    )
                    for name in names
                ]
        return found


class KillInside:
    """Kills processes in containers, other than their main process."""

    name: ClassVar[str] = "docker.kill_inside"
    about: ClassVar[str] = "Kills processes inside containers, such as a worker; their main process is docker.crash."
    needs: ClassVar[tuple[str, ...]] = ("containers",)
    reversible: ClassVar[bool] = False
    guard: ClassVar[str] = "target"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Which processes."""

        command: str = field(metadata={"help": "A regular expression searched in command lines."})
        comes_back: Literal["by itself"] = field(
            metadata={"help": "Who brings it back. Says that you know: there is no undo."}
        )
        at_most: int = field(default=1, metadata={"help": "Refuse if more processes of one container match."})
        signal: Literal["KILL", "TERM"] = field(default="KILL", metadata={"help": "KILL cannot be caught, TERM asks."})

        def __post_init__(self) -> None:
            """A pattern that means something."""
            try:
                re.compile(self.command)
            except re.error as error:
                raise ValueError(f"'command' is no regular expression: {error}") from None
            if not self.command or self.at_most < 1:
                raise ValueError("'command' is a pattern, and 'at_most' at least 1")

    def available(self) -> Availability:
        """Where the SDK is; whether the host's pids are to be seen, only `prepare` can tell."""
        return engine.available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose, and find the processes on this host by their control group."""
        assert isinstance(fault.params, KillInside.Params)
        chosen = await aim(fault, context)
        targets = [one for box in chosen.boxes for one in _matching(box, fault.params)]
        says = ", ".join(target.says for target in targets)
        return Recipe(
            injector=self.name,
            says=f"SIG{fault.params.signal} to {says}; it comes back {fault.params.comes_back}",
            data={
                **chosen.data(),
                "processes": [target.to_json() for target in targets],
                "signal": fault.params.signal,
            },
            claims=tuple(target.claim for target in targets),
            reversible=False,
            settle_s=0.0,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Send the signal to exactly those."""
        processes.kill(processes_of(recipe), str(recipe.data["signal"]))

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel knows their pids no more."""
        targets = processes_of(recipe)
        alive = list(filter(processes.alive, targets))
        said = ", ".join(one.says for one in alive or targets)
        return Evidence(ok=None, says=f"{said} still there") if alive else Evidence(ok=True, says=f"{said} gone")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Nothing: a kill has no undo."""

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Nothing of ours is ever left."""
        return Evidence(ok=True, says="a kill leaves nothing to put back")


def _matching(box: Box, params: KillInside.Params) -> list[Process]:
    """Live processes in a container whose command line matches, without its main process. Raises InjectorError."""
    main, pattern, found = host_process(box), re.compile(params.command), []
    for pid in sorted(int(entry) for entry in os.listdir(processes.PROC) if entry.isdecimal()):  # noqa: PTH208
        line = " ".join(processes.command_line(pid))
        if pid == main.pid or not line or not pattern.search(line) or not in_container(pid, box.id):
            continue
        seen = processes.status(pid)
        if seen is not None and seen.state not in "ZX":
            says = f"'{line[:40]}' (pid {pid}) in {box.says}"
            found.append(Process(pid=pid, start=seen.start, boot=main.boot, says=says))
    if not found:
        raise InjectorError(f"no process in {box.says} matches '{params.command}'; its main process is docker.crash")
    if len(found) > params.at_most:
        raise InjectorError(f"'{params.command}' matches {len(found)} in {box.says}, allowed are {params.at_most}")
    return found


async def _now(recipe: Recipe, box: Box) -> Process | None:
    """The main process of a container now; None when the container was removed.

    Raises:
        InjectorError: it does not run, and nobody can look into it.
    """
    found = await engine.look(str(recipe.data["engine"]), box.id)
    if found is None:
        return None
    if not found["State"]["Pid"]:
        raise InjectorError(f"{box.says} does not run: whether our file is gone can be seen when it is started")
    return host_process(box_of(found))


def _where(recipe: Recipe) -> tuple[str, str]:
    return str(recipe.data["path"]), str(recipe.data["file"])


def _length(recipe: Recipe, box: Box) -> int:
    lengths = recipe.data["lengths"]
    assert isinstance(lengths, Mapping)
    return int(lengths[box.id])


def _floor(recipe: Recipe) -> int:
    floor = recipe.data["leave"]
    assert isinstance(floor, int)
    return floor
