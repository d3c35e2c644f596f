"""Real sockets to test the fault proxy with: servers, clients, and a client of its control API."""

from __future__ import annotations

import asyncio
import errno
import io
import random
import resource
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import aiohttp
import pytest

from chaosrunner.proxy import FaultProxy
from chaosrunner.proxy.audit import audit_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

DEADLINE_S = 10.0


async def until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait until `condition()` is true; an AssertionError if it never is."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        await asyncio.sleep(0.005)


async def eventually(ask: Callable[[], Awaitable[object]]) -> None:
    """Wait until `await ask()` is true; an AssertionError if it never is."""
    end = time.monotonic() + DEADLINE_S
    while not await ask():
        assert time.monotonic() < end, "the condition never came true"
        await asyncio.sleep(0.005)


class Served(Protocol):
    """Something with a control API: a fault proxy in this process, or the address of one elsewhere."""

    @property
    def url(self) -> str:
        """Where the API is."""
        ...


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A fault proxy in another process, ours or another's."""

    url: str


class Api:
    """A client of a fault proxy's control API."""

    def __init__(self, proxy: Served, session: aiohttp.ClientSession, audit: io.StringIO) -> None:
        self.proxy = proxy
        self.session = session
        self.audit = audit

    async def call(self, method: str, path: str, json: Any = None, **more: Any) -> tuple[int, Any]:
        """Status and body, parsed if it is JSON."""
        if json is not None:
            more["json"] = json
        async with self.session.request(method, self.proxy.url + path, **more) as answer:
            text = await answer.text()
            return answer.status, await answer.json() if answer.content_type == "application/json" else text

    async def ok(self, method: str, path: str, json: Any = None) -> Any:
        """The body of an answer that must be a success."""
        status, body = await self.call(method, path, json)
        assert status < 300, (method, path, status, body)
        return body

    async def proxy_to(self, port: int, name: str = "p", **more: Any) -> int:
        """Create a proxy to a local port; the port it listens at."""
        made = await self.ok(
            "POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{port}", **more}
        )
        return port_of(made)

    async def toxic(self, kind: str, proxy: str = "p", more: dict[str, Any] | None = None, **attributes: Any) -> Any:
        """Add a toxic."""
        return await self.ok(
            "POST", f"/proxies/{proxy}/toxics", {"type": kind, "attributes": attributes, **(more or {})}
        )

    async def all_closed(self) -> bool:
        """Whether proxy p has no open connection."""
        return (await self.stats())["connections"]["open"] == 0

    async def stats(self, proxy: str = "p") -> Any:
        """The proxy's live counters."""
        return await self.ok("GET", f"/proxies/{proxy}/stats")


@asynccontextmanager
async def running_api(**options: Any) -> AsyncIterator[Api]:
    """A fault proxy in this process, and a client of its control API."""
    audit = io.StringIO()
    async with (
        FaultProxy("127.0.0.1", 0, seed=7, audit=audit_to(audit), **options) as proxy,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as session,
    ):
        yield Api(proxy, session, audit)


@asynccontextmanager
async def api_at(url: str) -> AsyncIterator[Api]:
    """A client of the control API at an address."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as session:
        yield Api(Elsewhere(url), session, io.StringIO())


def port_of(proxy: dict[str, Any]) -> int:
    """The port a proxy listens at."""
    return int(proxy["listen"].rpartition(":")[2])


def free_port() -> int:
    """A port that nobody has now, outside the range from which the kernel gives ports to others meanwhile."""
    for port in random.sample(range(12_000, 30_000), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED:
                return port
    raise AssertionError("no free port among 100")


def allow_descriptors(count: int) -> None:
    """Let this process have so many descriptors open; skip the test where the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} descriptors, {hard} are allowed: raise ulimit -Hn")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Server:
    """A TCP server on a free port; subclasses say what it does with a client."""

    def __init__(self) -> None:
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        # As many as may come at once: a connect that finds no room is tried again by the kernel only a second later.
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            await self.serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk with one client."""
        raise NotImplementedError


class EchoServer(Server):
    """Sends back what it is sent, and closes when the client does."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send back everything."""
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
        self.closed += 1


class SinkServer(Server):
    """Keeps what it is sent, and how the client ended."""

    def __init__(self) -> None:
        super().__init__()
        self.received = bytearray()
        self.ended: str | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep everything; `ended` then is fin or reset."""
        try:
            while data := await reader.read(65536):
                self.received += data
            self.ended = "fin"
        except ConnectionError:
            self.ended = "reset"


class DeafServer(Server):
    """Accepts and never reads."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read nothing."""
        writer.transport.pause_reading()


class Client:
    """A connection that can be timed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, data: bytes = b"ping") -> float:
        """Seconds until `data` has come back from an echo server."""
        start = time.perf_counter()
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE_S):
            assert await self.reader.readexactly(len(data)) == data
        return time.perf_counter() - start

    async def count(self) -> int:
        """How many bytes arrive up to the end."""
        total = 0
        async with asyncio.timeout(DEADLINE_S):
            while data := await self.reader.read(65536):
                total += len(data)
        return total

    async def end(self) -> str:
        """How the connection ends: fin or reset."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while await self.reader.read(65536):
                    pass
        except ConnectionError:
            return "reset"
        return "fin"


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A client connected to a local port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
