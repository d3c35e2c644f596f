"""Containers that crash, are restarted, or are paused.

A process that is killed on the host has crashed, for the engine, and the container's restart policy fires. What the
engine itself has killed or stopped stays down: that is `docker_down`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Seconds, human_duration
from fault_injectors import docker_engine as engine
from fault_injectors import processes
from fault_injectors.docker_aim import (
    Aim,
    Box,
    aim,
    box_of,
    boxes_of,
    check_grace,
    host_processes,
    ids_of,
    is_same_start,
    processes_of,
    running,
    state_of,
    whole,
)
from fault_injectors.docker_engine import Json
from fault_injectors.processes import Process

SETTLE_S = 0.5
"""A call that has reached the engine lands this much later, at most."""


class Crash:
    """Kills the main process of containers behind the engine's back, so that their restart policy fires."""

    name: ClassVar[str] = "docker.crash"
    about: ClassVar[str] = (
        "Kills containers' main processes on this host (SIGKILL): a crash, after which their restart policy fires."
    )
    needs: ClassVar[tuple[str, ...]] = ("containers",)
    reversible: ClassVar[bool] = False
    guard: ClassVar[str] = "target"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """What to say about a crash."""

        comes_back: Literal["by itself"] = field(
            metadata={"help": "The restart policy, or an orchestrator, brings it back. Says that you know: no undo."}
        )

    def available(self) -> Availability:
        """Where the SDK is; whether the host's pids are to be seen, only `prepare` can tell."""
        return engine.available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose, and find the main processes on this host."""
        chosen = await aim(fault, context)
        targets = host_processes(chosen)
        policies = {_policy(found) for found in chosen.seen.values()}
        return Recipe(
            injector=self.name,
            says=f"SIGKILL to the main process of {chosen.says}; comes back by itself (restart policy: "
            f"{', '.join(sorted(policies))})",
            data={**chosen.data(), **targets},
            claims=chosen.claims("state"),
            reversible=False,
            settle_s=0.0,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Send SIGKILL to exactly those processes."""
        for target in processes_of(recipe):
            if not processes.send(target, signal.SIGKILL):
                raise InjectorError(f"the main process of {target.says} was gone before it could be killed")

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel knows the pid no more, and the engine has noticed."""
        alive = list(filter(processes.alive, processes_of(recipe)))
        if alive:
            return Evidence(ok=None, says=f"{_said(alive)} still there")
        where, says = str(recipe.data["engine"]), []
        for box in boxes_of(recipe):
            found = await engine.look(where, box.id)
            if found is not None and is_same_start(found, box):
                return Evidence(ok=None, says=f"pid {box.pid} is gone, but the engine has not noticed")
            says.append(f"{box.name}: pid {box.pid} gone, {state_of(found)}")
        return Evidence(ok=True, says="; ".join(says))

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Nothing: a crash has no undo."""

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Nothing of ours is ever left."""
        return Evidence(ok=True, says="a crash leaves nothing to put back")


class Restart:
    """Has the engine stop and start containers."""

    name: ClassVar[str] = "docker.restart"
    about: ClassVar[str] = "Restarts containers through the engine, which finishes it even when nobody waits any more."
    needs: ClassVar[tuple[str, ...]] = ("containers",)
    reversible: ClassVar[bool] = False
    guard: ClassVar[str] = "target"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How patiently it is stopped."""

        grace: Seconds = field(default=Seconds(10.0), metadata={"help": "From SIGTERM to SIGKILL."})

        def __post_init__(self) -> None:
            """A grace that the engine understands."""
            check_grace(self.grace)

    def available(self) -> Availability:
        """Where the SDK is."""
        return engine.available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose."""
        assert isinstance(fault.params, Restart.Params)
        chosen = await aim(fault, context)
        return Recipe(
            injector=self.name,
            says=f"{chosen.says} restarted (SIGTERM, SIGKILL after {human_duration(fault.params.grace)})",
            data={**chosen.data(), "grace_s": int(fault.params.grace)},
            claims=chosen.claims("state"),
            reversible=False,
            settle_s=0.0,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Ask for it, and wait until it is done."""
        where, grace_s = str(recipe.data["engine"]), whole(recipe.data["grace_s"])
        await engine.tell(where, "restart", ids_of(recipe), takes_s=grace_s, timeout=grace_s)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The engine calls it started anew, with another main process."""
        says = []
        for box in boxes_of(recipe):
            found = await engine.look(str(recipe.data["engine"]), box.id)
            if found is not None and found["State"]["StartedAt"] == box.started:
                return Evidence(ok=None, says=f"{box.says} runs as before")
            says.append(f"{box.name}: pid {box.pid} gone, {state_of(found)}")
        return Evidence(ok=True, says="; ".join(says))

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Nothing: the engine has started it again."""

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Nothing of ours is ever left."""
        return Evidence(ok=True, says="a restart leaves nothing to put back")


class Pause:
    """Freezes containers: they hold their connections and answer nothing."""

    name: ClassVar[str] = "docker.pause"
    about: ClassVar[str] = "Freezes all processes of containers, which hang with open connections, then thaws them."
    needs: ClassVar[tuple[str, ...]] = ("containers",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    tagged: ClassVar[bool] = False
    """A frozen container does not say who froze it."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Nothing to say."""

    def available(self) -> Availability:
        """Where the SDK is."""
        return engine.available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose among those that run; one that is paused already is not running."""
        return self._recipe(await aim(fault, context), fault.for_s)

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Containers of a system that are frozen, by whomever: a recipe for each that thaws it."""
        found = []
        for component in system.components.values():
            if component.containers is None:
                continue
            where, frozen = await running(component, state="paused")
            for summary in frozen:
                seen = await engine.look(where, str(summary["Id"]))
                if seen is not None:
                    alone = Aim(engine=where, boxes=(box_of(seen),), seen={seen["Id"]: seen})
                    found.append(self._recipe(alone, 0.0))
        return found

    def _recipe(self, chosen: Aim, lasts_s: float) -> Recipe:
        return Recipe(
            injector=self.name,
            says=f"{chosen.says} paused, put back by unpausing",
            data=chosen.data(),
            claims=chosen.claims("state"),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=lasts_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Freeze each."""
        await engine.tell(str(recipe.data["engine"]), "pause", ids_of(recipe))

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The engine calls each paused, and it is the one that we froze."""
        for box in boxes_of(recipe):
            found = await engine.look(str(recipe.data["engine"]), box.id)
            if found is None or not is_same_start(found, box):
                return Evidence(ok=False, says=f"{box.says} {state_of(found)} instead of hanging", ended=True)
            if not found["State"]["Paused"]:
                return Evidence(ok=None, says=f"{box.says} is not paused")
        return Evidence(ok=True, says=f"{_said(boxes_of(recipe))} paused, says the engine")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Thaw each that is paused and not replaced."""
        where = str(recipe.data["engine"])
        paused = [box.id for box in boxes_of(recipe) if _paused(await engine.look(where, box.id), box)]
        await engine.tell(where, "unpause", paused)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """None of them is paused."""
        where = str(recipe.data["engine"])
        paused = [box for box in boxes_of(recipe) if _paused(await engine.look(where, box.id), box)]
        if paused:
            return Evidence(ok=False, says=f"{_said(paused)} is paused")
        return Evidence(ok=True, says=f"{_said(boxes_of(recipe))} not paused")


def _paused(found: Json | None, box: Box) -> bool:
    """Paused, and not a later start of it, which somebody else has paused then."""
    return found is not None and bool(found["State"]["Paused"]) and is_same_start(found, box)


def _said(those: Iterable[Box | Process]) -> str:
    return ", ".join(one.says for one in those)


def _policy(found: Json) -> str:
    return str(found["HostConfig"]["RestartPolicy"]["Name"]) or "no"
