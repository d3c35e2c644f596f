"""What all Postgres faults share whose harm is held by a process: looking, starting it, evidence, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.secret import Secret
from fault_injectors import leased, processes
from fault_injectors import postgres_server as server
from fault_injectors.aim import component_of
from fault_injectors.postgres_server import Server, Wanted
from fault_injectors.postgres_sessions import TAG_BYTES, Count, count, end_tagged, session

if TYPE_CHECKING:
    import asyncpg

    from chaosrunner.model.system import Component
    from fault_injectors.processes import Process

HOLDER = "fault_injectors.postgres_holder"
SETTLE_S = 1.0
"""A holder whose starter dies is visible by its command line within this; it has then not begun, or is ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a fault has made of its parameters and of what the server looks like."""

    says: str
    """What will be hit; how it is put back is added."""
    job: Mapping[str, object]
    """For the holder, JSON values only."""
    claims: tuple[str, ...]
    memory: Mapping[str, object] = field(default_factory=dict)
    """What the evidence will be compared with, JSON values only."""


class Held:
    """A fault that lasts as long as a process of ours holds it. Subclasses say what is held, and what proves it."""

    name: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("dsn", "admin")
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"
    back: ClassVar[str] = "ending the holder"
    """What an undo does, for people."""
    Params: ClassVar[type]

    def wanted(self, params: object) -> Wanted:
        """What must be known of the application's database."""
        return Wanted()

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """What to do. Pure. Raises InjectorError: this server or these roles will not do."""
        raise NotImplementedError

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """What the server says, once sessions of ours are there."""
        raise NotImplementedError

    def available(self) -> Availability:
        """Where the holder can be found again by its command line."""
        if not (processes.PROC / "self/cmdline").exists():
            return Availability(ok=False, why="no /proc: needs Linux")
        return Availability(ok=True)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look at the server and at the rights of both roles."""
        component, tag = place(fault, context)
        seen = await server.look(*revealed(component, context.tools), self.wanted(fault.params))
        server.require(seen)
        plan = self.plan(fault.params, seen, tag)
        return Recipe(
            injector=self.name,
            says=f"{plan.says}, put back by {self.back}",
            data={
                **whereabouts(component, seen, tag),
                "seconds": fault.for_s + leased.GRACE_S,
                "job": plan.job,
                "app_before": seen.app,
                "began": seen.began,
                **plan.memory,
            },
            claims=plan.claims,
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Start the holder and wait until it has begun."""
        data = recipe.data
        orders = {key: data[key] for key in ("tag", "role", "database", "seconds", "job")}
        orders |= {"dsn": reveal(data["dsn"], tools), "admin": reveal(data["admin"], tools)}
        await leased.start(HOLDER, str(data["tag"]), orders)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The server's own view; without a session of ours the fault is not in effect."""
        async with in_database(recipe, tools) as control:
            now = await count(control, **who(recipe), tag=str(recipe.data["tag"]))
            if not now.ours:
                if recipe.data.get("began") not in (None, await server.began(control)):  # None: of an earlier version
                    return Evidence(ok=False, says=server.STARTED_ANEW, ended=True)
                return Evidence(ok=False, says="nothing of ours is held at the server")
            return await self.evidence(control, recipe, now)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """End the holder here, and its sessions at the server.

        Either is enough from its own side: the server frees what a dead holder held, and a holder that loses a session
        ends. An undo on another host has only the second.
        """
        leased.end(HOLDER, str(recipe.data["tag"]))
        async with session(reveal(recipe.data["admin"], tools), what="admin") as control:
            await end_tagged(control, str(recipe.data["tag"]))

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No holder here, no session of ours at the server.

        A server that cannot be reached is an error, not an absence: our sessions end with their client, so it will be
        seen once it answers again.
        """
        tag = str(recipe.data["tag"])
        async with session(reveal(recipe.data["admin"], tools), what="admin") as control:
            now = await count(control, **who(recipe), tag=tag)
        left = holders(recipe)
        if now.ours or left:
            return Evidence(ok=False, says=f"{now.ours} sessions and {len(left)} holders of {tag} left")
        return Evidence(ok=True, says=f"no session of {tag} is left")


def script(role: str, first: Sequence[str], **more: object) -> dict[str, object]:
    """One or more sessions of the holder.

    Args:
        role: `dsn` (the application's) or `admin` (ours, in the application's database).
        first: statements that are run before the fault has begun.
        **more: `again`, statements that are run over and over from then on, `every_s` seconds apart; `copies`, how many
            sessions; `nothing`, what is wrong if the last of `first` selects no row.
    """
    return {"who": role, "first": list(first), "again": [], "every_s": 0.0, "copies": 1, "nothing": "", **more}


def place(fault: Fault, context: Context) -> tuple[Component, str]:
    """The component that is aimed at, and the fault's tag. Raises InjectorError: it is no Postgres, or protected."""
    component = component_of(fault, context)
    if component.dsn is None or component.admin is None:
        raise InjectorError(f"{component.name} needs both 'dsn' and 'admin' in the system file")
    tag = context.tag(fault)
    if len(tag.encode()) > TAG_BYTES:
        raise InjectorError(f"the tag '{tag}' is longer than the {TAG_BYTES} bytes Postgres keeps of it")
    return component, tag


def revealed(component: Component, tools: Tools) -> tuple[str, str]:
    """Its `dsn` and `admin` with their secrets in them."""
    assert component.dsn is not None
    assert component.admin is not None
    return tools.reveal(component.dsn), tools.reveal(component.admin)


def whereabouts(component: Component, seen: Server | None, tag: str) -> dict[str, object]:
    """What every recipe knows of where it acts, without a secret."""
    assert component.dsn is not None
    assert component.admin is not None
    return {
        "dsn": {"secret": component.dsn.template},
        "admin": {"secret": component.admin.template},
        "tag": tag,
        "role": seen.role if seen else "",
        "database": seen.database if seen else "",
    }


def who(recipe: Recipe) -> dict[str, str]:
    """Whose sessions are the application's: role and database."""
    return {key: str(recipe.data[key]) for key in ("role", "database")}


def holders(recipe: Recipe) -> list[Process]:
    """The holder, if it lives on this host."""
    return leased.holders(HOLDER, str(recipe.data["tag"]))


def in_database(recipe: Recipe, tools: Tools) -> AbstractAsyncContextManager[asyncpg.Connection[Any]]:
    """A session of the admin in the application's database."""
    return session(reveal(recipe.data["admin"], tools), what="admin", database=who(recipe)["database"])


def reveal(reference: object, tools: Tools) -> str:
    """A secret of a recipe."""
    assert isinstance(reference, Mapping)
    return tools.reveal(Secret(str(reference["secret"])))


def number(value: object) -> int:
    """A whole number of a recipe."""
    assert isinstance(value, int)
    return value
