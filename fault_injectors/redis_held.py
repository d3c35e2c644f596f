"""What all Redis faults share whose harm is held by a process: looking, starting it, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.secret import Secret
from fault_injectors import leased
from fault_injectors import redis_server as server
from fault_injectors.aim import component_of
from fault_injectors.redis_server import Client, Server

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from chaosrunner.model.system import Component

HOLDER = "fault_injectors.redis_holder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a fault has made of its parameters and of what the server looks like."""

    says: str
    """What will be hit; how it is put back is added."""
    job: Mapping[str, object]
    """For the holder, JSON values only; `do` says which."""
    memory: Mapping[str, object] = field(default_factory=dict)
    """What the evidence will be compared with, JSON values only."""


class Held:
    """A fault that lasts as long as a process of ours holds it. Subclasses say what is held, and what proves it."""

    name: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("redis",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"
    Params: ClassVar[type]

    def plan(self, params: object, seen: Server, there: list[Client]) -> Plan:
        """What to do. Pure. Raises InjectorError: this server will not do."""
        raise NotImplementedError

    async def evidence(self, recipe: Recipe, url: str) -> Evidence:
        """What the server shows while the holder is there."""
        raise NotImplementedError

    async def at_rest(self, control: Redis) -> None:
        """Ask what a server answers once the fault is over; asked before it as well, so that it is known to be allowed.

        Raises:
            InjectorError: it does not answer, or not to us.
        """

    def available(self) -> Availability:
        """Where the client library is, and the holder can be found again."""
        return server.available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look at the server and at who is connected."""
        component, tag = place(fault, context)
        url = revealed(component, context.tools)
        seen = await server.look(url)
        async with server.session(url) as control:
            there = await server.clients(control)
            await self.at_rest(control)
        plan = self.plan(fault.params, seen, there)
        return Recipe(
            injector=self.name,
            says=f"{plan.says}, put back by ending the holder",
            data={
                **whereabouts(component, tag),
                "began": seen.identity,
                "seconds": fault.for_s + leased.GRACE_S,
                "job": plan.job,
                **plan.memory,
            },
            claims=(seen.claim,),
            settle_s=leased.SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Start the holder and wait until it has begun."""
        orders = {key: recipe.data[key] for key in ("tag", "seconds", "job")}
        await leased.start(HOLDER, tag_of(recipe), {**orders, "url": reveal(recipe, tools)})

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """With the holder, what the server shows; without it the fault is not in effect.

        A holder ends with its server. So one that is gone says nothing as long as the server cannot be reached.
        """
        if leased.holders(HOLDER, tag_of(recipe)):
            return await self.evidence(recipe, reveal(recipe, tools))
        async with asking(recipe, tools) as control:
            return await missing(control, recipe, f"the holder of {tag_of(recipe)} is gone")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """End the holder here, and its connections at the server.

        The first is enough; an undo on another host has only the second, and must wait for the server to answer.
        """
        leased.end(HOLDER, tag_of(recipe))
        async with server.session(reveal(recipe, tools)) as control:
            await server.end(control, await ours(control, recipe))

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No holder here, no connection of ours at the server, and the server answers.

        A server that cannot be reached is an error, not an absence.
        """
        if leased.holders(HOLDER, tag_of(recipe)):
            return Evidence(ok=False, says=f"the holder of {tag_of(recipe)} is still there")
        try:
            async with server.session(reveal(recipe, tools)) as control:
                there = len(await ours(control, recipe))
                if not there:
                    await self.at_rest(control)
        except (server.Full, server.Unanswered) as error:
            return Evidence(ok=False, says=f"nothing of {tag_of(recipe)} is here, but {error}")
        if there:
            return Evidence(ok=False, says=f"{there} connections of {tag_of(recipe)} left")
        return Evidence(ok=True, says=f"no connection of {tag_of(recipe)} is left")


async def ours(control: Redis, recipe: Recipe) -> list[Client]:
    """The holder's connections."""
    return [one for one in await server.clients(control) if one.name == tag_of(recipe)]


def place(fault: Fault, context: Context) -> tuple[Component, str]:
    """The component that is aimed at, and the fault's tag. Raises InjectorError: it is no Redis, or protected."""
    component = component_of(fault, context)
    if component.redis is None:
        raise InjectorError(f"{component.name} needs 'redis: redis://…' in the system file")
    return component, context.tag(fault)


def revealed(component: Component, tools: Tools) -> str:
    """Its URL with the secrets in it."""
    assert component.redis is not None
    return tools.reveal(component.redis)


def whereabouts(component: Component, tag: str) -> dict[str, object]:
    """What every recipe knows of where it acts, without a secret."""
    assert component.redis is not None
    return {"redis": {"secret": component.redis.template}, "tag": tag}


def asking(recipe: Recipe, tools: Tools) -> AbstractAsyncContextManager[Redis]:
    """A session that looks or undoes."""
    return server.session(reveal(recipe, tools))


async def missing(control: Redis, recipe: Recipe, says: str) -> Evidence:
    """That nothing of ours is there: if the server was started anew, ours went with it by itself."""
    info = await server.info(control, "server")
    if recipe.data.get("began") not in (None, server.identity(info)):  # None: of an earlier version, or found by a scan
        return Evidence(ok=False, says="the server was started anew, and what was held went with it", ended=True)
    return Evidence(ok=False, says=says)


def tag_of(recipe: Recipe) -> str:
    """The name of whatever the fault creates."""
    return str(recipe.data["tag"])


def reveal(recipe: Recipe, tools: Tools) -> str:
    """The URL of a recipe, with the secrets in it."""
    reference = recipe.data["redis"]
    assert isinstance(reference, Mapping)
    return tools.reveal(Secret(str(reference["secret"])))


def number(value: object) -> float:
    """A number of a recipe."""
    assert isinstance(value, int | float)
    return value
