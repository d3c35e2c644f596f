"""Settings of a Postgres application's role or database that are changed, and written back to the letter.

Nothing holds them but the server's catalogue, so nothing but an undo ends them. With each change goes a note in the
settings of the role in its database, in the same transaction: who changed it, and what it was before. Whoever undoes
believes the note and not the clock: no note, nothing to undo; somebody else's value, nothing to write back.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from fault_injectors import postgres_server as server
from fault_injectors.postgres_held import SETTLE_S, number, place, reveal, revealed, whereabouts, who
from fault_injectors.postgres_server import literal, quoted
from fault_injectors.postgres_sessions import count, end_application, end_tagged, older, session

if TYPE_CHECKING:
    import asyncpg

LATE_S = 0.2
"""A session that is just being opened may have read the old setting, and be listed only so much later."""
TRIES = 20
LOCK_MS = 500
"""A change waits no longer for whoever else alters the same role or database: less than `SETTLE_S`."""

_SETTINGS = """SELECT unnest(setconfig) AS one FROM pg_db_role_setting s
    WHERE s.setrole = to_regrole(quote_ident($1))
    AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = $2)"""
_LIMITS = {
    "role": "SELECT rolconnlimit FROM pg_roles WHERE rolname = $1 AND $2 <> ''",
    "database": "SELECT datconnlimit FROM pg_database WHERE datname = $2 AND $1 <> ''",
}
_NOTES = """SELECT r.rolname::text AS role, d.datname::text AS database, unnest(s.setconfig) AS one
    FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole JOIN pg_database d ON d.oid = s.setdatabase"""


class Changed:
    """A value in the server's catalogue that a fault changes. Subclasses say which, and what proves it."""

    name: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("dsn", "admin")
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    Params: ClassVar[type]
    ends_after: ClassVar[bool]
    """Whether sessions that began under the fault keep it, and so are ended when it is undone."""

    async def value(self, control: asyncpg.Connection[Any], recipe: Recipe) -> str | None:
        """What it is now; None = it is not set."""
        raise NotImplementedError

    def statement(self, recipe: Recipe, value: str | None) -> str:
        """What sets it."""
        raise NotImplementedError

    def words(self, params: object) -> tuple[str, dict[str, object]]:
        """What the fault says it does, and what goes into the recipe: `new`, the value, at least."""
        raise NotImplementedError

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, since: datetime) -> Evidence:
        """What the server says while it is changed."""
        raise NotImplementedError

    def available(self) -> Availability:
        """Everywhere."""
        return Availability(ok=True)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look at the rights, and that nobody has such a fault at work there."""
        component, tag = place(fault, context)
        seen = await server.look(*revealed(component, context.tools))
        server.require(seen)
        server.require_super(seen, "only one may note in a role's settings what was changed")
        says, more = self.words(fault.params)
        return Recipe(
            injector=self.name,
            says=f"{seen.role} in {seen.database}: {says}, {seen.app} sessions ended; put back as it was before",
            data={
                **whereabouts(component, seen, tag),
                "app_before": seen.app,
                "rolled_back": seen.counters.rolled_back,
                **more,
            },
            claims=(seen.claim,),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Write it and the note as one, then end the application's sessions so that it takes effect.

        Should we die while the server lets us wait for somebody's lock, it gives up by itself before `SETTLE_S`.
        """
        tag = str(recipe.data["tag"])
        async with session(reveal(recipe.data["admin"], tools), what="admin", application_name=tag) as control:
            await control.execute(f"SET lock_timeout = {LOCK_MS}")
            async with control.transaction():
                if await self._note(control, recipe) is not None:
                    raise InjectorError(f"{self.name} is at work there already, or its way back was lost")
                before = await self.value(control, recipe)
                since = await control.fetchval("SELECT clock_timestamp()")
                note = {key: recipe.data[key] for key in ("tag", "new", "of")}
                note |= {"before": before, "since": since.isoformat()}
                await control.execute(self.statement(recipe, str(recipe.data["new"])))
                await control.execute(_noting(self.name, recipe, json.dumps(note)))
            await _end_older(control, recipe)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Our note and our value are there, and what they did to the application's sessions."""
        async with session(reveal(recipe.data["admin"], tools), what="admin") as control:
            note = await self._ours(control, recipe)
            if note is None or await self.value(control, recipe) != recipe.data["new"]:
                return Evidence(ok=False, says="it is not set, or not by us")
            return await self.evidence(control, recipe, datetime.fromisoformat(note["since"]))

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Write back what it was, if it still is what we wrote; the note goes last, when all is done."""
        async with session(reveal(recipe.data["admin"], tools), what="admin") as control:
            await end_tagged(control, str(recipe.data["tag"]))
            note = await self._ours(control, recipe)
            if note is None:
                return
            if await self.value(control, recipe) == note["new"]:
                await control.execute(self.statement(recipe, note["before"]))
            if self.ends_after:
                await _end_older(control, recipe)
            await control.execute(_noting(self.name, recipe, None))

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No note of ours is there, and no session that might still write one."""
        tag = str(recipe.data["tag"])
        async with session(reveal(recipe.data["admin"], tools), what="admin") as control:
            ours = (await count(control, **who(recipe), tag=tag)).ours
            note = await self._ours(control, recipe)
        if note is not None or ours:
            return Evidence(ok=False, says=f"a note or a session of {tag} is still there")
        return Evidence(ok=True, says=f"no note of {tag} is left")

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Recipes that undo whatever any run has left changed, found by its notes."""
        found = []
        for component in system.components.values():
            if component.dsn is None or component.admin is None:
                continue
            async with session(tools.reveal(component.admin), what="admin") as control:
                rows = await control.fetch(_NOTES)
            for row in rows:
                name, _, text = row["one"].partition("=")
                if name == _key(self.name):
                    note = json.loads(text)
                    data = {**whereabouts(component, None, note["tag"]), "role": row["role"], "new": note["new"]}
                    data |= {"database": row["database"], "of": note["of"]}
                    says = f"{self.name} of {note['tag']} at {component.name}, put back by writing the value before"
                    found.append(Recipe(injector=self.name, says=says, data=data, claims=(), settle_s=SETTLE_S))
        return found

    async def _note(self, control: asyncpg.Connection[Any], recipe: Recipe) -> dict[str, Any] | None:
        text = await _setting(control, recipe, _key(self.name))
        note: dict[str, Any] | None = None if text is None else json.loads(text)
        return note

    async def _ours(self, control: asyncpg.Connection[Any], recipe: Recipe) -> dict[str, Any] | None:
        note = await self._note(control, recipe)
        return note if note is not None and note["tag"] == recipe.data["tag"] else None


class ReadOnly(Changed):
    """The application's role may not write any more."""

    name: ClassVar[str] = "postgres.read_only"
    about: ClassVar[str] = (
        "Makes new transactions of the application read-only (default_transaction_read_only of its role in its "
        "database) and ends its sessions so that they see it; undone by writing the earlier setting, or none."
    )
    ends_after: ClassVar[bool] = True

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Nothing to say."""

    def words(self, params: object) -> tuple[str, dict[str, object]]:
        """On."""
        return "transactions read-only", {"new": "on", "of": "role"}

    async def value(self, control: asyncpg.Connection[Any], recipe: Recipe) -> str | None:
        """The setting of this role in this database."""
        return await _setting(control, recipe, "default_transaction_read_only")

    def statement(self, recipe: Recipe, value: str | None) -> str:
        """Set or reset it there."""
        return _altering(recipe, "default_transaction_read_only", value)

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, since: datetime) -> Evidence:
        """Every session that the application had has been ended, and those it has began under the setting."""
        old = await older(control, **who(recipe), than=since)
        now = await count(control, **who(recipe), tag="")
        counted = await server.counters(control, who(recipe)["database"])
        failed = counted.rolled_back - number(recipe.data["rolled_back"])
        before = number(recipe.data["app_before"])
        says = f"{now.app - old} of the application's {now.app} sessions began read-only, it had {before} before; "
        says += f"{failed} rollbacks since"
        data = {"app": now.app, "older": old, "rolled_back": failed}
        return Evidence(ok=True if (now.app or before) and not old else None, says=says, data=data)


class ConnectionLimit(Changed):
    """The application's role, or its database, gets fewer connections than it wants."""

    name: ClassVar[str] = "postgres.connection_limit"
    about: ClassVar[str] = (
        "Runs the application's pool dry by CONNECTION LIMIT of its role or database, and ends its sessions; undone "
        "by writing the earlier limit."
    )
    ends_after: ClassVar[bool] = False

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How few, and whose."""

        limit: int = field(default=0, metadata={"help": "Sessions it may have; 0 none."})
        of: Literal["role", "database"] = field(
            default="role", metadata={"help": "database: everybody's in it, but for superusers."}
        )

        def __post_init__(self) -> None:
            """At least none."""
            if self.limit < 0:
                raise ValueError("'limit' is at least 0")

    def words(self, params: object) -> tuple[str, dict[str, object]]:
        """The limit."""
        assert isinstance(params, ConnectionLimit.Params)
        return f"at most {params.limit} sessions of the {params.of}", {"new": str(params.limit), "of": params.of}

    async def value(self, control: asyncpg.Connection[Any], recipe: Recipe) -> str | None:
        """The limit now; -1 = none."""
        return str(await control.fetchval(_LIMITS[str(recipe.data["of"])], *who(recipe).values()))

    def statement(self, recipe: Recipe, value: str | None) -> str:
        """Alter it."""
        of = str(recipe.data["of"])
        return f"ALTER {of.upper()} {quoted([who(recipe)[of]])} CONNECTION LIMIT {int(str(value))}"

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, since: datetime) -> Evidence:
        """The application has fewer sessions than it had, and no more than it may."""
        now, before = await count(control, **who(recipe), tag=""), number(recipe.data["app_before"])
        limit = int(str(recipe.data["new"]))
        says = f"the application has {now.app} sessions, had {before}, may have {limit}"
        enough = now.app <= limit and now.app < before
        return Evidence(ok=True if enough else None, says=says, data={"app": now.app, "app_before": before})


async def _setting(control: asyncpg.Connection[Any], recipe: Recipe, name: str) -> str | None:
    for row in await control.fetch(_SETTINGS, *who(recipe).values()):
        found, _, value = row["one"].partition("=")
        if found == name:
            return str(value)
    return None


async def _end_older(control: asyncpg.Connection[Any], recipe: Recipe) -> None:
    """End the application's sessions that began before now, and see that none of them is left."""
    now = await control.fetchval("SELECT clock_timestamp()")
    left = 1
    for _ in range(TRIES):
        await end_application(control, **who(recipe), before=now)
        await asyncio.sleep(LATE_S)
        left = await older(control, **who(recipe), than=now)
        if not left:
            return
    raise InjectorError(f"{left} sessions of the application were told to end, and have not yet")


def _key(name: str) -> str:
    return name.replace("postgres.", "chaosrunner.")


def _noting(name: str, recipe: Recipe, note: str | None) -> str:
    return _altering(recipe, _key(name), note)


def _altering(recipe: Recipe, setting: str, value: str | None) -> str:
    alter = f"ALTER ROLE {quoted([who(recipe)['role']])} IN DATABASE {quoted([who(recipe)['database']])}"
    if value is None:
        return f"{alter} RESET {setting}"
    return f"{alter} SET {setting} = {literal(value)}"
