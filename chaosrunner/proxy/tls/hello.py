"""The first message of a TLS client, read for what it offers to speak (RFC 8446 §4.1.2 and §5.1, RFC 7301 §3.1).

OpenSSL reads it too, but only when it has to answer; we must ask the server first, and answer what the server says.
"""

from collections.abc import Iterator

HANDSHAKE, CLIENT_HELLO, ALPN = 22, 1, 16
_RECORD_HEADER_BYTES = 5
_MESSAGE_HEADER_BYTES = 4
_VERSION_AND_RANDOM_BYTES = 34
# OpenSSL's own bound for a ClientHello (SSL3_RT_MAX_PLAIN_LENGTH plus two vectors of 64 KB, statem_srvr.c).
_LONGEST_BYTES = 131_396


def offered_protocols(heard: bytes) -> tuple[str, ...] | None:
    """The ALPN names a client offers, in its order, those that are not ASCII (GREASE, RFC 8701) left out.

    Args:
        heard: Everything it has sent so far.

    Returns:
        The names, empty if it offers none; None if its hello is not complete yet.

    Raises:
        ValueError: It does not begin as TLS does; the message says so in a few words.
    """
    hello = _hello(heard)
    return None if hello is None else tuple(_protocols(hello))


def _hello(heard: bytes) -> bytes | None:
    """The body of the ClientHello, put together from as many records as it is spread over."""
    message, at = b"", 0
    while True:
        if heard[at : at + 1] not in {b"", bytes((HANDSHAKE,))}:
            raise ValueError("it does not speak TLS")
        if len(heard) < at + _RECORD_HEADER_BYTES:
            return None
        size = int.from_bytes(heard[at + 3 : at + 5], "big")
        message += heard[at + _RECORD_HEADER_BYTES : at + _RECORD_HEADER_BYTES + size]
        at += _RECORD_HEADER_BYTES + size
        if message and message[0] != CLIENT_HELLO:
            raise ValueError("it does not begin with a ClientHello")
        if len(message) >= _MESSAGE_HEADER_BYTES:
            end = _MESSAGE_HEADER_BYTES + int.from_bytes(message[1:_MESSAGE_HEADER_BYTES], "big")
            if end > _LONGEST_BYTES:
                raise ValueError("its ClientHello is too long")
            if len(message) >= end:
                return message[_MESSAGE_HEADER_BYTES:end]
        if len(heard) < at:
            return None


def _protocols(hello: bytes) -> Iterator[str]:
    cursor = _Cursor(hello)
    cursor.take(_VERSION_AND_RANDOM_BYTES)
    for size_bytes in (1, 2, 1):  # session id, cipher suites, compression methods
        cursor.vector(size_bytes)
    extensions = _Cursor(cursor.vector(2) if cursor.left else b"")
    while extensions.left:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind != ALPN:
            continue
        names = _Cursor(_Cursor(body).vector(2))
        while names.left:
            name = names.vector(1)
            if name.isascii():
                yield name.decode()


class _Cursor:
    """Takes a TLS structure apart from its beginning; a ValueError where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) < size:
            raise ValueError("its ClientHello is malformed")
        self._at += size
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size_bytes: int) -> bytes:
        return self.take(self.number(size_bytes))
