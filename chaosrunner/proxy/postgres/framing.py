"""Where a Postgres message begins and ends, in both directions (protocol 3, "Message Formats" in its manual); sans-io.

Only the beginning of a message is ever kept, so that a value of a gigabyte passes as it comes.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

# The first 10 KB of a message's body are looked at; statements are searched no further.
SEEN_BYTES = 10 * 1024
HEADER_BYTES = 5
# The limits of Postgres itself for a length, which counts its own four bytes (libpq/protocol, tcop/postgres.c).
_LARGE = 0x3FFFFFFE
_SMALL = 10_000
_SHORTEST_STARTUP, _LONGEST_STARTUP = 8, 10_000

SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102
VERSION_3 = 3

# Kinds of frames that are not letters of the protocol.
PLAIN, STARTUP, REPLY = range(3)

# From the client.
QUERY, PARSE, BIND, EXECUTE = ord("Q"), ord("P"), ord("B"), ord("E")
DESCRIBE, CLOSE, SYNC, CALL = ord("D"), ord("C"), ord("S"), ord("F")
COPY_DONE, COPY_FAIL = ord("c"), ord("f")
_ASKED = {QUERY: _LARGE, PARSE: _LARGE, BIND: _LARGE, CALL: _LARGE, COPY_FAIL: _LARGE} | dict.fromkeys(
    (EXECUTE, DESCRIBE, CLOSE, SYNC, COPY_DONE), _SMALL
)
_ASKED_PLAIN = {ord("d"): _LARGE, ord("p"): 65_535, ord("H"): _SMALL, ord("X"): _SMALL}

# From the server.
ERROR, READY, COPY_IN, COPY_BOTH = ord("E"), ord("Z"), ord("G"), ord("W")
PARSED, BOUND, CLOSED, ROWS, NO_DATA = ord("1"), ord("2"), ord("3"), ord("T"), ord("n")
COMPLETE, EMPTY, SUSPENDED = ord("C"), ord("I"), ord("s")
_ANSWERED = dict.fromkeys(
    (ERROR, READY, COPY_IN, COPY_BOTH, PARSED, BOUND, CLOSED, ROWS, NO_DATA, COMPLETE, EMPTY, SUSPENDED), _LARGE
)
_ANSWERED_PLAIN = dict.fromkeys(b"DdcHVtANSKRv", _LARGE)

_length = struct.Struct(">i").unpack_from
_startup = struct.Struct(">ii").unpack_from


class NotUnderstood(Exception):
    """The bytes are not what the protocol makes of them here; all that can be done is to pass them on."""


class Frame(NamedTuple):
    """One message, or bytes that need no look.

    Attributes:
        kind: The message's letter as a number, or `PLAIN` (anything), `STARTUP` (a client's first packets), `REPLY`
            (the one byte that answers a request for encryption).
        raw: What came: of a message the header and the first `SEEN_BYTES` of its body; the rest follows as `PLAIN`.
        size: Bytes of the whole message.
    """

    kind: int
    raw: bytes
    size: int


class Framing:
    """Cuts one direction into frames: `push` bytes in any cut, then ask for the `next` one until there is none.

    All frames' bytes, and what `flush` gives, are in sum what was pushed.
    """

    def __init__(self, looked_at: Mapping[int, int], plain: Mapping[int, int]) -> None:
        """Know the messages that are looked at, and those that only pass: letter → the longest it may be."""
        self._looked_at = looked_at
        self._plain = plain
        self._data = b""
        self._at = 0  # up to here it has been given
        self._left = 0  # bytes still to come of the message that was given last
        self._skip = 0  # the same of one that is skipped

    def push(self, data: bytes) -> None:
        """Take bytes as they come."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def next(self) -> Frame | None:
        """The next frame, None if more bytes are needed for one.

        Raises:
            NotUnderstood: No message begins here.
        """
        if self._at == len(self._data):
            self._data, self._at = b"", 0  # an idle connection keeps nothing
            return None
        if self._left:
            size = min(self._left, len(self._data) - self._at)
            self._left -= size
            return self._give(PLAIN, size)
        return (self._data[self._at] in self._plain and self._plain_run()) or self._message()

    def skip_rest(self) -> None:
        """Throw away what is still to come of the message that was given last."""
        here = min(self._left, len(self._data) - self._at)
        self._at += here
        self._skip, self._left = self._left - here, 0

    def flush(self) -> bytes:
        """Everything that was pushed and not given yet."""
        rest = self._data[self._at :]
        self._data, self._at = b"", 0
        return rest

    def _plain_run(self) -> Frame | None:
        """As many messages as need no look, at once: rows and copied data are most of what passes."""
        data, at, plain, end = self._data, self._at, self._plain, len(self._data) - HEADER_BYTES
        while at <= end:
            limit = plain.get(data[at], 0)
            length = _length(data, at + 1)[0]
            if not 4 <= length <= limit:
                break
            at += 1 + length
        if at == self._at:
            return None
        self._left = max(at - len(data), 0)
        return self._give(PLAIN, at - self._at - self._left)

    def _message(self) -> Frame | None:
        kind, here = self._data[self._at], len(self._data) - self._at
        limit = self._looked_at.get(kind) or self._plain.get(kind)
        if limit is None:
            raise NotUnderstood
        if here < HEADER_BYTES:
            return None
        length = _length(self._data, self._at + 1)[0]
        if not 4 <= length <= limit:
            raise NotUnderstood
        size = 1 + length
        seen = min(size, HEADER_BYTES + SEEN_BYTES)
        if here < seen:
            return None
        self._left = size - seen
        return self._give(kind, seen, size)

    def _give(self, kind: int, seen: int, size: int | None = None) -> Frame:
        raw = self._data[self._at : self._at + seen]
        self._at += seen
        return Frame(kind, raw, seen if size is None else size)


class AskFraming(Framing):
    """What clients send: packets without a letter first, up to the one that starts the session."""

    def __init__(self) -> None:
        super().__init__(_ASKED, _ASKED_PLAIN)
        self._started = False

    def next(self) -> Frame | None:
        """As `Framing.next`."""
        if self._started:
            return super().next()
        here = len(self._data) - self._at
        if here < 4:
            return None
        length = _length(self._data, self._at)[0]
        if not _SHORTEST_STARTUP <= length <= _LONGEST_STARTUP:
            raise NotUnderstood  # TLS without asking, for one
        if here < length:
            return None
        code = _startup(self._data, self._at)[1]
        self._started = code >> 16 == VERSION_3
        if not self._started and code not in {SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST}:
            raise NotUnderstood
        return self._give(STARTUP, length)


class AnswerFraming(Framing):
    """What servers send: one byte for each request for encryption, then messages."""

    def __init__(self) -> None:
        super().__init__(_ANSWERED, _ANSWERED_PLAIN)
        self._replies = 0

    def expect_reply(self) -> None:
        """Take note that the client asks for encryption."""
        self._replies += 1

    def next(self) -> Frame | None:
        """As `Framing.next`."""
        if not self._replies or self._at == len(self._data):
            return super().next()
        if self._data[self._at] == ERROR:  # a whole message, from a server that will not talk
            self._replies = 0
            return super().next()
        self._replies -= 1
        return self._give(REPLY, 1)


def startup_code(packet: bytes) -> int:
    """What a client's first packet asks for: `SSL_REQUEST`, `GSS_REQUEST`, `CANCEL_REQUEST`, or a version."""
    code: int = _startup(packet)[1]
    return code


def wants_replication(packet: bytes) -> bool:
    """Whether a startup packet asks for a replication connection, which speaks another language."""
    words = packet[8:].split(b"\0")
    parameters = dict(zip(words[::2], words[1::2], strict=False))
    return parameters.get(b"replication", b"off").lower() not in {b"off", b"false", b"no", b"0"}


def strings(message: bytes, count: int) -> list[bytes]:
    """The first `count` zero-terminated strings of a message's body; empty ones for those that are missing."""
    found = message[HEADER_BYTES:].split(b"\0", count)[:count]
    return found + [b""] * (count - len(found))


def message(kind: int, body: bytes) -> bytes:
    """A whole message."""
    return bytes((kind,)) + struct.pack(">i", 4 + len(body)) + body
