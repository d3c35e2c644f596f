"""The laws, run over every fault of the fault proxy, with real bytes through the embedded one."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from contract_rig import fault_of, system_of

from chaosrunner.contract import Bench, InjectorContract
from chaosrunner.model.fault import Injector, Target
from chaosrunner.model.system import Component
from chaosrunner.proxy import FaultProxy
from chaosrunner.proxy.audit import audit_to
from fault_injectors import proxy as family

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CASES: dict[str, tuple[type[Injector], dict[str, object]]] = {
    "latency": (family.ProxyLatency, {"add": 0.01, "jitter": 0.005}),
    "jitter": (family.ProxyJitter, {"spread": 0.01}),
    "bandwidth": (family.ProxyBandwidth, {"rate": 50_000.0}),
    "reset": (family.ProxyReset, {}),
    "timeout": (family.ProxyTimeout, {"after": 0.05}),
    "down": (family.ProxyDown, {}),
    "slice": (family.ProxySlice, {"size": 2, "pause": 0.001}),
    "limit": (family.ProxyLimit, {"after": 2}),
}


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

    def __init__(self, proxy: FaultProxy, upstream: str) -> None:
        self.proxy = proxy
        self.upstream = upstream
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
        made = await self.call("POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": self.upstream})
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
        return [toxic["name"] for proxy in proxies.values() for toxic in proxy["toxics"]] + list(owners)

    async def replace(self) -> None:
        """Delete `db` and make another."""
        await self.call("DELETE", "/proxies/db")
        await self.add("db")

    async def use(self) -> None:
        """Ask once through `db`."""
        await self.user.use()


class TestProxyFaults(InjectorContract):
    """Every fault of the family keeps every law."""

    @pytest.fixture(params=CASES.values(), ids=CASES.keys())
    async def bench(self, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
        """A fault proxy in front of an echo server that is in use."""
        kind, params = request.param
        injector = kind()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server, FaultProxy("127.0.0.1", 0, audit=audit_to(io.StringIO())) as proxy:
            rig = ProxyBench(proxy, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await rig.add("db")
            await rig.add("other")
            await rig.call("POST", "/proxies/other/toxics", {"type": "latency", "name": "not-ours"})
            await rig.use()
            try:
                yield Bench(
                    injector=injector,
                    fault=fault_of(injector, Target(component="database"), **params),
                    system=system_of(Component(name="database", proxies=("db",)), fault_proxy=proxy.url),
                    observe=rig.observe,
                    bystanders=rig.bystanders,
                    created=rig.created,
                    replace=rig.replace,
                    use=rig.use,
                )
            finally:
                rig.user.close()
