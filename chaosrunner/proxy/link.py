"""The byte path: two sockets, two directions, and the toxics in between.

Bytes are handed from one socket's callback straight to the other's write; nothing else happens on a healthy
connection. Back-pressure is TCP's own: whoever cannot take more makes us stop reading from the other side.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Sequence
from typing import cast

from chaosrunner.proxy.dialect import ROOM_BYTES
from chaosrunner.proxy.stats import AppliedToxic, StreamTally
from chaosrunner.proxy.toxics.stage import End, Item, Sink, Stage

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


def reset_on_close(connected: socket.socket) -> None:
    """Have the other end see a TCP reset when this socket is closed."""
    with contextlib.suppress(OSError):  # a socket that is gone already needs no reset
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


class Peer(asyncio.Protocol):
    """One of the two sockets of a connection: what it sends goes into `sends`, what it is sent comes from `takes`."""

    __slots__ = ("_lost", "_over", "sends", "takes", "transport")

    def __init__(self, sends: "Link", takes: "Link", lost: Callable[[], None]) -> None:
        self.sends = sends
        self.takes = takes
        self.transport: asyncio.Transport | None = None
        self._lost = lost
        self._over = False
        sends.source = takes.target = self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Send on what was read."""
        self.sends.feed(data)

    def eof_received(self) -> bool:
        """Send on that this side will send no more; True keeps the other direction open."""
        self.sends.feed_end(End.FIN)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Send on a reset behind the bytes that came before it."""
        if exc is not None:
            self.sends.feed_end(End.RESET)
        self._over = True
        self._lost()

    def pause_writing(self) -> None:
        """Stop reading from the other side: this one does not keep up."""
        self.takes.choke(blocked=True)

    def resume_writing(self) -> None:
        """Read from the other side again, and from this one if a dialect owed it too much."""
        self.takes.choke(blocked=False)
        self.sends.review()

    @property
    def alive(self) -> bool:
        """Whether it is connected and not closing."""
        return self.transport is not None and not self.transport.is_closing()

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left, not even bytes that are still to be sent."""
        return self._over or self.transport is None

    def close(self) -> None:
        """Close once what was written has been sent."""
        if self.alive:
            assert self.transport is not None
            self.transport.close()

    def reset(self) -> None:
        """Close at once, so that the other end sees a TCP reset."""
        if self.alive:
            assert self.transport is not None
            reset_on_close(self.transport.get_extra_info("socket"))
            self.transport.abort()


class Link:
    """One direction of a connection: from a source socket through the stages to a target socket."""

    __slots__ = (
        "_arrived",
        "_blocked",
        "_dropped",
        "_early",
        "_ended",
        "_head",
        "_held",
        "_interpret",
        "_over",
        "_paused",
        "_stages",
        "_tally",
        "source",
        "target",
    )

    def __init__(self, tally: StreamTally, over: Callable[["Link", End], None]) -> None:
        self.source: Peer
        self.target: Peer
        self._tally = tally
        self._over = over  # told when an end has arrived at the target
        self._stages: list[Stage] = []
        self._head: Sink = self._deliver
        self._interpret: Sink | None = None  # who hears everything before the stages, and
        self._held: Callable[[], int] = _nothing  # how much of it is held there
        self._early: list[Item] | None = []  # what arrives before the target is connected
        self._blocked = False  # the target takes no more for now
        self._paused = False  # we do not read from the source
        self._ended = False  # the source has sent its end
        self._arrived = False  # an end has reached the target; no data follows it
        self._dropped = False  # the connection is over

    def interpret(self, sink: Sink, held: Callable[[], int]) -> None:
        """Have `sink` hear everything before the stages do; it hands on by `pass_on` and says how much it holds."""
        self._interpret, self._held = sink, held

    def feed(self, data: bytes) -> None:
        """Send `data` on its way."""
        self._tally.received += len(data)
        if self._interpret is not None:
            self._interpret(data)
            self.review()
        else:
            self._head(data)
            if self._stages:
                self.review()

    def feed_end(self, end: End) -> None:
        """Send an end on its way, behind all data; a reset may still follow a finish."""
        if not self._ended or end is not End.FIN:
            self._ended = True
            (self._interpret or self._head)(end)

    def pass_on(self, item: Item) -> None:
        """Send one item through the stages."""
        self._head(item)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that the target is still to be sent, those included that the stages hold."""
        unsent = 0 if self.target.transport is None else self.target.transport.get_write_buffer_size()
        return unsent + sum(stage.held_bytes for stage in self._stages)

    def open(self) -> None:
        """Deliver from now on, the target is connected; early items first."""
        early, self._early = self._early or [], None
        for item in early:
            self._deliver(item)

    def choke(self, *, blocked: bool) -> None:
        """Take note whether the target takes more."""
        self._blocked = blocked
        self.review()

    def review(self) -> None:
        """Read from the source if, and only if, there is room for what it sends."""
        pause = self._blocked or any(stage.held_bytes > stage.room_bytes for stage in self._stages)
        pause = pause or self._held() > ROOM_BYTES
        if pause is self._paused or self._ended or not self.source.alive:
            return
        self._paused = pause
        transport = self.source.transport
        assert transport is not None
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def refit(self, wanted: Sequence[AppliedToxic], make: Callable[[AppliedToxic], Stage]) -> None:
        """Have exactly the `wanted` toxics at work, in this order, without losing or swapping a byte.

        Args:
            wanted: The toxics that strike this direction of this connection.
            make: Makes the stage of a toxic that was not at work yet.
        """
        self._retire_all_but(set(wanted))
        if self._dropped:  # by what a retired stage let go
            return
        stages = {stage.applied: stage for stage in self._stages}
        fresh = [stages.setdefault(applied, make(applied)) for applied in wanted if applied not in stages]
        self._stages = [stages[applied] for applied in wanted]
        self._chain_up()
        for stage in fresh:
            if not self._dropped:
                stage.start()
        self.review()

    def retune(self, applied: AppliedToxic) -> None:
        """Have the stage of `applied`, if there is one, act by its changed attributes."""
        for stage in self._stages:
            if stage.applied is applied:
                stage.retune()
        self.review()

    def drop(self) -> None:
        """Forget everything under way, and what may still come: the connection is over."""
        self._dropped = self._arrived = self._ended = True
        self._early = self._interpret = None
        stages, self._stages = self._stages, []
        self._chain_up()
        for stage in stages:
            stage.drop()

    def _retire_all_but(self, wanted: set[AppliedToxic]) -> None:
        # From the target backwards: what a later stage holds is older and must arrive first.
        for stage in reversed(self._stages):
            if stage.applied not in wanted and not self._dropped:
                stage.retire()
                self._stages = [other for other in self._stages if other is not stage]
                self._chain_up()

    def _chain_up(self) -> None:
        sink: Sink = self._deliver
        for stage in reversed(self._stages):
            stage.next = sink
            sink = stage.take
        self._head = sink

    def _deliver(self, item: Item) -> None:
        if self._arrived and item is not End.RESET and item is not End.CLOSE:
            return  # behind an end only what ends the other direction too still means something
        if self._early is not None:
            self._early.append(item)
        elif isinstance(item, End):
            self._arrived = True
            self._over(self, item)
        else:
            transport = self.target.transport
            assert transport is not None
            if not transport.is_closing():
                self._tally.bytes += len(item)
                transport.write(item)


def _nothing() -> int:
    """How much nobody holds."""
    return 0
