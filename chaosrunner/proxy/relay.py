"""The byte path: two sockets, two directions, and the toxics in between.

Bytes are handed from one socket's callback straight to the other's write; nothing else happens on a healthy
connection. Back-pressure is TCP's own: whoever cannot take more makes us stop reading from the other side.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import cast

from chaosrunner.proxy.chain import stage_for
from chaosrunner.proxy.stage import End, Item, Sink, Stage
from chaosrunner.proxy.stats import AppliedToxic, ProxyTally, StreamTally

# Time a server has to accept before the client is told that it cannot be reached.
CONNECT_TIMEOUT_S = 5.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


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
        """Read from the other side again."""
        self.takes.choke(blocked=False)

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
            with contextlib.suppress(OSError):  # a socket that is gone already needs no reset
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()


class Link:
    """One direction of a connection: from a source socket through the stages to a target socket."""

    __slots__ = (
        "_arrived",
        "_blocked",
        "_early",
        "_ended",
        "_head",
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
        self._early: list[Item] | None = []  # what arrives before the target is connected
        self._blocked = False  # the target takes no more for now
        self._paused = False  # we do not read from the source
        self._ended = False  # the source has sent its end
        self._arrived = False  # an end has reached the target; nothing follows it

    def feed(self, data: bytes) -> None:
        """Send `data` on its way."""
        self._head(data)
        if self._stages:
            self.review()

    def feed_end(self, end: End) -> None:
        """Send an end on its way, behind all data; a reset may still follow a finish."""
        if not self._ended or end is not End.FIN:
            self._ended = True
            self._head(end)

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
        stages = {stage.applied: stage for stage in self._stages}
        fresh = [stages.setdefault(applied, make(applied)) for applied in wanted if applied not in stages]
        self._stages = [stages[applied] for applied in wanted]
        self._chain_up()
        for stage in fresh:
            stage.start()
        self.review()

    def retune(self, applied: AppliedToxic) -> None:
        """Have the stage of `applied`, if there is one, act by its changed attributes."""
        for stage in self._stages:
            if stage.applied is applied:
                stage.retune()
        self.review()

    def drop(self) -> None:
        """Forget everything under way: the connection is over."""
        self._arrived = self._ended = True
        self._early = None
        for stage in self._stages:
            stage.drop()

    def _retire_all_but(self, wanted: set[AppliedToxic]) -> None:
        # From the target backwards: what a later stage holds is older and must arrive first.
        for place in range(len(self._stages) - 1, -1, -1):
            stage = self._stages[place]
            if stage.applied not in wanted:
                stage.retire()
                del self._stages[place]
                self._chain_up()

    def _chain_up(self) -> None:
        sink: Sink = self._deliver
        for stage in reversed(self._stages):
            stage.next = sink
            sink = stage.take
        self._head = sink

    def _deliver(self, item: Item) -> None:
        if self._arrived and item is not End.RESET:
            return  # only a reset still means something behind an end
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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a connection needs to know of its proxy.

    Attributes:
        upstream: Host and port of the server.
        seed: The same seed and the same traffic give the same faults.
        tally: The proxy's counters.
        toxics: The toxics at work, in order; read whenever they have changed.
        gone: Told once when the connection is over.
    """

    upstream: tuple[str, int]
    seed: str
    tally: ProxyTally
    toxics: Callable[[], Iterable[AppliedToxic]]
    gone: Callable[["Connection"], None]


class Connection:
    """A client's connection and the one that we made to the server for it."""

    def __init__(self, number: int, around: Surroundings) -> None:
        self._number = number
        self._around = around
        self._up = Link(around.tally.upstream, self._on_end)
        self._down = Link(around.tally.downstream, self._on_end)
        self._client = Peer(sends=self._up, takes=self._down, lost=self._lost)
        self._server = Peer(sends=self._down, takes=self._up, lost=self._lost)
        self._finished: set[Link] = set()
        self._draws: dict[AppliedToxic, Draw] = {}
        self._connecting: asyncio.Task[None] | None = None
        self._over = False
        self._gone = asyncio.Event()

    def start(self, accepted: socket.socket) -> None:
        """Relay between an accepted socket and the server; returns at once."""
        self.refit()
        self._connecting = asyncio.get_running_loop().create_task(self._connect(accepted))

    def refit(self) -> None:
        """Have the proxy's toxics of now at work."""
        self._draws = {applied: self._draw(applied) for applied in self._around.toxics()}
        struck = [applied for applied, draw in self._draws.items() if draw.strikes()]
        for link, stream in ((self._up, "upstream"), (self._down, "downstream")):
            link.refit([applied for applied in struck if applied.toxic.stream == stream], self._stage)

    def retune(self, applied: AppliedToxic) -> None:
        """Act by the changed toxicity and attributes of `applied`."""
        self.refit()
        (self._up if applied.toxic.stream == "upstream" else self._down).retune(applied)

    def close(self) -> None:
        """Close both sides once what was written has been sent."""
        self._stop()
        self._client.close()
        self._server.close()

    async def closed(self) -> None:
        """Close, and wait until what was written has been sent to both sides."""
        self.close()
        if not (self._client.gone and self._server.gone):
            await self._gone.wait()

    def reset(self) -> None:
        """Close both sides at once, so that they see a TCP reset."""
        self._stop()
        self._client.reset()
        self._server.reset()

    async def _connect(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: self._client, accepted)
        except OSError:  # the client is gone again
            accepted.close()
            self._stop()
            return
        except asyncio.CancelledError:
            accepted.close()
            raise
        # Until the server is there the client's bytes wait in the kernel, at most one read of them here.
        self._up.choke(blocked=True)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: self._server, *self._around.upstream)
        except (OSError, ValueError):  # refused, timed out, no such host, no descriptors; not a host name
            self._around.tally.refused += 1
            self.reset()
            return
        for peer in (self._client, self._server):
            _keep_alive(peer)
        self._down.open()
        self._up.open()
        self._up.choke(blocked=False)

    def _stage(self, applied: AppliedToxic) -> Stage:
        link = self._up if applied.toxic.stream == "upstream" else self._down
        return stage_for(applied, self._draws[applied].random, link.review)

    def _draw(self, applied: AppliedToxic) -> "Draw":
        seed = f"{self._around.seed}/{self._number}/{applied.toxic.name}"
        return self._draws.get(applied) or Draw(seed, applied)

    def _on_end(self, link: Link, end: End) -> None:
        match end:
            case End.RESET:
                self.reset()
            case End.CLOSE:
                self.close()
            case End.FIN:
                self._finished.add(link)
                if len(self._finished) == 2:
                    self.close()
                elif link.target.alive:
                    assert link.target.transport is not None
                    link.target.transport.write_eof()

    def _lost(self) -> None:
        if self._client.gone and self._server.gone:
            self._gone.set()
        if self._client.alive or self._server.alive:
            return  # what is still under way to the one that lives may arrive
        self._stop()

    def _stop(self) -> None:
        if self._over:
            return
        self._over = True
        self._up.drop()
        self._down.drop()
        task = self._connecting
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._around.gone(self)


class Draw:
    """The luck of one connection with one toxic: drawn once, whatever happens to its neighbours."""

    def __init__(self, seed: str, applied: AppliedToxic) -> None:
        self._seed = seed
        self._applied = applied

    def strikes(self) -> bool:
        """Whether the connection is struck at the toxicity of now."""
        toxicity = self._applied.toxic.toxicity
        return toxicity >= 1 or self._luck < toxicity

    @cached_property
    def random(self) -> Random:
        """Further draws, for jitter and sizes."""
        return Random(self._seed)

    @cached_property
    def _luck(self) -> float:
        return Random(f"{self._seed}/luck").random()


def _keep_alive(peer: Peer) -> None:
    """Have the kernel notice an end that vanished, so that its connection does not stay for ever."""
    if peer.alive:
        assert peer.transport is not None
        with contextlib.suppress(OSError):
            peer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
