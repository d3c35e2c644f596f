"""Latencies of the postgres family, on a server of our own where an application has four idle sessions, beside psql."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
from contract_rig import system_of
from latency_proxy import Alone, through_ours
from latency_ways import OURS, Faults, Kept, Step, Way, after, nothing, ours, program
from postgres_bench import LOST
from resources_rig import small_disk

from chaosrunner.demo.binaries import find_binaries, server_uid
from chaosrunner.demo.options import DemoUnavailable
from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres
from chaosrunner.model.fault import Injector
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component, System
from fault_injectors import postgres, postgres_locks, postgres_pressure, postgres_settings, postgres_statements

SESSIONS = 4
WHOLE_WITHIN_S = 10.0
HAND = "by-hand"
FLOOR = 4_000_000
PER_S = 20
HELD: Alone = {
    "postgres.near_exhaustion": (postgres.NearExhaustion, {"leave": 2}),
    "postgres.vacuum_pressure": (postgres_pressure.VacuumPressure, {}),
}
STATEMENTS: Alone = {
    "postgres.slow_query": (postgres_statements.SlowQuery, {"add": 0.1}),
    "postgres.fail_query": (postgres_statements.FailQuery, {}),
}
END_APPLICATION = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"
END_HAND = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{HAND}'"
_WHOLE = """SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'
    AND application_name NOT LIKE 'chaosrunner/%' AND application_name <> $1"""


def _client(name: str) -> str:
    """A program from beside the server's: what Debian has on PATH is a script that looks for it each time."""
    with suppress(DemoUnavailable):
        beside = find_binaries().directory / name
        if beside.exists():
            return str(beside)
    return name


PSQL, PGBENCH = _client("psql"), _client("pgbench")


class Idle:
    """An application that asks nothing; no pool, which would come back by itself in the middle of what is measured."""

    def __init__(self, dsn: str, admin: asyncpg.Connection[Any]) -> None:
        self.dsn, self.admin = dsn, admin
        self.sessions: list[asyncpg.Connection[Any]] = []

    async def whole(self) -> None:
        """Until all its sessions answer, those anew that have been ended, and the server counts no more of them.

        One that is told to end is counted for a moment longer, so that the count alone proves nothing.
        """
        async with asyncio.timeout(WHOLE_WITHIN_S):
            while True:
                self.sessions = [one for one in self.sessions if await self._answers(one)]
                if len(self.sessions) == SESSIONS == await self.admin.fetchval(_WHOLE, HAND):
                    return
                with suppress(*LOST):
                    while len(self.sessions) < SESSIONS:
                        self.sessions.append(await asyncpg.connect(self.dsn))
                await asyncio.sleep(0.01)

    async def _answers(self, session: asyncpg.Connection[Any]) -> bool:
        with suppress(*LOST, asyncpg.InternalClientError):  # the latter, if it has read that it ends, and not the end
            return await session.fetchval("SELECT 1") == 1
        return False

    def stop(self) -> None:
        """Hang up."""
        for one in self.sessions:
            one.terminate()


class Hand:
    """What an administrator does with psql."""

    def __init__(self, server: Postgres) -> None:
        self.server = server

    def says(self, *statements: str) -> Step:
        """One psql, as a superuser, that runs these and ends."""
        return program(*_words(self.server.admin_dsn), *(word for one in statements for word in ("-c", one)))

    def writes(self, there: list[str], back: list[str]) -> Way:
        """Statements that make it and statements that take it back."""
        return Way("psql", self.says(*there), self.says(*back) if back else nothing, nothing)

    def stays(self, first: str) -> Way:
        """A psql of the application's role that has run this and stays in it until it is told no more."""
        kept = Kept(*_words(self.server.dsn), told=f"{first};\n\\echo begun\n", says="begun")
        return Way("psql", kept.begin, kept.end, nothing)

    def goes_on(self, again: str) -> Way:
        """A psql that begins to run this again and again, until another one ends its session."""
        dsn = f"{self.server.admin_dsn}?application_name={HAND}"
        kept = Kept(*_words(dsn), told=f"\\o /dev/null\n\\echo begun\n{again} \\watch 0.1\n", says="begun")
        end_session = self.says(END_HAND)

        async def end() -> None:
            await end_session()
            await kept.end(signal.SIGKILL)

        return Way("psql", kept.begin, end, nothing)


@asynccontextmanager
async def postgres_faults() -> AsyncIterator[Faults]:
    """Faults of one server; before each, the application has all its sessions again, and nothing asks anything."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(launch_postgres(PostgresOptions(max_connections=25)))
        admin: asyncpg.Connection[Any] = await asyncpg.connect(server.admin_dsn)
        stack.push_async_callback(admin.close)
        application = Idle(server.dsn, admin)
        await application.whole()
        await application.sessions[0].execute("CREATE TABLE things AS SELECT 1 AS n")
        stack.callback(application.stop)
        component = Component(name="target", dsn=Secret(server.dsn), admin=Secret(server.admin_dsn))
        system, hand = system_of(component), Hand(server)
        faults = {
            **_held(system, hand),
            **_pressing(system, hand),
            **_written(system, hand),
            **_stormed(system, server, stack),
            **_disk_full(system, _disk(stack)),
            **await stack.enter_async_context(through_ours(STATEMENTS, "postgres", server.port)),
        }
        yield {fault: after(application.whole, ways) for fault, ways in faults.items()}


def _held(system: System, hand: Hand) -> dict[str, list[Way]]:
    """What a process of ours, or a psql, holds."""

    def our(kind: type[Injector], tool: str = OURS, **params: object) -> Way:
        return ours(tool, kind(), system, **params)

    table = "BEGIN; LOCK TABLE things IN ACCESS EXCLUSIVE MODE"
    return {
        "postgres.pool": [
            our(postgres.Pool, f"{OURS}, slots", by="slots"),
            our(postgres.Pool, f"{OURS}, locks", by="locks", table="things"),
            replace(hand.stays(table), tool="psql, locks"),
        ],
        "postgres.lock_table": [our(postgres_locks.LockTable, tables="things"), hand.stays(table)],
        "postgres.lock_rows": [
            our(postgres_locks.LockRows, table="things"),
            hand.stays("BEGIN; SELECT 1 FROM things LIMIT 1000 FOR UPDATE"),
        ],
        "postgres.idle_in_transaction": [
            our(postgres_locks.IdleInTransaction, sessions=1),
            hand.stays("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1"),
        ],
        "postgres.kill_backends": [our(postgres.KillBackends, every=60.0), hand.writes([END_APPLICATION], [])],
        **{fault: [our(kind, **params)] for fault, (kind, params) in HELD.items()},
    }


def _pressing(system: System, hand: Hand) -> dict[str, list[Way]]:
    """What runs again and again; it is there, for us and for psql, just before the first time."""
    log = f"SELECT pg_logical_emit_message(false, '{HAND}', repeat('x', {postgres_pressure.WAL_BYTES})) \\; CHECKPOINT"
    return {
        "postgres.heavy_queries": [
            ours(OURS, postgres_pressure.HeavyQueries(), system, sessions=1),
            hand.goes_on("SELECT count(*) FROM generate_series(1, 500000) AS n WHERE md5(n::text) = ''"),
        ],
        "postgres.checkpoint_pressure": [
            ours(OURS, postgres_pressure.CheckpointPressure(), system),
            hand.goes_on(log),
        ],
    }


def _stormed(system: System, server: Postgres, stack: AsyncExitStack) -> dict[str, list[Way]]:
    """Connections that come and go."""
    script = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaosrunner-latency-"))) / "nothing.sql"
    script.write_text("SELECT 1;\n")
    words = ("-n", "-C", "-c", "1", "-R", str(PER_S), "-T", "20", "-f", str(script), server.dsn)
    kept = Kept(PGBENCH, *words, says="pgbench (")

    async def end() -> None:
        await kept.end(signal.SIGINT)

    return {
        "postgres.connection_storm": [
            ours(OURS, postgres.ConnectionStorm(), system, per_second=PER_S),
            Way("pgbench", kept.begin, end, nothing),
        ]
    }


def _written(system: System, hand: Hand) -> dict[str, list[Way]]:
    """What is written into the server's catalogue."""
    read_only = "ALTER ROLE app IN DATABASE shop {} default_transaction_read_only"
    return {
        "postgres.connection_limit": [
            ours(OURS, postgres_settings.ConnectionLimit(), system),
            hand.writes(["ALTER ROLE app CONNECTION LIMIT 0", END_APPLICATION], ["ALTER ROLE app CONNECTION LIMIT -1"]),
        ],
        "postgres.read_only": [
            ours(OURS, postgres_settings.ReadOnly(), system),
            hand.writes(
                [f"{read_only.format('SET')} = on", END_APPLICATION], [read_only.format("RESET"), END_APPLICATION]
            ),
        ],
    }


def _disk_full(system: System, disk: Path) -> dict[str, list[Way]]:
    """A tablespace that begins to fill a disk, beside a file that has filled it."""
    room = os.statvfs(disk)
    file = str(disk / HAND)
    fill = program("fallocate", "-l", str(room.f_bavail * room.f_frsize - FLOOR), file)
    return {
        "postgres.disk_full": [
            ours(OURS, postgres_pressure.DiskFull(), system, path=str(disk), floor=FLOOR),
            Way("fallocate", fill, program("rm", file), nothing),
        ]
    }


def _disk(stack: AsyncExitStack) -> Path:
    """A small file system of the server's user."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="chaosrunner-latency-"))
    disk = stack.enter_context(small_disk(Path(folder)))
    os.chown(disk, server_uid(), server_uid())
    return disk


def _words(dsn: str) -> tuple[str, ...]:
    return PSQL, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn
