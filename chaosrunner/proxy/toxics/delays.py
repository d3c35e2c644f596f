"""The toxics that make data late: latency, bandwidth and slicer."""

from collections import deque
from time import monotonic
from typing import Any, ClassVar

from chaosrunner.proxy.toxics.kinds import Bandwidth, Latency, Slicer
from chaosrunner.proxy.toxics.stage import SOON_S, End, Item, Stage, size_bytes

# A delay needs room for what is on its way: as much as Linux lets one TCP connection have in flight by default.
FLIGHT_ROOM_BYTES = 6 * 1024 * 1024
# Bandwidth passes data in slices of at most this long, so that a slow line trickles and does not burst.
SLICE_S = 0.05
# Cutting a large chunk into single bytes must not keep other connections and the control API waiting.
PIECES_PER_TURN = 256
NEVER = float("inf")


class LatencyStage(Stage):
    """Each item leaves its delay after it came, never before the one in front of it."""

    room_bytes: ClassVar[int] = FLIGHT_ROOM_BYTES
    __slots__ = ("_flight", "_last_due")

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._flight: deque[tuple[float, float, Item]] = deque()  # due, came, item
        self._last_due = 0.0

    def take(self, item: Item) -> None:
        """Put one item on its way; with nothing to wait for it passes at once."""
        self._count(item)
        now = monotonic()
        self._last_due = due = max(now + self._delay_s(), self._last_due)
        if not self._flight and due <= now + SOON_S:
            self.next(item)
            return
        self._flight.append((due, now, item))
        self.held_bytes += size_bytes(item)
        if len(self._flight) == 1:
            self._wake_at(due)

    def retune(self) -> None:
        """Draw a new delay for everything under way, from when it came."""
        self._last_due = 0.0
        for place, (_, came, item) in enumerate(self._flight):
            self._last_due = max(came + self._delay_s(), self._last_due)
            self._flight[place] = (self._last_due, came, item)
        if self._flight:
            self._wake_at(self._flight[0][0])

    def retire(self) -> None:
        """Deliver everything under way now."""
        self._release(until=NEVER)
        super().retire()

    def drop(self) -> None:
        """Lose everything under way."""
        self._flight.clear()
        super().drop()

    def _on_time(self) -> None:
        self._release(until=monotonic() + SOON_S)
        if self._flight:
            self._wake_at(self._flight[0][0])

    def _release(self, until: float) -> None:
        while self._flight and self._flight[0][0] <= until:
            _, came, item = self._flight.popleft()
            self.held_bytes -= size_bytes(item)
            self._delayed(came)
            self.next(item)

    def _delay_s(self) -> float:
        latency = self.applied.toxic.attributes
        assert isinstance(latency, Latency)
        return latency.draw_s(self._luck.random) if latency.jitter else latency.latency / 1000


class PiecewiseStage(Stage):
    """Holds items in line and passes them in pieces, each at its own time; the subclass says which and when."""

    __slots__ = ("_due", "_line", "_piece_bytes")

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._line: deque[tuple[float, memoryview | End]] = deque()  # came, what is left of it
        self._due = 0.0  # when the piece at the front may pass; an idle line keeps when the last one did
        self._piece_bytes = 0

    def take(self, item: Item) -> None:
        """Put one item in line."""
        self._count(item)
        now = monotonic()
        self._line.append((now, item if isinstance(item, End) else memoryview(item)))
        self.held_bytes += size_bytes(item)
        if len(self._line) == 1:
            self._due = max(now, self._due)
            self._next_piece()
            self._pass_due()

    def retune(self) -> None:
        """Cut the next piece anew, from now on."""
        self._due = monotonic()
        if self._line:
            self._next_piece()
            self._pass_due()

    def retire(self) -> None:
        """Deliver the whole line now."""
        while self._line:
            self._pass(len(self._line[0][1]) if isinstance(self._line[0][1], memoryview) else 0)
        super().retire()

    def drop(self) -> None:
        """Lose the line."""
        self._line.clear()
        super().drop()

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
        for _ in range(PIECES_PER_TURN):
            if not self._line or self._due > now + SOON_S:
                break
            self._pass(self._piece_bytes)
            self._after_piece()
            self._next_piece()
        if not self._line or self._due == NEVER:
            self._sleep()
        else:
            self._wake_at(self._due)

    def _pass(self, size: int) -> None:
        came, left = self._line.popleft()
        item: Item = left if isinstance(left, End) else bytes(left[:size])
        if isinstance(left, memoryview) and size < len(left):
            self._line.appendleft((came, left[size:]))
        self.held_bytes -= size_bytes(item)
        self._delayed(came)
        self.next(item)


class BandwidthStage(PiecewiseStage):
    """A line of limited rate: a piece arrives when its last byte would have been carried."""

    __slots__ = ()

    def _plan(self, left_bytes: int) -> int:
        bandwidth = self.applied.toxic.attributes
        assert isinstance(bandwidth, Bandwidth)
        bytes_per_s = bandwidth.rate * 1000
        size = min(left_bytes, max(int(bytes_per_s * SLICE_S), 1))
        self._due = self._due + size / bytes_per_s if bytes_per_s else NEVER
        return size


class SlicerStage(PiecewiseStage):
    """Small pieces with a pause after each."""

    __slots__ = ()

    def _plan(self, left_bytes: int) -> int:
        slicer = self._slicer()
        size = slicer.average_size or left_bytes
        if slicer.size_variation:
            size += self._luck.random.randint(-slicer.size_variation, slicer.size_variation)
        return min(left_bytes, size)

    def _after_piece(self) -> None:
        self._due += self._slicer().delay / 1_000_000

    def _slicer(self) -> Slicer:
        slicer = self.applied.toxic.attributes
        assert isinstance(slicer, Slicer)
        return slicer
