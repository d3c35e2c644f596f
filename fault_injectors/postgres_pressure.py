"""Keep a Postgres server busy, or its disk full, beside the application: statements, checkpoints, vacuum, a tablespace.

What must have a name at the server (a schema, a tablespace) is called after the run, and only that is ever dropped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Bytes
from fault_injectors import postgres_server as server
from fault_injectors.postgres_held import SETTLE_S, Held, Plan, in_database, number, script, whereabouts, who
from fault_injectors.postgres_holder import FILL_ROWS, ROW_BYTES, free_bytes
from fault_injectors.postgres_locks import MOST_SESSIONS, snapshots
from fault_injectors.postgres_server import Server, literal, quoted
from fault_injectors.postgres_sessions import Count, session

if TYPE_CHECKING:
    import asyncpg

_HEAVY = {
    "cpu": "SELECT count(*) FROM generate_series(1, 500000) AS n WHERE md5(n::text) = ''",
    "disk": "SELECT count(*) FROM (SELECT md5(n::text) FROM generate_series(1, 300000) AS n ORDER BY 1 OFFSET 1) AS s",
}
WAL_BYTES = 4_000_000
"""Written to the log before each checkpoint, so that there is something to sync."""
DROP_S = 8.0
"""Dropping a tablespace waits for a checkpoint."""
CHURN_ROWS = 10_000
"""Rows of the table that is churned, about 1 MB."""
_OURS = """tag LIKE 'chaosrunner/%' AND (EXISTS (SELECT FROM pg_tables WHERE schemaname = tag AND tablename = $1)
    OR NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = tag AND tablename IN ('churn', 'filling')))"""
"""With our tag, and either with the table of this fault ($1) or with that of none."""


class HeavyQueries(Held):
    """Runs expensive statements beside the application's."""

    name: ClassVar[str] = "postgres.heavy_queries"
    about: ClassVar[str] = (
        "Runs expensive statements of our own in several sessions, so that the application's get less of the server's "
        "CPU or disk; undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """What, and how many at once."""

        work: Literal["cpu", "disk"] = field(
            default="cpu", metadata={"help": "cpu: hash numbers; disk: sort them in temporary files."}
        )
        sessions: int = field(default=4, metadata={"help": "How many at once; each keeps one CPU or the disk busy."})

        def __post_init__(self) -> None:
            """Some."""
            if not 1 <= self.sessions <= MOST_SESSIONS:
                raise ValueError(f"'sessions' is at least 1 and at most {MOST_SESSIONS}")

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """One statement after the other, in so many sessions."""
        assert isinstance(params, HeavyQueries.Params)
        alone = ["SET work_mem = '64kB'", "SET max_parallel_workers_per_gather = 0"]
        busy = script("dsn", alone, again=[_HEAVY[params.work]], copies=params.sessions)
        return Plan(
            says=f"{params.sessions} sessions of {seen.role} that keep the server's {params.work} busy",
            job={"do": "scripts", "scripts": [busy]},
            claims=(f"{seen.claim}:{params.work}",),
            memory={"sessions": params.sessions},
        )

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """Ours are running, and the application has sessions beside them."""
        busy = await control.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state = 'active'",
            recipe.data["tag"],
        )
        says = f"{busy} of our statements running beside the application's {now.app} sessions"
        enough = now.app and busy * 2 > number(recipe.data["sessions"])  # the others are between two statements
        return Evidence(ok=True if enough else None, says=says, data={"busy": busy, "app": now.app})


class CheckpointPressure(Held):
    """Asks for a checkpoint again and again."""

    name: ClassVar[str] = "postgres.checkpoint_pressure"
    about: ClassVar[str] = (
        "Writes to the log and asks for a checkpoint, again and again: dirty pages are flushed at once, and each page "
        "the application changes is logged in full anew; undone by ending the holder."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Nothing to say."""

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """One session."""
        if not seen.admin_may_checkpoint:
            raise InjectorError("the role of 'admin' needs pg_checkpoint, or to be a superuser")
        # A message in the log is nobody's row: nothing is left of it but the log's own bytes.
        write = f"SELECT pg_logical_emit_message(false, 'chaosrunner', repeat('x', {WAL_BYTES}))"
        return Plan(
            says=f"a checkpoint after every {WAL_BYTES / 1e6:g} MB written to the log",
            job={"do": "scripts", "scripts": [script("admin", [], again=[write, "CHECKPOINT"], every_s=0.1)]},
            claims=(f"{seen.claim}:checkpoints",),
            memory={"checkpoints": seen.counters.checkpoints, "wal": seen.counters.wal},
        )

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """The server's own count of checkpoints that were asked for."""
        counted = await server.counters(control, who(recipe)["database"])
        done = counted.checkpoints - number(recipe.data["checkpoints"])
        wal = counted.wal - number(recipe.data["wal"])
        says = f"{done} checkpoints asked for since, {wal / 1e6:,.0f} MB of log written"
        return Evidence(ok=True if done >= 2 else None, says=says, data={"checkpoints": done, "wal": wal})


class Owning(Held):
    """A fault that needs something with a name at the server: a schema called after the run, and a table in it.

    The server ends the pressure by itself, but only an undo removes what has a name.
    """

    guard: ClassVar[str] = "runner"
    back: ClassVar[str] = "ending the holder and dropping what is called after the run"
    inside: ClassVar[str]
    """The table."""
    named: ClassVar[str] = "SELECT nspname::text AS tag FROM pg_namespace"
    """What there is with a name."""

    def drops(self, tag: str) -> list[str]:
        """What removes it: never more than was made, so that anything of somebody else in it is an error."""
        return [f"DROP TABLE IF EXISTS {quoted([tag, self.inside])}", f"DROP SCHEMA IF EXISTS {quoted([tag])}"]

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """End the holder, and drop what is called after the run."""
        await super().undo(recipe, tools)
        async with in_database(recipe, tools) as control:
            await control.execute("SET lock_timeout = '3s'")
            for drop in self.drops(str(recipe.data["tag"])):
                await control.execute(drop, timeout=DROP_S)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No holder, no session, and nothing that is called after the run."""
        tag = recipe.data["tag"]
        async with in_database(recipe, tools) as control:
            left = await control.fetch(f"SELECT FROM ({self.named}) AS found WHERE tag = $1", tag)
        if left:
            return Evidence(ok=False, says=f"what is called {tag} is still there")
        return await super().absent(recipe, tools)

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Recipes that drop whatever any run has left, in any database: the application itself may be locked out."""
        found = []
        for component in system.components.values():
            if component.dsn is None or component.admin is None:
                continue
            for tag, database in (await self._left(tools.reveal(component.admin))).items():
                data = {**whereabouts(component, None, tag), "database": database}
                says = f"what is called {tag} at {component.name}, put back by dropping it"
                found.append(Recipe(injector=self.name, says=says, data=data, claims=(), settle_s=SETTLE_S))
        return found

    async def _left(self, admin: str) -> dict[str, str]:
        """Tags, and for each the database to drop it in: the one that has its schema, else any."""
        anywhere: dict[str, str] = {}
        inside: dict[str, str] = {}
        for database in await server.databases(admin):
            async with session(admin, what="admin", database=database) as control:
                for names, where in ((self.named, anywhere), (Owning.named, inside)):
                    ours = f"SELECT DISTINCT tag FROM ({names}) AS found WHERE {_OURS}"  # noqa: S608
                    where.update({row["tag"]: database for row in await control.fetch(ours, self.inside)})
        return anywhere | inside


class VacuumPressure(Owning):
    """Makes dead rows that no vacuum can remove."""

    name: ClassVar[str] = "postgres.vacuum_pressure"
    inside: ClassVar[str] = "churn"
    about: ClassVar[str] = (
        "Keeps an old snapshot, and updates and vacuums a table of our own beside it, in vain: dead rows of the "
        "application pile up as well. Undone by ending the holder and dropping our own schema."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How far."""

        at_most: Bytes = field(
            default=Bytes(200_000_000), metadata={"help": "Size our own table may grow to; then it begins anew."}
        )

        def __post_init__(self) -> None:
            """Room for some versions of its rows."""
            if self.at_most < 10_000_000:
                raise ValueError("'at_most' is at least 10MB")

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """A session with the snapshot, and one that churns."""
        assert isinstance(params, VacuumPressure.Params)
        table = quoted([tag, self.inside])
        rows = f"SELECT n, repeat('x', 64) AS filler FROM generate_series(1, {CHURN_ROWS}) AS n"  # noqa: S608
        fresh = f"TRUNCATE {table}; INSERT INTO {table} {rows};"
        bound = f"DO $churn$ BEGIN IF pg_relation_size('{table}') > {params.at_most} THEN {fresh} END IF; END $churn$"
        churn = script(
            "admin",
            [f"CREATE SCHEMA {quoted([tag])}", f"CREATE TABLE {table} AS {rows}"],
            again=[bound, f"UPDATE {table} SET n = n + 1", f"VACUUM {table}"],  # noqa: S608
            every_s=0.05,
        )
        snapshot = script("admin", ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1"])
        return Plan(
            says=f"an old snapshot, and up to {params.at_most / 1e6:g} MB of dead rows in a table of our own",
            job={"do": "scripts", "scripts": [churn, snapshot]},
            claims=(f"{seen.claim}:snapshot",),
        )

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """Our snapshot is older than transactions that wrote, so that their dead rows stay."""
        _, behind = await snapshots(control, str(recipe.data["tag"]))
        table = quoted([str(recipe.data["tag"]), self.inside])
        size = await control.fetchval("SELECT coalesce(pg_relation_size(to_regclass($1)), 0)", table)
        says = f"our snapshot holds back what {behind} later transactions left; our table has {size / 1e6:,.1f} MB"
        return Evidence(ok=True if behind >= 2 else None, says=says, data={"behind": behind, "bytes": size})


class DiskFull(Owning):
    """Fills the file system of a tablespace."""

    name: ClassVar[str] = "postgres.disk_full"
    inside: ClassVar[str] = "filling"
    named: ClassVar[str] = Owning.named + " UNION SELECT spcname::text FROM pg_tablespace"  # noqa: S608
    about: ClassVar[str] = (
        "Makes a tablespace of our own in an empty directory of the server's host and fills it down to a floor: who "
        "writes to that file system is told that it is full. Undone by dropping our own table and tablespace."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Where, and how full."""

        path: str = field(metadata={"help": "An empty directory of the server's user, on the file system to fill."})
        floor: Bytes = field(default=Bytes(16_000_000), metadata={"help": "Bytes that stay free."})
        data_too: bool = field(
            default=False, metadata={"help": "Even if the server's own data is on that file system; it may then stop."}
        )

        def __post_init__(self) -> None:
            """A path the server understands as we do."""
            if not Path(self.path).is_absolute():
                raise ValueError("'path' begins with /")
            if self.floor < 0:
                raise ValueError("'floor' is at least 0B")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """See as well that nothing of ours is on that file system."""
        recipe = await super().prepare(fault, context)
        _spare(str(recipe.data["path"]), context.keep)
        return recipe

    def plan(self, params: object, seen: Server, tag: str) -> Plan:
        """One session that fills."""
        assert isinstance(params, DiskFull.Params)
        server.require_super(seen, "only one may make a tablespace")
        device = _device_of(params, seen)
        free = free_bytes(params.path)
        if free <= params.floor:
            raise InjectorError(f"{params.path} has {free / 1e6:,.0f} MB free; nothing can be taken above the floor")
        table = quoted([tag, self.inside])
        # Unlogged: the write-ahead log, which is somewhere else, does not grow with it.
        first = [
            f"CREATE TABLESPACE {quoted([tag])} LOCATION {literal(params.path)}",
            f"CREATE SCHEMA {quoted([tag])}",
            f"CREATE UNLOGGED TABLE {table} (filler text) TABLESPACE {quoted([tag])}",
        ]
        again = f"INSERT INTO {table} SELECT repeat('x', {ROW_BYTES - 100}) FROM"
        return Plan(
            says=f"{(free - params.floor) / 1e6:,.0f} of {free / 1e6:,.0f} MB free at {params.path} taken",
            job={"do": "fill", "first": first, "again": again, "path": params.path, "floor": params.floor},
            claims=(f"disk:{os.major(device)}:{os.minor(device)}:space",),
            memory={"path": params.path, "floor": params.floor},
        )

    def drops(self, tag: str) -> list[str]:
        """The tablespace as well."""
        return [*super().drops(tag), f"DROP TABLESPACE IF EXISTS {quoted([tag])}"]

    async def evidence(self, control: asyncpg.Connection[Any], recipe: Recipe, now: Count) -> Evidence:
        """By the server our tablespace has grown, and by the kernel no more is free than should be."""
        path, floor = str(recipe.data["path"]), number(recipe.data["floor"])
        ask = "SELECT pg_tablespace_size(oid) FROM pg_tablespace WHERE spcname = $1"
        size = await control.fetchval(ask, recipe.data["tag"])
        free = free_bytes(path)
        says = f"our tablespace has {(size or 0) / 1e6:,.1f} MB, {free / 1e6:,.1f} MB free at {path}"
        enough = size and free <= floor + FILL_ROWS * ROW_BYTES // 8
        return Evidence(ok=True if enough else None, says=says, data={"bytes": size or 0, "free": free})


def _spare(path: str, keep: Iterable[str]) -> None:
    """Raises InjectorError: something of ours is on the file system of `path`."""
    for kept in map(Path, keep):
        there = next(folder for folder in (kept, *kept.parents) if folder.exists())
        if there.stat().st_dev == Path(path).stat().st_dev:
            raise InjectorError(f"{path} is on the file system of {kept}, where chaosrunner keeps its own state")


def _device_of(params: DiskFull.Params, seen: Server) -> int:
    """The file system to fill. Raises InjectorError: the directory will not do, or the server is not on this host."""
    data, _, made = seen.files.partition("=")
    try:
        here, theirs = Path(data, "PG_VERSION").stat().st_mtime, Path(data).stat()
        found, entries = Path(params.path).stat(), list(Path(params.path).iterdir())
    except OSError as error:
        raise InjectorError(f"{error.filename}: {error.strerror}; the server must be on this host") from None
    if int(here) != int(datetime.fromisoformat(made).timestamp()):
        raise InjectorError(f"{data} here is not the server's data: the server must be on this host")
    if entries:
        raise InjectorError(f"{params.path} is not empty")
    if found.st_uid != theirs.st_uid:
        raise InjectorError(f"{params.path} must belong to the server's user, number {theirs.st_uid}")
    if found.st_dev == theirs.st_dev and not params.data_too:
        raise InjectorError(f"{params.path} is on the file system of the server's data; 'data_too: true' would mean it")
    return found.st_dev
