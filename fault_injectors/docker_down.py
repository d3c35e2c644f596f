"""Containers that are killed or stopped through the engine, and started again by us.

The engine takes a kill or a stop for somebody's wish: no restart policy fires, and the container stays down. So that
is a debt of ours. Whoever wants to see the restart policy at work says `docker.crash`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.units import Seconds, human_duration
from fault_injectors import docker_engine as engine
from fault_injectors.docker_aim import (
    Aim,
    aim,
    boxes_of,
    check_grace,
    ids_of,
    is_same_start,
    is_up,
    refuse_passing_ports,
    state_of,
    whole,
)
from fault_injectors.docker_engine import Json

SETTLE_S = 0.5
"""A call that has reached the engine lands this much later, at most."""


class _Down:
    """A container that is down because the engine was told so, until we start it again."""

    name: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("containers",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"

    def available(self) -> Availability:
        """Where the SDK is."""
        return engine.available()

    def _recipe(self, fault: Fault, chosen: Aim, says: str, grace_s: float) -> Recipe:
        for found in chosen.seen.values():
            _must_survive(found)
        return Recipe(
            injector=self.name,
            says=f"{says}, then started again by us",
            data=chosen.data(),
            claims=chosen.claims("state"),
            settle_s=SETTLE_S + grace_s,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The engine calls it exited."""
        says = []
        for box in boxes_of(recipe):
            found = await engine.look(str(recipe.data["engine"]), box.id)
            if found is None or (is_up(found) and not is_same_start(found, box)):
                return Evidence(ok=False, says=f"{box.says} {state_of(found)} instead of staying down", ended=True)
            if is_up(found):
                return Evidence(ok=None, says=f"{box.says} still runs")
            says.append(f"{box.name}: pid {box.pid} gone, {state_of(found)}")
        return Evidence(ok=True, says="; ".join(says))

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Start each that is still there and does not run."""
        where = str(recipe.data["engine"])
        seen = {container: await engine.look(where, container) for container in ids_of(recipe)}
        down = [container for container, found in seen.items() if found is not None and not is_up(found)]
        await engine.tell(where, "start", down)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Each that is still there runs."""
        seen = {box.says: await engine.look(str(recipe.data["engine"]), box.id) for box in boxes_of(recipe)}
        down = [says for says, found in seen.items() if found is not None and not is_up(found)]
        if down:
            return Evidence(ok=False, says=f"{', '.join(down)} does not run")
        return Evidence(ok=True, says="; ".join(f"{says} {state_of(found)}" for says, found in seen.items()))


class Kill(_Down):
    """Kills containers through the engine and starts them again."""

    name: ClassVar[str] = "docker.kill"
    about: ClassVar[str] = "Kills containers through the engine, which keeps them down until we start them again."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """What to say about a kill."""

        then: Literal["start it"] = field(
            metadata={"help": "We start it again: no restart policy fires after the engine's own kill."}
        )
        signal: Literal["KILL", "TERM"] = field(default="KILL", metadata={"help": "KILL cannot be caught, TERM asks."})

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose."""
        assert isinstance(fault.params, Kill.Params)
        chosen = await aim(fault, context)
        recipe = self._recipe(fault, chosen, f"SIG{fault.params.signal} to {chosen.says} by the engine", 0.0)
        return _with(recipe, signal=fault.params.signal)

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Have the engine send the signal."""
        where, name = str(recipe.data["engine"]), str(recipe.data["signal"])
        await engine.tell(where, "kill", ids_of(recipe), signal=f"SIG{name}")


class Stop(_Down):
    """Stops containers through the engine and starts them again."""

    name: ClassVar[str] = "docker.stop"
    about: ClassVar[str] = "Stops containers through the engine (SIGTERM, then SIGKILL) and starts them again."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How patiently it is stopped."""

        grace: Seconds = field(default=Seconds(10.0), metadata={"help": "From SIGTERM to SIGKILL."})

        def __post_init__(self) -> None:
            """A grace that the engine understands."""
            check_grace(self.grace)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose."""
        assert isinstance(fault.params, Stop.Params)
        grace_s, chosen = fault.params.grace, await aim(fault, context)
        says = f"{chosen.says} stopped (SIGTERM, SIGKILL after {human_duration(grace_s)})"
        return _with(self._recipe(fault, chosen, says, grace_s), grace_s=int(grace_s))

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Ask for it, and wait until it is done."""
        where, grace_s = str(recipe.data["engine"]), whole(recipe.data["grace_s"])
        await engine.tell(where, "stop", ids_of(recipe), takes_s=grace_s, timeout=grace_s)


def _must_survive(found: Json) -> None:
    """Refuse what would not be the same after a start.

    Raises:
        InjectorError: the engine removes it when it ends, or publishes it on another port with each start.
    """
    name = str(found["Name"]).removeprefix("/")
    if found["HostConfig"]["AutoRemove"]:
        raise InjectorError(f"{name} was started with --rm: it would be removed, and nobody could start it again")
    refuse_passing_ports(found)


def _with(recipe: Recipe, **more: object) -> Recipe:
    return replace(recipe, data={**recipe.data, **more})
