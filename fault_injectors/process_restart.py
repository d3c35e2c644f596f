"""End a process and start it again after the fault's time: a restart whose downtime is chosen."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import Component, Processes
from chaosrunner.model.units import Seconds
from fault_injectors import processes
from fault_injectors.aim import component_of
from fault_injectors.process_targets import available, said, targets_from, targets_of
from fault_injectors.processes import Process

SETTLE_S = 0.5
COMES_UP_S = 5.0
"""After a start, its place is looked at for so long before undo returns."""
MARK = "CHAOSRUNNER_RESTARTED"
"""Variable in the environment of what undo starts: while such a one lives, it is given time and not started twice."""
LOOK_EVERY_S = 0.05


class Restart:
    """Ends processes, keeps them away for the fault's time, and starts them again with a command.

    That they are back is seen by their place: their port has an owner, or their pid file names a live process.
    Somebody else who brings them back sooner is welcome; then nothing is started.
    """

    name: ClassVar[str] = "process.restart"
    about: ClassVar[str] = "Ends processes and, when the fault is over, starts them again with the command you give."
    needs: ClassVar[tuple[str, ...]] = ("processes",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    tagged: ClassVar[bool] = False
    """A process that is not there says nothing."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How to end it, and how to start it."""

        start: str = field(
            metadata={
                "help": "Command that starts one, run in its directory as its user; {place} is its port or pid file. "
                "No secrets here: it is written down."
            }
        )
        signal: Literal["KILL", "TERM"] = field(default="TERM", metadata={"help": "TERM asks, KILL cannot be caught."})

        grace: Seconds = field(
            default=Seconds(5.0), metadata={"help": "With TERM: how long it may take to end; then KILL."}
        )

        def __post_init__(self) -> None:
            """A command has words."""
            if not shlex.split(self.start):
                raise ValueError("'start' is a command")

    def available(self) -> Availability:
        """Where there are pidfds."""
        return available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Find the live processes, draw from them, and learn where and as whom each runs."""
        params = fault.params
        assert isinstance(params, Restart.Params)
        places = _places(component_of(fault, context))
        targets = targets_of(fault, context)
        members = [
            {**target.to_json(), **places[target.claim], "command": _command(params.start, places[target.claim])}
            | {"mark": f"{context.tag(fault)}/{target.pid}"}
            | _whereabouts(target)
            for target in targets
        ]
        return Recipe(
            injector=self.name,
            says=f"SIG{params.signal} to {said(targets)}, put back by starting: {params.start}",
            data={"targets": members, "signal": params.signal, "grace": params.grace},
            claims=tuple(target.claim for target in targets),
            settle_s=SETTLE_S + (params.grace if params.signal == "TERM" else 0.0),
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Send the signal, and KILL to whoever is still there after its grace."""
        import asyncio

        targets = targets_from(recipe)
        for target in targets:
            if not processes.send(target, signal.Signals[f"SIG{recipe.data['signal']}"]):
                raise InjectorError(f"{target.says} was gone before it could be ended")
        for _ in range(int(float(str(recipe.data["grace"])) / LOOK_EVERY_S)):
            if not any(processes.alive(target) for target in targets):
                return
            await asyncio.sleep(LOOK_EVERY_S)
        for target in targets:
            processes.send(target, signal.SIGKILL)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Its pid is gone, and nobody has taken its place."""
        there = [target for target in targets_from(recipe) if processes.alive(target)]
        if there:
            return Evidence(ok=None, says=f"{said(there)} still there")
        back = [member["says"] for member in _members(recipe) if _taken(member)]
        if back:
            return Evidence(ok=False, says=f"somebody else has started {', '.join(map(str, back))} again", ended=True)
        return Evidence(ok=True, says=f"{said(targets_from(recipe))} gone, and nobody in the place")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Start each whose place is empty, and wait a moment for it to fill it."""
        import asyncio

        empty = [
            member
            for member in _members(recipe)
            if not (_taken(member) or processes.alive(processes.from_json(member)))
        ]
        for member in empty:
            if not _starting(member):
                _start(member)
        for _ in range(int(COMES_UP_S / LOOK_EVERY_S)):
            if all(_taken(member) for member in empty):
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Every place is taken by somebody alive."""
        lost = [one for one in _members(recipe) if not (_taken(one) or processes.alive(processes.from_json(one)))]
        if lost:
            return Evidence(
                ok=False, says=f"nobody has taken the place of {said([processes.from_json(one) for one in lost])}"
            )
        return Evidence(ok=True, says="every place is taken")


def _places(component: Component) -> dict[str, dict[str, object]]:
    """Claim of a live process → its port or pid file."""
    where = component.processes
    if where is None or not (where.ports or where.pidfiles):
        raise InjectorError(f"{component.name} needs 'ports' or 'pidfiles': only they tell whether it is back")
    found: dict[str, dict[str, object]] = {}
    ways: list[tuple[str, int | str, Processes]] = [
        *(("port", port, Processes(ports=(port,))) for port in where.ports),
        *(("pidfile", path, Processes(pidfiles=(path,))) for path in where.pidfiles),
    ]
    for kind, place, alone in ways:
        for process in processes.instances(Component(name=component.name, processes=alone)):
            found[process.claim] = {"kind": kind, "place": place}
    return found


def _command(start: str, place: dict[str, object]) -> list[str]:
    return [word.replace("{place}", str(place["place"])) for word in shlex.split(start)]


def _whereabouts(target: Process) -> dict[str, object]:
    folder = processes.PROC / str(target.pid)
    try:
        return {"cwd": os.readlink(folder / "cwd"), "uid": folder.stat().st_uid, "gid": folder.stat().st_gid}  # noqa: PTH115
    except OSError:
        raise InjectorError(f"the directory of {target.says} cannot be seen; run as its user or as root") from None


def _members(recipe: Recipe) -> list[dict[str, object]]:
    members = recipe.data["targets"]
    assert isinstance(members, Sequence)
    return list(members)


def _taken(member: dict[str, object]) -> bool:
    """Whether the place has a live owner now."""
    place = member["place"]
    alone = Processes(ports=(int(str(place)),)) if member["kind"] == "port" else Processes(pidfiles=(str(place),))
    return bool(processes.instances(Component(name="place", processes=alone)))


def _starting(member: dict[str, object]) -> bool:
    """Whether one that we have started is alive and on its way to its place."""
    word = f"{MARK}={member['mark']}".encode()
    for folder in processes.PROC.glob("[0-9]*"):
        try:
            if word in (folder / "environ").read_bytes().split(b"\0"):
                return True
        except OSError:
            continue  # ended, or somebody else's
    return False


def _start(member: dict[str, object]) -> None:
    """Start it as a daemon of its user, so that it outlives us."""
    command, cwd = member["command"], member["cwd"]
    assert isinstance(command, Sequence)
    as_user = {"user": member["uid"], "group": member["gid"], "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        subprocess.Popen(  # type: ignore[call-overload]
            command,
            cwd=cwd,
            env=os.environ | {MARK: str(member["mark"])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **as_user,
        )
    except OSError as error:
        raise InjectorError(f"{member['says']} cannot be started again: {command[0]}: {error.strerror}") from None
