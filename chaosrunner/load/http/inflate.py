"""Compressed bodies, decompressed piece by piece and never further than a bound."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

INFLATED_BYTES = 64 << 20
"""Of one body at most this much, decompressed; more is PROTOCOL: a few kilobytes can hold gigabytes of nothing."""
PIECE_BYTES = 1 << 18

GZIP, ZLIB, RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class CannotInflate(ValueError):
    """The body is not what its Content-Encoding says, or too large."""


class Inflate:
    """One body being decompressed. Encodings: RFC 9110, 8.4.1."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._early = b""
        self._zlib: Any = zlib.decompressobj(wbits=GZIP) if encoding == "gzip" else None
        self._brotli: Any = _brotli().Decompressor() if encoding == "br" else None
        self._broken = False
        self.size = 0
        """Bytes so far, decompressed."""

    def feed(self, data: bytes) -> list[bytes]:
        """What more data gives. Raises CannotInflate."""
        try:
            return self._by_brotli(data) if self._brotli is not None else self._by_zlib(data)
        except Exception as error:  # brotli's own error has no base but Exception
            self._broken = True
            raise CannotInflate(str(error)) from error

    def finished(self) -> bool:
        """Whether the data's own end has been reached, without a mistake."""
        if self._broken:
            return False
        return bool(self._brotli.is_finished()) if self._brotli is not None else bool(self._zlib and self._zlib.eof)

    def _by_zlib(self, data: bytes) -> list[bytes]:
        if self._zlib is None:
            data = self._early = self._early + data
            if len(data) < 2:
                return []
            self._zlib = zlib.decompressobj(wbits=ZLIB if _is_zlib(data) else RAW)
        pieces = []
        while data:
            if self._zlib.eof:
                if self._encoding != "gzip":
                    raise CannotInflate("more data after its end")
                self._zlib = zlib.decompressobj(wbits=GZIP)  # another member
            piece = self._zlib.decompress(data, PIECE_BYTES)
            self._count(piece)
            pieces.append(piece)
            data = self._zlib.unconsumed_tail or self._zlib.unused_data
        return pieces

    def _by_brotli(self, data: bytes) -> list[bytes]:
        pieces = []
        while piece := self._brotli.process(data, output_buffer_limit=PIECE_BYTES):
            self._count(piece)
            pieces.append(piece)
            data = b""  # the rest is inside; more may come out of it
        return pieces

    def _count(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > INFLATED_BYTES:
            raise CannotInflate(f"more than {INFLATED_BYTES >> 20} MiB")


def accepted() -> str:
    """What to ask for in Accept-Encoding; brotli where its package is installed."""
    return "gzip, deflate, br" if _brotli() else "gzip, deflate"


def inflate_for(encoding: str) -> Inflate | None:
    """What decompresses a Content-Encoding; None when it needs nothing, or nothing that is known here."""
    word = encoding.strip().lower().removeprefix("x-")
    known = word in ("gzip", "deflate") or (word == "br" and _brotli() is not None)
    return Inflate(word) if known else None


def _is_zlib(data: bytes) -> bool:
    """Whether `deflate` means what the standard says (RFC 1950, 2.2), or raw, as many servers send it."""
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


@cache
def _brotli() -> Any:
    try:
        import brotli  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return None
    return brotli
