"""The toxics that end connections, or keep them from ending: slow_close, timeout, reset_peer and limit_data."""

from time import monotonic
from typing import Any

from chaosrunner.proxy.toxics.kinds import LimitData, ResetPeer, SlowClose, Timeout
from chaosrunner.proxy.toxics.stage import SOON_S, End, Item, Stage


class SlowCloseStage(Stage):
    """Data passes; the end of the stream waits."""

    __slots__ = ("_came", "_end")

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._end: End | None = None
        self._came = 0.0

    def take(self, item: Item) -> None:
        """Pass data, keep an end."""
        self._count(item)
        if isinstance(item, bytes):
            self.next(item)
        elif self._end is None:
            self._luck.touch()
            self._end, self._came = item, monotonic()
            self.retune()

    def retune(self) -> None:
        """Wait the changed delay, from when the end came."""
        slow_close = self.applied.toxic.attributes
        assert isinstance(slow_close, SlowClose)
        if self._end is not None:
            self._wake_at(self._came + slow_close.delay / 1000)

    def retire(self) -> None:
        """Pass the end that is kept."""
        super().retire()
        self._on_time()

    def _on_time(self) -> None:
        if self._end is not None:
            end, self._end = self._end, None
            self._delayed(self._came)
            self.next(end)

    def drop(self) -> None:
        """Lose the end that is kept."""
        self._end = None
        super().drop()


class TimeoutStage(Stage):
    """Swallows data, passes the end, and closes the connection when its time is up."""

    __slots__ = ("_lossy", "_since")

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._since = monotonic()
        self._lossy = False

    def start(self) -> None:
        """Start the clock."""
        self.retune()

    def take(self, item: Item) -> None:
        """Swallow data; pass an end, so that a connection which one side gave up does not stay for ever."""
        self._count(item)
        if isinstance(item, End):
            # A torn stream must not look finished to a side that would go on: it is over for both.
            self.next(End.CLOSE if item is End.FIN and self._lossy else item)
            return
        self._lossy = True
        if self._means.restarting_timeouts:
            self._since = monotonic()
            self.retune()

    def retune(self) -> None:
        """Close at the changed time, counted from when the toxic took hold."""
        timeout = self.applied.toxic.attributes
        assert isinstance(timeout, Timeout)
        if timeout.timeout:
            self._wake_at(self._since + timeout.timeout / 1000)
        else:
            self._sleep()

    def retire(self) -> None:
        """Close the connection if something is missing from it, else leave it whole."""
        super().retire()
        if self._lossy:  # what was swallowed is missing: the stream can never be whole again
            self.next(End.CLOSE)

    def _on_time(self) -> None:
        self._luck.touch()
        self.next(End.CLOSE)


class ResetPeerStage(Stage):
    """The first byte starts the clock; when it is up both sides are reset."""

    __slots__ = ("_since",)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._since: float | None = None

    def take(self, item: Item) -> None:
        """Swallow one item; the first byte starts the clock."""
        self._count(item)
        if isinstance(item, End) and self._since is None:
            self.next(item)  # a connection that ends without a byte has nothing to reset
        elif self._since is None:
            self._since = monotonic()
            self.retune()

    def retune(self) -> None:
        """Reset at the changed time, counted from the first byte."""
        reset = self.applied.toxic.attributes
        assert isinstance(reset, ResetPeer)
        if self._since is not None:
            due = self._since + reset.timeout / 1000
            if due <= monotonic() + SOON_S:
                self._on_time()
            else:
                self._wake_at(due)

    def retire(self) -> None:
        """Reset the connection if something is missing from it, else leave it whole."""
        super().retire()
        if self._since is not None:  # bytes were swallowed: the stream can never be whole again
            self.next(End.RESET)

    def _on_time(self) -> None:
        self.next(End.RESET)


class LimitDataStage(Stage):
    """Counts, and closes the connection behind the last allowed byte."""

    __slots__ = ("_passed",)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._passed = 0

    def start(self) -> None:
        """Close at once if nothing may pass."""
        self.retune()

    def take(self, item: Item) -> None:
        """Pass what is allowed of one item."""
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
        """Close if no more may pass."""
        if self._left() <= 0:
            self._luck.touch()
            self.next(End.CLOSE)

    def _left(self) -> int:
        limit = self.applied.toxic.attributes
        assert isinstance(limit, LimitData)
        return limit.bytes - self._passed
