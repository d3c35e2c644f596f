"""What is watched on an open connection beside its messages: silence, and the round trip of pings."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from statistics import median_low
from typing import TYPE_CHECKING, Protocol

from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.websocket.line import Line
    from chaosrunner.model.websocket_step import Silence

GAPS_KEPT, GAPS_NEEDED = 33, 15
"""The median is that of the latest gaps; with fewer there is none, and nothing is called silent yet."""

LEAST_NS = 250_000_000
"""No multiple of a median makes a shorter silence than this a stall: a pause of the collector is none."""


class Diary(Protocol):
    """Where what was seen is written down."""

    def observe(self, part: str, at_ns: int, took_ns: int, outcome: Outcome = Outcome.OK) -> None:
        """An observation in a series of the OPEN step."""
        ...

    def stalled(self, now_ns: int) -> None:
        """The silence has become a stall."""
        ...

    def stalled_for(self, lasted_ns: int) -> None:
        """It is over; it lasted so long in all."""
        ...


class Stillness:
    """The gaps between messages; one that grows too long is a stall, told when it does, not when it ends."""

    __slots__ = ("_at_ns", "_diary", "_gaps", "_policy", "_stalled", "_timer")

    def __init__(self, policy: Silence, diary: Diary) -> None:
        self._policy = policy
        self._diary = diary
        self._gaps: deque[int] = deque(maxlen=GAPS_KEPT)
        self._at_ns = 0
        self._stalled = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, now_ns: int) -> None:
        """The connection is open."""
        self._at_ns = now_ns
        self._again(now_ns)

    def heard(self, now_ns: int) -> None:
        """A message has come."""
        gap_ns, self._at_ns = now_ns - self._at_ns, now_ns
        self._gaps.append(gap_ns)  # a stall's, too: else a median learned too small would never grow
        if self._stalled:
            self._over(gap_ns)
            self._again(now_ns)
        else:
            self._diary.observe("silence", now_ns, gap_ns)

    def end(self, now_ns: int) -> None:
        """The connection is open no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stalled:
            self._over(now_ns - self._at_ns)

    def _over(self, lasted_ns: int) -> None:
        self._stalled = False
        self._diary.stalled_for(lasted_ns)

    def _limit_ns(self) -> int | None:
        """How long a silence may be; None: not known yet."""
        if self._policy.after_s is not None:
            return round(self._policy.after_s * NANOS)
        if len(self._gaps) < GAPS_NEEDED:
            return None
        assert self._policy.medians is not None
        return max(LEAST_NS, round(self._policy.medians * median_low(self._gaps)))

    def _again(self, now_ns: int) -> None:
        limit_ns = self._limit_ns() or LEAST_NS
        left_s = max(0, self._at_ns + limit_ns - now_ns) / NANOS
        # A little later than asked, so that a timer that rings early does not ring twice.
        self._timer = asyncio.get_running_loop().call_later(left_s + 0.001, self._look)

    def _look(self) -> None:
        now_ns = time.monotonic_ns()
        limit_ns = self._limit_ns()
        if limit_ns is None or now_ns - self._at_ns < limit_ns:
            self._again(now_ns if limit_ns is not None else self._at_ns)
            return
        self._timer = None
        self._stalled = True
        self._diary.observe("silence", now_ns, now_ns - self._at_ns, Outcome.STALLED)
        self._diary.stalled(now_ns)


class Pinging:
    """A ping every so often, and how long its pong took; one without a pong by the next ping is a TIMEOUT."""

    __slots__ = ("_diary", "_every_s", "_line", "_nth", "_sent_ns", "_timer")

    def __init__(self, every_s: float, line: Line, diary: Diary) -> None:
        self._every_s = every_s
        self._line = line
        self._diary = diary
        self._nth = 0
        self._sent_ns = 0
        """Of the ping under way; 0 if none is."""
        self._timer: asyncio.TimerHandle | None = None
        self._next()

    def pong(self, payload: bytes, now_ns: int) -> None:
        """A pong; one that answers no ping of ours is the peer's own affair."""
        if self._sent_ns and payload == self._payload():
            self._diary.observe("ping", now_ns, now_ns - self._sent_ns)
            self._sent_ns = 0

    def end(self, outcome: Outcome | None, now_ns: int) -> None:
        """The connection is open no more; a ping under way ended like that, unless it is us who went (None)."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sent_ns and outcome is not None:
            self._diary.observe("ping", now_ns, now_ns - self._sent_ns, outcome)
        self._sent_ns = 0

    def _payload(self) -> bytes:
        return self._nth.to_bytes(8)

    def _next(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._ping)

    def _ping(self) -> None:
        now_ns = time.monotonic_ns()
        if self._sent_ns:
            self._diary.observe("ping", now_ns, now_ns - self._sent_ns, Outcome.TIMEOUT)
        self._nth += 1
        self._sent_ns = now_ns
        self._line.ping(self._payload())
        self._next()


class SlowReading:
    """Reads no more than so many bytes a second."""

    __slots__ = ("_line", "_per_s", "_timer")

    def __init__(self, per_s: float, line: Line) -> None:
        self._per_s = per_s
        self._line = line
        self._timer: asyncio.TimerHandle | None = None
        line.read = self.read

    def read(self, size: int) -> None:
        """Bytes were read: the next ones may be once they were digested."""
        if self._timer is None:
            self._line.pause()
        digested = asyncio.get_running_loop().time() + size / self._per_s
        if self._timer is not None:  # frames of the same read: one after the other
            digested = max(digested, self._timer.when() + size / self._per_s)
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(digested, self._resume)

    def end(self) -> None:
        """The connection is open no more; what it still has to say is read at once."""
        self._line.read = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._line.resume()

    def _resume(self) -> None:
        self._timer = None
        self._line.resume()
