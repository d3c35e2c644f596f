"""One component under load: its pool, and every book that is kept on it."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

import asyncpg

from chaosrunner.load.postgres.crowding import Crowding
from chaosrunner.load.postgres.failures import AWAY
from chaosrunner.load.postgres.leases import Leases, strangers
from chaosrunner.load.postgres.numbers import Numbers
from chaosrunner.load.postgres.outages import Outages
from chaosrunner.load.postgres.pool import Limits, Pool
from chaosrunner.load.postgres.reading import read_on
from chaosrunner.load.postgres.watch import Watch
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaosrunner.load.bench import Bench
    from chaosrunner.load.postgres.asking import Ask
    from chaosrunner.load.postgres.failures import Failure
    from chaosrunner.load.postgres.jobs import Job
    from chaosrunner.load.postgres.leases import Session
    from chaosrunner.load.postgres.lines import Connection, Line
    from chaosrunner.load.postgres.outages import Outage
    from chaosrunner.load.postgres.schema import Schema
    from chaosrunner.load.postgres.watch import LockWait
    from chaosrunner.model import postgres_step

MOST_WRITERS = 1000
"""Numbered steps of a worker; its writers have numbers of their own, so that workers never meet."""


def sessions_of(run: str) -> str:
    """What the application_name of every session of a run begins with. Not with our name: faults spare what does, and
    the load's sessions are there to be struck.
    """
    return f"load.chaosrunner/{run}/"


class Place:
    """A component as one worker's load meets it."""

    def __init__(self, name: str, bench: Bench, options: postgres_step.Pool, limits: Limits) -> None:
        self.name = name
        self.bench = bench
        self.options = options
        self._ledger = bench.ledger
        self._dsn = bench.orders.places[name]
        self.prefix = f"{sessions_of(bench.orders.run)}w{bench.orders.shard}/"
        """What the application_name of every session of this worker begins with."""
        self.chance = Random(f"{bench.orders.seed}/{bench.orders.shard}/{name}")
        self.asks: list[Ask] = []
        self.numbers: list[tuple[Ask, Numbers]] = []
        self.schema: Schema | None = None
        self.crowding = Crowding(limits.size)
        self.leases = Leases(round(options.leak_s * NANOS))
        self.outages = Outages()
        self.pool = Pool(limits, self._new_session, self, self.chance.random)
        self.watch = Watch(self._new_control, self.prefix, self)
        self._lock_waits: dict[tuple[int, str], tuple[Ask, LockWait]] = {}
        self._strange: set[int] = set()
        """Pids of sessions that nobody had at the last look."""
        self._named: set[int] = set()
        self._misfits: set[str] = set()
        self._server_started_s = 0.0
        self.setup: tuple[str, ...] = ()
        """Statements that prepare our schema."""
        self.bad_dsn = False
        """Whether asyncpg could make nothing of the DSN."""
        self.on_outage_over: Callable[[Outage], None] | None = None

    # --- for acts

    @property
    def insert_number(self) -> str:
        """The statement that numbers a commit: $1 the writer, $2 the number."""
        assert self.schema is not None
        return f"INSERT INTO {self.schema.table} VALUES ($1, $2)"  # noqa: S608 - a quoted name

    def number(self, ask: Ask) -> Numbers:
        """The numbers of a step's commits."""
        numbers = Numbers(self.bench.orders.shard * MOST_WRITERS + len(self.numbers))
        self.numbers.append((ask, numbers))
        return numbers

    def count(self, name: str, n: int = 1) -> None:
        """Something that happened, so often."""
        if n:
            self._ledger.count(name, n)

    def observe(self, series: int, at_ns: int, took_ns: int, outcome: Outcome = Outcome.OK) -> None:
        """Something measured beside the hits."""
        self._ledger.observe(series, at_ns, took_ns // 1000, outcome)

    def note(self, about: str, **data: object) -> None:
        """A fact for the journal."""
        self._ledger.note(about, on=self.name, **data)

    def misfit(self, step: str, why: str) -> None:
        """An argument that its parameter cannot take; told once a step, counted always."""
        self.count(f"{step}.bad_argument")
        if step not in self._misfits:
            self._misfits.add(step)
            self.note("postgres argument", step=step, why=why[:200])

    def good(self, ask: Ask, now_ns: int) -> None:
        """A tracked step went well: an outage may have ended by it."""
        outage = self.outages.good(now_ns)
        if outage is not None:
            self.note("postgres outage", **outage.told(self._ledger.epoch_ns, now_ns))
            if self.on_outage_over is not None:
                self.on_outage_over(outage)
            if ask.outage is not None:
                self.observe(ask.outage, now_ns, outage.lasted_ns(now_ns))

    # --- what the pool tells

    def acquired(self, job: Job, now_ns: int) -> None:
        """A job has a line; one that found it free is only counted, and written down with the next batch."""
        wait_ns = now_ns - job.since_ns
        if not wait_ns:
            job.act.at_once += 1
            self.crowding.at_once(job.level)
            return
        self.crowding.record(job.level, wait_ns // 1000)
        self.observe(job.act.acquire, now_ns, wait_ns)

    def write_down(self) -> None:
        """Book those who found a line free since the last time: at most `BATCH_S` late."""
        now_ns = time.monotonic_ns()
        for ask in self.asks:
            if ask.at_once:
                self._ledger.observe_alike(ask.acquire, now_ns, 0, ask.at_once)
                ask.at_once = 0

    def not_acquired(self, job: Job, now_ns: int) -> None:
        """A job has waited too long."""
        self.crowding.record(job.level, (now_ns - job.since_ns) // 1000)
        self.observe(job.act.acquire, now_ns, now_ns - job.since_ns, Outcome.POOL)

    def connected(self, job: Job | None, took_ns: int) -> None:
        """A line was opened."""
        now_ns = time.monotonic_ns()
        self.outages.connected(now_ns)
        if job is not None:
            self.observe(job.act.connect, now_ns, took_ns)

    def not_connected(self, job: Job | None, took_ns: int, failure: Failure) -> None:
        """A line could not be opened."""
        now_ns = time.monotonic_ns()
        self.count(f"{self.name}.connect.{failure.outcome.value}")
        if failure.sqlstate:
            self.count(f"{self.name}.sqlstate.{failure.sqlstate}")
        if failure.outcome in AWAY and failure.sqlstate != "53300":  # too many connections is no server that is away
            self.outages.bad(failure.outcome, now_ns)
        if job is not None:
            self.observe(job.act.connect, now_ns, took_ns, failure.outcome)

    def kept(self, line: Line, by: str) -> None:
        """A journey keeps a line."""
        self.leases.taken(line.number, line.pid, by, time.monotonic_ns())

    def returned(self, line: Line) -> None:
        """A line that a journey kept is free again, or gone."""
        self.leases.ended(line.number)

    # --- what the server says

    def waits(self, found: list[LockWait]) -> None:
        """Lock waits of ours: each is booked once it is over, with the longest that was seen of it."""
        by_pid = {line.pid: line.job.act for line in self.pool.lines if line.job is not None}
        now = {(wait.pid, wait.began): wait for wait in found}
        for key in [key for key in self._lock_waits if key not in now]:
            ask, wait = self._lock_waits.pop(key)
            self.observe(ask.lock_wait, time.monotonic_ns(), round(wait.for_s * NANOS))
        for key, wait in now.items():
            ask = by_pid.get(wait.pid)  # type: ignore[assignment]
            if key not in self._lock_waits and ask is not None:
                self.count(f"{ask.name}.lock_waits.{wait.kind}")
            known = self._lock_waits.get(key)
            if known is not None or ask is not None:
                self._lock_waits[key] = (known[0] if known else ask, wait)

    def sessions(self, found: list[Session]) -> None:
        """Compare the three books: leases, lines and the server's sessions; name what does not add up."""
        now_ns = time.monotonic_ns()
        states = {session.pid: session.state for session in found}
        for lease in self.leases.overdue(now_ns):
            self.count(f"{self.name}.leaks")
            self.note("postgres leak", state=states.get(lease.pid, "gone"), **lease.told(now_ns))
        # A session that was just opened or closed may be in one book and not yet in the other: seen twice, it is real.
        strange = {session.pid for session in strangers(found, self._pids())}
        for session in found:
            if session.pid in (strange & self._strange) - self._named:
                self._named.add(session.pid)
                self.count(f"{self.name}.sessions_nobody_has")
                self.note("postgres session nobody has", pid=session.pid, session=session.number, state=session.state)
        self._strange = strange

    async def read_on(self, connection: Connection) -> None:
        """Look for writes that were acknowledged a while ago. Raises one of FAILURES."""
        await read_on(self, connection)

    def server(self, started_s: float, *, standby: bool, timeline: int | None) -> None:
        """Which server answers."""
        if self._server_started_s and abs(started_s - self._server_started_s) > 0.001:
            self.count(f"{self.name}.restarts")
            self.note("postgres server changed", started_s=started_s, standby=standby, timeline=timeline)
        self._server_started_s = started_s

    # --- sessions

    async def _new_session(self, number: int) -> Connection:
        settings = {}
        if self.options.statement_timeout_s is not None:
            settings["statement_timeout"] = str(max(1, round(self.options.statement_timeout_s * 1000)))
        connection = await self._connect(str(number), settings)
        if self.schema is not None:
            await self.schema.look_here_first(connection)
        return connection

    async def _new_control(self) -> Connection:
        return await self._connect("control", {"statement_timeout": "4000"})

    async def _connect(self, who: str, settings: dict[str, str]) -> Connection:
        try:
            return await asyncpg.connect(
                self._dsn,
                timeout=self.bench.orders.profile.timeout_s,
                server_settings={**settings, "application_name": f"{self.prefix}{who}"},
            )
        except asyncpg.exceptions.ClientConfigurationError:
            self.bad_dsn = True
            raise

    def _pids(self) -> list[int]:
        return [line.pid for line in self.pool.lines]
