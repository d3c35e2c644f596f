"""A connection that is kept: opened, watched, and opened again by the client's policy when it is lost."""

from __future__ import annotations

import asyncio
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from chaosrunner.load.websocket.dialing import Dialing, dial
from chaosrunner.load.websocket.line import ABNORMAL, GOING_AWAY, Line
from chaosrunner.load.websocket.policy import gives_up, pause_s
from chaosrunner.load.websocket.watching import Pinging, SlowReading, Stillness
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaosrunner.load.websocket.opened import Opened


RECONNECTS_KEPT = 1_000_000
"""Attempts whose instants are kept, of all sockets of a step; the counter `reconnects` has all of them."""

STAYED_NS = NANOS
"""A reconnect that does not last so long was a failed attempt, too."""


class Is(Enum):
    """What has become of it."""

    NEW = auto()
    """Not open yet, for the first time."""
    OPEN = auto()
    AWAY = auto()
    """Lost, and to be opened again."""
    LEAVING = auto()
    """We have said that we go, and wait for the answer."""
    GONE = auto()


class Owner(Protocol):
    """Whose connection it is."""

    who: int

    def request(self) -> tuple[str, list[tuple[str, str]]]:
        """Path and headers of the next attempt."""
        ...

    def up(self, now_ns: int) -> None:
        """It is open, for the first time or again."""
        ...

    def message(self, text: str, now_ns: int) -> None:
        """A message."""
        ...

    def down(self, outcome: Outcome, code: int, now_ns: int) -> None:
        """It was lost, or closed as we wished (then it is GONE now)."""
        ...

    def failed(self, outcome: Outcome, now_ns: int) -> None:
        """It could not be opened, and is GONE."""
        ...


class Link:
    """The connection of one session."""

    def __init__(self, opened: Opened, owner: Owner) -> None:
        self._of = opened
        self._owner = owner
        self._policy = opened.step.reconnect
        self.state = Is.NEW
        self.line: Line | None = None
        self.write: Callable[[str], None] = _nowhere
        """Writes a message; only while it is OPEN."""
        self.dialing: Dialing | None = None
        """The latest attempt."""
        self.outcome: Outcome | None = None
        self.code: int | None = None
        """How the latest connection was lost, and its close code."""
        self._attempt: asyncio.Task[None] | None = None
        self._gave_up = Outcome.UNFINISHED
        self._pause: asyncio.TimerHandle | None = None
        self._fails = 0
        """Attempts to reconnect that failed in a row."""
        self._returned = False
        """Whether the connection is one of those attempts."""
        self._stillness: Stillness | None = None
        self._pinging: Pinging | None = None
        self._slow: SlowReading | None = None

    # --- what its owner asks

    def open(self) -> None:
        """Connect, now."""
        self._pause = None
        self._attempt = asyncio.get_running_loop().create_task(self._dial())
        self._attempt.add_done_callback(_surface)

    def close(self, code: int) -> None:
        """Say that we go; `down` tells the answer."""
        assert self.line is not None
        self.state = Is.LEAVING
        self.line.close(code)

    def leave(self, outcome: Outcome = Outcome.UNFINISHED) -> None:
        """Go without waiting for anything; an attempt under way has ended like that."""
        self._gave_up = outcome
        if self._pause is not None:
            self._pause.cancel()
        if self._attempt is not None and not self._attempt.done():
            self._attempt.cancel()
        if self.line is not None and self.state in (Is.OPEN, Is.LEAVING):
            self._unwatch(None, time.monotonic_ns())
            self.line.leave(GOING_AWAY)
            self._of.count("left")
        self.state = Is.GONE

    def abort(self) -> None:
        """End it in the middle, as the load's end does."""
        self.leave()
        if self.line is not None:
            self.line.abort()

    # --- what its line tells

    def opened(self, now_ns: int) -> None:
        """The upgrade is done."""
        assert self.line is not None
        assert self.dialing is not None
        self.dialing.opened_ns = now_ns
        self._of.book(self.dialing, Outcome.OK, now_ns)
        self._of.sockets.counted()
        self._returned = self.state is Is.AWAY
        self.state, self.write = Is.OPEN, self.line.writer()
        step = self._of.step
        if step.reads_per_s is not None:
            self._slow = SlowReading(step.reads_per_s, self.line)
        if step.ping_s is not None:
            self._pinging = Pinging(step.ping_s, self.line, self)
        if step.silent is not None:
            self._stillness = Stillness(step.silent, self)
            self._stillness.begin(now_ns)
        else:
            self.line.hear = self._owner.message
        self._owner.up(now_ns)

    def message(self, text: str, now_ns: int) -> None:
        """A message; told only where silence is watched."""
        if self._stillness is not None:
            self._stillness.heard(now_ns)
        self._owner.message(text, now_ns)

    def pong(self, payload: bytes, now_ns: int) -> None:
        """A pong."""
        if self._pinging is not None:
            self._pinging.pong(payload, now_ns)

    def lost(self, outcome: Outcome, code: int, now_ns: int) -> None:
        """The connection is over."""
        wanted = self.state is Is.LEAVING
        self._unwatch(None if wanted else outcome, now_ns)
        self._of.count(f"closed.{code}")
        self.outcome, self.code = outcome, code
        assert self.dialing is not None
        flapped = self._returned and now_ns - self.dialing.opened_ns < STAYED_NS
        self._fails = self._fails + 1 if flapped else 0
        if wanted or self._policy is None or gives_up(self._policy, self._fails):
            self.state = Is.GONE
        else:
            self.state = Is.AWAY
            self._again()
        self._owner.down(outcome, code, now_ns)

    # --- what its watchers tell

    def observe(self, part: str, at_ns: int, took_ns: int, outcome: Outcome = Outcome.OK) -> None:
        """An observation in a series of the step."""
        self._of.observe(part, at_ns, took_ns, outcome)

    def stalled(self, now_ns: int) -> None:
        """Nothing has come for too long."""
        self._of.count("stalled")
        silent = self._of.step.silent
        if silent is not None and silent.leave and self.line is not None:
            self.line.abort()
            self.lost(Outcome.STALLED, ABNORMAL, now_ns)

    def stalled_for(self, lasted_ns: int) -> None:
        """A stall is over."""
        self._of.count("stalled_ms", lasted_ns // 1_000_000)
        self._of.note("websocket.stall", who=self._owner.who, lasted_ms=lasted_ns // 1_000_000)

    # --- connecting

    async def _dial(self) -> None:
        dialing = self.dialing = Dialing(*self._owner.request())
        line = self.line = Line(self)
        outcome: Outcome | None = None
        try:
            outcome = await dial(self._of.place, dialing, line, self._of.timeout_s)
        finally:
            if not dialing.opened_ns:
                line.abort()
                self._of.book(dialing, outcome or self._gave_up, time.monotonic_ns())
        if not dialing.opened_ns and outcome is not None:
            self._not_opened(outcome, time.monotonic_ns())

    def _not_opened(self, outcome: Outcome, now_ns: int) -> None:
        self.outcome = outcome
        if self.state is Is.AWAY:
            assert self._policy is not None
            self._fails += 1
            self._of.count(f"reconnect.{outcome}")
            if not gives_up(self._policy, self._fails):
                self._again()
                return
        self.state = Is.GONE
        self._owner.failed(outcome, now_ns)

    def _again(self) -> None:
        """Connect again when the policy says so."""
        assert self._policy is not None
        pause = pause_s(self._policy, self._fails, self._of.sockets.seed, self._of.index, self._owner.who)
        self._pause = asyncio.get_running_loop().call_later(pause, self._reconnect)

    def _reconnect(self) -> None:
        if len(self._of.reconnects) < RECONNECTS_KEPT:
            self._of.reconnects.append(time.monotonic_ns())
        self._of.count("reconnects")
        self.open()

    def _unwatch(self, outcome: Outcome | None, now_ns: int) -> None:
        if self._stillness is not None:
            self._stillness.end(now_ns)
        if self._pinging is not None:
            self._pinging.end(outcome, now_ns)
        if self._slow is not None:
            self._slow.end()
        self._stillness = self._pinging = self._slow = None


def _nowhere(_text: str) -> None:
    """There is no connection to write to."""


def _surface(task: asyncio.Task[None]) -> None:
    """A mistake of ours in an attempt must not be forgotten with its task."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": "a mistake in a WebSocket attempt", "exception": error})
