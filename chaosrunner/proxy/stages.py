"""One toxic at work on one direction of one connection: what happens to the bytes and to the end of the stream.

A stage takes items from the stage before it and hands them to the next, in order. It holds nothing but what it
delays, says how much that is, and gives everything up at once when it is retired.
"""

import asyncio
import enum
from collections import deque
from collections.abc import Callable
from random import Random
from time import monotonic
from typing import ClassVar, assert_never

from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics import (
    Bandwidth,
    Latency,
    LimitData,
    Noop,
    ResetPeer,
    SlowClose,
    Slicer,
    Timeout,
)


class End(enum.Enum):
    """How a stream ends; travels through the stages behind the last byte."""

    FIN = "this direction is finished, the other may go on"
    CLOSE = "both directions are closed once this has arrived"
    RESET = "both sides see a TCP reset"


Item = bytes | End
Sink = Callable[[Item], None]

SMALL_ROOM_BYTES = 64 * 1024
# A delay needs room for what is on its way: as much as Linux lets one TCP connection have in flight by default.
FLIGHT_ROOM_BYTES = 6 * 1024 * 1024
# Event loop timers tick in milliseconds: what is due within half a tick goes now.
HALF_TICK_S = 0.0005
# Bandwidth passes data in slices of at most this long, so that a slow line trickles and does not burst.
SLICE_S = 0.05


class Stage:
    """A stage that holds nothing back; the others build on it.

    Attributes:
        applied: The toxic and its counters.
        next: Where items go from here.
        held_bytes: Bytes held back now.
    """

    room_bytes: ClassVar[int] = SMALL_ROOM_BYTES
    __slots__ = ("_random", "_review", "_timer", "_touched", "applied", "held_bytes", "next")

    def __init__(self, applied: AppliedToxic, random: Random, review: Callable[[], None]) -> None:
        self.applied = applied
        self.next: Sink = _nowhere
        self.held_bytes = 0
        self._random = random
        self._review = review
        self._timer: asyncio.TimerHandle | None = None
        self._touched = False

    def start(self) -> None:
        """Begin to act; `next` is set."""

    def take(self, item: Item) -> None:
        """Act on one item."""
        self._count(item)
        self.next(item)

    def retune(self) -> None:
        """Act on by the toxic's changed attributes, also on what is held."""

    def retire(self) -> None:
        """Stop acting: hand on what is held, at once and in order."""
        self.drop()

    def drop(self) -> None:
        """Forget what is held, because the connection is gone."""
        self.held_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count(self, item: Item) -> None:
        if isinstance(item, bytes):
            self._touch()
            self.applied.bytes += len(item)

    def _touch(self) -> None:
        if not self._touched:
            self._touched = True
            self.applied.connections += 1

    def _wake_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(delay_s, 0.0), self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._on_time()
        self._review()

    def _on_time(self) -> None:
        """Do what the timer was set for."""

    def _delayed(self, since: float, now: float) -> None:
        self.applied.delayed_chunks += 1
        self.applied.delayed_s += now - since


class LatencyStage(Stage):
    """Each item leaves its delay after it came, never before the one in front of it."""

    room_bytes: ClassVar[int] = FLIGHT_ROOM_BYTES
    __slots__ = ("_flight", "_last_due")

    def __init__(self, applied: AppliedToxic, random: Random, review: Callable[[], None]) -> None:
        super().__init__(applied, random, review)
        self._flight: deque[tuple[float, float, Item]] = deque()  # due, came, item
        self._last_due = 0.0

    def take(self, item: Item) -> None:
        self._count(item)
        now = monotonic()
        self._last_due = due = max(now + self._delay_s(), self._last_due)
        if not self._flight and due <= now + HALF_TICK_S:
            self.next(item)
            return
        self._flight.append((due, now, item))
        self.held_bytes += _size(item)
        if len(self._flight) == 1:
            self._wake_in(due - now)

    def retune(self) -> None:
        self._last_due = 0.0
        for place, (_, came, item) in enumerate(self._flight):
            self._last_due = max(came + self._delay_s(), self._last_due)
            self._flight[place] = (self._last_due, came, item)
        if self._flight:
            self._wake_in(self._flight[0][0] - monotonic())

    def retire(self) -> None:
        self._release(until=float("inf"))
        super().retire()

    def drop(self) -> None:
        self._flight.clear()
        super().drop()

    def _on_time(self) -> None:
        now = monotonic()
        self._release(until=now + HALF_TICK_S)
        if self._flight:
            self._wake_in(self._flight[0][0] - now)

    def _release(self, until: float) -> None:
        now = monotonic()
        while self._flight and self._flight[0][0] <= until:
            _, came, item = self._flight.popleft()
            self.held_bytes -= _size(item)
            self._delayed(came, now)
            self.next(item)

    def _delay_s(self) -> float:
        latency = self.applied.toxic.attributes
        assert isinstance(latency, Latency)
        delay_ms = latency.latency
        if latency.jitter:
            delay_ms += self._random.uniform(-latency.jitter, latency.jitter)
        return max(delay_ms, 0.0) / 1000


class PiecewiseStage(Stage):
    """Holds items in line and passes them in pieces, each at its own time; the subclass says which and when."""

    __slots__ = ("_due", "_line", "_piece_bytes")

    def __init__(self, applied: AppliedToxic, random: Random, review: Callable[[], None]) -> None:
        super().__init__(applied, random, review)
        self._line: deque[tuple[float, memoryview | End]] = deque()  # came, what is left of it
        self._due = 0.0  # when the piece at the front may pass; an idle line keeps when the last one did
        self._piece_bytes = 0

    def take(self, item: Item) -> None:
        self._count(item)
        now = monotonic()
        self._line.append((now, item if isinstance(item, End) else memoryview(item)))
        self.held_bytes += _size(item)
        if len(self._line) == 1:
            self._due = self._earliest(now)
            self._next_piece()
            self._pass_due()

    def retune(self) -> None:
        if self._line:
            self._due = monotonic()
            self._next_piece()
            self._pass_due()

    def retire(self) -> None:
        while self._line:
            self._pass(len(self._line[0][1]) if isinstance(self._line[0][1], memoryview) else 0)
        super().retire()

    def drop(self) -> None:
        self._line.clear()
        super().drop()

    def _earliest(self, now: float) -> float:
        """When an idle line may start on a new item."""
        return now

    def _plan(self, left_bytes: int) -> int:
        """Choose the size of the next piece and move `_due` to its time."""
        raise NotImplementedError

    def _after_piece(self) -> None:
        """Move `_due` for what follows the piece that has just passed."""

    def _next_piece(self) -> None:
        if self._line:
            left = self._line[0][1]
            self._piece_bytes = self._plan(len(left)) if isinstance(left, memoryview) else 0

    def _on_time(self) -> None:
        self._pass_due()

    def _pass_due(self) -> None:
        now = monotonic()
        while self._line and self._due <= now + HALF_TICK_S:
            self._pass(self._piece_bytes)
            self._after_piece()
            self._next_piece()
        if self._line:
            self._wake_in(self._due - now)

    def _pass(self, size: int) -> None:
        came, left = self._line.popleft()
        item: Item = left if isinstance(left, End) else bytes(left[:size])
        if isinstance(left, memoryview) and size < len(left):
            self._line.appendleft((came, left[size:]))
        self.held_bytes -= _size(item)
        self._delayed(came, monotonic())
        self.next(item)


class BandwidthStage(PiecewiseStage):
    """A line of limited rate: a piece arrives when its last byte would have been carried."""

    __slots__ = ()

    def _earliest(self, now: float) -> float:
        return max(now, self._due)

    def _plan(self, left_bytes: int) -> int:
        bandwidth = self.applied.toxic.attributes
        assert isinstance(bandwidth, Bandwidth)
        bytes_per_s = bandwidth.rate * 1000
        size = min(left_bytes, max(int(bytes_per_s * SLICE_S), 1))
        self._due += size / bytes_per_s
        return size


class SlicerStage(PiecewiseStage):
    """Small pieces with a pause after each."""

    __slots__ = ()

    def _earliest(self, now: float) -> float:
        return max(now, self._due)

    def _plan(self, left_bytes: int) -> int:
        slicer = self._slicer()
        size = slicer.average_size
        if slicer.size_variation:
            size += self._random.randint(-slicer.size_variation, slicer.size_variation)
        return min(left_bytes, size)

    def _after_piece(self) -> None:
        self._due += self._slicer().delay / 1_000_000

    def _slicer(self) -> Slicer:
        slicer = self.applied.toxic.attributes
        assert isinstance(slicer, Slicer)
        return slicer


class SlowCloseStage(Stage):
    """Data passes; the end of the stream waits."""

    __slots__ = ("_came", "_end")

    def __init__(self, applied: AppliedToxic, random: Random, review: Callable[[], None]) -> None:
        super().__init__(applied, random, review)
        self._end: End | None = None
        self._came = 0.0

    def take(self, item: Item) -> None:
        self._count(item)
        if isinstance(item, bytes):
            self.next(item)
        elif self._end is None:
            self._touch()
            self._end, self._came = item, monotonic()
            self.retune()

    def retune(self) -> None:
        slow_close = self.applied.toxic.attributes
        assert isinstance(slow_close, SlowClose)
        if self._end is not None:
            self._wake_in(self._came + slow_close.delay / 1000 - monotonic())

    def retire(self) -> None:
        super().retire()
        self._on_time()

    def _on_time(self) -> None:
        if self._end is not None:
            end, self._end = self._end, None
            self._delayed(self._came, monotonic())
            self.next(end)

    def drop(self) -> None:
        self._end = None if self._timer is None else self._end
        super().drop()


class TimeoutStage(Stage):
    """Swallows everything, and closes the connection when its time is up."""

    __slots__ = ("_lossy", "_since")

    def __init__(self, applied: AppliedToxic, random: Random, review: Callable[[], None]) -> None:
        super().__init__(applied, random, review)
        self._since = monotonic()
        self._lossy = False

    def start(self) -> None:
        self.retune()

    def take(self, item: Item) -> None:
        self._count(item)
        self._lossy = True

    def retune(self) -> None:
        timeout = self.applied.toxic.attributes
        assert isinstance(timeout, Timeout)
        if timeout.timeout:
            self._wake_in(self._since + timeout.timeout / 1000 - monotonic())
        else:
            self._cancel()

    def retire(self) -> None:
        super().retire()
        if self._lossy:  # what was swallowed is missing: the stream can never be whole again
            self.next(End.CLOSE)

    def _on_time(self) -> None:
        self._touch()
        self.next(End.CLOSE)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class ResetPeerStage(Stage):
    """The first byte starts the clock; when it is up both sides are reset."""

    __slots__ = ("_since",)

    def __init__(self, applied: AppliedToxic, random: Random, review: Callable[[], None]) -> None:
        super().__init__(applied, random, review)
        self._since: float | None = None

    def take(self, item: Item) -> None:
        self._count(item)
        if isinstance(item, End) and self._since is None:
            self.next(item)  # a connection that ends without a byte has nothing to reset
        elif self._since is None:
            self._since = monotonic()
            self.retune()

    def retune(self) -> None:
        reset = self.applied.toxic.attributes
        assert isinstance(reset, ResetPeer)
        if self._since is not None:
            wait_s = self._since + reset.timeout / 1000 - monotonic()
            if wait_s <= HALF_TICK_S:
                self._on_time()
            else:
                self._wake_in(wait_s)

    def retire(self) -> None:
        super().retire()
        if self._since is not None:  # bytes were swallowed: the stream can never be whole again
            self.next(End.RESET)

    def _on_time(self) -> None:
        self.next(End.RESET)


class LimitDataStage(Stage):
    """Counts, and closes the connection behind the last allowed byte."""

    __slots__ = ("_passed",)

    def __init__(self, applied: AppliedToxic, random: Random, review: Callable[[], None]) -> None:
        super().__init__(applied, random, review)
        self._passed = 0

    def start(self) -> None:
        self.retune()

    def take(self, item: Item) -> None:
        if isinstance(item, End):
            self.next(item)
            return
        allowed = item[: max(self._left(), 0)]
        self._count(allowed)
        self._passed += len(allowed)
        if allowed:
            self.next(allowed)
        self.retune()

    def retune(self) -> None:
        if self._left() <= 0:
            self._touch()
            self.next(End.CLOSE)

    def _left(self) -> int:
        limit = self.applied.toxic.attributes
        assert isinstance(limit, LimitData)
        return limit.bytes - self._passed


def stage_for(applied: AppliedToxic, random: Random, review: Callable[[], None]) -> Stage:
    """The stage that acts as `applied` asks.

    Args:
        applied: The toxic and its counters.
        random: The draws of this connection and toxic.
        review: Called after a timer let something go, so that back-pressure is looked at again.
    """
    return _stage_type(applied)(applied, random, review)


def _stage_type(applied: AppliedToxic) -> type[Stage]:  # noqa: C901, PLR0911 -- one line a toxic
    match applied.toxic.attributes:
        case Noop():
            return Stage
        case Latency():
            return LatencyStage
        case Bandwidth():
            return BandwidthStage
        case SlowClose():
            return SlowCloseStage
        case Timeout():
            return TimeoutStage
        case ResetPeer():
            return ResetPeerStage
        case Slicer():
            return SlicerStage
        case LimitData():
            return LimitDataStage
        case unknown:
            assert_never(unknown)


def _size(item: Item) -> int:
    return len(item) if isinstance(item, bytes) else 0


def _nowhere(_item: Item) -> None:
    """Where items go before a stage has been linked: nowhere, since none has been taken."""
    raise AssertionError("a stage acted before it was linked")
