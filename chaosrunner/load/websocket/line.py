"""One connection as the library shows it: frames become messages, ends become outcomes."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from picows import WSCloseCode, WSListener, WSMsgType, WSProtocolError

from chaosrunner.load.websocket.dialing import FRAME_BYTES
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from picows import WSFrame, WSTransport

TEXT, BINARY, CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
PONG, CLOSE = WSMsgType.PONG, WSMsgType.CLOSE

MESSAGE_BYTES = FRAME_BYTES
"""A message in fragments may be as large as one in a single frame."""

FRAGMENT_BYTES = 64
"""What a fragment costs beside its payload: endless empty ones must end, too."""

GOING_AWAY, NO_CODE, ABNORMAL = 1001, 1005, 1006
"""Close codes (RFC 6455, 7.4.1): a user leaves the page; a close frame without a code; no close frame at all."""

NEVER_SENT = (1004, NO_CODE, ABNORMAL, 1015)
"""Codes that no close frame may carry."""

PARTING_S = 1.0
"""After both close frames the server closes TCP first, so that the waiting state is its own; if it does not, we do."""


class Ear(Protocol):
    """Who hears what comes on a line."""

    def opened(self, now_ns: int) -> None:
        """The upgrade is done."""
        ...

    def message(self, text: str, now_ns: int) -> None:
        """A whole message; a binary one as Latin-1, so that each byte is a character."""
        ...

    def pong(self, payload: bytes, now_ns: int) -> None:
        """A ping was answered, or the peer just says that it is there."""
        ...

    def lost(self, outcome: Outcome, code: int, now_ns: int) -> None:
        """It is over; told at most once, and nothing after it."""
        ...


class Line(WSListener):
    """A connection. It is open between `opened` and `lost`, which it tells its ear."""

    def __init__(self, ear: Ear) -> None:
        self._ear: Ear | None = ear
        self.hear = ear.message
        """Who is told messages, nobody in between."""
        self._transport: WSTransport | None = None
        self._parts: list[bytes] = []
        self._text = True
        self._room = MESSAGE_BYTES
        self._parting: asyncio.TimerHandle | None = None
        self._last_words: asyncio.Task[None] | None = None
        self.read: Callable[[int], None] | None = None
        """Told how many bytes were read, by whom reads slowly on purpose."""

    # --- what its owner asks of it

    def writer(self) -> Callable[[str], None]:
        """How a message is written while it is open: the library's own way, nobody in between."""
        assert self._transport is not None
        return partial(self._transport.send, TEXT)

    def ping(self, payload: bytes) -> None:
        """Write a ping; only while it is open."""
        assert self._transport is not None
        self._transport.send_ping(payload)

    def close(self, code: int) -> None:
        """Say that we go; the peer's answer ends the line as CLOSED."""
        assert self._transport is not None
        self._transport.send_close(code)  # type: ignore[arg-type]

    def leave(self, code: int) -> None:
        """Say that we go, and do not wait to be told anything more."""
        self._ear = None
        if self._transport is not None:
            if not self._transport.is_close_frame_sent:
                self._transport.send_close(code)  # type: ignore[arg-type]
            self._part()

    def abort(self) -> None:
        """End it now, without a word to anyone."""
        self._ear = None
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def pause(self) -> None:
        """Read nothing until `resume`."""
        assert self._transport is not None
        if not self._transport.is_disconnected:
            self._transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        assert self._transport is not None
        if not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()

    @property
    def gone(self) -> bool:
        """Whether TCP has ended, too."""
        return self._transport is None or bool(self._transport.is_disconnected)

    # --- what the library tells; it swallows exceptions, but a mistake of ours must end the worker

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is done."""
        self._transport = transport
        ear = self._ear
        if ear is None:
            self.abort()
            return
        try:
            ear.opened(time.monotonic_ns())
        except Exception as error:
            _mistake(error)

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        """A frame."""
        ear = self._ear
        if ear is None:
            return
        now_ns = time.monotonic_ns()
        try:
            # The path of nearly every frame first: a whole text. A reserved bit is set only by an agreed extension, and
            # none was; the three are looked at here because a call would cost as much as finding the id.
            if frame.msg_type is TEXT and frame.fin and not (self._parts or frame.rsv1 or frame.rsv2 or frame.rsv3):
                self.hear(frame.get_payload_as_utf8_text(), now_ns)
            else:
                self._other(ear, frame, now_ns)
        except UnicodeDecodeError:
            self._wrong(WSCloseCode.INVALID_TEXT, now_ns)
        except Exception as error:
            _mistake(error)
        if self.read is not None:
            self.read(frame.payload_size)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """TCP has ended."""
        if self._parting is not None:
            self._parting.cancel()
        self._last_words = asyncio.get_running_loop().create_task(_hear_out(transport))
        if self._ear is None:
            return
        # Only the library sends these, as its answer to nonsense; else nobody knows why it ended.
        handshake = transport.close_handshake
        sent = handshake.sent.code if handshake is not None and handshake.sent is not None else None
        nonsense = sent in (WSCloseCode.PROTOCOL_ERROR, WSCloseCode.INVALID_TEXT, WSCloseCode.MESSAGE_TOO_BIG)
        try:
            self._end(Outcome.PROTOCOL if nonsense else Outcome.RESET, ABNORMAL, time.monotonic_ns())
        except Exception as error:
            _mistake(error)

    def pause_writing(self) -> None:
        """The peer does not read; what is sent meanwhile waits, and its hits with it."""

    def resume_writing(self) -> None:
        """It does again."""

    # --- frames that are not a whole text

    def _other(self, ear: Ear, frame: WSFrame, now_ns: int) -> None:
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._wrong(WSCloseCode.PROTOCOL_ERROR, now_ns)
        elif kind is CLOSE:
            self._closed(frame, now_ns)
        elif kind is PONG:
            ear.pong(frame.get_payload_as_bytes(), now_ns)
        elif (kind is CONTINUATION) is not bool(self._parts):
            self._wrong(WSCloseCode.PROTOCOL_ERROR, now_ns)
        else:
            self._part_of_one(frame, now_ns)

    def _part_of_one(self, frame: WSFrame, now_ns: int) -> None:
        if not self._parts:
            self._text, self._room = frame.msg_type is TEXT, MESSAGE_BYTES
        data = frame.get_payload_as_bytes()
        self._room -= len(data) + FRAGMENT_BYTES
        if self._room < 0:
            self._wrong(WSCloseCode.MESSAGE_TOO_BIG, now_ns)
            return
        self._parts.append(data)
        if frame.fin:
            whole, self._parts = b"".join(self._parts), []
            self.hear(whole.decode() if self._text else whole.decode("latin-1"), now_ns)

    # --- ends

    def _closed(self, frame: WSFrame, now_ns: int) -> None:
        assert self._transport is not None
        code = int(cast("int", frame.get_close_code())) or NO_CODE
        if code in NEVER_SENT and frame.payload_size:
            self._wrong(WSCloseCode.PROTOCOL_ERROR, now_ns)
            return
        if not self._transport.is_close_frame_sent:
            self._transport.send_close(WSCloseCode.OK if code == NO_CODE else code)  # type: ignore[arg-type]
        self._part()
        self._end(Outcome.CLOSED, code, now_ns)

    def _wrong(self, code: WSCloseCode, now_ns: int) -> None:
        assert self._transport is not None
        self._transport.send_close(code)
        self._transport.disconnect()
        self._part()
        self._end(Outcome.PROTOCOL, ABNORMAL, now_ns)

    def _end(self, outcome: Outcome, code: int, now_ns: int) -> None:
        ear, self._ear = self._ear, None
        if ear is not None:
            ear.lost(outcome, code, now_ns)

    def _part(self) -> None:
        transport = self._transport
        if transport is not None and self._parting is None:
            loop = asyncio.get_running_loop()
            self._parting = loop.call_later(PARTING_S, transport.disconnect, False)


async def _hear_out(transport: WSTransport) -> None:
    """Take the library's report of a peer's nonsense, which else would count as a mistake that nobody looked at."""
    try:
        await transport.wait_disconnected()
    except WSProtocolError:
        pass  # told as PROTOCOL


def _mistake(error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler(
        {"message": "a mistake in a WebSocket callback", "exception": error}
    )
