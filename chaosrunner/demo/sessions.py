"""Database sessions of one replica, kept with care or carelessly."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import asyncpg

from chaosrunner.demo.breaker import Breaker, BreakerState
from chaosrunner.demo.schema import SCHEMA, WARM_UP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_AWAY = (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError,
         asyncpg.TooManyConnectionsError, asyncpg.OperatorInterventionError, asyncpg.QueryCanceledError)  # fmt: skip
"""What says that the database is away or ended our session, not that the statement was wrong."""


class DatabaseAway(Exception):
    """The database does not answer in time, or refuses; nothing more will be tried for this request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """Where a replica finds the database, and what its sessions are called there."""

    dsn: str
    application_name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of `asyncpg.connect`."""
        settings = {"search_path": SCHEMA, "application_name": self.application_name}
        return {"dsn": self.dsn, "server_settings": settings}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """What a pool looks like now; counts of sessions and of waiting requests."""

    size: int
    idle: int
    waiting: int
    acquire_timeouts: int
    breaker: BreakerState = "closed"


class Sessions(Protocol):
    """How a replica talks to its database."""

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement and return its rows."""

    def statistics(self) -> PoolStatistics:
        """What the pool looks like now."""

    async def close(self) -> None:
        """End all sessions."""


class CarefulSessions:
    """A pool with a deadline for everything, a breaker, and one retry on a fresh session.

    Every statement of the demo may be repeated, so a session that the server ended costs nobody an error.
    """

    SIZE = 16
    DEADLINE_S = 0.8
    STATEMENT_TIMEOUT_S = 0.75
    TRIES = 2

    def __init__(self, address: DatabaseAddress) -> None:
        self._breaker = Breaker(threshold=3, rest_s=0.3)
        self._waiting = 0
        self._acquire_timeouts = 0
        self._pool = asyncpg.create_pool(
            **_with_statement_timeout(address.arguments, self.STATEMENT_TIMEOUT_S),
            min_size=0,  # nothing is connected here: a replica must be able to start while the database is away
            max_size=self.SIZE,
            max_queries=2**62,
            max_inactive_connection_lifetime=0,
            timeout=self.DEADLINE_S,
            reset=_nothing_to_reset,
            init=_warm,
        )

    async def open(self) -> None:
        """Fill the pool, so that no user waits for a first connection; raises as `fetch` does."""
        await self._pool
        sessions: list[Any] = []
        try:
            for _ in range(self.SIZE):
                sessions.append(await self._pool.acquire(timeout=self.DEADLINE_S))
        except _AWAY as error:
            raise DatabaseAway(str(error)) from error
        finally:
            for session in sessions:
                await self._pool.release(session)

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement within `DEADLINE_S`, with a second try when the session was lost.

        Raises:
            DatabaseAway: No answer in time, no session, or the breaker is open.
        """
        if not self._breaker.admit():
            raise DatabaseAway("breaker open")
        healthy = False
        try:
            async with asyncio.timeout(self.DEADLINE_S):
                rows = await self._fetch_repeating(statement, arguments)
            healthy = True
        except _AWAY as error:
            raise DatabaseAway(f"{type(error).__name__}: {error}") from error
        except asyncpg.PostgresError:
            healthy = True  # it answered: our statement was wrong, not the database away
            raise
        else:
            return rows
        finally:
            if healthy:
                self._breaker.succeeded()
            else:
                self._breaker.failed()

    def statistics(self) -> PoolStatistics:
        """What the pool looks like now."""
        return PoolStatistics(
            size=self._pool.get_size(),
            idle=self._pool.get_idle_size(),
            waiting=self._waiting,
            acquire_timeouts=self._acquire_timeouts,
            breaker=self._breaker.state,
        )

    async def close(self) -> None:
        """End all sessions, the busy ones after a second."""
        try:
            await asyncio.wait_for(self._pool.close(), 1.0)
        except TimeoutError:
            self._pool.terminate()

    async def _fetch_repeating(self, statement: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
        for remaining in reversed(range(self.TRIES)):
            try:
                return await self._fetch_once(statement, arguments)
            except (
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,  # what it says of a session that ended while it was being taken
                asyncpg.PostgresConnectionError,
                asyncpg.AdminShutdownError,
                ConnectionError,
            ):
                if not remaining:
                    raise
                await asyncio.sleep(random.uniform(0.01, 0.05))  # jitter: not all of us at once
        raise AssertionError("unreachable: the last try returns or raises")

    async def _fetch_once(self, statement: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
        self._waiting += 1
        try:
            session = await self._pool.acquire()  # bounded by the deadline around it
        except (TimeoutError, asyncio.CancelledError):  # the deadline arrives as a cancellation
            self._acquire_timeouts += 1
            raise
        finally:
            self._waiting -= 1
        try:
            return await session.fetch(statement, *arguments)
        except BaseException as error:
            if not isinstance(error, asyncpg.PostgresError) or isinstance(error, _AWAY):
                session.terminate()  # never wait for a session in doubt; the pool makes a new one
            raise
        finally:
            await self._pool.release(session)


class LeakySessions:
    """A home-made pool, written the way they often are; every defect is marked.

    It works perfectly until the first failure.
    """

    SIZE = 3  # defect: far too few

    def __init__(self, address: DatabaseAddress) -> None:
        self._address = address
        self._free = asyncio.Semaphore(self.SIZE)
        self._idle: list[asyncpg.Connection[asyncpg.Record]] = []
        self._waiting = 0
        self._made: list[asyncpg.Connection[asyncpg.Record]] = []

    async def open(self) -> None:
        """Connect all sessions once."""
        while len(self._idle) < self.SIZE:
            self._idle.append(await self._connect())

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement, however long that takes."""
        session = await self.acquire()
        rows = await session.fetch(statement, *arguments)  # defect: no timeout, and a failure leaks the session
        self.release(session)
        return rows

    def statistics(self) -> PoolStatistics:
        """What the pool looks like now."""
        open_now = sum(not session.is_closed() for session in self._made)
        return PoolStatistics(size=open_now, idle=len(self._idle), waiting=self._waiting, acquire_timeouts=0)

    async def close(self) -> None:
        """End the idle sessions; the leaked ones end with the process."""
        for session in self._idle:
            session.terminate()

    async def acquire(self) -> asyncpg.Connection[asyncpg.Record]:
        """A session that the caller must give back with `release`, which callers forget."""
        self._waiting += 1
        try:
            await self._free.acquire()  # defect: waits for ever
        finally:
            self._waiting -= 1
        # Defects: a dead session is handed out unseen; a failed connect loses its permit; no backoff between attempts.
        return self._idle.pop() if self._idle else await self._connect()

    def release(self, session: asyncpg.Connection[asyncpg.Record]) -> None:
        """Give a session back."""
        self._idle.append(session)
        self._free.release()

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        session: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(**self._address.arguments)
        self._made = [*(made for made in self._made if not made.is_closed()), session]
        return session


async def wait_for_database(attempt: Callable[[], Awaitable[object]], *, patience_s: float) -> bool:
    """Repeat `attempt` with growing, jittered pauses until it succeeds or `patience_s` is over; whether it did."""
    from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_delay, wait_random_exponential

    retrying = AsyncRetrying(
        retry=retry_if_exception_type((DatabaseAway, asyncpg.PostgresError, *_AWAY)),
        stop=stop_after_delay(patience_s),
        wait=wait_random_exponential(multiplier=0.1, max=1.0),
    )
    try:
        async for trial in retrying:
            with trial:
                await attempt()
    except RetryError:
        return False
    return True


def _with_statement_timeout(arguments: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    settings = {**arguments["server_settings"], "statement_timeout": str(int(timeout_s * 1000))}
    return {**arguments, "server_settings": settings}


async def _nothing_to_reset(session: asyncpg.Connection[asyncpg.Record]) -> None:
    """Our statements leave no state in a session: save the round trip that a reset would cost."""


async def _warm(session: asyncpg.Connection[asyncpg.Record]) -> None:
    """Prepare the statements while it is cheap: on a slow line, slow first requests are better than a slow connect."""
    loop = asyncio.get_running_loop()
    enough_s = loop.time() + 0.1
    for statement, arguments in WARM_UP:
        if loop.time() > enough_s:
            return
        try:
            await session.fetch(statement, *arguments)
        except asyncpg.ReadOnlySQLTransactionError:
            pass  # a database that takes no writes still answers reads
