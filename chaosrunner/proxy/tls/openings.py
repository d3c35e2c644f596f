"""Opening both sides of a connection when at least one of them has TLS.

The order is what lets the two sides agree: hear the client's hello, have TLS with the server by what the client
offers, then have TLS with the client by what the server chose. A client that does not speak TLS never reaches the
server, and one that says nothing holds nothing but its own socket, for a while.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import socket

from chaosrunner.proxy.openings import TlsWay, Way, meet_client, reach_server
from chaosrunner.proxy.tls import postgres as tls_postgres
from chaosrunner.proxy.tls.failures import LeftError, Side, TlsFailedError
from chaosrunner.proxy.tls.hello import offered_protocols
from chaosrunner.proxy.tls.line import Line, Session
from chaosrunner.proxy.tls.transport import TlsTransport

# The ALPN names (IANA's registry) of what a proxy understands: nothing else must be agreed on there.
_SPOKEN = {"http": ("http/1.1",), "postgres": ("postgresql",)}


async def open_with_tls(way: Way, accepted: socket, client: asyncio.Protocol, server: asyncio.Protocol) -> None:
    """Open both sides, and have `client` and `server` talk to them; both sockets are closed if that fails.

    Raises:
        OSError: The server cannot be reached, as `reach_server` says it.
        ValueError: Its name is none.
        TlsFailedError: No TLS with one of the sides, or the client is gone; it has been counted.
    """
    assert way.tls is not None
    opening = _Opening(way, way.tls)
    try:
        await opening.meet(accepted)
        await opening.hear_client()
        await opening.reach()
        await opening.agree_with_client()
        opening.hand_over(client, server)
    except TlsFailedError as failure:
        way.tls.watch.failed(failure)
        opening.give_up(failure.side)
        raise
    except BaseException:
        opening.give_up()
        raise


class _Opening:
    """Both sides of one connection, until they are open."""

    def __init__(self, way: Way, tls: TlsWay) -> None:
        self._way = way
        self._tls = tls
        self._client = Line("client")
        self._server = Line("server")
        self._offers: tuple[str, ...] | None = None  # None: the client does not use TLS
        self._client_session: Session | None = None
        self._server_session: Session | None = None

    async def meet(self, accepted: socket) -> None:
        """Take the client's socket over."""
        try:
            await meet_client(self._way, accepted, lambda: self._client)
        except OSError:
            raise LeftError("client", "it is gone again") from None

    async def hear_client(self) -> None:
        """Learn whether the client uses TLS, and what it offers to speak then."""
        listen = self._tls.listen
        async with self._in_time("client"):
            if self._tls.protocol == "postgres":
                if await tls_postgres.client_begins_tls(self._client, listen):
                    self._offers = await self._hello()
            elif listen is not None:
                self._offers = await self._hello()

    async def _hello(self) -> tuple[str, ...]:
        try:
            while (offers := offered_protocols(self._client.heard)) is None:
                await self._client.more()
        except ValueError as error:
            raise TlsFailedError("client", str(error)) from None
        return offers

    async def reach(self) -> None:
        """Connect to the server, with TLS if it is set."""
        await reach_server(self._way, lambda: self._server)
        upstream = self._tls.upstream
        if upstream is None:
            return
        name = upstream.asked.get("server_name") or self._way.upstream[0].rstrip(".")
        offers = _SPOKEN.get(self._tls.protocol, self._offers or ())
        async with self._in_time("server"):
            if self._tls.protocol == "postgres":
                await tls_postgres.ask_server_for_tls(self._server)
            self._server_session = await self._server.shake_hands(upstream.contexts, offers, name)

    async def agree_with_client(self) -> None:
        """Have TLS with the client, if it uses it, by what the server speaks."""
        listen = self._tls.listen
        if self._offers is not None and listen is not None:
            async with self._in_time("client"):
                self._client_session = await self._client.shake_hands(listen.contexts, self._choice(self._offers), None)

    def _choice(self, offers: tuple[str, ...]) -> tuple[str, ...]:
        """The ALPN names that the client may have."""
        if self._tls.protocol in _SPOKEN:
            return _SPOKEN[self._tls.protocol]
        if self._server_session is not None:
            chosen = self._server_session.tls.selected_alpn_protocol()
            return () if chosen is None else (chosen,)
        # A plain server cannot say what it speaks. Who offers one protocol will speak that or nothing; who offers
        # several is told none, and falls back to what it speaks without ALPN.
        return offers if len(offers) == 1 else ()

    def hand_over(self, client: asyncio.Protocol, server: asyncio.Protocol) -> None:
        """Have `client` and `server` talk to the two sides from here on.

        Raises:
            TlsFailedError: The client is gone.
            OSError: The server is gone.
        """
        if self._client.raw.is_closing():
            raise LeftError("client", "it is gone again")
        if self._server.raw.is_closing():
            raise ConnectionResetError("the server is gone again")
        near = self._transport(self._client, self._client_session)
        far = self._transport(self._server, self._server_session)
        if near is not None and far is not None:
            near.partner, far.partner = far, near
        for line, transport, user in ((self._client, near, client), (self._server, far, server)):
            (line if transport is None else transport).hand_over(user)

    def _transport(self, line: Line, session: Session | None) -> TlsTransport | None:
        return None if session is None else TlsTransport(line, session, self._tls.watch)

    @asynccontextmanager
    async def _in_time(self, side: Side) -> AsyncIterator[None]:
        limit_s = self._tls.handshake_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                yield
        except TimeoutError:
            raise TlsFailedError(side, f"no handshake within {limit_s:g} s") from None

    def give_up(self, fault: Side | None = None) -> None:
        """Close both sockets; who is at fault may still read the alert that says why, anybody else sees a reset."""
        for line, side in ((self._client, "client"), (self._server, "server")):
            if side == fault:
                line.close()
            else:
                line.reset()
