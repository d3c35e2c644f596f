"""Latencies of the proxy family, beside Toxiproxy's own command line, and of faults that it does not know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from contract_rig import system_of
from latency_ways import OURS, Faults, Way, nothing, ours, program
from proxy_bench import echo
from toxiproxy_peer import PEERS, our_server, their_server

from chaosrunner.model.fault import Injector
from chaosrunner.model.system import Component, OwnProxy
from fault_injectors import http, proxy_front
from fault_injectors import proxy as family

PROXY: dict[str, tuple[type[Injector], dict[str, object], str]] = {
    "proxy.latency": (family.ProxyLatency, {"add": 0.1}, "--type latency --attribute latency=100"),
    "proxy.jitter": (family.ProxyJitter, {"spread": 0.1}, "--type latency --attribute jitter=100"),
    "proxy.bandwidth": (family.ProxyBandwidth, {"rate": 64_000.0}, "--type bandwidth --attribute rate=64"),
    "proxy.reset": (family.ProxyReset, {}, "--type reset_peer --attribute timeout=0"),
    "proxy.timeout": (family.ProxyTimeout, {"after": 0.1}, "--type timeout --attribute timeout=100"),
    "proxy.slice": (family.ProxySlice, {"size": 10, "pause": 0.001}, "--type slicer --attribute average_size=10"),
    "proxy.limit": (family.ProxyLimit, {"after": 100}, "--type limit_data --attribute bytes=100"),
    "proxy.down": (family.ProxyDown, {}, ""),
}
Alone = Mapping[str, tuple[type[Injector], dict[str, object]]]
"""Faults of which Toxiproxy does not know."""
ALONE: Alone = {
    "proxy.corrupt": (family.ProxyCorrupt, {}),
    "proxy.drop": (family.ProxyDrop, {}),
    "proxy.silence": (family.ProxySilence, {}),
    "proxy.refuse": (family.ProxyRefuse, {}),
    "proxy.connect_delay": (family.ProxyConnectDelay, {"add": 0.1}),
    "proxy.crowd": (family.ProxyCrowd, {"connections": 10}),
}
HTTP: Alone = {
    "http.status": (http.HttpStatus, {}),
    "http.latency": (http.HttpLatency, {"add": 0.1}),
    "http.truncate": (http.HttpTruncate, {}),
    "http.malformed": (http.HttpMalformed, {}),
}


@asynccontextmanager
async def proxy_faults() -> AsyncIterator[Faults]:
    """Faults of a fault proxy: ours, Toxiproxy's by us, Toxiproxy's by its own command line; and one put in front."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession() as c:
        upstream = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with our_server() as embedded, their_server() as theirs:
            for url in (embedded.url, theirs.url):
                await c.post(f"{url}/proxies", json={"name": "target", "listen": "127.0.0.1:0", "upstream": upstream})
            at = {url: system_of(Component(name="target", proxies=("target",)), fault_proxy=url)
                  for url in (embedded.url, theirs.url)}  # fmt: skip
            faults = {
                name: [
                    ours("chaosrunner, its own proxy", kind(), at[embedded.url], **params),
                    ours("chaosrunner, toxiproxy-server", kind(), at[theirs.url], **params),
                    _by_cli(theirs.url, words),
                ]
                for name, (kind, params, words) in PROXY.items()
            }
            if not proxy_front.missing():
                front = system_of(Component(name="target", proxy=OwnProxy(behind=(upstream,))))
                way = ours("chaosrunner, a proxy put in front", family.ProxyLatency(), front, slow=True, add=0.1)
                faults["proxy.latency"].append(way)
            for name, (kind, params) in ALONE.items():
                faults[name] = [ours("chaosrunner, its own proxy", kind(), at[embedded.url], **params)]
            yield faults


@asynccontextmanager
async def http_faults() -> AsyncIterator[Faults]:
    """Faults of requests."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, through_ours(HTTP, "http", server.sockets[0].getsockname()[1]) as faults:
        yield faults


@asynccontextmanager
async def through_ours(kinds: Alone, protocol: str, port: int) -> AsyncIterator[Faults]:
    """Faults of our own proxy that understands a protocol, before a server of it on a port of this host."""
    with our_server() as proxy:
        async with aiohttp.ClientSession() as c:
            wanted = {"name": "target", "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{port}", "protocol": protocol}
            async with c.post(f"{proxy.url}/proxies", json=wanted) as answer:
                assert answer.ok, await answer.text()
        system = system_of(Component(name="target", proxies=("target",)), fault_proxy=proxy.url)
        yield {name: [ours(OURS, kind(), system, **params)] for name, (kind, params) in kinds.items()}


def _by_cli(url: str, words: str) -> Way:
    cli = [str(PEERS / "toxiproxy-cli"), "--host", url]
    if not words:
        return Way("toxiproxy-cli", program(*cli, "toggle", "target"), program(*cli, "toggle", "target"), nothing)
    add = program(*cli, "toxic", "add", "--toxicName", "cli", *words.split(), "target")
    return Way("toxiproxy-cli", add, program(*cli, "toxic", "remove", "--toxicName", "cli", "target"), nothing)
