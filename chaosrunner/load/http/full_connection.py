"""A connection of the full path: it knows the headers of its replies, and decompresses their bodies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chaosrunner.load.act import OpenHit
from chaosrunner.load.http.connection import BODY_BYTES, Connection
from chaosrunner.load.http.inflate import CannotInflate, Inflate, inflate_for
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaosrunner.load.http.full import Asking

HEADERS = 1_000
"""Different headers of one reply that are kept."""


class Attempt(OpenHit):
    """One request on the wire, of a hit that may need several; to a connection and its pool it is a hit."""

    __slots__ = ("headers", "size", "wire_size")

    def __init__(self, asking: Asking, request: bytes, *, is_head: bool) -> None:
        hit = asking.hit
        super().__init__(asking, hit.journey, hit.leg, hit.due_ns, time.monotonic_ns())
        self.act = asking  # type: ignore[assignment]  # the part of an act that a connection and a pool know
        self.request = request
        self.is_head = is_head
        self.keeps_body = asking.ready.judge.needs_body
        self.headers: Mapping[str, str] = {}
        """Of the reply, by names in small letters; several of one name are joined by commas, cookies by line ends."""
        self.size = 0
        """Of the reply's body, decompressed."""
        self.wire_size = 0
        """Of the reply's body, as it came."""


class FullConnection(Connection):
    """Adds headers and decompression to what every connection does; the fast path pays nothing for it."""

    __slots__ = ("_broken", "_headers", "_inflate", "_size", "_wire_size")

    def _begin(self) -> None:
        super()._begin()
        self._headers: dict[str, str] = {}
        self._inflate: Inflate | None = None
        self._broken = False
        self._size = self._wire_size = 0

    def data_received(self, data: bytes) -> None:
        """Some of a reply, always by the parser: its headers matter here. A broken compression ends it at once."""
        attempt = self._hit
        if attempt is None:
            self.abort()
            return
        attempt.first_ns = attempt.first_ns or time.monotonic_ns()
        self._fresh = False
        self._parse(attempt, data)
        if self._broken and self._hit is not None:
            self._fail(Outcome.PROTOCOL)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep it, unless it is a trailer or belongs to a second reply."""
        super().on_header(name, value)
        if self._head_done:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key in self._headers:
            # Cookies cannot be joined by commas: their dates have some.
            self._headers[key] += ("\n" if key == "set-cookie" else ", ") + text
        elif len(self._headers) < HEADERS:
            self._headers[key] = text

    def on_headers_complete(self) -> None:
        """Know whether the body is compressed."""
        super().on_headers_complete()
        if not self._complete:
            self._inflate = inflate_for(self._headers.get("content-encoding", ""))

    def on_body(self, data: bytes) -> None:
        """Count it, decompress it, and keep it if the step needs it."""
        if self._complete or self._broken:
            super().on_body(data)
            return
        self._wire_size += len(data)
        if self._inflate is None:
            self._size += len(data)
            super().on_body(data)
            return
        try:
            pieces = self._inflate.feed(data)
        except CannotInflate:
            self._broken = True
            return
        self._size = self._inflate.size
        if self._hit is not None and self._hit.keeps_body and self._size <= BODY_BYTES:
            self._body += pieces

    def on_message_complete(self) -> None:
        """The headers of an interim reply are forgotten."""
        if self._status < 200:
            self._headers = {}
        super().on_message_complete()

    def _body_is_too_long(self) -> bool:
        return self._size > BODY_BYTES

    def _answer(self) -> None:
        attempt = self._hit
        assert isinstance(attempt, Attempt)
        cut = self._inflate is not None and self._wire_size > 0 and not self._inflate.finished()
        if self._broken or cut or (attempt.keeps_body and self._body_is_too_long()):
            self._fail(Outcome.PROTOCOL)
            return
        attempt.headers, attempt.size, attempt.wire_size = self._headers, self._size, self._wire_size
        super()._answer()
