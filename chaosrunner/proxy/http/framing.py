"""Where HTTP/1 messages begin and end (RFC 9112), found in a stream of bytes that itself goes on unchanged.

From what is no message, or an ambiguous one, on the stream is opaque.
"""

import enum
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaosrunner.proxy.http.heads import FIELD, Body, Framing, NotHttpError

HEAD_LIMIT_BYTES = 64 * 1024
CHUNK_LINE_LIMIT_BYTES = 16 * 1024

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\0]*)?\r?\n")
_TRAILER_LINE = re.compile(FIELD + rb"|\r?\n")
_NEWLINES = re.compile(rb"[\r\n]*")
_HEAD_END = re.compile(rb"\n\r?\n")


class Part(enum.Enum):
    """What a piece of the stream is."""

    BEGUN = "the beginning of a head that is not complete yet"
    HEAD = "the rest of a head"
    FRAME = "what frames a body: chunk sizes, line ends, trailers"
    BODY = "bytes of a body"
    OPAQUE = "not understood"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of the stream, and what they are; `last` if a message ends with them."""

    part: Part
    data: bytes
    last: bool = False


class Scanner:
    """Tells the pieces of one direction of a connection apart, as they come.

    All pieces together are the stream, byte for byte; nothing is held back.
    """

    __slots__ = ("_body_left", "_line", "_may_be", "_read", "_scan", "_trailer_bytes")

    def __init__(self, read: Callable[[bytes], Body], may_be: Callable[[bytes], bool]) -> None:
        """Begin where a head is expected.

        Args:
            read: Told each complete head, says what follows it; raises NotHttpError if it is none.
            may_be: Whether bytes can be the beginning of a head; asked while one is not complete.
        """
        self._read = read
        self._may_be = may_be
        self._scan: Callable[[bytes, int], Piece] = self._in_head
        self._line = bytearray()  # what came of an incomplete head, or of an incomplete line within a body
        self._body_left = 0  # bytes left of the body, or of the chunk
        self._trailer_bytes = 0

    @property
    def opaque(self) -> bool:
        """Whether it has given up."""
        return self._scan == self._in_the_dark

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces of what came next; who takes them may call `give_up` in between."""
        place = 0
        while place < len(data):
            try:
                piece = self._scan(data, place)
            except NotHttpError:
                self.give_up()
                piece = self._scan(data, place)
            place += len(piece.data)
            yield piece

    def give_up(self) -> None:
        """Take everything from here on for opaque."""
        self._scan = self._in_the_dark
        self._line.clear()

    def _in_the_dark(self, data: bytes, place: int) -> Piece:
        return Piece(Part.OPAQUE, data[place:])

    def _in_head(self, data: bytes, place: int) -> Piece:
        known = len(self._line)
        self._line += data[place : place + HEAD_LIMIT_BYTES + 1]
        newlines = _NEWLINES.match(self._line)  # servers skip empty lines in front of a request
        assert newlines is not None
        begin = newlines.end()
        found = _HEAD_END.search(self._line, max(known - 2, begin))
        if (found.end() if found else len(self._line)) > HEAD_LIMIT_BYTES:
            raise NotHttpError
        if found is None:
            if begin < len(self._line) and not self._may_be(bytes(self._line[begin:])):
                raise NotHttpError
            return Piece(Part.BEGUN, data[place:])
        end, head = found.end() - known, bytes(self._line[begin : found.end()])
        self._line.clear()
        return Piece(Part.HEAD, data[place : place + end], last=self._expect(self._read(head)))

    def _expect(self, body: Body) -> bool:
        """Get ready for a body; whether the message ends without one."""
        match body.framing:
            case Framing.LENGTH if body.length:
                self._scan, self._body_left = self._in_body, body.length
            case Framing.CHUNKED:
                self._scan = self._in_chunk_size
            case Framing.UNTIL_CLOSE:
                self._scan = self._in_last_body
            case Framing.SWITCH:
                self.give_up()
                return True
            case _:
                self._scan = self._in_head
                return True
        return False

    def _in_last_body(self, data: bytes, place: int) -> Piece:
        return Piece(Part.BODY, data[place:])

    def _in_body(self, data: bytes, place: int) -> Piece:
        piece = self._body_piece(data, place)
        if self._body_left:
            return piece
        self._scan = self._in_head
        return Piece(Part.BODY, piece.data, last=True)

    def _in_chunk(self, data: bytes, place: int) -> Piece:
        piece = self._body_piece(data, place)
        if not self._body_left:
            self._scan = self._in_chunk_end
        return piece

    def _body_piece(self, data: bytes, place: int) -> Piece:
        payload = data[place : place + self._body_left]
        self._body_left -= len(payload)
        return Piece(Part.BODY, payload)

    def _in_chunk_size(self, data: bytes, place: int) -> Piece:
        piece, line = self._line_piece(data, place, CHUNK_LINE_LIMIT_BYTES)
        if line:
            size = _CHUNK_LINE.fullmatch(line)
            if size is None:
                raise NotHttpError
            self._body_left = int(size[1], 16)
            self._trailer_bytes = 0
            self._scan = self._in_chunk if self._body_left else self._in_trailers
        return piece

    def _in_chunk_end(self, data: bytes, place: int) -> Piece:
        piece, line = self._line_piece(data, place, len(b"\r\n"))
        if line:
            if line.strip(b"\r\n"):
                raise NotHttpError
            self._scan = self._in_chunk_size
        return piece

    def _in_trailers(self, data: bytes, place: int) -> Piece:
        piece, line = self._line_piece(data, place, HEAD_LIMIT_BYTES - self._trailer_bytes)
        if not line:
            return piece
        if not _TRAILER_LINE.fullmatch(line):
            raise NotHttpError
        self._trailer_bytes += len(line)
        if line.strip(b"\r\n"):
            return piece
        self._scan = self._in_head
        return Piece(Part.FRAME, piece.data, last=True)

    def _line_piece(self, data: bytes, place: int, limit_bytes: int) -> tuple[Piece, bytes]:
        """What `data` has of a line, and the whole line if it is complete now.

        Raises:
            NotHttpError: It is longer than allowed.
        """
        end = data.find(b"\n", place, place + limit_bytes) + 1
        piece = Piece(Part.FRAME, data[place : end or len(data)])
        if len(self._line) + len(piece.data) > limit_bytes:
            raise NotHttpError
        self._line += piece.data
        if not end:
            return piece, b""
        line = bytes(self._line)
        self._line.clear()
        return piece, line
