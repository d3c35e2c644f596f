"""Make the application's pool run dry, on the server's side.

Merely holding the free slots of a server does nothing to a pool that is warm already. So either the application's own
sessions are ended and their slots taken before it can come back (`slots`), or what its queries need is locked, so that
every session it has is busy waiting (`locks`). Evidence is the server's own count of the application's sessions.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import System
from fault_injectors import postgres_server as server
from fault_injectors import processes
from fault_injectors.aim import component_of
from fault_injectors.postgres_sessions import TAG_BYTES, count, end_tagged, session, waiting_for

if TYPE_CHECKING:
    from fault_injectors.processes import Process

HOLDER = "fault_injectors.postgres_holder"
BEGIN_S = 20.0
GRACE_S = 10.0
"""The holder and the server let go this long after the fault should have ended, should nobody undo it."""
SETTLE_S = 1.0
"""A holder whose starter dies is visible by its command line within this; it has then not begun, or is ended."""


class Pool:
    """Takes a Postgres application's sessions away, or makes them all wait."""

    name: ClassVar[str] = "postgres.pool"
    about: ClassVar[str] = (
        "Makes the application's own pool run dry: its sessions are ended and their slots held, or all wait for a "
        "lock; undone by ending the holder."
    )
    needs: ClassVar[tuple[str, ...]] = ("dsn", "admin")
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How."""

        by: Literal["slots", "locks"] = field(
            default="slots", metadata={"help": "slots: end its sessions and hold all slots; locks: lock a table."}
        )
        table: str = field(default="", metadata={"help": "With locks: the table its queries need, schema.name."})
        reserve: int = field(
            default=0,
            metadata={
                "help": "With slots: slots left free beyond those kept for superusers. The application may take them "
                "as well, and is ended there again every 50 ms."
            },
        )

        def __post_init__(self) -> None:
            """A table goes with locks, a reserve with slots."""
            if bool(self.table) is not (self.by == "locks"):
                raise ValueError("'table' says what to lock: it goes with 'by: locks', and only there")
            if self.reserve < 0 or (self.reserve and self.by == "locks"):
                raise ValueError("'reserve' goes with 'by: slots', and is at least 0")

    def available(self) -> Availability:
        """Where the holder can be found again by its command line."""
        if not (processes.PROC / "self/cmdline").exists():
            return Availability(ok=False, why="no /proc: needs Linux")
        return Availability(ok=True)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look at the server and at the rights of both roles."""
        params, component = fault.params, component_of(fault, context)
        assert isinstance(params, Pool.Params)
        if component.dsn is None or component.admin is None:
            raise InjectorError(f"{component.name} needs both 'dsn' and 'admin' in the system file")
        tag = context.tag(fault)
        if len(tag.encode()) > TAG_BYTES:
            raise InjectorError(f"the tag '{tag}' is longer than the {TAG_BYTES} bytes Postgres keeps of it")
        dsn, admin = context.tools.reveal(component.dsn), context.tools.reveal(component.admin)
        seen = await server.look(dsn, admin, table=params.table)
        server.require(seen, reserve=params.reserve, slots=params.by == "slots")
        return Recipe(
            injector=self.name,
            says=_says(params, seen),
            data={
                "dsn": {"secret": component.dsn.template},
                "admin": {"secret": component.admin.template},
                "tag": tag,
                "role": seen.role,
                "database": seen.database,
                "capacity": seen.slots - params.reserve,
                "reserve": params.reserve,
                "table": seen.table,
                "version": seen.version,
                "app_before": seen.app,
                "seconds": fault.for_s + GRACE_S,
            },
            claims=(f"postgres:{seen.identity}",),
            settle_s=SETTLE_S,
            guard="target" if params.by == "locks" or seen.ends_idle_sessions else "runner",
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Start the holder and wait until it has begun."""
        data = recipe.data
        same = ("tag", "role", "database", "capacity", "table", "seconds", "version")
        orders = {key: data[key] for key in same}
        orders |= {"dsn": _reveal(data["dsn"], tools), "admin": _reveal(data["admin"], tools)}
        answer = await asyncio.to_thread(_start, str(data["tag"]), json.dumps(orders))
        if "began" not in answer:
            raise InjectorError(f"the holder of {data['tag']} could not begin: {answer.get('error')}")

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The server's own count: the application has no session left, or its sessions wait for ours."""
        data = recipe.data
        who = {key: str(data[key]) for key in ("role", "database", "tag")}
        async with session(_reveal(data["admin"], tools), what="admin") as control:
            now = await count(control, **who)
            waiting = await waiting_for(control, **who) if data["table"] else 0
        if not now.ours:
            return Evidence(ok=False, says="nothing of ours is held at the server")
        if data["table"]:
            return _lock_evidence(recipe, waiting)
        return _slot_evidence(recipe, app=now.app, ours=now.ours, used=now.used)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """End the holder here, and its sessions at the server.

        Either is enough from its own side: the server frees what a dead holder held, and a holder that loses a session
        ends. An undo on another host has only the second.
        """
        for holder in _holders(recipe):
            processes.send(holder, signal.SIGKILL)
        async with session(_reveal(recipe.data["admin"], tools), what="admin") as control:
            await end_tagged(control, str(recipe.data["tag"]))

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No holder here, no session of ours at the server.

        A server that cannot be reached is an error, not an absence: our sessions end with their client, so it will be
        seen once it answers again.
        """
        data = recipe.data
        who = {key: str(data[key]) for key in ("role", "database", "tag")}
        async with session(_reveal(data["admin"], tools), what="admin") as control:
            now = await count(control, **who)
        holders = _holders(recipe)
        if now.ours or holders:
            return Evidence(ok=False, says=f"{now.ours} sessions and {len(holders)} holders of {data['tag']} left")
        return Evidence(ok=True, says=f"no session of {data['tag']} is left")

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Recipes that undo whatever any run still holds at the system's servers, found by tag."""
        found = []
        for component in system.components.values():
            if component.dsn is None or component.admin is None:
                continue
            for tag, identity in await server.tags(tools.reveal(component.admin)):
                data = {
                    "dsn": {"secret": component.dsn.template},
                    "admin": {"secret": component.admin.template},
                    "tag": tag,
                    "role": "",
                    "database": "",
                }
                says = f"sessions of {tag} at {component.name}, put back by ending them"
                claims = (f"postgres:{identity}",)
                found.append(Recipe(injector=self.name, says=says, data=data, claims=claims, settle_s=SETTLE_S))
        return found


def _says(params: Pool.Params, seen: server.Server) -> str:
    if params.by == "locks":
        return f"{seen.table} locked against {seen.role}'s {seen.app} sessions, put back by ending the holder"
    return (
        f"{seen.app} sessions of {seen.role} ended and {seen.slots - params.reserve} of {seen.slots} slots held, "
        "put back by ending the holder"
    )


def _slot_evidence(recipe: Recipe, *, app: int, ours: int, used: int) -> Evidence:
    before, reserve, capacity = (_int(recipe.data[key]) for key in ("app_before", "reserve", "capacity"))
    data = {"app_before": before, "app": app, "held": ours, "used": used}
    says = f"the application has {app} sessions, had {before}; {ours} slots held"
    if not before:
        return Evidence(ok=None, says=f"{says}; it had none to lose, so nothing is known of it", data=data)
    if app > reserve or used < capacity:
        return Evidence(ok=None, says=says, data=data)
    return Evidence(ok=True, says=says, data=data)


def _lock_evidence(recipe: Recipe, waiting: int) -> Evidence:
    says = f"{waiting} of the application's sessions wait for {recipe.data['table']}, which we hold"
    return Evidence(ok=True if waiting else None, says=says, data={"waiting": waiting})


def _start(tag: str, orders: str) -> Mapping[str, Any]:
    """Start a holder and wait for its one line; blocking, bounded by `BEGIN_S`."""
    process = subprocess.Popen(
        [sys.executable, "-m", HOLDER, tag],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(orders.encode(), timeout=BEGIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"error": f"it said nothing in {BEGIN_S:g} s"}
    answer: Mapping[str, Any] = json.loads(said) if said else {"error": "it ended without a word"}
    return answer


def _holders(recipe: Recipe) -> list[Process]:
    return processes.running(["-m", HOLDER, str(recipe.data["tag"])])


def _reveal(reference: object, tools: Tools) -> str:
    assert isinstance(reference, Mapping)
    return tools.reveal(Secret(str(reference["secret"])))


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
