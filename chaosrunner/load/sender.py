"""The firing loop of a worker: starts every journey when it is due, whatever became of the ones before.

Step 1 of a journey is due by the schedule; a later step at its predecessor's done plus its think time. Every hit that
becomes due ends in the ledger with exactly one outcome:

* fired, and then whatever the target made of it, a TIMEOUT (counted from due; CONNECT if no connection could be
  opened meanwhile), or UNFINISHED when the load ended first;
* SHED, if `max_in_flight` journeys were open;
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
from math import inf
from typing import TYPE_CHECKING

from chaosrunner.alarm import FAR_NS, alarm
from chaosrunner.load.exchange import Exchange
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.ledger import Ledger
    from chaosrunner.load.pool import Pool
    from chaosrunner.load.script import Ready
    from chaosrunner.logic.pacing import Pace

LATE_NS = NANOS
"""Further behind than this a hit is not fired any more: the load then would not be the one that was asked for."""

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
    pace: Pace
    rows: Sequence[dict[str, str]]
    shard: int
    of: int
    longest_s: float
    """Nothing that is due later than this after the epoch is ever fired."""
    timeout_s: float
    max_in_flight: int


class OpenHit(Exchange):
    """A hit that was fired and has no outcome yet; `variables` is what its journey knows."""

    __slots__ = ("due_ns", "fired_ns", "name", "sender", "variables")

    def __init__(self, sender: Sender, name: int, variables: dict[str, object], due_ns: int) -> None:
        ready = sender.task.steps[name][0]
        super().__init__(ready.request(variables), is_head=ready.is_head, keeps_body=bool(ready.keep))
        self.sender = sender
        self.name = name
        self.variables = variables
        self.due_ns = due_ns
        self.fired_ns = time.monotonic_ns()

    def answered(self, status: int, body: bytes, now_ns: int) -> None:
        """A whole reply: the step judges it."""
        outcome, kept = self.sender.task.steps[self.name][0].judge(status, body)
        if kept:
            self.variables.update(kept)
        self.sender.ended(self, outcome, now_ns)

    def failed(self, outcome: Outcome, now_ns: int) -> None:
        """No reply."""
        self.sender.ended(self, outcome, now_ns)


class Sender:
    """Fires one shard of a schedule. Instants are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, task: Task, ledger: Ledger, epoch_ns: int) -> None:
        self.task = task
        self._end_ns = epoch_ns + int(task.longest_s * NANOS)
        self._ledger = ledger
        self._epoch_ns = epoch_ns
        self._pace = task.pace
        self._steered_ns = epoch_ns
        self._n = task.shard
        self._timeout_ns = int(task.timeout_s * NANOS)
        self._open: dict[OpenHit, None] = {}
        """In the order fired, which is nearly that of their timeouts."""
        self._journeys = 0
        self._later: list[tuple[int, int, int, dict[str, object]]] = []
        """A heap of later steps in their think time: (due, tie-breaker, step, variables)."""
        self._ties = count()
        self._stop_ns = FAR_NS
        self._drained = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._alarm = alarm(self._loop, self._tick)
        self._sweeper: asyncio.TimerHandle | None = None
        self._next_ns = self._due()

    def start(self) -> None:
        """Begin; nothing is fired before the epoch."""
        self._tick()
        self._sweep()

    def steer(self, factor: float, at_ns: int) -> None:
        """From an instant on, arrivals come `factor` times as often as the stages say. Raises ValueError."""
        self._steered_ns = max(self._steered_ns, at_ns)
        self._pace = self._pace.steered((self._steered_ns - self._epoch_ns) / NANOS, factor)
        self._next_ns = self._due()
        self._tick()

    def until_ns(self) -> int:
        """Everything due before this has been fired or counted."""
        later = self._later[0][0] if self._later else FAR_NS
        return min(time.monotonic_ns(), self._next_ns, later, self._stop_ns, self._end_ns)

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

    # --- firing

    def _due(self) -> int:
        seconds = self._pace.due(self._n)
        return FAR_NS if seconds == inf else self._epoch_ns + int(seconds * NANOS)

    def _tick(self) -> None:
        """Fire what is due; then sleep until the next is."""
        limit = min(time.monotonic_ns(), self._stop_ns, self._end_ns)
        for _ in range(BATCH):
            if self._next_ns <= limit:
                self._arrive()
            elif self._later and self._later[0][0] <= limit:
                due_ns, _, name, variables = heapq.heappop(self._later)
                self._go_on(name, variables, due_ns)
            else:
                break
        else:
            self._loop.call_soon(self._tick)
            return
        if self._stop_ns == FAR_NS:
            self._alarm.set(min(self._next_ns, self._later[0][0] if self._later else FAR_NS))

    def _arrive(self) -> None:
        """A journey is due."""
        n, due_ns = self._n, self._next_ns
        self._n += self.task.of
        self._next_ns = self._due()
        self._ledger.journeys += 1
        now = time.monotonic_ns()
        if now - due_ns > LATE_NS:
            self._never(0, due_ns, Outcome.LATE, now)
        elif self._journeys >= self.task.max_in_flight:
            self._never(0, due_ns, Outcome.SHED, now)
        else:
            self._journeys += 1
            rows = self.task.rows
            self._fire(0, {**rows[n % len(rows)]} if rows else {}, due_ns)

    def _go_on(self, name: int, variables: dict[str, object], due_ns: int) -> None:
        """A later step of an open journey is due."""
        now = time.monotonic_ns()
        if now - due_ns > LATE_NS:
            self._journeys -= 1
            self._never(name, due_ns, Outcome.LATE, now)
        else:
            self._fire(name, variables, due_ns)

    def _fire(self, name: int, variables: dict[str, object], due_ns: int) -> None:
        hit = OpenHit(self, name, variables, due_ns)
        self._ledger.fired(name, due_ns, hit.fired_ns)
        self._open[hit] = None
        self.task.steps[name][1].send(hit)

    def _never(self, name: int, due_ns: int, outcome: Outcome, now: int) -> None:
        self._ledger.unfired(name, due_ns, outcome, now)
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
            self._journeys -= 1
        elif following == len(self.task.steps) or self._stop_ns < FAR_NS:
            self._journeys -= 1
        else:
            self._follow(following, hit.variables, now_ns + self.task.steps[following][0].think_ns)
        if not self._open and self._stop_ns < FAR_NS:
            self._drained.set()

    def _follow(self, name: int, variables: dict[str, object], due_ns: int) -> None:
        if not self.task.steps[name][0].think_ns:
            self._fire(name, variables, due_ns)
            return
        heapq.heappush(self._later, (due_ns, next(self._ties), name, variables))
        if self._later[0][0] == due_ns < self._next_ns:
            self._alarm.set(due_ns)

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
