"""The real toxiproxy-server when it does not behave: it hangs, answers late, answers 500, or loses its toxics."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
import pytest
from aiohttp import web
from contract_rig import fault_of, system_of
from proxy_bench import ProxyBench, echo

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Injector, Recipe, Target
from chaosrunner.model.system import Component
from chaosrunner.world.injectors import RealTools
from fault_injectors import proxy as family
from fault_injectors.proxy_control import Hung
from fault_injectors.toxiproxy_client import ToxiproxyApi
from fault_injectors.toxiproxy_undo import put_back

sys.path.append(str(Path(__file__).parent.parent / "proxy"))
from toxiproxy_peer import Served, their_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

TOOLS = RealTools({})
LATENCY = {"type": "latency", "name": "a-strangers", "attributes": {"latency": 1, "jitter": 0}}


class Front:
    """Stands before the control API, and misbehaves on request."""

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.url = ""
        self.hangs: Callable[[str, str], bool] = lambda _method, _path: False
        self.fails: Callable[[str, str], bool] = lambda _method, _path: False
        self.late_s = 0.0
        self.hung = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Pass a call on, or do not."""
        if self.hangs(request.method, request.path):
            self.hung += 1
            await asyncio.sleep(3600)
        if self.fails(request.method, request.path):
            return web.Response(status=500, text="internal error")
        await asyncio.sleep(self.late_s)
        body = await request.read()
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, self.behind + request.rel_url.raw_path, data=body) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


@asynccontextmanager
async def before(url: str) -> AsyncIterator[Front]:
    """A front before a control API."""
    front = Front(url)
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", front.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    front.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield front
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def toxiproxy() -> Iterator[Served]:
    """One server for all."""
    with their_server() as served:
        yield served


@pytest.fixture
async def rig(toxiproxy: Served) -> AsyncIterator[ProxyBench]:
    """Its proxy `db`, with a toxic of somebody else's, in front of an echo server."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        rig = ProxyBench(toxiproxy, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await rig.add("db")
        await rig.call("POST", "/proxies/db/toxics", LATENCY)
        yield rig
        rig.user.close()
        await rig.call("DELETE", "/proxies/db")


async def prepared(injector: Injector, url: str, **params: object) -> Recipe:
    """A recipe for `db`."""
    system = system_of(Component(name="database", proxies=("db",)), fault_proxy=url)
    context = Context(run="r1", system=system, tools=TOOLS, rng=random.Random(1), spare=frozenset)
    return await injector.prepare(fault_of(injector, Target(component="database"), **params), context)


class Hasty(ToxiproxyApi):
    """One that does not wait long, for tests of what follows."""

    answer_s: ClassVar[float] = 0.4


async def hasty_undo(recipe: Recipe) -> None:
    """Undo, with little patience."""
    kept: Any = recipe.data["before"]
    async with Hasty(str(recipe.data["api"]), TOOLS) as api:
        await put_back(api, "db", str(recipe.data["owner"]), kept["db"])


async def restored(injector: Injector, recipe: Recipe, rig: ProxyBench, was: object) -> None:
    """Undone once, it is absent, and `db` is as it was."""
    await injector.undo(recipe, TOOLS)
    assert (await injector.absent(recipe, TOOLS)).ok
    assert await rig.observe() == was


async def test_an_api_that_answers_late_is_waited_for(rig: ProxyBench) -> None:
    """Answers that take a while delay the fault and its undo, and harm neither."""
    injector = family.ProxyDown()
    was = await rig.observe()
    async with before(rig.proxy.url) as front:
        front.late_s = 0.1
        recipe = await prepared(injector, front.url)
        await injector.inject(recipe, TOOLS)
        assert await rig.observe() != was
        await restored(injector, recipe, rig, was)


async def test_a_500_is_no_success(rig: ProxyBench) -> None:
    """What toxiproxy-python takes for a success fails the inject, and an undo until it is answered."""
    injector = family.ProxyLatency()
    was = await rig.observe()
    async with before(rig.proxy.url) as front:
        recipe = await prepared(injector, front.url, add=0.01)
        front.fails = lambda method, _: method == "POST"
        with pytest.raises(InjectorError, match="500"):
            await injector.inject(recipe, TOOLS)
        front.fails = lambda _method, _path: False
        await injector.inject(recipe, TOOLS)
        front.fails = lambda method, _: method == "DELETE"
        with pytest.raises(InjectorError, match="500"):
            await injector.undo(recipe, TOOLS)
        assert (await injector.absent(recipe, TOOLS)).ok is False
        front.fails = lambda _method, _path: False
        await restored(injector, recipe, rig, was)


async def test_an_api_that_hangs_ends_an_undo_in_bounded_time(rig: ProxyBench) -> None:
    """While nothing is answered an undo fails after so few calls that it stays within 20 s; the next one restores."""
    injector = family.ProxyLatency()
    was = await rig.observe()
    async with before(rig.proxy.url) as front:
        recipe = await prepared(injector, front.url, add=0.01)
        await injector.inject(recipe, TOOLS)
        front.hangs = lambda _method, _path: True
        with pytest.raises(Hung, match="did not answer"):
            await hasty_undo(recipe)
        assert 3 <= front.hung * ToxiproxyApi.answer_s <= 20
        front.hangs = lambda _method, _path: False
        await restored(injector, recipe, rig, was)


async def test_a_removal_that_hangs_ends_by_making_the_proxy_again(rig: ProxyBench) -> None:
    """If neither removing nor disabling is answered, the proxy is made again, with the toxics of others.

    Where even that is cut short, a mark tells the next undo what is missing.
    """
    injector = family.ProxyLatency()
    was = await rig.observe()
    async with before(rig.proxy.url) as front:
        recipe = await prepared(injector, front.url, add=0.01)
        await injector.inject(recipe, TOOLS)
        front.hangs = lambda method, path: path.startswith("/proxies/db") and method != "DELETE"
        with pytest.raises(Hung):
            await hasty_undo(recipe)
        assert "chaosrunner-r1-0-made-again-db" in await rig.call("GET", "/proxies")
        front.hangs = lambda _method, _path: False
        assert (await injector.absent(recipe, TOOLS)).ok is False
        await restored(injector, recipe, rig, was)
        assert list(await rig.call("GET", "/proxies")) == ["db"]


async def test_a_stalled_data_path_is_put_back(rig: ProxyBench) -> None:
    """A client that does not read hangs the real server's toxics; the undo cuts it off and restores all there was."""
    injector = family.ProxyLatency()
    flood = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_flood, args=(flood,), daemon=True).start()
    await rig.call("POST", "/proxies/db", {"upstream": f"127.0.0.1:{flood.getsockname()[1]}"})
    was = await rig.observe()
    recipe = await prepared(injector, rig.proxy.url, add=0.01)
    deaf = socket.create_connection(("127.0.0.1", rig.user.port))
    try:
        while _queued(rig.user.port) < 100_000:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.05)
        async with Hasty(rig.proxy.url, TOOLS) as api:
            with pytest.raises(Hung):
                await api.add_toxic("db", {**LATENCY, "name": recipe.data["owner"]})
        for last in (False, False, False, True):  # a busy machine may be slower than its patience
            try:
                await hasty_undo(recipe)
                break
            except Hung:
                assert not last
        assert (await injector.absent(recipe, TOOLS)).ok
        assert await rig.observe() == was
    finally:
        deaf.close()
        flood.close()


async def test_a_server_that_was_restarted_has_nothing_to_undo() -> None:
    """Toxics live in the server's memory: in a new one of the same address the fault is absent."""
    injector = family.ProxyLatency()
    with their_server() as served:
        rig = ProxyBench(served, "127.0.0.1:9")
        await rig.add("db")
        recipe = await prepared(injector, served.url, add=0.01)
        await injector.inject(recipe, TOOLS)
        port = served.port
    with pytest.raises(InjectorError, match="cannot be reached"):
        await injector.absent(recipe, TOOLS)
    with their_server(port=port):
        await injector.undo(recipe, TOOLS)
        assert (await injector.absent(recipe, TOOLS)).ok
        assert await rig.call("GET", "/proxies") == {}


async def test_two_servers_in_one_process_are_not_mixed_up(rig: ProxyBench) -> None:
    """Calls to two servers at once, through one library that keeps one address, each reach their own."""
    with their_server() as second:
        other = ProxyBench(second, "127.0.0.1:9")
        await other.add("db")
        async with ToxiproxyApi(rig.proxy.url, TOOLS) as one, ToxiproxyApi(second.url, TOOLS) as two:
            toxic: dict[str, Any] = {"type": "latency", "name": "t", "stream": "downstream", "toxicity": 1.0}
            changes = [
                api.add_toxic("db", {**toxic, "name": f"{nth}-{number}", "attributes": {"latency": 1}})
                for nth, api in enumerate((one, two))
                for number in range(5)
            ]
            await asyncio.gather(*changes)
        mine = {toxic["name"] for toxic in (await rig.observe())["toxics"]}
        theirs = {toxic["name"] for toxic in (await other.observe())["toxics"]}
    assert mine == {"a-strangers", *(f"0-{number}" for number in range(5))}
    assert theirs == {f"1-{number}" for number in range(5)}


async def test_no_proxy_of_the_environment_comes_between(rig: ProxyBench) -> None:
    """HTTP_PROXY, which toxiproxy-python obeys even for loopback, is not asked."""
    code = "import asyncio, sys\nfrom test_toxiproxy_server import one_toxic\nasyncio.run(one_toxic(sys.argv[1]))"
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, rig.proxy.url, env=os.environ | nowhere | {"PYTHONPATH": path}
    )
    assert await process.wait() == 0
    assert "alone" in {toxic["name"] for toxic in (await rig.observe())["toxics"]}


async def test_what_toxiproxy_has_not_is_refused_before_anything_is_done(rig: ProxyBench) -> None:
    """A fault that only our own proxy knows is refused by its plan."""
    with pytest.raises(InjectorError, match=r"proxy\.corrupt is not one of Toxiproxy's faults"):
        await prepared(family.ProxyCorrupt(), rig.proxy.url, bytes=0.5)


async def one_toxic(url: str) -> None:
    """Add a toxic."""
    async with ToxiproxyApi(url, TOOLS) as api:
        toxic = {"type": "latency", "name": "alone", "stream": "downstream", "toxicity": 1.0, "attributes": {}}
        await api.add_toxic("db", toxic)


def _flood(listener: socket.socket) -> None:
    try:
        while True:
            connection, _ = listener.accept()
            with connection:
                while True:
                    connection.sendall(bytes(65536))
    except OSError:
        return  # who read it is gone, and with it the test


def _queued(port: int) -> int:
    done = subprocess.run(["ss", "-tnHO", "dst", f"127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    return sum(int(line.split()[1]) for line in done.stdout.splitlines())
