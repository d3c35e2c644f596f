"""Take the sessions and slots that a Postgres application lives on.

Merely holding the free slots of a server does nothing to a pool that is warm already. So to run a pool dry, either the
application's own sessions are ended and their slots taken before it can come back (`slots`), or what its queries need
is locked, so that every session it has is busy waiting (`locks`). Evidence is the server's own count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Evidence, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Seconds, Share, human_duration
from fault_injectors import postgres_server as server
from fault_injectors.postgres_held import SETTLE_S, Held, Plan, number, script, whereabouts, who
from fault_injectors.postgres_holder import AT_ONCE
from fault_injectors.postgres_locks import lock_statements, waiting_evidence
from fault_injectors.postgres_server import Server, Wanted, literal
from fault_injectors.postgres_sessions import Count, end_some

if TYPE_CHECKING:
    import asyncpg

MOST_PER_S = 500
"""Connections a second that one process of ours can make."""


class Pool(Held):
    """Takes a Postgres application's sessions away, or makes them all wait."""

    name: ClassVar[str] = "postgres.pool"
    about: ClassVar[str] = (
        "Makes the application's own pool run dry: its sessions are ended and their slots held, or all wait for a "
        "lock; undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How."""

        by: Literal["slots", "locks"] = field(
            default="slots", metadata={"help": "slots: end its sessions and hold all slots; locks: lock a table."}
        )
        table: str = field(
            default="", metadata={"help": "With locks: the table its queries need, schema.name; its busiest."}
        )
        reserve: int = field(
            default=0,
            metadata={
                "help": "With slots: slots left free beyond those kept for superusers. The application may take them "
                "as well, and is ended there again every 50 ms."
            },
        )

        def __post_init__(self) -> None:
            """A table goes with locks, a reserve with slots."""
            if self.table and self.by == "slots":
                raise ValueError("'table' says what to lock: it goes with 'by: locks', and only there")
            if self.reserve < 0 or (self.reserve and self.by == "locks"):
                raise ValueError("'reserve' goes with 'by: slots', and is at least 0")

    def wanted(self, params: object) -> Wanted:
        """The table to lock."""
        assert isinstance(params, Pool.Params)
        return Wanted(tables=params.table, busiest=1 if params.by == "locks" else 0)

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """End and take, or lock."""
        assert isinstance(params, Pool.Params)
        if params.by == "locks":
            [table] = seen.tables
            return Plan(
                says=f"{table} locked against {seen.role}'s {seen.app} sessions",
                job={"do": "scripts", "scripts": [script("dsn", lock_statements([table]))]},
                claims=(seen.claim,),
                memory={"what": table},
            )
        server.require_way_in(seen, reserve=params.reserve)
        capacity = seen.slots - params.reserve
        return Plan(
            says=f"{seen.app} sessions of {seen.role} ended and {capacity} of {seen.slots} slots held",
            job={"do": "slots", "capacity": capacity, "end": True},
            claims=(seen.claim,),
            memory={"reserve": params.reserve, "capacity": capacity},
        )

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """The application has no session left, or its sessions wait for ours."""
        if "what" in recipe.data:
            return await waiting_evidence(control, recipe)
        before, reserve, capacity = (number(recipe.data[key]) for key in ("app_before", "reserve", "capacity"))
        data = {"app_before": before, "app": now.app, "held": now.ours, "used": now.used}
        says = f"the application has {now.app} sessions, had {before}; {now.ours} slots held"
        if not before:
            return Evidence(ok=None, says=f"{says}; it had none to lose, so nothing is known of it", data=data)
        enough = now.app <= reserve and now.used >= capacity
        return Evidence(ok=True if enough else None, says=says, data=data)

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Recipes that undo whatever any fault of this family still holds in sessions at the system's servers."""
        found = []
        for component in system.components.values():
            if component.dsn is None or component.admin is None:
                continue
            for tag, identity in await server.tags(tools.reveal(component.admin)):
                data = whereabouts(component, None, tag)
                says = f"sessions of {tag} at {component.name}, put back by ending them"
                claims = (f"postgres:{identity}",)
                found.append(Recipe(injector=self.name, says=says, data=data, claims=claims, settle_s=SETTLE_S))
        return found


class NearExhaustion(Held):
    """Takes slots until hardly any is free; nobody's session is ended."""

    name: ClassVar[str] = "postgres.near_exhaustion"
    about: ClassVar[str] = (
        "Holds slots until only a few are free, and ends nobody's session: a pool that must grow, or a deployment "
        "that connects anew, cannot; undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How near."""

        leave: int = field(default=1, metadata={"help": "Slots left free beyond those kept for superusers."})

        def __post_init__(self) -> None:
            """At least none."""
            if self.leave < 0:
                raise ValueError("'leave' is at least 0")

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """Take all but `leave`."""
        assert isinstance(params, NearExhaustion.Params)
        server.require_way_in(seen, reserve=params.leave)
        capacity = seen.slots - params.leave
        return Plan(
            says=f"slots taken until {params.leave} of {seen.slots} are free",
            job={"do": "slots", "capacity": capacity, "end": False},
            claims=(seen.claim,),
            memory={"leave": params.leave, "slots": seen.slots},
        )

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """The server has no more free slots than it should."""
        leave, slots = number(recipe.data["leave"]), number(recipe.data["slots"])
        says = f"{max(0, slots - now.used)} of {slots} slots free, {now.ours} held by us, {now.app} by the application"
        data = {"free": slots - now.used, "held": now.ours, "app": now.app}
        return Evidence(ok=True if slots - now.used <= leave else None, says=says, data=data)


class ConnectionStorm(Held):
    """Connects and hangs up, again and again."""

    name: ClassVar[str] = "postgres.connection_storm"
    about: ClassVar[str] = (
        "Connects as the application many times a second and hangs up at once: each costs the server a process and a "
        "login; undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How many."""

        per_second: int = field(default=50, metadata={"help": f"Connections a second, at most {MOST_PER_S}."})

        def __post_init__(self) -> None:
            """What one process can do."""
            if not 1 <= self.per_second <= MOST_PER_S:
                raise ValueError(f"'per_second' is at least 1 and at most {MOST_PER_S}")

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """Storm, with at most a quarter of the slots at a time: somebody must be able to get in to undo it."""
        assert isinstance(params, ConnectionStorm.Params)
        return Plan(
            says=f"{params.per_second} connections a second as {seen.role}",
            job={"do": "storm", "per_s": params.per_second, "at_once": max(1, min(AT_ONCE, seen.slots // 4))},
            claims=(seen.claim,),
            memory={"sessions": seen.counters.sessions, "per_second": params.per_second},
        )

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """The server has let as many in, since, as a second of the storm brings."""
        counted = await server.counters(control, who(recipe)["database"])
        opened, wanted = counted.sessions - number(recipe.data["sessions"]), number(recipe.data["per_second"])
        says = f"the server counts {opened} new sessions of {who(recipe)['database']} since"
        return Evidence(ok=True if opened >= wanted else None, says=says, data={"opened": opened})


class KillBackends(Held):
    """Ends a share of the application's sessions, again and again."""

    name: ClassVar[str] = "postgres.kill_backends"
    about: ClassVar[str] = (
        "Ends some of the application's sessions at the server, again and again, as a failing server or an impatient "
        "administrator does; the application may connect anew at once. Undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How many, how often."""

        share: Share = field(
            default=Share(1.0), metadata={"help": "Of the sessions it has then; rounded down, but at least one."}
        )
        every: Seconds = field(
            default=Seconds(1.0), metadata={"help": "Time between two blows; longer than the fault: one blow."}
        )

        def __post_init__(self) -> None:
            """A share, and a pause."""
            if not 0 < self.share <= 1:
                raise ValueError("'share' is above 0 % and at most 100 %")
            if self.every < 0.05:
                raise ValueError("'every' is at least 50ms")

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """Blow after blow."""
        assert isinstance(params, KillBackends.Params)
        if not seen.app:
            raise InjectorError(f"{seen.role} has no session in {seen.database} that could be ended")
        blow = end_some(role=literal(seen.role), database=literal(seen.database), share=params.share)
        return Plan(
            says=f"{params.share * 100:g}% of {seen.role}'s sessions, {seen.app} now, ended every "
            f"{human_duration(params.every)}",
            job={"do": "scripts", "scripts": [script("admin", [], again=[blow], every_s=params.every)]},
            claims=(seen.claim,),
            memory={"killed": seen.counters.killed},
        )

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """The server has counted sessions that were ended by somebody."""
        counted = await server.counters(control, who(recipe)["database"])
        ended = counted.killed - number(recipe.data["killed"])
        says = f"{ended} sessions of {who(recipe)['database']} ended since; the application has {now.app}"
        return Evidence(ok=True if ended > 0 else None, says=says, data={"ended": ended, "app": now.app})
