"""The act of a step: a statement, or a transaction that is tried again when the server could not serialise it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from chaosrunner.load.postgres.failures import (
    AWAY,
    FAILURES,
    TROUBLES,
    BadArgument,
    Failure,
    NotAsExpected,
    of_query,
)
from chaosrunner.load.postgres.jobs import Job
from chaosrunner.load.postgres.said import Said
from chaosrunner.load.template import names_in
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from chaosrunner.load.act import OpenHit
    from chaosrunner.load.postgres.lines import Line
    from chaosrunner.load.postgres.numbers import Numbers
    from chaosrunner.load.postgres.place import Place
    from chaosrunner.model.postgres_step import Query

RETRY_S, LONGEST_RETRY_S = 0.002, 0.1
"""Before a transaction is tried again: at random up to the first, doubled each time up to the second."""

STALE = frozenset({"0A000", "26000"})
"""What is prepared here is not what the server has: it is prepared anew next time."""

COMMIT = "COMMIT"


class Ask:
    """Does a query of a journey once, on a line of its place's pool."""

    def __init__(self, query: Query, place: Place, *, also: int | None = None) -> None:
        """Raises ValueError for a step that cannot work.

        Args:
            query: the step.
            place: the component that it asks.
            also: index of a series that has its hits as well, for a member of a mix.
        """
        series = place.bench.series
        self.name = query.name
        self.place = place
        self.at_once = 0
        """How many found a line free and are not written down yet."""
        self.acquire = series(f"{query.name}.acquire")
        self.connect = series(f"{query.name}.connect")
        self.lock_wait = series(f"{query.name}.lock_wait")
        self.outage = series(f"{query.name}.outage") if query.writes else None
        self.acknowledged = series(f"{query.name}.acknowledged") if query.numbered else None
        self.each_time = query.connection == "each time"
        self.keeps = query.connection == "of the journey"
        self.writes = query.writes
        self.tracked = True
        """Whether its successes end outages: those of writes do, or everybody's if the load only reads."""
        self.said = tuple(Said(statement, place.chance) for statement in query.statements)
        self._also = also
        self._retry = query.retry
        self._begin = _begin(query)
        self.attempt = self._transact if self._begin else self.said[0].say
        self._numbers: Numbers | None = place.number(self) if query.numbered else None

    # --- for the sender

    def begin(self, hit: OpenHit) -> None:
        """Do it as soon as the pool has a line for it."""
        self.place.pool.take(Job(hit, self))

    def cancel(self, hit: OpenHit) -> Outcome:
        """Let go of it; what runs at the server is cancelled there."""
        job = hit.link
        assert isinstance(job, Job)
        outcome = self.place.pool.cancel(job)
        self._book(job, outcome, time.monotonic_ns())
        return outcome

    # --- for its line

    def finish(self, job: Job, outcome: Outcome, now_ns: int) -> None:
        """It has its outcome."""
        self._book(job, outcome, now_ns)
        job.hit.end(outcome, now_ns)

    async def amend(self, line: Line, job: Job, trouble: BaseException) -> Outcome:
        """What an attempt's trouble means, after further attempts if they may help; leaves the line as it was found."""
        tries = 0
        while True:
            if isinstance(trouble, BadArgument | NotAsExpected):
                return await self._wrong(line, trouble)
            failure = of_query(trouble)
            await self._failed(line, failure)
            if not failure.retriable or tries == self._retry or not line.open:
                return failure.outcome
            tries += 1
            self.place.count(f"{self.name}.retries")
            await asyncio.sleep(self.place.chance.random() * min(LONGEST_RETRY_S, RETRY_S * 2.0**tries))
            try:
                await self.attempt(line, job.hit.journey.variables)
            except TROUBLES as another:
                trouble = another
            else:
                return Outcome.OK

    # --- inside

    async def _transact(self, line: Line, variables: dict[str, object]) -> None:
        """The whole transaction. Raises like `Said.say`."""
        connection = line.connection
        assert connection is not None
        await connection.execute(self._begin)
        for said in self.said:
            await said.say(line, variables)
        if self._numbers is not None:
            await self._commit_numbered(line, self._numbers)
        elif await connection.execute(COMMIT) != COMMIT:
            raise NotAsExpected

    async def _commit_numbered(self, line: Line, numbers: Numbers) -> None:
        """Write a number, commit, and know for each number what became of it."""
        connection, number = line.connection, numbers.next()
        assert connection is not None
        committing = False
        try:
            sql = self.place.insert_number
            known = line.prepared.get(sql)
            state, _ = known if known is not None else await line.ready(sql)
            await line.execute(state, (numbers.writer, number), "", 0, True, None)
            committing = True
            status = await connection.execute(COMMIT)
        except asyncio.CancelledError:
            (numbers.in_doubt if committing else numbers.refused)(number)
            raise
        except FAILURES as error:
            (numbers.in_doubt if committing and of_query(error).ends_line else numbers.refused)(number)
            raise
        if status != COMMIT:
            numbers.refused(number)
            raise NotAsExpected
        numbers.acknowledged(number, time.monotonic_ns())

    async def _wrong(self, line: Line, error: BadArgument | NotAsExpected) -> Outcome:
        if isinstance(error, BadArgument):
            self.place.misfit(self.name, str(error))
        await self._roll_back(line)
        return Outcome.CHECK

    async def _failed(self, line: Line, failure: Failure) -> None:
        if failure.sqlstate:
            self.place.count(f"{self.name}.sqlstate.{failure.sqlstate}")
        if failure.sqlstate in STALE:
            line.forget()
        if failure.ends_line:
            line.broken()
        else:
            await self._roll_back(line)

    async def _roll_back(self, line: Line) -> None:
        """Leave the session as it was found."""
        connection = line.connection
        if not self._begin or connection is None:
            return
        try:
            await connection.execute("ROLLBACK")
        except FAILURES:
            line.broken()

    def _book(self, job: Job, outcome: Outcome, now_ns: int) -> None:
        if outcome is Outcome.OK:
            if self.tracked:
                self.place.good(self, now_ns)
        elif outcome in AWAY and (self.tracked or outcome is not Outcome.TIMEOUT):
            # A slow read is no sign that commits have ended: those that go on would end an outage that never was.
            self.place.outages.bad(outcome, now_ns)
        if self._also is not None:
            self.place.observe(self._also, now_ns, now_ns - job.hit.due_ns, outcome)


def _begin(query: Query) -> str:
    """How its transaction begins; empty when it needs none of its own."""
    if not query.transaction and not query.numbered:
        return ""
    return f"BEGIN ISOLATION LEVEL {query.isolation.upper()}" if query.isolation else "BEGIN"


def unknown_in(query: Query, known: frozenset[str]) -> str:
    """The first placeholder in its arguments that nothing fills by then; empty when there is none."""
    for statement in query.statements:
        missing = names_in([argument for argument in statement.args if isinstance(argument, str)]) - known
        if missing:
            return min(missing)
        known |= frozenset(statement.keep)
    return ""
