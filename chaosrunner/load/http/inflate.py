"""Compressed bodies, decompressed piece by piece and never further than a bound."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

INFLATED_BYTES = 64 << 20
"""Of one body at most this much, decompressed; more is PROTOCOL: a few kilobytes can hold gigabytes of nothing."""
PIECE_BYTES = 1 << 18

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class CannotInflate(ValueError):
    """The body is not what its Content-Encoding says, or too large."""


class Inflate:
    """One body being decompressed."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._zlib: Any = None if encoding == "br" else zlib.decompressobj(wbits=GZIP_OR_ZLIB)
        self._brotli: Any = _brotli().Decompressor() if encoding == "br" else None
        self.size = 0
        """Bytes so far, decompressed."""

    def feed(self, data: bytes) -> list[bytes]:
        """What more data gives. Raises CannotInflate."""
        try:
            return self._by_brotli(data) if self._zlib is None else self._by_zlib(data)
        except CannotInflate:
            raise
        except Exception as error:  # brotli's own error has no base but Exception
            raise CannotInflate(str(error)) from error

    def finished(self) -> bool:
        """Whether the data's own end has been reached; brotli's end and its middle may look the same."""
        return bool(self._brotli.is_finished()) if self._zlib is None else bool(self._zlib.eof)

    def _by_zlib(self, data: bytes) -> list[bytes]:
        pieces = []
        while data:
            try:
                piece = self._zlib.decompress(data, PIECE_BYTES)
            except zlib.error:
                if self._encoding != "deflate" or self.size:
                    raise
                # Half of the world's servers mean raw deflate by it (RFC 9110, 8.4.1.2 knows).
                self._zlib, self._encoding = zlib.decompressobj(wbits=-zlib.MAX_WBITS), "raw"
                continue
            self._count(piece)
            pieces.append(piece)
            data = self._zlib.unconsumed_tail
            if self._zlib.eof and self._zlib.unused_data:
                if self._encoding != "gzip":
                    raise CannotInflate("more data after its end")
                data, self._zlib = self._zlib.unused_data, zlib.decompressobj(wbits=GZIP_OR_ZLIB)  # another member
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
    known = ("gzip", "deflate", "br") if word == "br" and _brotli() else ("gzip", "deflate")
    return Inflate(word) if word in known else None


@cache
def _brotli() -> Any:
    try:
        import brotli  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return None
    return brotli
