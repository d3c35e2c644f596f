"""The firing loop of a worker: fires every step of every journey when it is due.

When step 1 of a journey is due is its source's matter: a schedule (`arriving`, the open model) or users (`users`, the
closed one). A later step is due at its predecessor's done plus its think time. Every hit that becomes due ends in the
ledger with exactly one outcome:

* fired, and then whatever the target made of it, a TIMEOUT (counted from due; CONNECT if no connection could be
  opened meanwhile), or UNFINISHED when the load ended first;
* SHED, if `max_in_flight` journeys were open (open model);
* LATE, if this process could not start it within a second of its due time: ours, not the target's.

A journey ends with its first hit that is not OK; its remaining steps are never due, and counted as skipped.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from chaosrunner.alarm import FAR_NS, alarm
from chaosrunner.load.arriving import Arrivals
from chaosrunner.load.exchange import Exchange
from chaosrunner.load.journey import LATE_NS, Journey
from chaosrunner.load.users import Users
from chaosrunner.logic.chance import pause_s
from chaosrunner.logic.crowd import Crowd
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.journey import Source
    from chaosrunner.load.ledger import Ledger
    from chaosrunner.load.pool import Pool
    from chaosrunner.load.script import Ready
    from chaosrunner.logic.pacing import Pace
    from chaosrunner.model.load import Closed

DRAIN_S = 2.0
"""How long open hits are waited for after the end, at most."""

BATCH = 64
"""Hits fired in one go before replies are looked at again, when behind."""

SWEEP_S = 0.02
"""How often timeouts are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a sender is to send."""

    steps: Sequence[tuple[Ready, Pool]]
    plan: Pace | Crowd
    """When journeys arrive, or how many users there are."""
    rows: Sequence[dict[str, str]]
    shard: int
    of: int
    longest_s: float
    """Nothing that is due later than this after the epoch is ever fired."""
    timeout_s: float
    max_in_flight: int
    closed: Closed | None = None
    """How the users of a crowd behave."""
    seed: int = 0
    """Of think times."""


class OpenHit(Exchange):
    """A hit that was fired and has no outcome yet."""

    __slots__ = ("due_ns", "fired_ns", "journey", "name", "sender")

    def __init__(self, sender: Sender, name: int, journey: Journey, due_ns: int) -> None:
        ready = sender.task.steps[name][0]
        super().__init__(ready.request(journey.variables), is_head=ready.is_head, keeps_body=bool(ready.keep))
        self.sender = sender
        self.name = name
        self.journey = journey
        self.due_ns = due_ns
        self.fired_ns = time.monotonic_ns()

    def answered(self, status: int, body: bytes, now_ns: int) -> None:
        """A whole reply: the step judges it."""
        outcome, kept = self.sender.task.steps[self.name][0].judge(status, body)
        if kept:
            self.journey.variables.update(kept)
        self.sender.ended(self, outcome, now_ns)

    def failed(self, outcome: Outcome, now_ns: int) -> None:
        """No reply."""
        self.sender.ended(self, outcome, now_ns)


class Sender:
    """Fires one shard of a load. Instants are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, task: Task, ledger: Ledger, epoch_ns: int) -> None:
        self.task = task
        self._end_ns = epoch_ns + int(task.longest_s * NANOS)
        self._ledger = ledger
        self._epoch_ns = epoch_ns
        self._steered_ns = epoch_ns
        self._timeout_ns = int(task.timeout_s * NANOS)
        self._open: dict[OpenHit, None] = {}
        """In the order fired, which is nearly that of their timeouts."""
        self._later: list[tuple[int, int, int, Journey]] = []
        """A heap of later steps in their think time: (due, tie-breaker, step, journey)."""
        self._ties = count()
        self._stop_ns = FAR_NS
        self._drained = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._alarm = alarm(self._loop, self._tick)
        self._sweeper: asyncio.TimerHandle | None = None
        self._source: Source
        if isinstance(task.plan, Crowd):
            self._source = Users(self, task, task.plan, epoch_ns)
        else:
            self._source = Arrivals(self, task, task.plan, epoch_ns)

    def start(self) -> None:
        """Begin; nothing is fired before the epoch."""
        self._tick()
        self._sweep()

    def steer(self, factor: float, at_ns: int) -> None:
        """From an instant on, `factor` times the arrivals, or users, that the stages say. Raises ValueError."""
        self._steered_ns = max(self._steered_ns, at_ns)
        self._source.steer(factor, (self._steered_ns - self._epoch_ns) / NANOS)
        self._tick()

    def until_ns(self) -> int:
        """Everything due before this has been fired or counted."""
        later = self._later[0][0] if self._later else FAR_NS
        return min(time.monotonic_ns(), self._source.next_ns, later, self._stop_ns, self._end_ns)

    async def stop(self) -> None:
        """End the load now: what is due is fired, what is open gets a short while, the rest is UNFINISHED."""
        if self._stop_ns == FAR_NS:
            self._stop_ns = min(time.monotonic_ns(), self._end_ns)
        while self.until_ns() < self._stop_ns:
            self._tick()
            await asyncio.sleep(0)
        self._alarm.close()
        if self._open:
            try:
                await asyncio.wait_for(self._drained.wait(), min(DRAIN_S, self.task.timeout_s))
            except TimeoutError:
                pass  # booked just below
        if self._sweeper is not None:
            self._sweeper.cancel()
        now = time.monotonic_ns()
        for hit in list(self._open):
            self._give_up(hit, Outcome.UNFINISHED, now)

    # --- what its source asks of it

    def begin(self, journey: Journey) -> None:
        """A journey is due: fire its first step."""
        self._ledger.journeys += 1
        self._fire(0, journey, journey.due_ns)

    def never(self, due_ns: int, outcome: Outcome) -> None:
        """A journey is due and not begun."""
        self._ledger.journeys += 1
        self._unfired(0, due_ns, outcome)

    def behind(self) -> None:
        """A journey begins later than its user's pacing says."""
        self._ledger.behind += 1

    # --- firing

    def _tick(self) -> None:
        """Fire what is due; then sleep until the next is."""
        limit = min(time.monotonic_ns(), self._stop_ns, self._end_ns)
        for _ in range(BATCH):
            if self._source.next_ns <= limit:
                self._source.take(time.monotonic_ns())
            elif self._later and self._later[0][0] <= limit:
                due_ns, _, name, journey = heapq.heappop(self._later)
                self._go_on(name, journey, due_ns)
            else:
                break
        else:
            self._loop.call_soon(self._tick)
            return
        if self._stop_ns == FAR_NS:
            self._wake()

    def _go_on(self, name: int, journey: Journey, due_ns: int) -> None:
        """A later step of an open journey is due."""
        now = time.monotonic_ns()
        if now - due_ns > LATE_NS:
            self._unfired(name, due_ns, Outcome.LATE)
            self._over(journey, now, ok=False)
        else:
            self._fire(name, journey, due_ns)

    def _fire(self, name: int, journey: Journey, due_ns: int) -> None:
        hit = OpenHit(self, name, journey, due_ns)
        journey.lag_ns += hit.fired_ns - due_ns
        self._ledger.fired(name, due_ns, hit.fired_ns)
        self._open[hit] = None
        self.task.steps[name][1].send(hit)

    def _unfired(self, name: int, due_ns: int, outcome: Outcome) -> None:
        self._ledger.unfired(name, due_ns, outcome, time.monotonic_ns())
        self._ledger.skipped += len(self.task.steps) - 1 - name

    # --- ending

    def ended(self, hit: OpenHit, outcome: Outcome, now_ns: int) -> None:
        """A fired hit has its outcome: book it, and go on with its journey or end that."""
        hit.over = True
        del self._open[hit]
        self._ledger.done(hit.name, outcome, (hit.due_ns, hit.fired_ns, hit.sent_ns, now_ns))
        following = hit.name + 1
        if outcome is not Outcome.OK:
            self._ledger.skipped += len(self.task.steps) - following
            self._over(hit.journey, now_ns, ok=False)
        elif following == len(self.task.steps):
            self._over(hit.journey, now_ns, ok=True)
        elif self._stop_ns == FAR_NS:
            self._follow(following, hit.journey, now_ns)
        if not self._open and self._stop_ns < FAR_NS:
            self._drained.set()

    def _over(self, journey: Journey, now_ns: int, *, ok: bool) -> None:
        """A journey has ended; after the end of the load nobody begins another."""
        if self._stop_ns < FAR_NS or now_ns >= self._end_ns:
            return
        before = self._source.next_ns
        self._source.over(journey, now_ns, ok=ok)
        if self._source.next_ns < before:
            self._wake()

    def _follow(self, name: int, journey: Journey, done_ns: int) -> None:
        pause = pause_s(self.task.steps[name][0].think, self.task.seed, journey.who, journey.nth, name)
        if not pause:
            self._fire(name, journey, done_ns)
            return
        due_ns = done_ns + round(pause * NANOS)
        heapq.heappush(self._later, (due_ns, next(self._ties), name, journey))
        if self._later[0][0] == due_ns < self._source.next_ns:
            self._wake()

    def _wake(self) -> None:
        self._alarm.set(min(self._source.next_ns, self._later[0][0] if self._later else FAR_NS))

    def _give_up(self, hit: OpenHit, outcome: Outcome, now_ns: int) -> None:
        self.task.steps[hit.name][1].cancel(hit)
        self.ended(hit, outcome, now_ns)

    def _sweep(self) -> None:
        """Book the hits whose time is up."""
        now = time.monotonic_ns()
        expired = []
        for hit in self._open:
            if now - hit.due_ns < self._timeout_ns:
                break
            expired.append(hit)
        for hit in expired:
            connecting = not hit.sent_ns and not self.task.steps[hit.name][1].connected
            self._give_up(hit, Outcome.CONNECT if connecting else Outcome.TIMEOUT, now)
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
