"""What the toxics make of an answer: another one, one that is cut off, or one that cannot be read."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal

from chaosrunner.proxy.http.exchange import Draw, Fate, Parcel
from chaosrunner.proxy.http.framing import Part
from chaosrunner.proxy.http.heads import AnswerHead, Framing, RequestHead, status_line_end
from chaosrunner.proxy.http.kinds import HttpMalformed, HttpStatus, HttpTruncate
from chaosrunner.proxy.toxics.stage import End, Item

HeadFault = Literal["status_line", "header", "length", "chunk"]
_FRAMING_LINES = re.compile(rb"^(?:content-length|transfer-encoding):[^\n]*\n", re.I | re.M)
_INVERTED = bytes(255 - byte for byte in range(256))
# One line without a colon is enough for most clients; Python's http.client objects from the hundredth on.
_BROKEN_LINES = b"this is no header field\r\n" * 101
# For a body of unknown length: longer than most, and no more than a client can reserve memory for before it reads.
_FAR_BYTES = 16 * 1024 * 1024


def fate_of(draw: Draw | None, request: RequestHead, answer: AnswerHead) -> Fate | None:
    """What becomes of an answer if `draw` decides it; None if it is left as it is, perhaps for want of a body."""
    if draw is None:
        return None
    attributes = draw.applied.toxic.attributes
    if isinstance(attributes, HttpStatus):
        return Replaced(draw, request, answer)
    if isinstance(attributes, HttpTruncate):
        return Truncated(draw, attributes.after)
    assert isinstance(attributes, HttpMalformed)
    bodiless = answer.body.framing in {Framing.NONE, Framing.SWITCH}
    if bodiless and attributes.kind in {"length", "chunk", "body"}:
        return None
    return Spoilt(draw) if attributes.kind == "body" else Malformed(draw, attributes.kind)


def reply(kind: HttpStatus, request: RequestHead, *, keep_alive: bool) -> bytes:
    """A whole reply of our own.

    Args:
        kind: What it says.
        request: What it answers.
        keep_alive: Whether the connection goes on afterwards.
    """
    body = kind.body.encode(errors="replace")
    lines = [f"HTTP/1.1 {kind.status} {_phrase(kind.status)}"]
    if kind.status not in {204, 304}:
        lines += [f"Content-Type: {kind.content_type}", f"Content-Length: {len(body)}"]
    if kind.retry_after:
        lines.append(f"Retry-After: {kind.retry_after}")
    if not keep_alive:
        lines.append("Connection: close")
    elif request.minor == 0:
        lines.append("Connection: keep-alive")
    head = "\r\n".join([*lines, "", ""]).encode()
    return head if request.method == "HEAD" else head + body


class Replaced:
    """The server's answer is lost, ours is sent when its head comes."""

    def __init__(self, draw: Draw, request: RequestHead, answer: AnswerHead) -> None:
        self.draw = draw
        self._request = request
        self._answer = answer

    def take(self, parcel: Parcel) -> Sequence[Item]:
        """Ours for the head, nothing for the rest; where the server's would never end, the connection does."""
        if parcel.part is Part.OPAQUE:
            return [End.CLOSE]
        if parcel.part is not Part.HEAD:
            return []
        self.draw.strike()
        kind = self.draw.applied.toxic.attributes
        assert isinstance(kind, HttpStatus)
        ours = reply(kind, self._request, keep_alive=self._request.keep_alive and self._answer.keep_alive)
        return [ours, End.CLOSE] if self._answer.body.framing is Framing.SWITCH else [ours]


class Truncated:
    """The body is cut off, and the connection with it."""

    def __init__(self, draw: Draw, after: int) -> None:
        """Let `after` bytes of the body pass."""
        self.draw = draw
        self._left = after

    def take(self, parcel: Parcel) -> Sequence[Item]:
        """What is left of the parcel; a close where the cut is."""
        data = parcel.item
        assert isinstance(data, bytes)
        if parcel.part is not Part.BODY:
            return [data]
        if len(data) <= self._left:
            self._left -= len(data)
            return [data]
        self.draw.strike()
        return [data[: self._left], End.CLOSE]


class Spoilt:
    """Each byte of the body is another one; all that frames it is intact, so that the connection goes on."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def take(self, parcel: Parcel) -> Sequence[Item]:
        """The parcel, inverted if it is of the body."""
        data = parcel.item
        assert isinstance(data, bytes)
        if parcel.part is not Part.BODY:
            return [data]
        self.draw.strike()
        return [data.translate(_INVERTED)]


class Malformed:
    """The head breaks the rules in one place, and the connection ends with the answer."""

    def __init__(self, draw: Draw, kind: HeadFault) -> None:
        self.draw = draw
        self._kind = kind

    def take(self, parcel: Parcel) -> Sequence[Item]:
        """The parcel, broken if it is the head; a close behind the last."""
        data = parcel.item
        assert isinstance(data, bytes)
        if parcel.answer is not None:
            self.draw.strike()
            data = _broken_head(data, self._kind, parcel.answer)
        return [data, End.CLOSE] if parcel.last else [data]


def _broken_head(head: bytes, kind: HeadFault, answer: AnswerHead) -> bytes:
    begin = status_line_end(head)
    status_line, fields = head[:begin], head[begin:]
    unframed = _FRAMING_LINES.sub(b"", fields)
    match kind:
        case "status_line":
            return status_line.replace(b"HTTP", b"HTPT", 1) + fields
        case "header":
            return status_line + _BROKEN_LINES + fields
        case "length":
            length = answer.body.length + 1 if answer.body.framing is Framing.LENGTH else _FAR_BYTES
            return status_line + b"Content-Length: %d\r\n" % length + unframed
        case "chunk":
            return status_line + b"Transfer-Encoding: chunked\r\n" + unframed + b"no size\r\n"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
