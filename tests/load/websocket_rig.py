"""A WebSocket peer made of bare sockets, which does as a test says, also what no library would do."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType

from load_rig import Books

from chaosrunner.model.load import LoadProfile, Outcome
from chaosrunner.model.slots import Slot

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(payload: bytes | str | object, opcode: int = TEXT, *, fin: bool = True, rsv: int = 0) -> bytes:
    """A frame of a server; what is no bytes and no text is sent as JSON."""
    data = payload if isinstance(payload, bytes) else _text(payload).encode()
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if len(data) < 126:
        return head + bytes([len(data)]) + data
    if len(data) < 1 << 16:
        return head + b"\x7e" + struct.pack("!H", len(data)) + data
    return head + b"\x7f" + struct.pack("!Q", len(data)) + data


def closing(code: int | None) -> bytes:
    """A close frame."""
    return frame(b"" if code is None else struct.pack("!H", code), CLOSE)


def _text(payload: object) -> str:
    return payload if isinstance(payload, str) else json.dumps(payload)


class Guest:
    """One connection of a peer."""

    def __init__(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peer = peer
        self.reader = reader
        self.writer = writer
        self.nth = 0
        """Which connection of the peer it is, from 0."""
        self.request = ""
        self.visit = 0
        """How many connections with the same path came before it; known with the request."""
        self.close_code: int | None = None

    @property
    def path(self) -> str:
        """What it asked for."""
        return self.request.split(" ")[1]

    async def hear(self) -> None:
        """Read its request."""
        self.request = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        self.visit = sum(guest.request != "" and guest.path == self.path for guest in self.peer.guests) - 1

    async def upgrade(self, *, answer: bytes | None = None) -> None:
        """Read the request unless that was done, and answer it, rightly unless told otherwise."""
        if not self.request:
            await self.hear()
        head = self.request
        key = next(
            line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key.encode() + MAGIC).digest())
        right = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        await self.write(right if answer is None else answer)

    async def write(self, *frames: bytes) -> None:
        """Write frames, or anything."""
        self.writer.write(b"".join(frames))
        await self.writer.drain()

    async def read(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. Raises IncompleteReadError at the end."""
        first, second = await self.reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        mask = await self.reader.readexactly(4)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(await self.reader.readexactly(length)))
        if first & 0xF == CLOSE:
            self.close_code = struct.unpack("!H", payload[:2])[0] if payload else None
        return first & 0xF, payload

    async def text(self) -> str:
        """The next text; pings are answered. Raises IncompleteReadError at the end, ConnectionError at a close."""
        while True:
            opcode, payload = await self.read()
            if opcode == TEXT:
                return payload.decode()
            if opcode == PING:
                await self.write(frame(payload, PONG))
            elif opcode == CLOSE:
                await self.write(closing(self.close_code))
                raise ConnectionError("closed")

    async def echo(self) -> None:
        """Send every text back until the client goes."""
        while True:
            await self.write(frame(await self.text()))

    async def silence(self) -> None:
        """Answer nothing until the test is over."""
        await self.peer.over.wait()

    def cut(self) -> None:
        """End the connection with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(__import__("socket").SOL_SOCKET, __import__("socket").SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Play = Callable[[Guest], Awaitable[None]]


class Peer:
    """A server on a free port that plays the same for everybody."""

    def __init__(self, play: Play, *, ssl: object = None, port: int = 0) -> None:
        self._play = play
        self._ssl = ssl
        self.port = port
        self.guests: list[Guest] = []
        self.over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Peer:
        self._server = await asyncio.start_server(
            self._connected,
            "127.0.0.1",
            self.port,
            ssl=self._ssl,  # type: ignore[arg-type]
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._ssl else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._server.close()
        self.over.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        guest = Guest(self, reader, writer)
        guest.nth = len(self.guests)
        self.guests.append(guest)
        try:
            await self._play(guest)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()


def of(books: Books, load: LoadProfile, name: str) -> Slot:
    """The figures of a step or a series."""
    (index,) = (index for index, known in load.names.items() if known == name)
    return books.by_name.get(index, Slot())


def outcomes(books: Books, load: LoadProfile, name: str) -> dict[Outcome, int]:
    """How hits of a step, or observations of a series, ended."""
    return dict(of(books, load, name).done)


def done(books: Books, load: LoadProfile, names: Iterable[str]) -> dict[str, dict[Outcome, int]]:
    """The same of several names."""
    return {name: outcomes(books, load, name) for name in names}
