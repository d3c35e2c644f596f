"""The pool of one component: lines opened when they are needed, up to a size, and the jobs that wait for one.

Waiting is first come, first served; free lines are taken last in, first out, so that few stay warm. There is no reset
between jobs: every job leaves its session as it found it, or ends it. When no connection can be opened, one attempt is
made at a time, each later than the one before, up to a second: a server that comes back meets no storm. Such an attempt
ends every job that has waited for it, unless open lines can serve them.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from chaosrunner.load.postgres.lines import Line
from chaosrunner.load.postgres.queue import Queue
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chaosrunner.load.journey import Journey
    from chaosrunner.load.postgres.failures import Failure
    from chaosrunner.load.postgres.jobs import Job
    from chaosrunner.load.postgres.lines import Connection

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
"""Between two attempts to connect while none succeeds; doubled each time, and spread by a half to either side."""

WARM_AT_ONCE = 8
"""Connections opened at once before the load begins."""

CLOSE_S = 1.0


class Watching(Protocol):
    """Who keeps the pool's books."""

    def acquired(self, job: Job, now_ns: int) -> None:
        """A job has a line."""
        ...

    def not_acquired(self, job: Job, now_ns: int) -> None:
        """A job has waited too long, with lines open."""
        ...

    def connected(self, job: Job | None, took_ns: int) -> None:
        """A line was opened, because of that job."""
        ...

    def not_connected(self, job: Job | None, took_ns: int, failure: Failure) -> None:
        """A line could not be opened."""
        ...

    def kept(self, line: Line, by: str) -> None:
        """A journey keeps a line, first for that step."""
        ...

    def returned(self, line: Line) -> None:
        """A line that a journey kept is the pool's again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one worker's pool."""

    size: int
    wait_ns: int | None = None
    """How long a job waits in the queue; None = as long as its hit may."""


class Kept:
    """A line that a journey keeps until it is over."""

    __slots__ = ("_journey", "_pool")

    def __init__(self, pool: Pool, journey: Journey) -> None:
        self._pool = pool
        self._journey = journey

    def close(self) -> None:
        """Give it back."""
        self._pool.give_back(self._journey)


class Pool:
    """Lines to one component. Not more than its size are open, or being opened, at any time."""

    def __init__(
        self,
        limits: Limits,
        connect: Callable[[int], Awaitable[Connection]],
        watching: Watching,
        spread: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.connect = connect
        """A new session with that number. Raises one of FAILURES."""
        self._watching = watching
        self._spread = spread
        """Draws from [0, 1)."""
        self.opened = 0
        """Connections opened so far, ever."""
        self.lines: set[Line] = set()
        self.idle: list[Line] = []
        self.kept: dict[Journey, Line] = {}
        self._pooled = Queue()
        self._own = Queue()
        """Jobs that want a connection of their own."""
        self._opening: dict[Line, Job | None] = {}
        """Lines being opened, and on whose behalf."""
        self._failed_in_a_row = 0
        self._not_before_ns = 0
        self._numbers = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether any line is open."""
        return len(self.lines) > len(self._opening)

    @property
    def busy(self) -> int:
        """Lines that are open and not free."""
        return len(self.lines) - len(self._opening) - len(self.idle)

    @property
    def waiting(self) -> int:
        """Jobs without a line."""
        return self._pooled.waiting + self._own.waiting

    # --- jobs

    def take(self, job: Job) -> None:
        """Do a job as soon as there is a line for it."""
        job.hit.link = job
        # Busy lines, waiting jobs, and this one: written out, since this is the hot path.
        job.level = len(self.lines) - len(self._opening) - len(self.idle) + 1
        job.level += self._pooled.waiting + self._own.waiting
        line = self._line_of(job)
        if line is not None:
            self._begin(line, job, job.since_ns)
            return
        (self._own if job.act.each_time else self._pooled).put(job)
        if self.limits.wait_ns is not None:
            self._later("queue", self.limits.wait_ns, self._expire)
        self.grow()

    def cancel(self, job: Job) -> Outcome:
        """Let go of a job whose hit is over; answers what its time was spent on."""
        if job.line is not None:
            connecting = job.line in self._opening
            job.abort()
            return Outcome.CONNECT if connecting else Outcome.TIMEOUT
        (self._own if job.act.each_time else self._pooled).gone()
        if not self.connected:
            return Outcome.CONNECT
        self._watching.not_acquired(job, time.monotonic_ns())
        return Outcome.POOL

    def give_back(self, journey: Journey) -> None:
        """A journey is over: its line is the pool's again, or closed if it left a transaction open."""
        line = self.kept.pop(journey, None)
        if line is None:
            return
        line.keeper = None
        self._watching.returned(line)
        if line.connection is None or line.connection.is_in_transaction():
            line.close()
        elif line.job is None:
            self.freed(line)

    # --- what lines tell

    def opened_one(self, line: Line, took_ns: int) -> None:
        """A line is open: another attempt may follow at once."""
        job = self._opening.pop(line)
        self._failed_in_a_row = 0
        self.opened += 1
        self._watching.connected(job, took_ns)
        if line.job is not None:
            self._begin(line, line.job, time.monotonic_ns())
        else:
            self.freed(line)
        self.grow()

    def not_opened(self, line: Line, failure: Failure) -> None:
        """An attempt failed: whoever has waited for it has its answer, unless open lines can serve them."""
        job = self._opening.pop(line)
        self.lines.discard(line)
        self._pause()
        self._watching.not_connected(job, time.monotonic_ns() - line.opening_ns, failure)
        disappointed = [line.job] if line.job is not None else []
        if not self.connected:
            disappointed += self._pooled.take_since(line.opening_ns) + self._own.take_since(line.opening_ns)
        _end(disappointed, failure.outcome)

    def freed(self, line: Line) -> None:
        """A line has done its job: it stays with its journey, or whoever has waited longest gets it."""
        if line.keeper is not None:
            return
        job = self._pooled.take() if self._pooled.waiting else None
        if job is not None:
            self._begin(line, job, time.monotonic_ns())
        else:
            self.idle.append(line)
            if self._own.waiting:
                self.grow()

    def lost(self, line: Line) -> None:
        """A line is closed."""
        self._opening.pop(line, None)  # when its hit was over first, or the pool is being closed
        self.lines.discard(line)
        if line in self.idle:
            self.idle.remove(line)
        if line.keeper is not None:
            del self.kept[line.keeper]
            self._watching.returned(line)
        self.grow()

    # --- growing

    def grow(self) -> None:
        """Open a line for each waiting job that has none coming, as far as size and patience allow."""
        while not self._closed and self._wants_more():
            if self._failed_in_a_row:
                wait_ns = self._not_before_ns - time.monotonic_ns()
                if wait_ns > 0:
                    self._later("grow", wait_ns, self.grow)
                    return
                if self._opening:
                    return
            if len(self.lines) >= self.limits.size:
                if self._own.waiting and self.idle:
                    self.idle.pop(0).close()  # whoever wants one of its own gets its place when it is gone
                return
            job = self._own.take()
            if job is None:
                self._opening[self._new()] = self._pooled.first()
            else:
                job.line = line = self._new()
                line.job, line.fresh = job, True
                self._opening[line] = job

    async def warm(self, seconds: float) -> None:
        """Open all lines before the load begins, unless the first ones already fail; at most so many seconds."""
        deadline = time.monotonic() + seconds
        while len(self.lines) < self.limits.size and not self._failed_in_a_row and time.monotonic() < deadline:
            some = [self._new() for _ in range(min(WARM_AT_ONCE, self.limits.size - len(self.lines)))]
            self._opening.update(dict.fromkeys(some))
            opening = [asyncio.ensure_future(line.tried.wait()) for line in some]
            await asyncio.wait(opening, timeout=max(0.0, deadline - time.monotonic()))
            for waiting in opening:
                waiting.cancel()
        self._failed_in_a_row = 0

    async def close(self) -> None:
        """Close everything; what still waits is the caller's to book."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        lines = list(self.lines)
        for line in lines:
            line.close()
        if lines:
            await asyncio.wait([line.task for line in lines], timeout=CLOSE_S)

    # --- inside

    def _line_of(self, job: Job) -> Line | None:
        """A line that can begin at once: the journey's own, or a free one if nobody waits."""
        kept = self.kept.get(job.hit.journey) if self.kept else None
        if kept is not None and kept.job is None and kept.open:
            return kept
        if job.act.each_time or self._pooled.waiting:
            return None
        while self.idle:
            line = self.idle.pop()
            if line.open:
                return line
        return None

    def _begin(self, line: Line, job: Job, now_ns: int) -> None:
        hit = job.hit
        hit.sent_ns = now_ns
        if hit.fired_ns != now_ns:
            hit.connected_ns = now_ns
        journey = hit.journey
        if job.act.keeps and journey not in self.kept:
            self.kept[journey], line.keeper = line, journey
            journey.hold(Kept(self, journey))
            self._watching.kept(line, job.act.name)
        self._watching.acquired(job, now_ns)
        line.start(job)

    def _wants_more(self) -> bool:
        coming = sum(line.job is None for line in self._opening)
        return self._own.waiting > 0 or self._pooled.waiting > coming

    def _new(self) -> Line:
        self._numbers += 1
        line = Line(self, self._numbers)
        self.lines.add(line)
        return line

    def _pause(self) -> None:
        """Before the next attempt."""
        self._failed_in_a_row += 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failed_in_a_row - 1, 10))
        self._not_before_ns = time.monotonic_ns() + round(pause_s * (0.5 + self._spread()) * NANOS)

    def _expire(self) -> None:
        """Tell those who have waited too long."""
        assert self.limits.wait_ns is not None
        now = time.monotonic_ns()
        late = self._pooled.take_since(now - self.limits.wait_ns) + self._own.take_since(now - self.limits.wait_ns)
        if self.connected:
            for job in late:
                self._watching.not_acquired(job, now)
        _end(late, Outcome.POOL if self.connected else Outcome.CONNECT)
        left = [job.since_ns for job in (self._pooled.first(), self._own.first()) if job is not None]
        if left:
            self._later("queue", max(NANOS // 1000, min(left) + self.limits.wait_ns - now), self._expire)

    def _later(self, what: str, wait_ns: int, then: Callable[[], None]) -> None:
        """Ring once; while one is set, another of the same kind is not needed."""
        if what in self._timers or self._closed:
            return

        def ring() -> None:
            del self._timers[what]
            then()

        self._timers[what] = asyncio.get_running_loop().call_later(wait_ns / NANOS, ring)


def _end(jobs: list[Job], outcome: Outcome) -> None:
    now = time.monotonic_ns()
    for job in jobs:
        if not job.hit.over:
            job.line = None
            job.act.finish(job, outcome, now)
