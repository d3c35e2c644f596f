"""A transport that speaks TLS to the other end, and plain bytes to the protocol that uses it.

TLS is done here with OpenSSL on memory, on top of the event loop's plain transports, and not by the loop's own TLS:
that closes both directions when one ends, cannot tell a stream that was cut from one that is whole, and does all this
differently on each loop.
"""

import asyncio
import ssl
from typing import Any

from chaosrunner.proxy.tls.failures import Side, TlsFailedError, TlsWatch, reason_of
from chaosrunner.proxy.tls.line import Line, Session

# OpenSSL gives at most one record at a time (2^14 bytes, RFC 8446 §5.1); asking for more only costs memory.
_READ_BYTES = 16 * 1024


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """The rest of a TLS connection after its handshake.

    Either direction can end before the other, as in TCP: the farewell (close_notify, RFC 8446 §6.1) ends what is sent,
    and what the other end still has to say is read.

    Attributes:
        partner: The transport whose stream is sent on here, if that has TLS too.
        truncated: Whether the other end's stream broke off without a farewell.
    """

    def __init__(self, line: Line, session: Session, watch: TlsWatch) -> None:
        super().__init__()
        self.partner: TlsTransport | None = None
        self.truncated = False
        self._raw = line.raw
        self._side: Side = line.side
        self._early_end = line.ended
        self._session = session
        self._tls = session.tls
        self._watch = watch
        self._user: asyncio.Protocol
        self._ended = False  # nothing more will be read
        self._finished = False  # nothing more will be sent
        self._broken: ssl.SSLError | None = None

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Have `protocol` talk through this transport from here on."""
        self._user = protocol
        self._raw.set_protocol(self)
        self._raw.resume_reading()
        protocol.connection_made(self)
        self._hear()
        if self._early_end:
            self.eof_received()

    # What the plain socket tells.

    def data_received(self, data: bytes) -> None:
        """Decrypt what came, and hand it on."""
        if not self._ended:
            self._session.incoming.write(data)
            self._hear()

    def eof_received(self) -> bool:
        """Hand on an end that came without a farewell; True keeps the other direction open."""
        if not self._ended:
            self._ended = self.truncated = True
            self._watch.truncated()
            self._user.eof_received()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand on that the connection is over, and what broke it."""
        self._user.connection_lost(self._broken or exc)

    def pause_writing(self) -> None:
        """Hand on that the socket takes no more for now."""
        self._user.pause_writing()

    def resume_writing(self) -> None:
        """Hand on that the socket takes more again."""
        self._user.resume_writing()

    # What the protocol asks for.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._finished:
            return
        left = memoryview(data)
        try:
            while left:
                left = left[self._tls.write(left) :]
        except ssl.SSLError as error:
            self._break(error)
        self._send()

    def can_write_eof(self) -> bool:
        """Whether one direction can end before the other: yes."""
        return True

    def write_eof(self) -> None:
        """Say farewell, or break off as the partner's stream did; what comes is still read."""
        if self._finished or self._raw.is_closing():
            return
        self._finished = True
        if self.partner is not None and self.partner.truncated:
            self._raw.write_eof()
            return
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the other end has not said its own farewell yet, and need not
        self._send()

    def close(self) -> None:
        """Say farewell, and close once everything has been sent."""
        self.write_eof()
        self._raw.close()

    def abort(self) -> None:
        """Close at once."""
        self._raw.abort()

    def is_closing(self) -> bool:
        """Whether it is closing or closed."""
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        """Read no more for now; what has been read already is handed on."""
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._raw.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that the socket has not taken yet, encrypted."""
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the plain socket's transport knows, and `ssl_object`."""
        return self._tls if name == "ssl_object" else self._raw.get_extra_info(name, default)

    def _hear(self) -> None:
        """Hand on everything that can be decrypted: OpenSSL must never hold data when it is told to say farewell."""
        pieces, error = [], None
        try:
            while piece := self._tls.read(_READ_BYTES):
                pieces.append(piece)
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError as broken:
            error = broken
        self._send()  # TLS itself may have to answer, to a change of keys for one
        if pieces:
            self._user.data_received(b"".join(pieces))
        if error is not None:
            self._break(error)
        elif self._ended:
            self._user.eof_received()

    def _send(self) -> None:
        if self._session.outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._session.outgoing.read())

    def _break(self, error: ssl.SSLError) -> None:
        """End a connection whose TLS makes no sense any more, or whose other end said that ours does not.

        An alert that says why has been sent, so this side is closed and not reset; what the protocol is told is a
        reset.
        """
        if self._broken is None and not self._raw.is_closing():
            self._broken = error
            self._ended = self._finished = True
            self._watch.failed(TlsFailedError(self._side, reason_of(error)))
            self._raw.abort()
