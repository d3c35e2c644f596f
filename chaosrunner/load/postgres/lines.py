"""One connection of a pool: a task that opens it, does one job after the other on it, and closes it.

A task a connection rather than one a query: handing a job over costs a future's wake-up, or nothing when the next job
is there when the last one ends.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

from chaosrunner.load.postgres.arguments import converters
from chaosrunner.load.postgres.failures import FAILURES, TROUBLES, of_connect
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import asyncpg

    from chaosrunner.load.journey import Journey
    from chaosrunner.load.postgres.arguments import Convert
    from chaosrunner.load.postgres.failures import Failure
    from chaosrunner.load.postgres.jobs import Job

    Connection = asyncpg.Connection[Any]
    Prepared = asyncpg.prepared_stmt.PreparedStatement[Any]
    Execute = Callable[
        [Any, Sequence[object], str, int, bool, None], Awaitable[tuple[list[asyncpg.Record], bytes | None, bool]]
    ]
    """State, arguments, portal, limit (0 = all rows), with the status, timeout → rows, status, whether all came."""

RECOVER_S = 2.0
"""A session whose statement was cancelled and that does not answer within this is given up."""

GOODBYE_S = 0.5
"""How long a session is given to end properly."""


class Home(Protocol):
    """The pool, as a line sees it."""

    connect: Callable[[int], Awaitable[Connection]]
    """A new session with that number. Raises one of FAILURES."""

    def opened_one(self, line: Line, took_ns: int) -> None:
        """A line is open and free."""
        ...

    def not_opened(self, line: Line, failure: Failure) -> None:
        """A line could not be opened."""
        ...

    def freed(self, line: Line) -> None:
        """A line has done its job."""
        ...

    def lost(self, line: Line) -> None:
        """A line is closed."""
        ...


class Line:
    """One connection and its task."""

    __slots__ = (
        "_dead",
        "_home",
        "_interrupted",
        "_statements",
        "_wake",
        "connection",
        "execute",
        "fresh",
        "job",
        "keeper",
        "number",
        "opening_ns",
        "pid",
        "prepared",
        "task",
        "tried",
    )  # fmt: skip

    def __init__(self, home: Home, number: int) -> None:
        self._home = home
        self.number = number
        """Its own, never used again: the last part of its session's application_name."""
        self.job: Job | None = None
        """What it is doing, or will be doing once it is open."""
        self.fresh = False
        """It was opened for one job and is closed after it."""
        self.keeper: Journey | None = None
        """The journey that keeps it."""
        self.connection: Connection | None = None
        self.pid = 0
        """Of the server's process."""
        self.opening_ns = time.monotonic_ns()
        self.execute: Execute
        """Of a prepared statement's state and its arguments; set when it is open."""
        self.prepared: dict[str, tuple[Any, tuple[Convert, ...]]] = {}
        """Statement → its state here, for `execute`, and what fits its arguments."""
        self._statements: list[Prepared] = []
        """Kept, because asyncpg closes a statement that nobody refers to."""
        self.tried = asyncio.Event()
        """It is open, or could not be opened."""
        self._wake: asyncio.Future[None] | None = None
        self._interrupted = False
        self._dead = False
        self.task = asyncio.get_running_loop().create_task(self._live())
        self.task.add_done_callback(_told)

    @property
    def open(self) -> bool:
        """Whether it can be given a job."""
        return self.connection is not None and not self._dead

    def start(self, job: Job) -> None:
        """Do a job; the line is free and open."""
        job.line = self
        self.job = job
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def interrupt(self) -> None:
        """The hit it works for is over: cancel the statement, here and at the server, and be free again."""
        self._interrupted = True
        self.task.cancel()

    def close(self) -> None:
        """Close at once, whatever it does."""
        self._dead = True
        self.task.cancel()

    async def ready(self, sql: str) -> tuple[Any, tuple[Convert, ...]]:
        """A statement, prepared on this session. Raises one of FAILURES."""
        assert self.connection is not None
        statement = await self.connection.prepare(sql)
        types = [
            f"{kind.name.removesuffix('[]')}[]" if kind.kind == "array" else kind.name
            for kind in statement.get_parameters()
        ]
        self._statements.append(statement)
        found = self.prepared[sql] = (statement._state, converters(types))  # type: ignore[attr-defined]
        return found

    def forget(self) -> None:
        """Prepare everything anew: the server's tables are not what they were."""
        self.prepared.clear()
        self._statements.clear()

    # --- its life

    async def _live(self) -> None:
        try:
            if await self._open():
                await self._work()
        except asyncio.CancelledError:
            # Closed, or its hit was over before it was open. Nobody else cancels it.
            pass
        finally:
            await self._hang_up()

    async def _open(self) -> bool:
        try:
            self.connection = await self._home.connect(self.number)
        except FAILURES as error:
            self._dead = True
            self._home.not_opened(self, of_connect(error))
            return False
        finally:
            self.tried.set()
        self.pid = self.connection.get_server_pid()
        # Below PreparedStatement.fetch, which comes here through three more coroutines: a seventh of a query's CPU.
        self.execute = self.connection._protocol.bind_execute  # type: ignore[attr-defined]
        self.connection.add_termination_listener(self._ended)
        self._home.opened_one(self, time.monotonic_ns() - self.opening_ns)
        return True

    async def _work(self) -> None:
        """Do one job after the other."""
        while not self._dead:
            try:
                job = self.job
                if job is None:
                    await self._rest()
                    continue
                try:
                    await job.act.attempt(self, job.hit.journey.variables)
                    outcome = Outcome.OK
                except TROUBLES as trouble:
                    outcome = await job.act.amend(self, job, trouble)
            except asyncio.CancelledError:
                if not self._interrupted or self._dead:
                    raise
                await self._come_to()
                continue
            now = time.monotonic_ns()
            # First the line, so that whoever is due next finds it free.
            self._free()
            if not job.hit.over:
                job.act.finish(job, outcome, now)

    async def _rest(self) -> None:
        """Until there is a job, or the session has ended."""
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    def _free(self) -> None:
        self.job = None
        if self.fresh:
            self._dead = True
        if not self._dead:
            self._home.freed(self)

    async def _come_to(self) -> None:
        """After an interrupt: have the server's answer to the cancellation, and leave no transaction open."""
        self._interrupted = False
        asyncio.current_task().uncancel()  # type: ignore[union-attr]
        assert self.connection is not None
        try:
            async with asyncio.timeout(RECOVER_S):
                await self.connection.execute("ROLLBACK")
        except FAILURES:
            self._dead = True
        self._free()

    def broken(self) -> None:
        """Its session is of no use any more: it is closed after this job."""
        self._dead = True

    def _ended(self, _connection: object) -> None:
        """The session has ended; told by asyncpg, also while the line is idle."""
        self._dead = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _hang_up(self) -> None:
        """Say goodbye, so that the server does not have to find out."""
        self._dead = True
        connection, self.connection = self.connection, None
        try:
            if connection is not None:
                connection.remove_termination_listener(self._ended)
                await connection.close(timeout=GOODBYE_S)
        except FAILURES:
            pass  # asyncpg has closed the socket by then
        finally:
            self._home.lost(self)


def _told(task: asyncio.Task[None]) -> None:
    """A mistake of ours in a line ends the worker, like one in any callback."""
    if not task.cancelled() and (error := task.exception()) is not None:
        asyncio.get_running_loop().call_exception_handler({"message": "a line broke", "exception": error, "task": task})
