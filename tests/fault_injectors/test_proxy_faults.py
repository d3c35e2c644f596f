"""The faults of the fault proxy: what they ask of it, what proves them, and a plain Toxiproxy."""

from __future__ import annotations

import asyncio
import io
import random
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from contract_rig import fault_of, system_of
from proxy_bench import ProxyBench, Warm, echo

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Injector, Recipe, Target
from chaosrunner.model.system import Component, System
from chaosrunner.proxy import FaultProxy
from chaosrunner.proxy.audit import audit_to
from chaosrunner.world.injectors import RealTools
from fault_injectors import proxy as family
from fault_injectors import proxy_control

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOOLS = RealTools({})
DATABASE = Target(component="database")


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[ProxyBench]:
    """A fault proxy with `db` and `other` in front of an echo server."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, FaultProxy("127.0.0.1", 0, audit=audit_to(io.StringIO()), **options) as proxy:
        rig = ProxyBench(proxy, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        if not options:
            await rig.add("db")
            await rig.add("other")
        try:
            yield rig
        finally:
            rig.user.close()


@pytest.fixture
async def rig() -> AsyncIterator[ProxyBench]:
    """A fault proxy with `db` and `other` in front of an echo server."""
    async with running() as rig:
        yield rig


@asynccontextmanager
async def plain_toxiproxy(rig: ProxyBench, *, stuck: bool = False) -> AsyncIterator[str]:
    """The proxy as a plain Toxiproxy shows itself: no owners, no leases, no live counters; its URL.

    Args:
        rig: The proxy behind it.
        stuck: Whether removing a toxic hangs as long as its proxy is enabled, as it does behind a stalled data path.
    """

    async def handle(request: web.Request) -> web.Response:
        if request.path.startswith("/owners") or request.path.endswith("/stats"):
            return web.Response(status=404, text="404 page not found\n")
        body = await request.json() if request.can_read_body else None
        assert not {"ttl", "owner"} & set(body or ())
        if stuck and request.method == "DELETE" and (await rig.observe())["enabled"]:
            await asyncio.sleep(3600)
        async with aiohttp.ClientSession() as session:
            url = rig.proxy.url + request.rel_url.raw_path
            async with session.request(request.method, url, json=body) as answer:
                text = await answer.text()
                return web.Response(status=answer.status, text=text, content_type=answer.content_type)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def system_at(url: str, *names: str) -> System:
    """A system whose `database` is behind these proxies."""
    return system_of(Component(name="database", proxies=names or ("db",)), fault_proxy=url)


async def prepared(
    injector: Injector, system: System, target: Target | None = DATABASE, tools: RealTools = TOOLS, **params: object
) -> Recipe:
    """A recipe."""
    context = Context(run="r1", system=system, tools=tools, rng=random.Random(1), spare=frozenset)
    return await injector.prepare(fault_of(injector, target, **params), context)


@pytest.mark.parametrize(
    ("injector", "params", "kind", "attributes"),
    [
        (family.ProxyLatency(), {"add": 0.2, "jitter": 0.05}, "latency", {"latency": 200, "jitter": 50}),
        (family.ProxyLatency(), {"add": 0.0005}, "latency", {"latency": 0.5, "jitter": 0}),
        (family.ProxyJitter(), {"spread": 0.3, "around": 0.4}, "latency", {"latency": 400, "jitter": 300}),
        (family.ProxyBandwidth(), {"rate": 64_000.0}, "bandwidth", {"rate": 64}),
        (family.ProxyReset(), {"after": 1.0}, "reset_peer", {"timeout": 1000}),
        (family.ProxyTimeout(), {"after": 0.0}, "timeout", {"timeout": 0}),
        (family.ProxySlice(), {"size": 10, "pause": 0.001}, "slicer",
         {"average_size": 10, "size_variation": 0, "delay": 1000}),
        (family.ProxyLimit(), {"after": 5}, "limit_data", {"bytes": 5}),
    ],
)  # fmt: skip
async def test_a_fault_becomes_the_toxic_it_names(
    rig: ProxyBench, injector: Injector, params: dict[str, object], kind: str, attributes: dict[str, object]
) -> None:
    """Parameters in seconds and bytes arrive in the toxic's own units, with share, direction, owner and lease."""
    recipe = await prepared(injector, system_at(rig.proxy.url), share=0.5, direction="upstream", **params)
    await injector.inject(recipe, TOOLS)
    [toxic] = (await rig.observe())["toxics"]
    assert (toxic["type"], toxic["attributes"]) == (kind, attributes)
    assert (toxic["toxicity"], toxic["stream"]) == (0.5, "upstream")
    assert toxic["owner"] == toxic["name"] == "chaosrunner-r1-0"
    assert 20.0 < toxic["ttl"] <= 30.0


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        (lambda: family.ProxyLatency.Params(add=1.0, share=0.0), "share"),
        (lambda: family.ProxyLatency.Params(add=1.0, share=1.1), "share"),
        (lambda: family.ProxyBandwidth.Params(rate=0.0), "rate"),
        (lambda: family.ProxySlice.Params(size=0, pause=1.0), "size"),
        (lambda: family.ProxySlice.Params(size=1, pause=1.0, share=2.0), "share"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(params: Any, wrong: str) -> None:
    """A value that would be no fault is a mistake that names its parameter."""
    with pytest.raises(ValueError, match=wrong):
        params()


async def test_nothing_passed_is_no_evidence(rig: ProxyBench) -> None:
    """A toxic proves itself by the bytes of the target's own traffic, and not before there are any."""
    injector = family.ProxyLatency()
    recipe = await prepared(injector, system_at(rig.proxy.url), add=0.001)
    await injector.inject(recipe, TOOLS)
    assert (await injector.verify(recipe, TOOLS)).ok is None
    await rig.user.use()
    evidence = await injector.verify(recipe, TOOLS)
    assert evidence.ok
    assert re.search(r"4 bytes of 1 connections \(1 open\) went through it, each piece late by \d", evidence.says)


async def test_a_toxic_that_somebody_removed_is_evidence_of_the_contrary(rig: ProxyBench) -> None:
    """A fault that is not there any more is not in effect."""
    injector = family.ProxyLatency()
    recipe = await prepared(injector, system_at(rig.proxy.url), add=0.001)
    await injector.inject(recipe, TOOLS)
    await rig.call("POST", "/reset")
    assert (await injector.verify(recipe, TOOLS)).ok is False


async def test_a_second_inject_finds_its_toxic(rig: ProxyBench) -> None:
    """An inject whose answer was lost may be repeated."""
    injector = family.ProxyLatency()
    recipe = await prepared(injector, system_at(rig.proxy.url), add=0.001)
    await injector.inject(recipe, TOOLS)
    await injector.inject(recipe, TOOLS)
    assert len((await rig.observe())["toxics"]) == 1


async def test_closing_a_way_that_nobody_uses_proves_nothing(rig: ProxyBench) -> None:
    """Down is proven by connections that were cut; with none there is no evidence."""
    recipe = await prepared(family.ProxyDown(), system_at(rig.proxy.url))
    await family.ProxyDown().inject(recipe, TOOLS)
    evidence = await family.ProxyDown().verify(recipe, TOOLS)
    assert evidence.ok is None
    assert "no connection was open" in evidence.says


async def test_closing_a_way_in_use_is_proven_by_what_it_cut(rig: ProxyBench) -> None:
    """A connection that was open when the proxy closed is the proof."""
    await rig.use()
    recipe = await prepared(family.ProxyDown(), system_at(rig.proxy.url))
    await family.ProxyDown().inject(recipe, TOOLS)
    evidence = await family.ProxyDown().verify(recipe, TOOLS)
    assert evidence.ok
    assert "1 connections cut" in evidence.says


async def test_short_connections_until_the_last_moment_prove_it_too(rig: ProxyBench) -> None:
    """A connection that came and went between choosing and closing shows that the way was in use."""
    recipe = await prepared(family.ProxyDown(), system_at(rig.proxy.url))
    await rig.use()
    rig.user.close()
    async with asyncio.timeout(10):
        while (await rig.call("GET", "/proxies/db/stats"))["connections"]["open"]:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    await family.ProxyDown().inject(recipe, TOOLS)
    evidence = await family.ProxyDown().verify(recipe, TOOLS)
    assert evidence.ok
    assert "just before" in evidence.says


async def test_one_of_two_hits_one(rig: ProxyBench) -> None:
    """A target that counts chooses among the component's proxies and leaves the others alone."""
    injector = family.ProxyLatency()
    target = Target(component="database", count=1, of=2)
    recipe = await prepared(injector, system_at(rig.proxy.url, "db", "other"), target, add=0.1)
    await injector.inject(recipe, TOOLS)
    struck = [name for name, proxy in (await rig.call("GET", "/proxies")).items() if proxy["toxics"]]
    assert recipe.claims == (f"proxy:{rig.proxy.url}/{struck[0]}",)
    assert len(struck) == 1


async def test_a_proxy_that_is_down_already_is_not_live(rig: ProxyBench) -> None:
    """What somebody else has closed is no target."""
    await rig.call("PATCH", "/proxies/db", {"enabled": False})
    with pytest.raises(InjectorError, match="no live instance"):
        await prepared(family.ProxyDown(), system_at(rig.proxy.url))


async def test_a_missing_proxy_is_named_with_its_nearest(rig: ProxyBench) -> None:
    """A misspelt proxy is answered with the one that was probably meant."""
    with pytest.raises(InjectorError, match="no proxy 'dbs'; did you mean 'db'"):
        await prepared(family.ProxyDown(), system_at(rig.proxy.url, "dbs"))


async def test_a_system_without_a_fault_proxy_is_refused() -> None:
    """The system file must say where the fault proxy is, and which proxies are the component's."""
    with pytest.raises(InjectorError, match="no 'fault_proxy'"):
        await prepared(family.ProxyDown(), system_at(""))
    system = system_of(Component(name="database"), fault_proxy="http://127.0.0.1:1")
    with pytest.raises(InjectorError, match="no 'proxies'"):
        await prepared(family.ProxyDown(), system)


async def test_a_proxy_that_cannot_be_reached_is_never_restored() -> None:
    """Undo and absent raise when the proxy is gone: a closed way to it looks the same as its death."""
    injector = family.ProxyLatency()
    async with running() as rig:
        recipe = await prepared(injector, system_at(rig.proxy.url), add=0.1)
    for asked in (injector.undo, injector.absent):
        with pytest.raises(InjectorError, match="cannot be reached"):
            await asked(recipe, TOOLS)


async def test_what_is_no_fault_proxy_is_refused() -> None:
    """An ordinary web server at the address is an error that shows what it said."""

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/{any:.*}", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        with pytest.raises(InjectorError, match="is no fault proxy: it lists 'hello'"):
            await prepared(family.ProxyDown(), system_at(f"http://127.0.0.1:{runner.addresses[0][1]}"))
    finally:
        await runner.cleanup()


async def test_a_guarded_proxy_takes_the_token_from_the_environment() -> None:
    """A proxy that asks for a bearer token gets the one it reads itself, and no recipe holds it."""
    async with running(token="open-sesame") as rig:
        with pytest.raises(InjectorError, match="401"):
            await prepared(family.ProxyDown(), system_at(rig.proxy.url))
        tools = RealTools({"CHAOSRUNNER_PROXY_TOKEN": "open-sesame"})
        with pytest.raises(InjectorError, match="no proxy 'db'"):
            await prepared(family.ProxyDown(), system_at(rig.proxy.url), tools=tools)


@pytest.mark.parametrize(
    ("injector", "params"),
    [(family.ProxyLatency(), {"add": 0.001}), (family.ProxyDown(), {})],
    ids=["latency", "down"],
)
async def test_a_plain_toxiproxy_is_put_back_piece_by_piece(
    rig: ProxyBench, injector: Injector, params: dict[str, object]
) -> None:
    """Without leases the runner guards, what was not seen is no evidence, and undo restores."""
    before = await rig.observe()
    async with plain_toxiproxy(rig) as url:
        recipe = await prepared(injector, system_at(url), **params)
        assert recipe.guard == "runner"
        await rig.use()
        await injector.inject(recipe, TOOLS)
        assert await rig.observe() != before
        evidence = await injector.verify(recipe, TOOLS)
        assert evidence.ok is None, evidence.says
        assert (await injector.absent(recipe, TOOLS)).ok is False
        await injector.undo(recipe, TOOLS)
        assert (await injector.absent(recipe, TOOLS)).ok
    assert await rig.observe() == before


async def test_a_toxic_that_is_not_there_on_a_plain_toxiproxy_is_evidence_of_the_contrary(rig: ProxyBench) -> None:
    """Reading back what is not there says so."""
    injector = family.ProxyLatency()
    async with plain_toxiproxy(rig) as url:
        recipe = await prepared(injector, system_at(url), add=0.001)
        assert (await injector.verify(recipe, TOOLS)).ok is False


async def test_a_removal_that_hangs_is_freed_by_cutting_the_connections(rig: ProxyBench) -> None:
    """Where a plain Toxiproxy hangs behind stalled data, the proxy is closed, the toxic removed, the proxy opened."""
    injector = family.ProxyTimeout()
    before = await rig.observe()
    async with plain_toxiproxy(rig, stuck=True) as url:
        recipe = await prepared(injector, system_at(url), after=0.0)
        await injector.inject(recipe, TOOLS)
        await injector.undo(recipe, TOOLS)
        assert (await injector.absent(recipe, TOOLS)).ok
    assert await rig.observe() == before


async def test_leftovers_are_found_by_name(rig: ProxyBench) -> None:
    """A scan finds what any run left, whatever its kind, and its recipes undo it; a stranger's toxic stays."""
    await rig.call("POST", "/proxies/db/toxics", {"type": "latency", "name": "a-strangers"})
    before = await rig.observe()
    latency = await prepared(family.ProxyLatency(), system_at(rig.proxy.url), add=0.1)
    await family.ProxyLatency().inject(latency, TOOLS)
    down = await prepared(family.ProxyDown(), system_at(rig.proxy.url, "other"))
    down = replace(down, data={**down.data, "owner": "chaosrunner-r2-0"})
    await family.ProxyDown().inject(down, TOOLS)
    found = await family.ProxyDown().scan(system_at(rig.proxy.url), TOOLS)
    assert [recipe.data["owner"] for recipe in found] == ["chaosrunner-r1-0", "chaosrunner-r2-0"]
    for recipe in found:
        await family.ProxyDown().undo(recipe, TOOLS)
        assert (await family.ProxyDown().absent(recipe, TOOLS)).ok
    assert await rig.observe() == before
    assert (await rig.bystanders())["enabled"]
    assert await family.ProxyDown().scan(system_at(""), TOOLS) == []


async def test_a_call_that_hangs_says_so() -> None:
    """A server that never answers is an error in bounded time, not a hanging undo."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with proxy_control.ControlApi(url, TOOLS) as api:
            with pytest.raises(proxy_control.Hung, match="did not answer GET /proxies"):
                await api.proxies()


async def test_only_a_proxy_that_is_gone_is_seen_not_to_act(rig: ProxyBench) -> None:
    """Where nobody listens no toxic is in effect; a connection that breaks shows nothing, neither way."""

    async def rude(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    injector = family.ProxyLatency()
    recipe = await prepared(injector, system_at(rig.proxy.url), add=0.1)
    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    elsewhere = replace(recipe, data={**recipe.data, "api": url})
    async with server:
        with pytest.raises(InjectorError, match="cannot be reached"):
            await injector.verify(elsewhere, TOOLS)
    assert (await injector.verify(elsewhere, TOOLS)).ok is False


async def test_warm_connections_feel_it_at_once(rig: ProxyBench) -> None:
    """A connection that was open before the inject is struck: pools are warm."""
    user = Warm()
    user.port = rig.user.port
    await user.use()
    injector = family.ProxyReset()
    recipe = await prepared(injector, system_at(rig.proxy.url))
    await injector.inject(recipe, TOOLS)
    await user.use()
    assert user.writer is None
    await injector.undo(recipe, TOOLS)
