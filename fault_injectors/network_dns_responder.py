"""What answers in the place of a resolver while `network.dns` needs an answer: a holder's child in one namespace.

It knows questions well enough to read their name; whatever it cannot read it passes on. Its own questions to the real
resolver bear a mark of the kernel's (SO_MARK), so that they are not turned round to it again.
"""

from __future__ import annotations

import asyncio
import ctypes
import fnmatch
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DNS = 53
MARK = 0xC4A0
"""Of our own questions to the real resolver."""
ANSWER_S = 10.0
"""How long the real resolver is waited for."""
MOST_WAITING = 2000
"""Further questions are lost, as they would be at a resolver that is too busy."""
COMM = Path("/proc/self/comm")
_CLONE_NEWNET = 0x40000000
_HEADER = struct.Struct("!HHHHHH")
_RESPONSE, _AVAILABLE, _KEPT, _NXDOMAIN = 0x8000, 0x0080, 0x7900, 3
_SAYS = "dns"
Ask = Callable[[str, bytes], Awaitable[bytes]]
"""Asks a resolver a question, in its own way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where questions to one resolver arrive instead."""

    resolver: str
    udp: socket.socket
    tcp: socket.socket


def asked(question: bytes) -> tuple[str, int]:
    """The name in a question, in lower case, and where its first entry ends (RFC 1035, 4.1).

    Raises:
        ValueError: it is not one question about one name.
    """
    try:
        _, flags, count, *_ = _HEADER.unpack_from(question)
        labels, at = [], _HEADER.size
        while size := question[at]:
            if size > 63 or at + size >= len(question):
                raise ValueError("a label that is none")
            labels.append(question[at + 1 : at + 1 + size].decode("latin-1").lower())
            at += 1 + size
    except (struct.error, IndexError):
        raise ValueError("cut short") from None
    end = at + 5  # the root label, type and class
    if flags & _RESPONSE or count != 1 or end > len(question):
        raise ValueError("not one question")
    return ".".join(labels), end


def no_such_name(question: bytes) -> bytes:
    """NXDOMAIN to a question that `asked` can read; without an SOA record, so that nobody keeps it (RFC 2308, 5)."""
    _, end = asked(question)
    number, flags, *_ = _HEADER.unpack_from(question)
    flags = _RESPONSE | flags & _KEPT | _AVAILABLE | _NXDOMAIN
    return _HEADER.pack(number, flags, 1, 0, 0, 0) + question[_HEADER.size : end]


def listen(space: Mapping[str, Any], resolvers: Mapping[str, int]) -> list[Door]:
    """Enter a namespace for good, and open a door there for each resolver, at its port on loopback.

    Raises:
        OSError: the namespace is gone or was replaced, or a port is taken.
    """
    handle = os.open(Path("/run/netns") / space["name"], os.O_RDONLY)
    try:
        if os.fstat(handle).st_ino != space["inode"]:
            raise OSError(f"{space['says']} was replaced")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle, _CLONE_NEWNET):
            raise OSError(f"{space['says']} cannot be entered: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(handle)
    return [_door(resolver, port) for resolver, port in resolvers.items()]


def serve(doors: Sequence[Door], orders: Mapping[str, Any]) -> None:
    """Answer, until somebody ends the process."""
    asyncio.run(_Responder(orders).serve(doors))


def answered(pid: int) -> int:
    """How many questions a responder has answered otherwise than its resolver would have; it says so in its name."""
    try:
        said = (Path("/proc") / str(pid) / "comm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(said[1]) if said[:1] == [_SAYS] else 0


def _door(resolver: str, port: int) -> Door:
    family, here = _loopback(resolver)
    udp, tcp = (socket.socket(family, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for one in (udp, tcp):
        one.setblocking(False)
        one.bind((here, port))
    tcp.listen(128)
    return Door(resolver=resolver, udp=udp, tcp=tcp)


def _loopback(resolver: str) -> tuple[socket.AddressFamily, str]:
    return (socket.AF_INET6, "::1") if ":" in resolver else (socket.AF_INET, "127.0.0.1")


class _Responder:
    """Which questions are hit, and what becomes of them."""

    def __init__(self, orders: Mapping[str, Any]) -> None:
        self._names: list[str] = orders["names"]
        self._delay_s: float = orders["delay_s"]
        self._nxdomain: bool = orders["nxdomain"]
        self._waiting: set[asyncio.Task[None]] = set()
        self._count = 0
        self._tell()

    async def serve(self, doors: Sequence[Door]) -> None:
        """Serve all doors at once, for ever."""
        await asyncio.gather(*(self._serve_udp(door) for door in doors), *(self._serve_tcp(door) for door in doors))

    async def _serve_udp(self, door: Door) -> None:
        loop = asyncio.get_running_loop()
        while True:
            question, sender = await loop.sock_recvfrom(door.udp, 65535)
            if len(self._waiting) < MOST_WAITING:
                task = asyncio.create_task(self._by_udp(door, question, sender))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)

    async def _serve_tcp(self, door: Door) -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                while True:
                    question = await _read(reader)
                    answer = await self._answer(door.resolver, question, _over_tcp)
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()
            writer.close()

        async with await asyncio.start_server(client, sock=door.tcp) as server:
            await server.serve_forever()

    async def _by_udp(self, door: Door, question: bytes, sender: Any) -> None:
        # Silence is what becomes of a datagram that cannot be answered.
        with suppress(OSError, TimeoutError):
            answer = await self._answer(door.resolver, question, _over_udp)
            await asyncio.get_running_loop().sock_sendto(door.udp, answer, sender)

    async def _answer(self, resolver: str, question: bytes, ask: Ask) -> bytes:
        if not self._hits(question):
            return await ask(resolver, question)
        await asyncio.sleep(self._delay_s)
        answer = no_such_name(question) if self._nxdomain else await ask(resolver, question)
        self._count += 1
        self._tell()
        return answer

    def _hits(self, question: bytes) -> bool:
        try:
            name, _ = asked(question)
        except ValueError:
            return False
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._names)

    def _tell(self) -> None:
        COMM.write_text(f"{_SAYS} {self._count}")  # at most 15 characters: room for 99,999,999,999


def _marked(resolver: str, kind: socket.SocketKind) -> socket.socket:
    family, _ = _loopback(resolver)
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    made.setblocking(False)
    return made


async def _over_udp(resolver: str, question: bytes) -> bytes:
    """The real resolver's answer. Raises OSError or TimeoutError: there is none."""
    loop = asyncio.get_running_loop()
    with _marked(resolver, socket.SOCK_DGRAM) as asking:
        await loop.sock_connect(asking, (resolver, DNS))
        await loop.sock_sendall(asking, question)
        async with asyncio.timeout(ANSWER_S):
            return await loop.sock_recv(asking, 65535)


async def _over_tcp(resolver: str, question: bytes) -> bytes:
    """The real resolver's answer. Raises OSError, IncompleteReadError or TimeoutError: there is none."""
    loop = asyncio.get_running_loop()
    with _marked(resolver, socket.SOCK_STREAM) as asking:
        async with asyncio.timeout(ANSWER_S):
            await loop.sock_connect(asking, (resolver, DNS))
            reader, writer = await asyncio.open_connection(sock=asking)
            writer.write(len(question).to_bytes(2, "big") + question)
            answer = await _read(reader)
            writer.close()
            return answer


async def _read(reader: asyncio.StreamReader) -> bytes:
    """One message, after its length (RFC 1035, 4.2.2)."""
    return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
