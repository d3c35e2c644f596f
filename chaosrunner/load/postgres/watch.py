"""The server's own view of our sessions, by one connection beside the load: locks, deadlocks, sessions, restarts."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import asyncpg

from chaosrunner.load.postgres.failures import FAILURES
from chaosrunner.load.postgres.leases import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chaosrunner.load.postgres.lines import Connection

LOOK_S = 0.25
"""How often the server is asked who waits for a lock."""

COUNT_EVERY = 4
"""Every so many looks the sessions are counted as well."""

LONGEST_PAUSE_S = 2.0

WAITING = """
SELECT a.pid, a.query_start::text AS began, l.locktype AS kind,
  greatest(extract(epoch FROM clock_timestamp() - {since}), 0)::float8 AS for_s
FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
WHERE a.wait_event_type = 'Lock' AND a.datname = current_database() AND left(a.application_name, length($1)) = $1
"""

SESSIONS = """
SELECT pid, substr(application_name, length($1) + 1) AS number, coalesce(state, '') AS state,
  greatest(extract(epoch FROM clock_timestamp() - state_change), 0)::float8 AS for_s
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()
  AND left(application_name, length($1)) = $1
"""

DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"

ABOUT = """
SELECT extract(epoch FROM pg_postmaster_start_time())::float8 AS started, pg_is_in_recovery() AS standby
"""

TIMELINE = "SELECT timeline_id FROM pg_control_checkpoint()"
"""It grows with every promotion of a standby."""


@dataclass(frozen=True, slots=True)
class LockWait:
    """A session of ours that waits for a lock."""

    pid: int
    began: str
    """When its statement did, by the server's clock: with the pid, which statement it is."""
    kind: str
    """What is locked: `transactionid` (a row that another transaction changed), `tuple`, `relation`, …"""
    for_s: float


class Seeing(Protocol):
    """Who is told what the server says."""

    def waits(self, found: list[LockWait]) -> None:
        """All sessions of ours that wait for a lock now."""
        ...

    def sessions(self, found: list[Session]) -> None:
        """All sessions of ours."""
        ...

    async def read_on(self, connection: Connection) -> None:
        """Look for writes that were acknowledged a while ago. Raises one of FAILURES."""
        ...

    def server(self, started_s: float, *, standby: bool, timeline: int | None) -> None:
        """Which server answers, asked after every connect."""
        ...


class Watch:
    """Looks at one server until it is stopped. It needs a session of its own, and does without it as long as there is
    none to be had.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], prefix: str, seeing: Seeing) -> None:
        self._connect = connect
        self._prefix = prefix
        self._seeing = seeing
        self._connection: Connection | None = None
        self._busy = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.deadlocks: int | None = None
        """The database's count when the load began."""
        self.on_connect: Callable[[Connection], Awaitable[None]] | None = None
        """Done with every new session first."""

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._look_on())

    async def use(self, what: Callable[[Connection], Awaitable[None]], seconds: float) -> bool:
        """Do something on the control session, reconnecting once if it has broken.

        Returns:
            Whether it was done within that time.
        """
        deadline = time.monotonic() + seconds
        for _ in range(2):
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())), self._busy:
                    await what(await self.session())
            except FAILURES:
                self._drop()
                continue
            return True
        return False

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def close(self) -> None:
        """End the control session at once."""
        self._drop()

    # --- inside

    async def _look_on(self) -> None:
        pause_s, nth = LOOK_S, 0
        while True:
            await asyncio.sleep(pause_s)
            nth += 1
            try:
                async with asyncio.timeout(LONGEST_PAUSE_S), self._busy:
                    await self._look(count=nth % COUNT_EVERY == 0)
            except FAILURES:
                self._drop()
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
            else:
                pause_s = LOOK_S

    async def _look(self, *, count: bool) -> None:
        connection = await self.session()
        knows_start = connection.get_server_version().major >= 14
        since = "coalesce(l.waitstart, a.query_start)" if knows_start else "a.query_start"
        rows = await connection.fetch(WAITING.format(since=since), self._prefix)
        self._seeing.waits([LockWait(row["pid"], row["began"], row["kind"], row["for_s"]) for row in rows])
        if count:
            self._seeing.sessions(await sessions(connection, self._prefix))
            await self._seeing.read_on(connection)

    async def session(self) -> Connection:
        """The control session, opened if need be; for who has the place to himself. Raises one of FAILURES."""
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            connection = await self._connect()
            self._connection = connection
            if self.on_connect is not None:
                await self.on_connect(connection)
            about = await connection.fetchrow(ABOUT)
            assert about is not None
            timeline = await _timeline(connection)
            self._seeing.server(about["started"], standby=about["standby"], timeline=timeline)
            if self.deadlocks is None:
                self.deadlocks = await connection.fetchval(DEADLOCKS)
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


async def sessions(connection: Connection, prefix: str) -> list[Session]:
    """All sessions whose application_name begins so, but for the one that asks. Raises one of FAILURES."""
    rows = await connection.fetch(SESSIONS, prefix)
    return [Session(row["pid"], row["number"], row["state"], row["for_s"]) for row in rows]


async def _timeline(connection: Connection) -> int | None:
    """None where the role may not ask, or what answers keeps none. Raises one of FAILURES."""
    try:
        found = await connection.fetchval(TIMELINE)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError, asyncpg.FeatureNotSupportedError):
        return None
    return int(found)
