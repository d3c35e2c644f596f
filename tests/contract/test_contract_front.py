"""The laws, run over faults of a proxy that is put in front of a server that has none, by the kernel's redirect."""

from __future__ import annotations

import asyncio
import random
import re
import secrets
import shutil
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from contract_rig import fault_of, system_of
from resources_rig import may_mount

from chaosrunner.contract import Bench, InjectorContract
from chaosrunner.model.fault import Context, Injector, Recipe, Target
from chaosrunner.model.system import Component, OwnProxy
from chaosrunner.world.injectors import RealTools
from fault_injectors import proxy as family
from fault_injectors import proxy_front

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.skipif(
    not (may_mount() and shutil.which("nft") and shutil.which("ss")), reason="needs root, nftables and iproute2"
)


async def tell_peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each question of four bytes with the port that it comes from."""
    try:
        while await reader.readexactly(4):
            writer.write(b"%05d" % writer.get_extra_info("peername")[1])
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort()


class Client:
    """A connection that may stay open."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port, self.host = port, host
        self.writer: asyncio.StreamWriter | None = None
        self.reader: asyncio.StreamReader | None = None

    async def ask(self) -> str:
        """`direct`, `proxy`, or what went wrong; on a new connection if there is none."""
        try:
            async with asyncio.timeout(1):
                if self.writer is None:
                    self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
                assert self.reader is not None
                self.writer.write(b"who?")
                peer = int(await self.reader.readexactly(5))
                return "direct" if peer == self.writer.get_extra_info("sockname")[1] else "proxy"
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.close()
            return type(error).__name__

    def close(self) -> None:
        """Break off."""
        if self.writer is not None:
            self.writer.transport.abort()
        self.writer = None


async def way_to(port: int, host: str = "127.0.0.1") -> str:
    """Which way a new connection takes."""
    client = Client(port, host)
    try:
        return await client.ask()
    finally:
        client.close()


def ours(run: str) -> list[str]:
    """Tags of this run's tables and proxies."""
    listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    tables = re.findall(rf'comment "(chaosrunner/{run}/\d+)"', listed)
    processes = [tag for tag in proxy_front.leftovers() if tag.startswith(f"chaosrunner/{run}/")]
    return sorted({*tables, *processes})


@asynccontextmanager
async def fronted(injector: Injector, *, reset_open: bool = False, **params: object) -> AsyncIterator[Bench]:
    """A server, another one, and a user with a warm connection."""
    server, other = [await asyncio.start_server(tell_peer, "127.0.0.1", 0) for _ in range(2)]
    async with server, other:
        port, elsewhere = (one.sockets[0].getsockname()[1] for one in (server, other))
        warm = Client(port)
        await warm.ask()
        run = f"contract-{secrets.token_hex(4)}"

        async def observe() -> object:
            return await way_to(port), ours(run)

        async def bystanders() -> object:
            return await way_to(elsewhere)

        async def created() -> list[str]:
            return ours(run)

        async def replace() -> None:
            recipe = await bench.prepared()
            kept: Any = recipe.data["front"]
            await asyncio.to_thread(proxy_front.remove, proxy_front.from_json(kept))

        async def use() -> None:
            await warm.ask()
            await way_to(port)

        own = OwnProxy(behind=(f"127.0.0.1:{port}",), reset_open=reset_open)
        bench = Bench(
            injector=injector,
            fault=fault_of(injector, Target(component="target"), **params),
            system=system_of(Component(name="target", proxy=own)),
            observe=observe,
            bystanders=bystanders,
            created=created,
            replace=replace,
            use=use,
            run=run,
        )
        try:
            yield bench
        finally:
            warm.close()
            assert ours(run) == []


class TestFront(InjectorContract):
    """A toxic at a proxy in front keeps every law."""

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        """A server that has no proxy."""
        async with fronted(family.ProxyLatency(), reset_open=True, add=0.01) as bench:
            yield bench


async def test_a_closed_proxy_in_front_is_proven_by_what_the_kernel_sent_to_it() -> None:
    """Nobody comes through while it is down, the kernel's count is the proof, and afterwards all is as before."""
    async with fronted(family.ProxyDown()) as bench:
        before = await bench.observe()
        async with bench.in_effect() as recipe:
            assert (await bench.observe())[0] == "ConnectionRefusedError"  # type: ignore[index]
            says = (await bench.injector.verify(recipe, bench.tools)).says
            assert re.search(r"target: closed, [1-9]\d* connections sent to it", says)
        await bench.seen(before)


async def test_open_connections_stay_unless_they_are_to_be_reset() -> None:
    """Without more words a connection that was open goes on directly; new ones come through the proxy."""
    for reset_open, ways in ((False, "direct"), (True, "proxy")):
        async with fronted(family.ProxyLatency(), reset_open=reset_open, add=0.01) as bench:
            port = int(bench.system.components["target"].proxy.behind[0].rpartition(":")[2])  # type: ignore[union-attr]
            open_one = Client(port)
            assert await open_one.ask() == "direct"
            async with bench.in_effect():
                assert (await open_one.ask() == "direct") is not reset_open
                assert await open_one.ask() == ways
                assert await way_to(port) == "proxy"
            open_one.close()
            assert await way_to(port) == "direct"


async def test_an_ipv6_address_is_as_good() -> None:
    """A server at ::1 is behind a proxy while the fault lasts, for a connection that was open as well."""
    run = f"contract-{secrets.token_hex(4)}"
    async with await asyncio.start_server(tell_peer, "::1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        own = OwnProxy(behind=(f"[::1]:{port}",), reset_open=True)
        context = Context(
            run=run,
            system=system_of(Component(name="target", proxy=own)),
            tools=RealTools({}),
            rng=random.Random(1),
            spare=frozenset,
        )
        injector, warm = family.ProxyLatency(), Client(port, "::1")
        assert await warm.ask() == "direct"
        recipe = await injector.prepare(fault_of(injector, Target(component="target"), add=0.01), context)
        assert recipe.claims == (f"redirect:[::1]:{port}",)
        try:
            await injector.inject(recipe, context.tools)
            assert await warm.ask() != "direct"
            assert await way_to(port, "::1") == "proxy"
            assert (await injector.verify(recipe, context.tools)).ok
        finally:
            await injector.undo(recipe, context.tools)
        assert (await injector.absent(recipe, context.tools)).ok
        assert await way_to(port, "::1") == "direct"
        warm.close()


async def test_who_waits_for_an_answer_when_it_ends_is_told() -> None:
    """A request that is on its way when the fault is undone is answered or its connection ends: none hangs."""
    async with fronted(family.ProxyLatency(), add=0.3) as bench:
        port = int(bench.system.components["target"].proxy.behind[0].rpartition(":")[2])  # type: ignore[union-attr]
        async with bench.in_effect():
            waiting = asyncio.create_task(way_to(port))
            await asyncio.sleep(0.1)
        assert await waiting != "TimeoutError"


async def test_without_anybody_to_undo_it_it_ends_by_itself() -> None:
    """The kernel stops sending connections there first, and then the proxy ends, though nobody has asked."""
    async with fronted(family.ProxyLatency(), add=0.01) as bench:
        recipe = await bench.prepared()
        kept: Any = recipe.data["front"]
        short = Recipe(
            injector=recipe.injector,
            says=recipe.says,
            data={**recipe.data, "front": {**kept, "seconds": 1}},
            claims=recipe.claims,
        )
        port = int(kept["ways"][0]["to"].rpartition(":")[2])
        await bench.injector.inject(short, bench.tools)
        assert await way_to(port) == "proxy"
        async with asyncio.timeout(20):
            while await way_to(port) != "direct":  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.1)
            while _processes(bench.run):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await bench.undone(short)


async def test_a_leftover_is_found_and_taken_away() -> None:
    """A scan finds what a run has put in front of something, and its recipe takes it away."""
    async with fronted(family.ProxyLatency(), add=0.01) as bench:
        recipe = await bench.prepared()
        await bench.injector.inject(recipe, bench.tools)
        scanner = family.ProxyDown()
        found = [one for one in await scanner.scan(bench.system, bench.tools) if bench.run in str(one.data["owner"])]
        assert len(found) == 1
        await scanner.undo(found[0], bench.tools)
        assert (await scanner.absent(found[0], bench.tools)).ok
        assert ours(bench.run) == []


def _processes(run: str) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if f"--name chaosrunner/{run}/" in line]
