"""The firing loop of a worker: fires every step of every journey when it is due.

When step 1 of a journey is due is its source's matter: a schedule (`arriving`, the open model) or users (`users`, the
closed one); a load may have several of them. A later step is due at its predecessor's done plus its think time. Every
hit that becomes due ends in the ledger with exactly one outcome:

* fired, and then whatever the target made of it, a TIMEOUT (counted from due; CONNECT if no connection could be
  opened meanwhile), or UNFINISHED when the load ended first;
* SHED, if `max_in_flight` journeys were open (open model);
* LATE, if this process could not start it within a second of its due time: ours, not the target's.

A journey ends with its first hit that is not OK; its remaining steps are never due, and counted as skipped. Only the
failures of a step that is done again and again do not end it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosrunner.alarm import FAR_NS, Alarm, alarm
from chaosrunner.load.act import OpenHit
from chaosrunner.load.arriving import Arrivals
from chaosrunner.load.journey import LATE_NS, Journey, Repeats
from chaosrunner.load.later import Later
from chaosrunner.load.users import Users
from chaosrunner.logic.chance import pause_s
from chaosrunner.logic.crowd import Crowd
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.journey import Leg, Route, Source
    from chaosrunner.load.ledger import Ledger
    from chaosrunner.logic.pacing import Pace
    from chaosrunner.model.load import Closed

DRAIN_S = 2.0
"""How long open hits are waited for after the end, at most."""

BATCH = 64
"""Hits fired in one go before replies are looked at again, when behind."""

SWEEP_S = 0.02
"""How often timeouts are looked for."""

# Bound once: on the hot path, looking up an enum's member alone would cost a hundredth of a hit.
_OK = Outcome.OK
_now = time.monotonic_ns


Wake = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], Alarm]
"""Makes the alarm: of a loop, and of what it is to call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """One stream, made ready: who comes to this shard, and what they do."""

    routes: Sequence[Route]
    plan: Pace | Crowd
    """When journeys arrive, or how many users there are."""
    starts_ns: int = 0
    """The plan's time begins this long after the epoch."""
    max_in_flight: int = 1000
    closed: Closed | None = None
    """How the users of a crowd behave."""
    chance: int | None = None
    """The seed by which scenarios are drawn; None: in turn, by their weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a sender is to send."""

    streams: Sequence[Coming]
    shard: int
    of: int
    longest_s: float
    """Nothing that is due later than this after the epoch is ever fired."""
    seed: int = 0
    """Of think times."""


class Sender:
    """Fires one shard of a load. Instants are CLOCK_MONOTONIC nanoseconds."""

    def __init__(self, task: Task, ledger: Ledger, epoch_ns: int, wake: Wake = alarm) -> None:
        self.task = task
        self._end_ns = epoch_ns + int(task.longest_s * NANOS)
        self._ledger = ledger
        self._epoch_ns = epoch_ns
        self._steered_ns = epoch_ns
        self._legs = [leg for stream in task.streams for route in stream.routes for leg in route.legs]
        self._later = Later()
        self._stop_ns = FAR_NS
        self._stopping = False
        self._leased_ns = FAR_NS
        self._firing = False
        """In the midst of a tick, or behind and soon to go on with it."""
        self._drained = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._alarm = wake(self._loop, self._ring)
        self._rings_ns = FAR_NS
        self._sweeper: asyncio.TimerHandle | None = None
        self._sources: list[Source] = [self._source(stream) for stream in task.streams]
        self._only = self._sources[0] if len(self._sources) == 1 else None
        self._next_ns = self._soonest()

    def _source(self, stream: Coming) -> Source:
        begins_ns = self._epoch_ns + stream.starts_ns
        if isinstance(stream.plan, Crowd):
            return Users(self, self.task, stream, begins_ns)
        return Arrivals(self, self.task, stream, begins_ns)

    def start(self) -> None:
        """Begin; nothing is fired before the epoch."""
        self._tick()
        self._sweep()

    def steer(self, factor: float, at_ns: int) -> None:
        """From an instant on, `factor` times the arrivals, or users, that the stages say. Raises ValueError."""
        self._steered_ns = max(self._steered_ns, at_ns)
        for stream, source in zip(self.task.streams, self._sources, strict=True):
            begins_ns = self._epoch_ns + stream.starts_ns
            source.steer(factor, max(0, self._steered_ns - begins_ns) / NANOS)
        self._next_ns = self._soonest()
        self._tick()

    def lend(self, until_ns: int) -> None:
        """From an instant on nothing is fired, not even what was due before, unless it is moved on in time."""
        self._leased_ns = until_ns
        self._tick()

    def until_ns(self) -> int:
        """Everything due before this has been fired or counted."""
        return min(time.monotonic_ns(), self._next_ns, self._later.next_ns(), self._stop_ns, self._end_ns)

    def account(self) -> int:
        """Have the ledger know what is under way; everything due before the instant returned is written down then."""
        until_ns = self.until_ns()
        for leg in self._legs:
            self._ledger.under_way(reversed(leg.open))
        return until_ns

    async def stop(self) -> None:
        """End the load now: what is due is fired, what is open gets a short while, the rest is UNFINISHED."""
        if not self._stopping:
            self._stopping = True
            self._stop_ns = min(time.monotonic_ns(), self._end_ns)
        while self.until_ns() < self._stop_ns:
            self._tick()
            await asyncio.sleep(0)
        self._alarm.close()
        if self._busy():
            longest_s = max(leg.timeout_ns for leg in self._legs) / NANOS
            try:
                await asyncio.wait_for(self._drained.wait(), min(DRAIN_S, longest_s))
            except TimeoutError:
                pass  # booked just below
        if self._sweeper is not None:
            self._sweeper.cancel()
        now = time.monotonic_ns()
        for hit in [hit for leg in self._legs for hit in leg.open]:
            self._give_up(hit, now, Outcome.UNFINISHED)

    # --- what its sources ask of it

    def begin(self, journey: Journey) -> None:
        """A journey is due: fire its first step."""
        self._ledger.journeys += 1
        self._enter(0, journey, journey.due_ns, _now())

    def never(self, route: Route, due_ns: int, outcome: Outcome) -> None:
        """A journey is due and not begun."""
        self._ledger.journeys += 1
        self._unfired(route, 0, due_ns, outcome)

    def behind(self) -> None:
        """A journey begins later than its user's pacing says."""
        self._ledger.behind += 1

    # --- firing

    def _tick(self) -> None:
        """Fire what is due; then sleep until the next is."""
        now = time.monotonic_ns()
        if now >= self._leased_ns:
            return
        self._firing = True
        limit = min(now, self._stop_ns, self._end_ns)
        for _ in range(BATCH):
            if self._next_ns <= limit:
                source = self._only or min(self._sources, key=_next_of)
                source.take(_now())
                self._next_ns = self._soonest()
            elif self._later.next_ns() <= limit:
                due_ns, leg, journey = self._later.take()
                self._go_on(leg, journey, due_ns)
            else:
                break
        else:
            self._loop.call_soon(self._tick)
            return
        self._firing = False
        if not self._stopping:
            self._wake()

    def _soonest(self) -> int:
        return self._only.next_ns if self._only else min(map(_next_of, self._sources))

    def _go_on(self, leg: int, journey: Journey, due_ns: int) -> None:
        """A later step of an open journey is due."""
        now = _now()
        if now - due_ns <= LATE_NS:
            self._enter(leg, journey, due_ns, now)
        elif journey.repeats is not None:
            self._ledger.unfired(journey.route.legs[leg].name, due_ns, Outcome.LATE, now)
            self._after_this(leg, journey, due_ns)
            self._past_repeats(leg, journey, now)
        else:
            self._unfired(journey.route, leg, due_ns, Outcome.LATE)
            self._over(journey, now, ok=False)

    def _enter(self, leg: int, journey: Journey, due_ns: int, now_ns: int) -> None:
        """Fire a step, now; of one that is done again, know when the next is due."""
        step = journey.route.legs[leg]
        if step.again is not None:
            if journey.repeats is None:
                journey.repeats = Repeats(due_ns)
            journey.repeats.open += 1
            self._after_this(leg, journey, due_ns)
        hit = journey.spare
        if hit is None:
            hit = OpenHit(self, journey, leg, due_ns, now_ns)
        else:
            journey.spare = hit.link = None  # written out, since a call would cost as much as all of it
            if hit.leg != leg:
                hit.turn_to(leg)
            hit.due_ns = due_ns
            hit.fired_ns = now_ns
            hit.sent_ns = hit.connected_ns = hit.first_ns = 0
            hit.booked = hit.over = False
        if journey.paced:
            journey.lag_ns += now_ns - due_ns
        step.open[hit] = None
        step.act.begin(hit)

    def _unfired(self, route: Route, leg: int, due_ns: int, outcome: Outcome) -> None:
        self._ledger.unfired(route.legs[leg].name, due_ns, outcome, time.monotonic_ns())
        self._ledger.skipped += len(route.legs) - 1 - leg

    # --- ending

    def ended(self, hit: OpenHit, outcome: Outcome, now_ns: int) -> None:
        """A fired hit has its outcome: book it, and go on with its journey or end that."""
        hit.over = True
        journey, leg = hit.journey, hit.leg
        legs = journey.route.legs
        del legs[leg].open[hit]
        self._ledger.done(hit, outcome, now_ns)
        if outcome is _OK:
            journey.spare = hit
        following = leg + 1
        if journey.repeats is not None:
            journey.repeats.open -= 1
            self._past_repeats(leg, journey, now_ns)
        elif following == len(legs):
            self._over(journey, now_ns, outcome is _OK)
        elif outcome is not _OK:
            self._ledger.skipped += len(legs) - following
            self._over(journey, now_ns, ok=False)
        elif not self._stopping:
            self._follow(following, journey, now_ns)
        if self._stopping and not self._busy():
            self._drained.set()
        if self._next_ns <= now_ns and not self._firing:
            self._tick()  # many replies may come at once: what is due meanwhile does not wait for the last of them

    def _after_this(self, leg: int, journey: Journey, due_ns: int) -> None:
        """One more of a repeated step has become due: is there another, and, if it does not wait for this one, when?"""
        repeats, step = journey.repeats, journey.route.legs[leg]
        assert repeats is not None
        assert step.again is not None
        repeats.begun += 1
        again = step.again
        repeats.more = again.times is None or repeats.begun < again.times
        if again.every_s is None or not repeats.more:
            return
        next_ns = repeats.first_ns + round(repeats.begun * again.every_s * NANOS)
        repeats.more = self._in_time(repeats, step, next_ns)
        if repeats.more:
            self._at(leg, journey, next_ns)

    def _past_repeats(self, leg: int, journey: Journey, now_ns: int) -> None:
        """One of a repeated step has ended: the next is due, or the journey goes on, or both wait."""
        repeats, step = journey.repeats, journey.route.legs[leg]
        assert repeats is not None
        assert step.again is not None
        if repeats.open or self._stopping:
            return
        if repeats.more and step.again.every_s is None:
            pause_ns = step.pause_ns
            if pause_ns is None:
                pause_ns = round(self._pause_s(leg, journey) * NANOS)
            repeats.more = step.again.for_s is None or self._in_time(repeats, step, now_ns + pause_ns)
            if repeats.more and pause_ns:
                self._at(leg, journey, now_ns + pause_ns)
            # Not at once: what replies made due goes out together, once all that have come are read.
            elif repeats.more and self._later.add_soon(now_ns, leg, journey) and not self._firing:
                self._loop.call_soon(self._tick)
        if repeats.more:
            return
        journey.repeats = None
        if leg + 1 == len(journey.route.legs):
            self._over(journey, now_ns, ok=True)
        else:
            self._follow(leg + 1, journey, now_ns)

    @staticmethod
    def _in_time(repeats: Repeats, step: Leg, due_ns: int) -> bool:
        assert step.again is not None
        return step.again.for_s is None or due_ns - repeats.first_ns < step.again.for_s * NANOS

    def _over(self, journey: Journey, now_ns: int, ok: bool) -> None:
        """A journey has ended; after the end of the load nobody begins another."""
        if journey.held is not None:
            journey.let_go()
        if self._stopping or now_ns >= self._end_ns:
            return
        journey.source.over(journey, now_ns, ok)
        if journey.source.next_ns != self._next_ns:
            before, self._next_ns = self._next_ns, self._soonest()
            if self._next_ns < before:
                self._wake()

    def _pause_s(self, leg: int, journey: Journey) -> float:
        step = journey.route.legs[leg]
        nth = (journey.repeats.begun,) if journey.repeats else ()
        return pause_s(step.think, self.task.seed, journey.who, journey.nth, step.name, *nth)

    def _follow(self, leg: int, journey: Journey, done_ns: int) -> None:
        step = journey.route.legs[leg]
        pause_ns = step.pause_ns
        if pause_ns is None:
            pause_ns = round(self._pause_s(leg, journey) * NANOS)
        if pause_ns:
            self._at(leg, journey, done_ns + pause_ns)
        else:
            self._enter(leg, journey, done_ns, _now())

    def _at(self, leg: int, journey: Journey, due_ns: int) -> None:
        """A later step is due at an instant, which may be past."""
        self._later.add(due_ns, leg, journey)
        if self._later.next_ns() == due_ns < self._next_ns:
            self._wake()

    def _wake(self) -> None:
        """Tick when the next is due; what is due already needs no timer, and a timer that is right no system call."""
        at_ns = min(self._next_ns, self._later.next_ns())
        if at_ns <= time.monotonic_ns():
            self._loop.call_soon(self._tick)
        elif at_ns != self._rings_ns:
            self._rings_ns = at_ns
            self._alarm.set(at_ns)

    def _ring(self) -> None:
        """The alarm rang, and will not again unless it is set."""
        self._rings_ns = FAR_NS
        self._tick()

    def _busy(self) -> bool:
        """Whether any hit has no outcome yet."""
        return any(leg.open for leg in self._legs)

    def _give_up(self, hit: OpenHit, now_ns: int, outcome: Outcome | None = None) -> None:
        spent_on = hit.act.cancel(hit)
        self.ended(hit, outcome or spent_on, now_ns)

    def _sweep(self) -> None:
        """Book the hits whose time is up."""
        now = time.monotonic_ns()
        expired = []
        for leg in self._legs:
            for hit in leg.open:
                if now - hit.due_ns < leg.timeout_ns:
                    break
                expired.append(hit)
        for hit in expired:
            self._give_up(hit, now)
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)


def _next_of(source: Source) -> int:
    return source.next_ns
