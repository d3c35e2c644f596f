"""A schema of our own: named before it exists, tagged as ours by its comment, and dropped only as such.

The comment also says, by the server's clock, from when on its run is surely over: a worker that is killed cannot drop
it, and whoever comes later must know (`chaosrunner.load.postgres.sweeping`).

What it holds is dropped object by object, without CASCADE, until nothing is left: should something outside have come to
depend on it, all of it stays, and that is said.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from chaosrunner.errors import LoadBroken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosrunner.load.postgres.lines import Connection

LONGEST_NAME = 63
"""Bytes; Postgres would cut a longer one and so meet another's."""

TABLE = "acknowledged"

PREFIX = "chaosrunner_"
MADE = "made by chaosrunner for its run "
OVER = "; over by "
"""Between the run and an instant in ISO form."""

SLACK_S = 120.0
"""Beyond the time that a load may last: to get ready, to begin, and to settle."""

FIND = "SELECT oid, obj_description(oid, 'pg_namespace') AS comment FROM pg_namespace WHERE nspname = $1"

CONTENTS = """
SELECT format('DROP %s %s', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
  WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, oid::regclass)
FROM pg_class WHERE relnamespace = $1::oid AND relkind IN ('v', 'm', 'r', 'p', 'f', 'S', 'c')
UNION ALL SELECT format('DROP ROUTINE %s', oid::regprocedure) FROM pg_proc WHERE pronamespace = $1::oid
UNION ALL SELECT format('DROP TYPE %s', oid::regtype) FROM pg_type
  WHERE typnamespace = $1::oid AND typtype IN ('e', 'd', 'r')
"""
"""How to drop what a schema holds, in no order."""


def quoted(name: str) -> str:
    """An identifier that means exactly this name."""
    return '"' + name.replace('"', '""') + '"'


class Schema:
    """The schema of one run.

    Args:
        run: its id.
        longest_s: its load has surely ended so many seconds after its epoch.

    Raises:
        LoadBroken: the id is too long for a name.
    """

    def __init__(self, run: str, longest_s: float) -> None:
        self.name = f"{PREFIX}{run}"
        self.comment = f"{MADE}{run}{OVER}"
        """What its comment begins with."""
        self._longest_s = longest_s
        self.made = False
        """Whether this process made it."""
        if len(self.name.encode()) > LONGEST_NAME:
            raise LoadBroken(f"the schema {self.name!r} has a longer name than the {LONGEST_NAME} bytes Postgres keeps")

    @property
    def table(self) -> str:
        """The table of acknowledged writes, quoted."""
        return f"{quoted(self.name)}.{TABLE}"

    async def make(self, connection: Connection, setup: Sequence[str]) -> None:
        """Create it, tag it, and prepare what the load needs in it; all or nothing.

        Args:
            connection: whose search path begins with it afterwards.
            setup: statements of the file, in order.

        Raises:
            LoadBroken: there is one of that name, the role may not create one, or a statement failed.
        """
        try:
            async with connection.transaction():
                # It must outlive a crash that loses writes, or nothing could tell which they were.
                await connection.execute("SET LOCAL synchronous_commit = on")
                await connection.execute(f"CREATE SCHEMA {quoted(self.name)}")
                over = await connection.fetchval("SELECT clock_timestamp()") + timedelta(
                    seconds=self._longest_s + SLACK_S
                )
                comment = (self.comment + over.isoformat(timespec="seconds")).replace("'", "''")
                await connection.execute(f"COMMENT ON SCHEMA {quoted(self.name)} IS '{comment}'")
                await connection.execute(
                    f"CREATE TABLE {self.table} (writer int, number bigint, PRIMARY KEY (writer, number))"
                )
                await self.look_here_first(connection)
                for nth, statement in enumerate(setup, 1):
                    await _set_up(connection, statement, nth)
        except asyncpg.DuplicateSchemaError:
            raise LoadBroken(
                f"there is a schema {self.name!r} already, and this load did not make it; nothing was changed",
                advice="drop it if it is a dead run's (its comment says whose), and start again",
            ) from None
        except asyncpg.InsufficientPrivilegeError as error:
            raise LoadBroken(
                f"the role may not create the schema {self.name!r}: {error}",
                advice="GRANT CREATE ON DATABASE … TO the role of the component's dsn",
            ) from error
        self.made = True

    async def look_here_first(self, connection: Connection) -> None:
        """Put it before whatever the session's search path is. Raises one of FAILURES."""
        await connection.execute(
            "SELECT set_config('search_path', $1 || ', ' || current_setting('search_path'), false)", quoted(self.name)
        )

    async def enter(self, connection: Connection) -> None:
        """Say that this session's process uses it: nobody drops it meanwhile. Raises one of FAILURES."""
        await connection.execute("SELECT pg_advisory_lock_shared(hashtextextended($1, 0))", self.name)

    async def leave(self, connection: Connection) -> str:
        """Use it no more, and drop it if nobody else uses it.

        Returns:
            Why it stays although nobody uses it; empty when all is well.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the session is of no use.
        """
        await connection.execute("SELECT pg_advisory_unlock_shared(hashtextextended($1, 0))", self.name)
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", self.name):
            return ""  # the last one to leave drops it
        found = await connection.fetchrow(FIND, self.name)
        if found is None:
            return ""
        if not (found["comment"] or "").startswith(self.comment):
            return "its comment does not say that it is ours"
        return await drop(connection, found["oid"], self.name)


async def drop(connection: Connection, oid: int, name: str) -> str:
    """Drop a schema and all that is in it, unless something outside depends on it.

    Returns:
        Why it stays, all of it; empty when it is gone.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the session is of no use.
    """
    try:
        async with connection.transaction():
            # What is ours may be locked by a session that hangs; better leave it than wait for that.
            await connection.execute("SET LOCAL lock_timeout = '1s'")
            while await _drop_some(connection, oid):
                pass
            await connection.execute(f"DROP SCHEMA {quoted(name)} RESTRICT")
    except asyncpg.PostgresError as error:
        if isinstance(error, asyncpg.PostgresConnectionError):
            raise
        return str(error)
    return ""


async def _set_up(connection: Connection, statement: str, nth: int) -> None:
    try:
        await connection.execute(statement)
    except asyncpg.PostgresError as error:
        raise LoadBroken(f"setup statement {nth}: {error} ({error.sqlstate})") from error


async def _drop_some(connection: Connection, oid: int) -> bool:
    """Drop what nothing else stands on; False when that is nothing."""
    dropped = False
    for row in await connection.fetch(CONTENTS, oid):
        try:
            async with connection.transaction():
                await connection.execute(row[0])
        except (asyncpg.DependentObjectsStillExistError, asyncpg.UndefinedTableError, asyncpg.UndefinedObjectError):
            continue  # what stands on it goes first; or it went with another
        dropped = True
    return dropped
