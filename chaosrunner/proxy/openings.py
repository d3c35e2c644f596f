"""Opening both sides of a connection: taking over what was accepted, and reaching the server for it."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

from chaosrunner.proxy.tls.failures import TlsWatch
from chaosrunner.proxy.tls.settings import TlsSide

# Time a server has to accept before the client is told that it cannot be reached.
CONNECT_TIMEOUT_S = 5.0

Make = Callable[[], asyncio.Protocol]


@dataclass(frozen=True, slots=True)
class TlsWay:
    """Where a proxy's connections have TLS.

    Attributes:
        listen: What clients are served with; None to serve them plain.
        upstream: What the server is spoken to with; None to speak plain.
        protocol: What the proxy understands of the bytes: tcp, http or postgres.
        watch: Told what goes wrong.
        handshake_timeout_s: What each of three steps may take: the client's hello, TLS with the server, TLS with the
            client.
    """

    listen: TlsSide | None
    upstream: TlsSide | None
    protocol: str
    watch: TlsWatch
    handshake_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Way:
    """How a proxy's connections are opened.

    Attributes:
        upstream: Host and port of the server.
        tls: Where they have TLS; None to pass bytes as they are, encrypted or not.
        mark: The kernel's mark (SO_MARK) of the connections to the server; 0 for none. By it rules of the host that
            send others to this proxy let the proxy itself through.
    """

    upstream: tuple[str, int]
    tls: TlsWay | None = None
    mark: int = 0


async def meet_client(_way: Way, accepted: socket.socket, make: Make) -> None:
    """Have the protocol that `make` makes talk to the client; the socket belongs to its transport then.

    Raises:
        OSError: The client is gone again; the socket is closed.
    """
    try:
        await asyncio.get_running_loop().connect_accepted_socket(make, accepted)
    except BaseException:
        accepted.close()
        raise
    _keep_alive(accepted)


async def reach_server(way: Way, make: Make) -> None:
    """Connect to the server, and have the protocol that `make` makes talk to it.

    Raises:
        OSError: It cannot be reached: refused, timed out, no such host, no descriptors.
        ValueError: Its name is none.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        if way.mark:
            transport, _ = await loop.create_connection(make, sock=await _connect_marked(way))
        else:
            transport, _ = await loop.create_connection(make, *way.upstream)
    _keep_alive(transport.get_extra_info("socket"))


async def _connect_marked(way: Way) -> socket.socket:
    loop = asyncio.get_running_loop()
    why = OSError(f"no address of {way.upstream[0]}")
    for family, kind, protocol, _, address in await loop.getaddrinfo(*way.upstream, type=socket.SOCK_STREAM):
        connecting = socket.socket(family, kind, protocol)
        try:
            connecting.setblocking(False)
            connecting.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, way.mark)
            await loop.sock_connect(connecting, address)
        except OSError as error:
            connecting.close()
            why = error
        except BaseException:
            connecting.close()
            raise
        else:
            return connecting
    raise why


def _keep_alive(connected: socket.socket) -> None:
    """Have the kernel notice an end that vanished, so that its connection does not stay for ever."""
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
