"""Many connections: 5,000 at once under changing toxics, more than descriptors allow, and readers that do not read."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from proxy_processes import OwnProcess, own_process
from proxy_rig import Api, Client, DeafServer, EchoServer, allow_descriptors, api_at, connected, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

# The proxy is a process with a loop of its own; which one the clients use makes no difference.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

OPEN = 5000
AT_ONCE = 250


@dataclass(frozen=True)
class Running:
    """A proxy process and its API."""

    process: OwnProcess
    api: Api


@asynccontextmanager
async def running(audit: Path, descriptors: int | None = None) -> AsyncIterator[Running]:
    """A proxy process of ours."""
    with own_process(audit, descriptors=descriptors) as process:
        async with api_at(process.url) as api:
            yield Running(process, api)


async def open_many(stack: AsyncExitStack, port: int, count: int) -> list[Client]:
    """So many clients, a few hundred connecting at a time."""
    clients: list[Client] = []
    for _ in range(0, count, AT_ONCE):
        some = [stack.enter_async_context(connected(port)) for _ in range(min(AT_ONCE, count - len(clients)))]
        clients += await asyncio.gather(*some)
    return clients


async def all_ask(clients: Iterable[Client], data: bytes = b"ping") -> None:
    """Have everybody ask once and get their own answer."""
    await asyncio.gather(*(client.ask(data) for client in clients))


async def test_5000_open_connections_follow_every_change(tmp_path: Path, echo: EchoServer) -> None:
    """With 5,000 open, toxics come, change and go for all of them while some talk; each then gets its bytes back."""
    allow_descriptors(2 * OPEN + 200)
    async with running(tmp_path / "audit") as ours, AsyncExitStack() as stack:
        api = ours.api
        clients = await open_many(stack, await api.proxy_to(echo.port), OPEN)
        await all_ask(clients)
        assert (await api.stats())["connections"] == {"open": OPEN, "opened": OPEN, "refused": 0, "cut": 0}

        done = asyncio.Event()
        talking = [asyncio.create_task(talk_until(client, done)) for client in clients[::50]]
        await api.toxic("latency", latency=3)
        await api.toxic("slicer", average_size=2)
        await until_touched(api, "latency_downstream", len(talking))
        await api.ok("PATCH", "/proxies/p/toxics/latency_downstream", {"attributes": {"latency": 600_000}})
        await api.ok("DELETE", "/proxies/p/toxics/latency_downstream")
        await api.ok("DELETE", "/proxies/p/toxics/slicer_downstream")
        done.set()
        assert min(await asyncio.gather(*talking)) > 0

        await api.toxic("bandwidth", more={"stream": "upstream"}, rate=0)
        asking = [asyncio.create_task(client.ask(b"all at once")) for client in clients]
        await until_touched(api, "bandwidth_upstream", OPEN)
        await api.ok("DELETE", "/proxies/p/toxics/bandwidth_upstream")
        await asyncio.gather(*asking)
        stats = await api.stats()
        assert stats["connections"] == {"open": OPEN, "opened": OPEN, "refused": 0, "cut": 0}
        assert stats["bytes"]["upstream"] == stats["bytes"]["downstream"]
        await stack.aclose()
        await eventually(api.all_closed)


async def talk_until(client: Client, done: asyncio.Event) -> int:
    """Ask on and on, each time for the same bytes; how often."""
    times = 0
    while not done.is_set():
        await client.ask(b"over and over")
        times += 1
    return times


async def until_touched(api: Api, toxic: str, connections: int) -> None:
    """Wait until a toxic has touched so many connections."""

    async def enough() -> bool:
        return bool((await api.stats())["toxics"][toxic]["connections"] >= connections)

    await eventually(enough)


@pytest.mark.parametrize("limit", [64, 65])
async def test_out_of_descriptors_open_connections_and_the_api_go_on(
    tmp_path: Path, echo: EchoServer, limit: int
) -> None:
    """With more clients than descriptors one line says so, the others wait, and come in as soon as there is room."""
    async with running(tmp_path / "audit", descriptors=limit) as ours, AsyncExitStack() as stack:
        port = await ours.api.proxy_to(echo.port)
        clients = await open_many(stack, port, 100)
        asking = [asyncio.create_task(client.ask()) for client in clients]
        await eventually(lambda: said(ours.process, "cannot accept, trying until it works"))
        await eventually(lambda: all_let_in_are_answered(ours.api, asking))
        # Everybody who has been let in still is, and a new client of the API is heard, and can change something.
        let_in = [client for client, asked in zip(clients, asking, strict=True) if asked.done()]
        assert len(let_in) > 10
        await all_ask(let_in)
        async with api_at(ours.process.url) as another:
            await another.toxic("latency", latency=1)
            await all_ask(let_in)
            await another.ok("DELETE", "/proxies/p/toxics/latency_downstream")
        for client in clients:  # each makes room for another
            await client.ask() if client in let_in else await asking[clients.index(client)]
            client.writer.transport.abort()
        assert len(ours.process.said("cannot accept, trying until it works")) == 1
        assert (await ours.api.stats())["connections"]["refused"] == 0


async def said(process: OwnProcess, event: str) -> bool:
    """Whether the audit has that event."""
    return bool(process.said(event))


async def all_let_in_are_answered(api: Api, asking: list[asyncio.Task[float]]) -> bool:
    """Whether as many have been answered as are open."""
    answered = sum(task.done() for task in asking)
    return 0 < answered == (await api.stats())["connections"]["open"]


# What one connection may cost beside what the toxic holds: two sockets' buffers, ours and the loop's.
OVERHEAD_BYTES = 1_500_000


@pytest.mark.parametrize(
    ("toxic", "holds_bytes"),
    [
        (None, 0),
        (("noop", {}), 0),
        (("bandwidth", {"rate": 0}), 64 * 1024),
        (("slicer", {"average_size": 1000, "delay": 600_000_000}), 64 * 1024),
        (("latency", {"latency": 600_000}), 6 * 1024 * 1024),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
async def test_readers_that_do_not_read_cost_a_bounded_amount(
    tmp_path: Path, toxic: tuple[str, dict[str, float]] | None, holds_bytes: int
) -> None:
    """Ten clients send as much as they can to servers that do not read: what the proxy keeps of it is bounded."""
    async with running(tmp_path / "audit") as ours, DeafServer() as server, AsyncExitStack() as stack:
        port = await ours.api.proxy_to(server.port)
        if toxic is not None:
            await ours.api.toxic(toxic[0], more={"stream": "upstream"}, **toxic[1])
        clients = await open_many(stack, port, 10)
        before = resident_bytes(ours.process)
        sent = await asyncio.gather(*(stuff(client) for client in clients))
        grown = resident_bytes(ours.process) - before
    assert min(sent) > 1_000_000
    assert grown < 10 * (holds_bytes + OVERHEAD_BYTES)


async def stuff(client: Client) -> int:
    """Send until nothing has been taken for half a second; how many bytes of at most 100 MB were taken."""
    client.writer.transport.set_write_buffer_limits(high=0)
    taken = 0
    while taken < 100_000_000:
        client.writer.write(bytes(128 * 1024))
        try:
            await asyncio.wait_for(client.writer.drain(), 0.5)
        except TimeoutError:
            return taken
        taken += 128 * 1024
    raise AssertionError("100 MB were taken although nobody read")


def resident_bytes(process: OwnProcess) -> Any:
    """Memory that is in RAM for it."""
    return psutil.Process(process.pid).memory_info().rss
