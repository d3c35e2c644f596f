"""A fault proxy in use: an echo server behind it, a user with a warm connection before it."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import aiohttp


class HasUrl(Protocol):
    """A fault proxy in this process, or one of another's in a process of its own."""

    @property
    def url(self) -> str:
        """Where its control API is."""
        ...


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes."""
    try:
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


class Warm:
    """A user with a connection that stays open between requests, as an application's pool has."""

    def __init__(self) -> None:
        self.port = 0
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def use(self) -> None:
        """Ask once, on a new connection if the old one broke."""
        try:
            async with asyncio.timeout(0.3):
                if self.writer is None:
                    self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
                assert self.reader is not None
                self.writer.write(b"ping")
                await self.reader.readexactly(4)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self.close()

    def close(self) -> None:
        """Break off."""
        if self.writer is not None:
            self.writer.transport.abort()
        self.writer = None


class ProxyBench:
    """A fault proxy with the proxies `db` and `other` in front of an echo server, and a user of each."""

    def __init__(self, proxy: HasUrl, upstream: str, protocol: str = "tcp") -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.protocol = protocol
        self.user = Warm()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the control API."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.proxy.url + path, json=body) as answer,
        ):
            return await answer.json() if answer.content_type == "application/json" else None

    async def add(self, name: str) -> None:
        """Create a proxy."""
        wanted = {"name": name, "listen": "127.0.0.1:0", "upstream": self.upstream}
        if self.protocol != "tcp":
            wanted["protocol"] = self.protocol
        made = await self.call("POST", "/proxies", wanted)
        if name == "db":
            self.user.port = int(made["listen"].rpartition(":")[2])

    async def observe(self) -> Any:
        """How `db` is set up."""
        return await self.call("GET", "/proxies/db")

    async def bystanders(self) -> Any:
        """How `other` is set up."""
        return await self.call("GET", "/proxies/other")

    async def created(self) -> list[str]:
        """Names of toxics and owners."""
        proxies, owners = await self.call("GET", "/proxies"), await self.call("GET", "/owners")
        return [toxic["name"] for proxy in proxies.values() for toxic in proxy["toxics"]] + list(owners or ())

    async def replace(self) -> None:
        """Delete `db` and make another."""
        await self.call("DELETE", "/proxies/db")
        await self.add("db")

    async def use(self) -> None:
        """Ask once through `db` on the warm connection, and once on a new one."""
        await self.user.use()
        stranger = Warm()
        stranger.port = self.user.port
        await stranger.use()
        stranger.close()
