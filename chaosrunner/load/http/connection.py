"""One HTTP/1.1 keep-alive connection: writes a request, reads its reply, says how that ended.

When is a reply whole? When its length, its last chunk or, if it has neither, the end of the connection was reached.
A connection that ends earlier is RESET. **Nothing is ever sent twice**: once a byte of a request was handed to the
kernel, the loss of its connection counts, even before the first byte of a reply and even for a GET, because from here
a killed server and a stale keep-alive connection look the same, and hiding either would flatter the target. What can
be known beforehand is looked up: a connection on which the server's close has arrived is never written to (`alive`).

Most replies are like the one before: the same head, byte for byte, with a body of the length it says. A parser that
starts afresh reads the same into the same bytes, so what it found in a head is remembered (`Owner.heads`) and it need
not be asked again: that would cost more than all else that is done for a hit.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from chaosrunner.load.act import OpenHit

HEAD_BYTES = 1 << 20
"""A reply whose headers are longer is not HTTP: without a bound endless headers would fill the memory."""

BODY_BYTES = 16 << 20
"""Of a body that is kept, at most this much; more is PROTOCOL. Bodies nobody asked for are counted by nobody."""

WITHOUT_BODY = frozenset({204, 304})

HEADS = 64
"""Different heads that are remembered for an origin: each tick of a clock in a header makes a new one."""

END = b"\r\n\r\n"
CHUNKED = -2

_OK = Outcome.OK
_now = time.monotonic_ns


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a reply that says how long its body is, and after which the connection stays open."""

    text: bytes
    """With its empty line."""
    length: int
    """Of the whole reply."""
    status: int


UNKNOWN = Head(b"?", -1, 0)
"""No reply begins so."""


class Answered(Protocol):
    """An act as a connection sees it."""

    head: Head
    """Of the latest reply: the next one's is probably the same."""
    reply: bytes
    """The latest one whose head was known, all of it: often the next one is the same."""
    right: frozenset[int]
    """Statuses that alone make a reply OK: of one that came whole nothing more needs to be told."""

    def answered(self, hit: OpenHit, status: int, body: bytes, now_ns: int) -> None:
        """A whole reply has come."""
        ...


class Owner(Protocol):
    """Where a connection belongs."""

    heads: dict[bytes, Head]
    """What is remembered, by its text."""
    waiting: deque[OpenHit]
    """Who has no connection yet."""
    shortcut: bool
    """A connection whose reply has just come need not be looked at again before the next request."""
    hot: Connection | None
    """The one whose reply is being told: the next request, if it comes meanwhile, goes out on it."""

    def freed(self, connection: Connection) -> None:
        """It may be used again."""
        ...

    def lost(self, connection: Connection) -> None:
        """It is gone; told exactly once."""
        ...


class Connection(asyncio.Protocol):
    """A connection; at most one hit at a time (no pipelining)."""

    __slots__ = (
        "_body",
        "_complete",
        "_framed",
        "_fresh",
        "_gone",
        "_head_bytes",
        "_head_done",
        "_hit",
        "_keep",
        "_length",
        "_owner",
        "_parser",
        "_proven",
        "_reusable",
        "_socket",
        "_status",
        "_tls",
        "_transport",
        "_whole",
        "_write",
    )  # fmt: skip

    def __init__(self, owner: Owner, sock: socket.socket) -> None:
        self._owner = owner
        self._socket = sock
        self._transport: asyncio.Transport | None = None
        self._hit: OpenHit | None = None
        self._tls = False
        self._gone = False
        self._proven = False
        """It stayed open after a reply."""
        self._write: Callable[[bytes], int] | None = None
        """Straight into the socket, as long as nothing waits in the transport's own buffer."""
        self._renew()

    def _renew(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        self._status = 0
        self._head_bytes = 0
        self._head_done = False
        self._framed = False
        self._complete = False
        self._reusable = True
        self._keep = True
        self._length = -1
        """What Content-Length says; CHUNKED if there is a transfer coding."""
        self._fresh = True
        """Nothing of this reply was seen yet."""
        self._whole = b""
        """All of it that was seen, if that came in one piece."""
        self._body: list[bytes] = []

    # --- what the pool asks of it

    def alive(self) -> bool:
        """Whether neither the peer's close nor anything unasked has arrived; a look into the socket, nothing is read.

        Under TLS waiting bytes may be a session ticket and are no reason to close.
        """
        try:
            waiting = self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return self._tls and bool(waiting)
        except BlockingIOError:
            return True
        except OSError:
            return False

    def send(self, hit: OpenHit) -> None:
        """Write a request, whose `sent_ns` is known; its end will be told to the hit."""
        self._hit = hit
        hit.link = self
        request = hit.request
        written = 0
        if self._write is not None:
            try:
                written = self._write(request)
            except OSError:
                pass  # the buffer is full, or the connection broken: the transport finds out which, and tells
            if written == len(request):
                return
            self._write = None
        self._transport.write(request[written:])  # type: ignore[union-attr]

    def abort(self) -> None:
        """Close at once; the hit, if any, is forgotten, not told."""
        self._hit = None
        self._leave()
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open (and its TLS handshake done)."""
        self._transport = cast("asyncio.Transport", transport)
        self._tls = transport.get_extra_info("ssl_object") is not None
        if not self._tls:
            self._write = self._socket.send

    def data_received(self, data: bytes) -> None:
        """Some of a reply; or something nobody asked for, which ends the connection."""
        hit = self._hit
        if hit is None:
            self.abort()
            return
        if not self._fresh:
            self._whole = b""
            self._parse(hit, data)
            return
        hit.first_ns = now = _now()
        act: Answered = hit.act  # type: ignore[assignment]  # a cast would cost time here
        head = act.head
        if data != act.reply:
            if len(data) != head.length or not data.startswith(head.text):
                found = self._known(data, hit)
                if found is None:
                    self._fresh = False
                    self._whole = data
                    self._parse(hit, data)
                    return
                act.head = head = found
            act.reply = data
        self._hit = hit.link = None
        owner = self._owner
        if self._proven and owner.shortcut and not owner.waiting:
            owner.hot = self
        else:
            self._proven = True
            owner.freed(self)
        if head.status in act.right:
            hit.road.ended(hit, _OK, now)
        else:
            act.answered(hit, head.status, data[len(head.text) :] if hit.keeps_body else b"", now)
        if owner.hot is self:
            owner.hot = None
            owner.freed(self)

    def _known(self, data: bytes, hit: OpenHit) -> Head | None:
        """The head of a whole reply, if it is remembered."""
        head = self._owner.heads.get(data[: data.find(END) + 4])
        return None if head is None or head.length != len(data) or hit.is_head else head

    def _parse(self, hit: OpenHit, data: bytes) -> None:
        """Have the parser look at it."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a mistake of ours: the worker ends with it, it is never booked on the target
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._reusable = False
            if not self._complete:
                self._fail(Outcome.PROTOCOL)
                return
        if self._complete:
            self._answer()
        elif not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._fail(Outcome.PROTOCOL)
        elif hit.keeps_body and self._body_is_too_long():
            self._fail(Outcome.PROTOCOL)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end: of a reply that runs until it, or of a hit."""
        self._leave()
        if self._hit is None:
            return
        if self._head_done and not self._framed and exc is None:
            self._answer()
        else:
            self._fail(Outcome.RESET)

    # --- httptools callbacks

    def on_message_begin(self) -> None:
        """A second reply to one request: the first one counts, the connection is not trusted again."""
        if self._complete:
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Only whether the reply says where it ends matters; every other header costs one comparison."""
        if len(name) == 14 and name.lower() == b"content-length":
            self._framed = True
            if self._length != CHUNKED and value.isdigit():
                self._length = int(value)
        elif len(name) == 17 and name.lower() == b"transfer-encoding":
            self._framed = True
            self._length = CHUNKED

    def on_headers_complete(self) -> None:
        """Status and framing are known."""
        if self._complete:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return
        self._head_done = True
        self._keep = self._parser.should_keep_alive()
        hit = self._hit
        if hit is None or hit.is_head or self._status in WITHOUT_BODY:
            self._framed = self._complete = True

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        if self._complete:
            self._reusable = False
        elif self._hit is not None and self._hit.keeps_body:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The end of a reply; interim ones (100, 103) only announce another."""
        if self._status >= 200:
            self._complete = True
        else:
            self._framed = False

    # --- ends

    def _body_is_too_long(self) -> bool:
        return sum(map(len, self._body)) > BODY_BYTES

    def _answer(self) -> None:
        hit, status, body = self._hit, self._status, b"".join(self._body)
        assert hit is not None
        self._hit = hit.link = None
        now = time.monotonic_ns()
        reusable = self._reusable and self._keep and not self._gone
        if reusable:
            if self._whole:
                self._remember(status)
            # llhttp does not know which replies had no body because of their request: it starts afresh after those.
            if hit.is_head or status in WITHOUT_BODY:
                self._renew()
            else:
                self._begin()
            self._owner.freed(self)
        else:
            self.abort()
        # Only acts of this package send on connections, and all of them hear of answers; a cast would cost time here.
        cast("Answered", hit.act).answered(hit, status, body, now)

    def _remember(self, status: int) -> None:
        """Know the head of a reply that came whole and alone, and that ends where its length says."""
        at = self._whole.find(END)
        if at >= 0 <= self._length == len(self._whole) - at - 4:
            heads = self._owner.heads
            if len(heads) >= HEADS:
                heads.clear()
            text = self._whole[: at + 4]
            heads[text] = Head(text, len(self._whole), status)

    def _fail(self, outcome: Outcome) -> None:
        hit = self._hit
        assert hit is not None
        hit.link = None
        now = time.monotonic_ns()
        if self._fresh and outcome is Outcome.RESET:
            self._owner.shortcut = False  # it may have been closing already
        self.abort()
        hit.end(outcome, now)

    def _leave(self) -> None:
        if not self._gone:
            self._gone = True
            self._owner.lost(self)
