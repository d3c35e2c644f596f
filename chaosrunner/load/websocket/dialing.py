"""Opening a connection, with the instants of its parts: TCP, TLS, upgrade."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from picows import WSHandshakeError, WSInvalidStatusError, ws_connect

from chaosrunner.load.http.pool import outcome_of
from chaosrunner.load.http.tls import NO_ANSWER, reason
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    import ssl

    from picows.url import WSParsedURL

    from chaosrunner.load.http.pool import Address, Origin
    from chaosrunner.load.websocket.line import Line

FRAME_BYTES = 16 << 20
"""A frame that announces more is PROTOCOL: without a bound one endless frame would fill the memory."""

BUFFER_BYTES = 4096
"""Read buffer of a connection to begin with; it grows with what comes."""

SLOW_BUFFER_BYTES = 2048
"""Of a consumer that reads slowly on purpose; the kernel's is made as small, else it would do the reading."""

_QUIET = logging.getLogger("chaosrunner.load.websocket")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False
_QUIET.setLevel(logging.CRITICAL + 1)
"""What the library says of a connection is told by outcomes; its log would end up on a worker's stderr."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to connect."""

    origin: Origin
    addresses: Sequence[Address]
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    """Asked for (SNI) and expected in the certificate."""
    slow: bool = False


class Dialing:
    """One attempt to connect: its request's headers, and its instants (CLOCK_MONOTONIC ns; 0 = not reached).

    The library asks for the headers when TCP and TLS are done and the request is about to be written: looking at the
    clock then is what separates TLS from the upgrade.
    """

    __slots__ = (
        "_headers", "_sock", "begun_ns", "connected_ns", "opened_ns", "path", "secured_ns", "status", "tls_why",
    )  # fmt: skip

    def __init__(self, path: str, headers: Sequence[tuple[str, str]]) -> None:
        self.path = path
        self._headers = headers
        self._sock: socket.socket | None = None
        self.begun_ns = time.monotonic_ns()
        self.connected_ns = 0
        self.secured_ns = 0
        self.opened_ns = 0
        self.status = 0
        """The status by which the upgrade was refused."""
        self.tls_why = ""
        """Why the TLS handshake failed, as `chaosrunner.load.http.tls.reason` has it."""

    def connected(self, sock: socket.socket) -> None:
        """TCP is there."""
        self._sock = sock
        self.connected_ns = time.monotonic_ns()

    def given_up(self, *, tls: bool) -> Outcome:
        """How it ends when its time is over: by what it waited for."""
        if self.secured_ns:
            return Outcome.TIMEOUT
        if not (tls and self.connected_ns):
            return Outcome.CONNECT
        self.tls_why = NO_ANSWER
        return Outcome.TLS

    def hang_up(self) -> None:
        """End a connection that is not open yet: the library lets go of an attempt that is given up, but not of TCP."""
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """The headers; asked for once, just before they are sent."""
        self.secured_ns = time.monotonic_ns()
        return iter(self._headers)


async def dial(place: Place, dialing: Dialing, line: Line, timeout_s: float) -> Outcome:
    """Connect and upgrade; OK if `line` is open now.

    Args:
        place: where to.
        dialing: gets the instants.
        line: who listens; told that it is open before this returns.
        timeout_s: for all of it.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await _upgrade(place, dialing, line)
    except TimeoutError:
        return dialing.given_up(tls=place.tls is not None)
    except WSInvalidStatusError as refusal:
        dialing.status = int(refusal.response.status) if refusal.response is not None else 0
        return Outcome.STATUS
    except OSError as error:
        shaking = place.tls is not None and dialing.connected_ns and not dialing.secured_ns
        dialing.tls_why = reason(error) if shaking else ""
        return outcome_of(error)
    except (WSHandshakeError, ValueError):  # ValueError: a status or a header that the library cannot even read
        return Outcome.PROTOCOL
    finally:
        if not dialing.opened_ns:
            dialing.hang_up()
    # The library says nothing when the peer closes instead of answering the upgrade.
    return Outcome.OK if dialing.opened_ns else Outcome.RESET


async def _upgrade(place: Place, dialing: Dialing, line: Line) -> None:
    async def connected(_url: WSParsedURL) -> socket.socket:
        sock = await _connect(place)
        dialing.connected(sock)
        return sock

    def listener() -> Line:
        return line

    tls: dict[str, Any] = {"server_hostname": place.server_name} if place.tls is not None else {}
    await ws_connect(
        listener,
        f"{'wss' if place.origin.tls else 'ws'}://{place.origin.authority}{dialing.path}",
        ssl_context=place.tls,
        websocket_handshake_timeout=None,
        logger_name=_QUIET,
        max_frame_size=FRAME_BYTES,
        extra_headers=dialing,
        max_redirects=0,
        read_buffer_init_size=SLOW_BUFFER_BYTES if place.slow else BUFFER_BYTES,
        socket_factory=connected,
        **tls,
    )


async def _connect(place: Place) -> socket.socket:
    """A connected socket, to the first address that takes it. Raises OSError, the last attempt's."""
    if not place.addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    error: OSError | None = None
    for address in place.addresses:
        try:
            return await _connect_to(address, slow=place.slow)
        except TimeoutError:
            raise
        except OSError as failure:
            error = failure
    assert error is not None
    raise error


async def _connect_to(address: Address, *, slow: bool) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
        await asyncio.get_running_loop().sock_connect(sock, address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock
