"""The sessions of a Postgres server by the server's own count: the application's, ours, and all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chaosrunner.errors import InjectorError

if TYPE_CHECKING:
    import asyncpg

CONNECT_S = 5.0
FULL_S = 3.0
"""How long to knock at a server that is full: after our own slots were let go, one is free in milliseconds."""
CONTROL = "chaosrunner-control"
"""application_name of sessions that look and undo; they create nothing."""
TAG_BYTES = 63
"""Postgres cuts an application_name to this."""

_OF_APP = """usename = $1 AND datname = $2 AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND application_name NOT LIKE 'chaosrunner%'"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Sessions of one moment."""

    app: int
    """Of the application: its role, its database, not ours."""
    ours: int
    """With our tag."""
    used: int
    """Slots taken by anybody."""


@asynccontextmanager
async def session(
    dsn: str, *, what: str, application_name: str = CONTROL, database: str | None = None
) -> AsyncIterator[asyncpg.Connection[Any]]:
    """One session, closed at the end; what goes wrong with it is an InjectorError that never quotes the DSN.

    Args:
        dsn: where; its value is a secret.
        what: what an error calls it: `dsn of database`.
        application_name: what the server calls it.
        database: instead of the one that the DSN names.
    """
    import asyncpg

    connection = None
    try:
        try:
            connection = await _connect(dsn, application_name, database)
        except ValueError as error:  # its text may quote the DSN
            raise InjectorError(f"{what} is not understood ({type(error).__name__})") from None
        yield connection
    except asyncpg.PostgresError as error:
        raise InjectorError(f"{what}: Postgres says {type(error).__name__}: {error}") from None
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise InjectorError(f"{what}: Postgres cannot be reached: {type(error).__name__} {error}") from None
    finally:
        if connection is not None:
            connection.terminate()


async def count(connection: asyncpg.Connection[Any], *, role: str, database: str, tag: str) -> Count:
    """The sessions now."""
    row = await connection.fetchrow(
        f"""SELECT count(*) FILTER (WHERE {_OF_APP}) AS app,
            count(*) FILTER (WHERE application_name = $3) AS ours,
            count(*) FILTER (WHERE backend_type = 'client backend') AS used FROM pg_stat_activity""",  # noqa: S608
        role,
        database,
        tag,
    )
    assert row is not None
    return Count(app=row["app"], ours=row["ours"], used=row["used"])


async def end_application(
    connection: asyncpg.Connection[Any], *, role: str, database: str, before: datetime | None = None
) -> int:
    """End the application's sessions, or those of them that began before a moment; how many there were."""
    ended = await connection.fetch(
        f"""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE {_OF_APP} AND ($3::timestamptz IS NULL OR backend_start < $3)""",  # noqa: S608
        role,
        database,
        before,
    )
    return len(ended)


def end_some(*, role: str, database: str, share: float) -> str:
    """A statement that ends a share of the application's sessions: 0..1, rounded down but at least one.

    Args:
        role: the application's, a literal of SQL.
        database: likewise.
        share: of those it has when the statement is run.
    """
    of_app = _OF_APP.replace("$1", role).replace("$2", database)
    return f"""WITH alive AS (SELECT pid, count(*) OVER () AS many FROM pg_stat_activity WHERE {of_app}),
        drawn AS (SELECT pid FROM alive ORDER BY random()
            LIMIT (SELECT greatest(1, floor(max(many) * {share}))::bigint FROM alive))
        SELECT pg_terminate_backend(pid) FROM drawn"""  # noqa: S608


async def older(connection: asyncpg.Connection[Any], *, role: str, database: str, than: datetime) -> int:
    """How many of the application's sessions began before a moment."""
    found: int = await connection.fetchval(
        f"SELECT count(*) FROM pg_stat_activity WHERE {_OF_APP} AND backend_start < $3",  # noqa: S608
        role,
        database,
        than,
    )
    return found


async def end_tagged(connection: asyncpg.Connection[Any], tag: str) -> None:
    """End the sessions of a tag."""
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", tag)


async def waiting_for(connection: asyncpg.Connection[Any], *, role: str, database: str, tag: str) -> int:
    """How many of the application's sessions wait for a lock that a session of the tag holds or asks for."""
    waiting: int = await connection.fetchval(
        f"""WITH ours AS (SELECT array_agg(pid) AS pids FROM pg_stat_activity WHERE application_name = $3)
            SELECT count(*) FROM pg_stat_activity, ours WHERE {_OF_APP}
            AND wait_event_type = 'Lock' AND pg_blocking_pids(pid) && ours.pids""",  # noqa: S608
        role,
        database,
        tag,
    )
    return waiting


async def _connect(dsn: str, application_name: str, database: str | None) -> asyncpg.Connection[Any]:
    import asyncpg

    settings = {"application_name": application_name}
    loop = asyncio.get_running_loop()
    until = loop.time() + FULL_S
    while True:
        try:
            return await asyncpg.connect(
                dsn,
                database=database,
                timeout=CONNECT_S,
                command_timeout=CONNECT_S,
                statement_cache_size=0,
                server_settings=settings,
            )
        except asyncpg.TooManyConnectionsError:
            if loop.time() > until:
                raise
        await asyncio.sleep(0.05)
