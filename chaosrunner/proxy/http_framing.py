"""Where HTTP/1 messages begin and end (RFC 9112), found in a stream of bytes that itself goes on unchanged.

What two readers could take for different messages (both lengths given, a folded header, a chunk size that is none) is
not read at all: from there on the stream is opaque, so that the proxy never disagrees with the server about it.
"""

import enum
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HEAD_LIMIT_BYTES = 64 * 1024
CHUNK_LINE_LIMIT_BYTES = 16 * 1024

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"+) ([^\x00-\x20\x7f]+) HTTP/1\.([01])\r?\n")
_REQUEST_BEGINNING = re.compile(_TOKEN + rb"+(?: [^\x00-\x20\x7f]*(?: [HTP/1.0]{0,8}\r?)?)?")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\r\n\0]*)?\r?\n")
_FIELD = _TOKEN + rb"+:[^\r\n\0]*\r?\n"
_FIELDS = re.compile(rb"(?:" + _FIELD + rb")*\r?\n")
_TRAILER_LINE = re.compile(_FIELD + rb"|\r?\n")
_FRAMING_FIELD = re.compile(rb"^(content-length|transfer-encoding|connection|upgrade|expect):([^\r\n]*)", re.I | re.M)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\0]*)?\r?\n")
_NEWLINES = re.compile(rb"[\r\n]*")
_HEAD_END = re.compile(rb"\n\r?\n")
_SCHEME_AND_HOST = re.compile(r"\A[A-Za-z][A-Za-z0-9+.\-]*://[^/?]*")


class NotHttpError(Exception):
    """These bytes are no HTTP/1 message, or one that could be read in more than one way."""


class Framing(enum.Enum):
    """How the end of a body is found."""

    NONE = "there is no body"
    LENGTH = "after so many bytes"
    CHUNKED = "after the chunk of size 0 and the trailers"
    UNTIL_CLOSE = "where the connection ends"
    SWITCH = "there is no body, and what follows is no HTTP any more"


@dataclass(frozen=True, slots=True)
class Body:
    """What follows a head; `length` in bytes if that is how it is framed."""

    framing: Framing
    length: int = 0


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What matters of a request.

    Attributes:
        method: As sent.
        path: Without the query, as sent (not decoded); for CONNECT the authority, for OPTIONS it may be `*`.
        minor: Of the version, HTTP/1.`minor`.
        keep_alive: Whether the client wants to go on with the connection afterwards.
        expects_continue: Whether it waits for a 100 before it sends the body.
        may_switch: Whether an answer may end HTTP on this connection: an upgrade or a tunnel.
        body: What follows.
    """

    method: str
    path: str
    minor: int
    keep_alive: bool
    expects_continue: bool
    may_switch: bool
    body: Body


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What matters of an answer.

    Attributes:
        status: Three digits.
        keep_alive: Whether the server goes on with the connection afterwards.
        body: What follows.
    """

    status: int
    keep_alive: bool
    body: Body

    @property
    def interim(self) -> bool:
        """Whether another answer to the same request follows."""
        return self.status < 200 and self.status != 101


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


def may_be_request(beginning: bytes) -> bool:
    """Whether a request can begin like this."""
    if b"\n" in beginning:
        return _REQUEST_LINE.match(beginning) is not None
    return _REQUEST_BEGINNING.fullmatch(beginning) is not None


def may_be_answer(beginning: bytes) -> bool:
    """Whether an answer can begin like this."""
    if b"\n" in beginning:
        return _STATUS_LINE.match(beginning) is not None
    known = b"HTTP/1."
    return beginning[: len(known)] == known[: len(beginning)]


def read_request(head: bytes) -> RequestHead:
    """What matters of a complete request head.

    Raises:
        NotHttpError: It is none, or ambiguous.
    """
    start = _REQUEST_LINE.match(head)
    if start is None:
        raise NotHttpError
    method, target, minor = start[1].decode(), start[2].decode("latin-1"), int(start[3])
    fields = _framing_fields(head, start.end())
    body = _framed(fields, minor)
    if body.framing is Framing.UNTIL_CLOSE:
        if "transfer-encoding" in fields:
            raise NotHttpError  # a request cannot end with the connection
        body = Body(Framing.NONE)
    return RequestHead(
        method=method,
        path=_SCHEME_AND_HOST.sub("", target, count=1).partition("?")[0] or "/",
        minor=minor,
        keep_alive=_keeps_alive(fields, minor),
        expects_continue=minor == 1 and b"100-continue" in fields.get("expect", []),
        may_switch=method == "CONNECT" or "upgrade" in fields,
        body=body,
    )


def read_answer(head: bytes, request: RequestHead) -> AnswerHead:
    """What matters of a complete head that answers `request` (RFC 9112 §6.3).

    Raises:
        NotHttpError: It is none, or ambiguous.
    """
    start = _STATUS_LINE.match(head)
    if start is None:
        raise NotHttpError
    minor, status = int(start[1]), int(start[2])
    fields = _framing_fields(head, start.end())
    if status == 101 or (request.method == "CONNECT" and 200 <= status < 300):
        body = Body(Framing.SWITCH)
    elif status < 200 or status in {204, 304} or request.method == "HEAD":
        body = Body(Framing.NONE)
    else:
        body = _framed(fields, minor)
    keep_alive = _keeps_alive(fields, minor) and body.framing not in {Framing.UNTIL_CLOSE, Framing.SWITCH}
    return AnswerHead(status, keep_alive, body)


def status_line_end(head: bytes) -> int:
    """Where the first line of a complete answer head ends, counted from the beginning of `head`."""
    found = _STATUS_LINE.search(head)
    assert found is not None
    return found.end()


def _framing_fields(head: bytes, begin: int) -> dict[str, list[bytes]]:
    """The fields that matter, by lower-case name, each with its comma-separated lower-case values.

    Raises:
        NotHttpError: A line of the head is no field.
    """
    if not _FIELDS.fullmatch(head, begin):
        raise NotHttpError
    fields: dict[str, list[bytes]] = {}
    for field in _FRAMING_FIELD.finditer(head, begin):
        values = [value.strip(b" \t").lower() for value in field[2].split(b",")]
        fields.setdefault(field[1].decode().lower(), []).extend(values)
    return fields


def _framed(fields: dict[str, list[bytes]], minor: int) -> Body:
    """How the body ends, by the fields alone.

    Raises:
        NotHttpError: They contradict each other, or would be read differently by different readers.
    """
    lengths, codings = fields.get("content-length", []), fields.get("transfer-encoding", [])
    if codings:
        if lengths or minor == 0 or b"chunked" in codings[:-1]:
            raise NotHttpError
        return Body(Framing.CHUNKED if codings[-1] == b"chunked" else Framing.UNTIL_CLOSE)
    if not lengths:
        return Body(Framing.UNTIL_CLOSE)
    if len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        raise NotHttpError
    return Body(Framing.LENGTH, int(lengths[0]))


def _keeps_alive(fields: dict[str, list[bytes]], minor: int) -> bool:
    connection = fields.get("connection", [])
    return b"close" not in connection if minor else b"keep-alive" in connection
