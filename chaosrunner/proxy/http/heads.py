"""What the head of an HTTP/1 message says about its framing (RFC 9112), and what cannot be taken for one.

What two readers could take for different messages (both lengths given, several, a folded line) is not read at all, so
that the proxy never disagrees with the server about where a message ends.
"""

import enum
import re
from dataclasses import dataclass
from functools import lru_cache

# Clients and servers repeat themselves; so many of their heads are not read again. At most 8 MB in all.
_HEADS_KNOWN = 64

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"+) ([^\x00-\x20\x7f]+) HTTP/1\.([01])\r?\n")
_REQUEST_BEGINNING = re.compile(_TOKEN + rb"+(?: [^\x00-\x20\x7f]*(?: [HTP/1.0]{0,8}\r?)?)?")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\r\n\0]*)?\r?\n")
# One line `name: value` with its end.
FIELD = _TOKEN + rb"+:[^\r\n\0]*\r?\n"
_FIELDS = re.compile(rb"(?:" + FIELD + rb")*\r?\n")
_FRAMING_FIELD = re.compile(rb"^(content-length|transfer-encoding|connection|upgrade|expect):([^\r\n]*)", re.I | re.M)
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


@lru_cache(_HEADS_KNOWN)
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


@lru_cache(_HEADS_KNOWN)
def read_answer(head: bytes, method: str) -> AnswerHead:
    """What matters of a complete head that answers a request of that method (RFC 9112 §6.3).

    Raises:
        NotHttpError: It is none, or ambiguous.
    """
    start = _STATUS_LINE.match(head)
    if start is None:
        raise NotHttpError
    minor, status = int(start[1]), int(start[2])
    fields = _framing_fields(head, start.end())
    if status == 101 or (method == "CONNECT" and 200 <= status < 300):
        body = Body(Framing.SWITCH)
    elif status < 200 or status in {204, 304} or method == "HEAD":
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
