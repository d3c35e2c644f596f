"""Certificates of an authority of our own, TLS servers on both loops, and TLS that can end in every way there is."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import trustme
from proxy_rig import DEADLINE_S, Client, EchoServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in files."""

    certificate: str
    key: str

    def as_json(self) -> dict[str, str]:
        """As the API takes it."""
        return {"certificate": self.certificate, "key": self.key}

    @property
    def key_text(self) -> str:
        """What is in the key's file."""
        return Path(self.key).read_text()

    def replace(self, other: Pair) -> None:
        """Rotate: these files' contents are in the other's files from here on."""
        for ours, theirs in ((self.certificate, other.certificate), (self.key, other.key)):
            Path(theirs).write_bytes(Path(ours).read_bytes())


class Authority:
    """Who signs the certificates of a test; everything is in files below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self._ca = trustme.CA()
        self.file = str(directory / "ca.pem")
        self._ca.cert_pem.write_to_path(self.file)
        self._issued = 0

    def pair(self, *names: str, expired: bool = False) -> Pair:
        """A certificate for these names, 127.0.0.1 and localhost if there are none."""
        end = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1) if expired else None
        issued = self._ca.issue_cert(*(names or ("127.0.0.1", "localhost")), not_after=end)
        self._issued += 1
        pair = Pair(str(self.directory / f"{self._issued}.pem"), str(self.directory / f"{self._issued}.key"))
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(pair.certificate, append=number > 0)
        issued.private_key_pem.write_to_path(pair.key)
        return pair

    def client_context(self, *, alpn: tuple[str, ...] = (), own: Pair | None = None) -> ssl.SSLContext:
        """What a client needs that trusts us."""
        context = ssl.create_default_context(cafile=self.file)
        return _completed(context, alpn, own)

    def server_context(self, pair: Pair | None = None, *, alpn: tuple[str, ...] = (), mutual: bool = False) -> Any:
        """What a server needs; with `mutual` it wants certificates of ours from its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if mutual:
            context.load_verify_locations(self.file)
            context.verify_mode = ssl.CERT_REQUIRED
        return _completed(context, alpn, pair or self.pair())

    def upstream(self, **more: Any) -> dict[str, Any]:
        """The field `tls.upstream` for a server that we signed."""
        return {"ca": self.file, **more}


def _completed(context: ssl.SSLContext, alpn: tuple[str, ...], own: Pair | None) -> ssl.SSLContext:
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


class TlsEchoServer(EchoServer):
    """Sends back what it is sent, over TLS; keeps the names its clients asked for and what was agreed on."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.names: list[str | None] = []
        self.protocols: list[str | None] = []
        self._context = context
        context.sni_callback = lambda _, name, __: self.names.append(name)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send back everything."""
        self.protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await super().serve(reader, writer)


@asynccontextmanager
async def tls_connected(port: int, context: ssl.SSLContext, name: str | None = None) -> AsyncIterator[Client]:
    """A TLS client connected to a local port."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name or "localhost"
        )
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


class BrokenOff(Exception):
    """A stream ended without a farewell."""


class Talk:
    """One end of a TLS connection over a blocking socket, that can end in every way there is.

    The loops' and the standard library's own TLS cannot: they close both directions at once.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, *, server: bool = False) -> None:
        plain.settimeout(DEADLINE_S)
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else "localhost"
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server, server_hostname=name)
        self._until(self.tls.do_handshake)

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self.tls.write(data)
        self._flush()

    def taken_of(self, size: int) -> int:
        """How much of so many bytes is taken before it stalls for 0.7 s, or all; nothing can be said afterwards."""
        self._plain.settimeout(0.7)
        for place in range(0, size, 100_000):
            try:
                self.say(bytes(100_000))
            except TimeoutError:
                return place
        return size

    def farewell(self) -> None:
        """Say that no more is sent, and go on reading."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()

    def break_off(self) -> None:
        """Send no more, without a word."""
        self._plain.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Have the other end see a TCP reset."""
        self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._plain.close()

    def close(self) -> None:
        """Close the socket as it is."""
        self._plain.close()

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        pieces = []
        while size:
            pieces.append(self._until(partial(self.tls.read, size)))
            assert pieces[-1], "it ended early"
            size -= len(pieces[-1])
        return b"".join(pieces)

    def rest(self) -> tuple[bytes, str]:
        """Everything up to the end, and how it ended: whole, broken off or reset."""
        data, end = bytearray(), "whole"
        try:
            while piece := self._until(lambda: self.tls.read(65536)):
                data += piece
        except ssl.SSLZeroReturnError:
            pass
        except BrokenOff:
            end = "broken off"
        except ConnectionError:
            end = "reset"
        return bytes(data), end

    def _until(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                # Not told to OpenSSL, which would take it for the end of both directions.
                if not (data := self._plain.recv(65536)):
                    raise BrokenOff from None
                self._incoming.write(data)
            except ssl.SSLError:
                self._flush()  # the alert that says why
                raise
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._plain.sendall(data)


def talk_to(port: int, context: ssl.SSLContext) -> Talk:
    """A client's end."""
    return Talk(socket.create_connection(("127.0.0.1", port)), context)


@asynccontextmanager
async def one_talk(context: ssl.SSLContext, serve: Callable[[Talk], None]) -> AsyncIterator[int]:
    """A TLS server for one client, in a thread; the port it listens at."""
    async with one_client(lambda accepted: serve(Talk(accepted, context, server=True))) as port:
        yield port


@asynccontextmanager
async def one_client(serve: Callable[[socket.socket], None]) -> AsyncIterator[int]:
    """A server for one client, in a thread; the port it listens at. What goes wrong there is raised at the end."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(DEADLINE_S)

    def run() -> None:
        accepted, _ = listening.accept()
        with accepted:
            serve(accepted)

    with listening:
        serving = asyncio.create_task(asyncio.to_thread(run))
        yield listening.getsockname()[1]
        await serving
