"""A socket that is being opened, up to the end of its TLS handshake."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import cast

from chaosrunner.proxy.link import reset_on_close
from chaosrunner.proxy.tls.failures import LeftError, Side, TlsFailedError, reason_of
from chaosrunner.proxy.tls.settings import Contexts


class Session:
    """One side's TLS: OpenSSL's state, and the memory through which it hears and speaks."""

    def __init__(self, contexts: Contexts, protocols: Sequence[str], server_name: str | None) -> None:
        """Begin as the client of `server_name`, or as the server if there is none.

        Raises:
            ValueError: The name could be no server's.
        """
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self._contexts = contexts
        self._protocols = protocols
        self.tls = contexts.offering(protocols).wrap_bio(
            self.incoming, self.outgoing, server_side=server_name is None, server_hostname=server_name
        )

    def go_on(self) -> bool:
        """Take the handshake as far as what was heard allows; whether it is done.

        Raises:
            ssl.SSLError: It failed; `outgoing` may have an alert that says so to the other end.
        """
        self._contexts.offering(self._protocols)  # a server's OpenSSL asks the context whenever it handles a hello
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True


class Line(asyncio.Protocol):
    """A socket that is being opened: it is read from only when asked, so that nothing piles up meanwhile.

    Attributes:
        heard: What has come and nobody has taken yet.
        ended: Whether no more will come.
    """

    def __init__(self, side: Side) -> None:
        self.heard = b""
        self.side = side
        self._raw: asyncio.Transport | None = None
        self._spoken = False  # something has come
        self.ended = False
        self._waiting: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and do not read yet."""
        self._raw = cast("asyncio.Transport", transport)
        self._raw.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Keep what came until it is taken."""
        self.heard += data
        self._spoken = True
        self.raw.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Take note that no more will come."""
        self.ended = True
        self._wake()
        return True

    def connection_lost(self, _exc: Exception | None) -> None:
        """Take note that nothing more can be done."""
        self.ended = True
        self._wake()

    @property
    def raw(self) -> asyncio.Transport:
        """The transport of the plain socket, once it is connected."""
        assert self._raw is not None
        return self._raw

    async def more(self) -> None:
        """Wait until more has been heard.

        Raises:
            TlsFailedError: It has ended instead; `LeftError` if it had never spoken.
        """
        known = len(self.heard)
        if not self.ended:
            self._waiting = asyncio.get_running_loop().create_future()
            self.raw.resume_reading()
            await self._waiting
        if len(self.heard) == known:
            failed = TlsFailedError if self._spoken or self.side == "server" else LeftError
            raise failed(self.side, "it ended the connection during the handshake")

    async def exactly(self, size: int) -> bytes:
        """The first `size` bytes heard, which stay there; waits for them.

        Raises:
            TlsFailedError: It has ended instead.
        """
        while len(self.heard) < size:
            await self.more()
        return self.heard[:size]

    def take(self, size: int | None = None) -> bytes:
        """The first `size` bytes heard, or all, which are gone from there then."""
        taken = self.heard[:size]
        self.heard = self.heard[len(taken) :]
        return taken

    def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        if data and not self.raw.is_closing():
            self.raw.write(data)

    async def shake_hands(self, contexts: Contexts, protocols: Sequence[str], server_name: str | None) -> Session:
        """Agree on TLS, as the client of `server_name` or, if None, as the server.

        Args:
            contexts: What is agreed to.
            protocols: ALPN names to offer, or to choose from.
            server_name: Who the other end must be; None to be the server.

        Raises:
            TlsFailedError: It could not be agreed on; the other end has been told why.
        """
        try:
            session = Session(contexts, protocols, server_name)
            while True:
                session.incoming.write(self.take())
                if session.go_on():
                    break
                self.say(session.outgoing.read())
                await self.more()
        except (ssl.SSLError, ValueError) as error:
            self.say(session.outgoing.read() if isinstance(error, ssl.SSLError) else b"")
            raise TlsFailedError(self.side, reason_of(error)) from None
        self.say(session.outgoing.read())
        return session

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Have `protocol` talk to the plain socket from here on."""
        raw = self.raw
        raw.set_protocol(protocol)
        raw.resume_reading()
        protocol.connection_made(raw)
        if self.heard:
            protocol.data_received(self.take())
        if self.ended:
            protocol.eof_received()

    def close(self) -> None:
        """Close once what was said has been sent."""
        if self._raw is not None:
            self._raw.close()

    def reset(self) -> None:
        """Close at once, so that the other end sees a TCP reset."""
        if self._raw is not None and not self._raw.is_closing():
            reset_on_close(self._raw.get_extra_info("socket"))
            self._raw.abort()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
