"""The toxics that Toxiproxy does not have: what they do to new and open connections, while they come, change and go."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from effects_rig import boundaries, critical, distance, likely_hits
from proxy_rig import Api, Client, EchoServer, Server, SinkServer, connected, eventually, until

if TYPE_CHECKING:
    from collections.abc import Callable

SHOT = bytes(range(250)) * 4
# A timer may round to a millisecond.
EARLY_S = 0.002


def path(kind: str, stream: str = "downstream") -> str:
    """Where a toxic of proxy p is."""
    return f"/proxies/p/toxics/{kind}_{stream}"


async def change(api: Api, kind: str, toxicity: float | None = None, **attributes: float) -> None:
    """Change what is given of a downstream toxic."""
    given = {} if toxicity is None else {"toxicity": toxicity}
    await api.ok("PATCH", path(kind), {**given, "attributes": attributes})


async def remove(api: Api, kind: str, stream: str = "downstream") -> None:
    """Remove a toxic."""
    await api.ok("DELETE", path(kind, stream))


async def evidence(api: Api, kind: str, stream: str = "downstream") -> dict[str, Any]:
    """What the stats say of a toxic."""
    found: dict[str, Any] = (await api.stats())["toxics"][f"{kind}_{stream}"]
    return found


async def touched(api: Api, kind: str, connections: int = 1) -> None:
    """Wait until a downstream toxic has touched so many connections."""

    async def enough() -> bool:
        return bool((await evidence(api, kind))["connections"] >= connections)

    await eventually(enough)


async def tell(port: int) -> tuple[bytes, str]:
    """Send a shot and finish; what comes back, and how it ends."""
    heard = bytearray()
    try:
        async with connected(port) as client:
            client.writer.write(SHOT)
            client.writer.write_eof()
            while data := await client.reader.read(65536):
                heard += data
    except OSError:  # the system may also say that one cannot finish what is no longer connected
        return bytes(heard), "reset"
    return bytes(heard), "fin"


def refused(outcome: tuple[bytes, str]) -> bool:
    """Reset before anything came."""
    return outcome == (b"", "reset")


def spared(outcome: tuple[bytes, str]) -> bool:
    """Everything came, then the end."""
    return outcome == (SHOT, "fin")


def spoilt(outcome: tuple[bytes, str]) -> bool:
    """As many bytes came, all of them others."""
    heard, end = outcome
    return end == "fin" and len(heard) == len(SHOT) and all(a != b for a, b in zip(heard, SHOT, strict=True))


def lost(outcome: tuple[bytes, str]) -> bool:
    """Nothing came, but the end did."""
    return outcome == (b"", "fin")


EVERYWHERE: dict[str, tuple[dict[str, float], Callable[[tuple[bytes, str]], bool]]] = {
    "refuse_connect": ({}, refused),
    "limit_connections": ({"connections": 0}, refused),
    "delay_connect": ({"latency": 600_000}, spared),
    "corrupt": ({"probability": 1}, spoilt),
    "drop": ({}, lost),
    "silence": ({}, refused),
    "bandwidth": ({"rate": 0}, spared),
    "slicer": ({"average_size": 0, "delay": 600_000_000}, spared),
}
"""Type → attributes, and how a struck connection ends: by itself, or, if the toxic holds it, once that is removed."""


@pytest.mark.parametrize("toxicity", [0, 0.5, 1])
@pytest.mark.parametrize("kind", EVERYWHERE)
async def test_it_strikes_as_many_as_its_toxicity_says(api: Api, echo: EchoServer, kind: str, toxicity: float) -> None:
    """Of 200 connections the share of the toxicity is struck and counted; the others go through untouched."""
    attributes, is_struck = EVERYWHERE[kind]
    port = await api.proxy_to(echo.port)
    await api.toxic(kind, more={"toxicity": toxicity}, **attributes)
    telling = [asyncio.create_task(tell(port)) for _ in range(200)]

    async def all_known() -> bool:
        free = sum(task.done() and spared(task.result()) for task in telling)
        return bool(free + (await evidence(api, kind))["connections"] >= 200)

    await eventually(all_known)
    struck = (await evidence(api, kind))["connections"]
    assert struck in likely_hits(200, toxicity)
    await remove(api, kind)
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(*telling)
    assert all(spared(outcome) or is_struck(outcome) for outcome in outcomes)
    if is_struck is not spared:
        assert sum(is_struck(outcome) for outcome in outcomes) == struck


async def test_refuse_connect_spares_open_connections(api: Api, echo: EchoServer) -> None:
    """A new connection is reset and counted, an open one lives on; turned down or removed, new ones come in again."""
    port = await api.proxy_to(echo.port)
    async with connected(port) as client:
        await client.ask()
        await api.toxic("refuse_connect")
        assert refused(await tell(port))
        await client.ask()
        assert (await api.stats())["connections"] == {"open": 1, "opened": 2, "refused": 1, "cut": 0}
        await change(api, "refuse_connect", toxicity=0)
        assert spared(await tell(port))
        await change(api, "refuse_connect", toxicity=1)
        assert refused(await tell(port))
        assert (await evidence(api, "refuse_connect"))["connections"] == 2
        await remove(api, "refuse_connect")
        assert spared(await tell(port))
        await client.ask()


async def test_delay_connect_reaches_the_server_late(api: Api, echo: EchoServer) -> None:
    """The server sees a new connection only after the delay; open ones, and the new one afterwards, feel nothing."""
    port = await api.proxy_to(echo.port)
    async with connected(port) as warm:
        await warm.ask()
        await api.toxic("delay_connect", latency=400)
        start = time.monotonic()
        async with connected(port) as client:
            asking = asyncio.create_task(client.ask())
            assert min([await warm.ask() for _ in range(5)]) < 0.2
            await until(lambda: len(echo.writers) == 2)
            assert time.monotonic() - start >= 0.4 - EARLY_S
            await asking
            assert min([await client.ask() for _ in range(5)]) < 0.2


async def test_what_waits_at_the_door_follows_changes(api: Api, echo: EchoServer) -> None:
    """A connection that waits comes in as soon as its delay is made short, or the toxic is spared it or removed."""
    port = await api.proxy_to(echo.port)
    for let_in in (
        lambda: change(api, "delay_connect", latency=1),
        lambda: change(api, "delay_connect", toxicity=0),
        lambda: remove(api, "delay_connect"),
    ):
        await api.toxic("delay_connect", latency=600_000)
        async with connected(port) as client:
            asking = asyncio.create_task(client.ask(b"knock"))
            await touched(api, "delay_connect")
            assert not asking.done()
            await let_in()
            await asking
        await api.ok("POST", "/reset")


async def test_delays_at_the_door_add_up_and_are_counted_apart(api: Api, echo: EchoServer) -> None:
    """Two delays are felt as their sum, and the stats give each its own."""
    port = await api.proxy_to(echo.port)
    for name, latency in (("one", 60), ("two", 90)):
        await api.toxic("delay_connect", more={"name": name}, latency=latency)
    async with connected(port) as client:
        start = time.monotonic()
        await client.ask()
        whole = time.monotonic() - start
    toxics = (await api.stats())["toxics"]
    one, two = (toxics[name]["delay_ms"]["max"] for name in ("one", "two"))
    assert whole >= 0.15 - EARLY_S
    assert (one >= 60, two >= 90) == (True, True)
    assert two - one == pytest.approx(30, abs=0.2)


async def test_delay_connect_jitters_and_says_so(api: Api, echo: EchoServer) -> None:
    """150 jittered delays are spread evenly, and so are the stats', which are no more than clients measured."""
    port = await api.proxy_to(echo.port)
    await api.toxic("delay_connect", latency=400, jitter=300)

    async def first_answer() -> float:
        start = time.monotonic()
        async with connected(port) as client:
            await client.ask()
        return time.monotonic() - start

    taken = await asyncio.gather(*(first_answer() for _ in range(150)))
    counted = await evidence(api, "delay_connect")
    assert (counted["connections"], counted["delayed_chunks"]) == (150, 150)
    late = min(taken) - 0.1  # what 150 clients at once wait for the machine, all of them alike
    assert late >= -EARLY_S
    assert distance(taken, lambda taken_s: min(max((taken_s - late - 0.1) / 0.6, 0), 1)) < critical(150) + 0.1
    for name, share in (("p50", 0.5), ("p90", 0.9)):
        measured_ms = sorted(taken)[round(share * 150) - 1] * 1000
        # Clients wait for the machine besides, so only the other side is bounded by what was drawn (100 to 700 ms).
        assert 600 * share <= counted["delay_ms"][name] <= measured_ms + EARLY_S * 1000


async def test_limit_connections_lets_in_as_many_as_it_says(api: Api, echo: EchoServer) -> None:
    """With 3 open the next is reset; when one has gone, or the limit is raised or removed, the next comes in."""
    port = await api.proxy_to(echo.port)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(port)) for _ in range(5)]
        await asyncio.gather(*(client.ask() for client in clients))
        await api.toxic("limit_connections", connections=3)
        assert refused(await tell(port))
        await asyncio.gather(*(client.ask() for client in clients))  # those that were too many live on
        for client in clients[:3]:
            client.writer.write_eof()
            assert await client.end() == "fin"
        await open_are(api, 2)
        assert spared(await tell(port))
        await open_are(api, 2)
        clients.append(await stack.enter_async_context(connected(port)))
        await clients[-1].ask()
        assert refused(await tell(port))
        await change(api, "limit_connections", connections=4)
        assert spared(await tell(port))
        await open_are(api, 3)
        await change(api, "limit_connections", connections=0)
        assert refused(await tell(port))
        assert (await evidence(api, "limit_connections"))["connections"] == 3
        await remove(api, "limit_connections")
        assert spared(await tell(port))


async def open_are(api: Api, connections: int) -> None:
    """Wait until so many connections are open."""

    async def so_many() -> bool:
        return bool((await api.stats())["connections"]["open"] == connections)

    await eventually(so_many)


async def answer(client: Client, data: bytes) -> bytes:
    """What an echo server's answer to `data` has become on its way."""
    client.writer.write(data)
    async with asyncio.timeout(10):
        return await client.reader.readexactly(len(data))


def wrong(got: bytes, sent: bytes) -> int:
    """How many bytes are others."""
    return sum(one != other for one, other in zip(got, sent, strict=True))


async def test_corrupt_changes_the_share_it_says_and_no_length(api: Api, echo: EchoServer) -> None:
    """An open connection gets as many bytes as were sent, the share of the probability changed, also once changed."""
    sent = bytes(200_000)
    async with connected(await api.proxy_to(echo.port)) as client:
        assert await answer(client, sent) == sent
        await api.toxic("corrupt", probability=0.01)
        assert wrong(await answer(client, sent), sent) in likely_hits(200_000, 0.01)
        await change(api, "corrupt", probability=0.2)
        assert wrong(await answer(client, sent), sent) in likely_hits(200_000, 0.2)
        await change(api, "corrupt", probability=0)
        assert await answer(client, sent) == sent
        await change(api, "corrupt", probability=1)
        assert wrong(await answer(client, sent), sent) == 200_000
        counted = await evidence(api, "corrupt")
        assert (counted["connections"], counted["bytes"]) == (1, 800_000)
        await remove(api, "corrupt")
        assert await answer(client, sent) == sent


async def test_corrupt_puts_every_other_byte_in_evenly(api: Api, echo: EchoServer) -> None:
    """What a byte becomes is any of the 255 others, none more often than chance allows."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await api.toxic("corrupt", probability=1)
        got = await answer(client, bytes(100_000))
    counts = [got.count(value) for value in range(1, 256)]
    assert (got.count(0), min(counts) in likely_hits(100_000, 1 / 255)) == (0, True)
    assert max(counts) in likely_hits(100_000, 1 / 255)


async def test_drop_loses_one_direction_and_passes_its_end(api: Api) -> None:
    """What the client sends is lost and counted, what the server sends arrives, and so does the client's end."""
    async with TalkativeServer() as server, connected(await api.proxy_to(server.port)) as client:
        assert await answer(client, b"hello") == b"hello"
        await api.toxic("drop", more={"stream": "upstream"})
        client.writer.write(b"lost")
        server.writers[0].write(b"server's own")
        async with asyncio.timeout(10):
            assert await client.reader.readexactly(12) == b"server's own"

        async def entered() -> bool:
            return bool((await evidence(api, "drop", "upstream"))["bytes"] == 4)

        await eventually(entered)
        await remove(api, "drop", "upstream")
        assert await answer(client, b"again") == b"again"
        await api.toxic("drop", more={"stream": "upstream"})
        client.writer.write(b"lost too")
        client.writer.write_eof()
        assert await client.end() == "fin"
        assert server.heard == b"helloagain"


class TalkativeServer(Server):
    """Echoes, keeps what it heard, and is made to talk by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = bytearray()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Echo until the client has finished."""
        while data := await reader.read(65536):
            self.heard += data
            writer.write(data)
        writer.close()


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_silence_keeps_a_client_from_learning_that_its_server_has_gone(
    api: Api, echo: EchoServer, how: str
) -> None:
    """When the server closes or resets, a silenced client hears nothing at all; when the silence ends it is reset."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("silence")
        ended = asyncio.create_task(client.end())
        if how == "closes":
            echo.writers[0].close()
        else:
            echo.writers[0].transport.abort()
        await touched(api, "silence")
        await asyncio.sleep(0.2)  # nothing is what is waited for here
        assert not ended.done()
        assert (await api.stats())["connections"]["open"] == 1
        await remove(api, "silence")
        assert await ended == "reset"
    await eventually(api.all_closed)


async def test_silence_keeps_a_server_from_learning_that_its_client_has_gone(api: Api) -> None:
    """A client that vanishes leaves its server with a connection that looks open, until the silence ends."""
    async with SinkServer() as sink:
        async with connected(await api.proxy_to(sink.port)) as client:
            client.writer.write(b"before")
            await until(lambda: sink.received == b"before")
            await api.toxic("silence", more={"stream": "upstream"})
            client.writer.write(b"unheard")
            client.writer.write_eof()

            async def vanished() -> bool:
                return bool((await evidence(api, "silence", "upstream"))["bytes"] == 7)

            await eventually(vanished)
        await asyncio.sleep(0.2)  # nothing is what is waited for here
        assert (sink.ended, sink.received) == (None, b"before")
        await remove(api, "silence", "upstream")
        await until(lambda: sink.ended == "reset")
    await eventually(api.all_closed)


async def test_a_silence_in_which_nothing_was_said_harms_nobody(api: Api, echo: EchoServer) -> None:
    """A connection that missed nothing lives on when the silence is removed, or spares it from then on."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("silence")
        await change(api, "silence", toxicity=0)
        await client.ask()
        await change(api, "silence", toxicity=1)
        await remove(api, "silence")
        await client.ask()


async def test_bandwidth_0_stalls_and_loses_nothing(api: Api, echo: EchoServer) -> None:
    """At rate 0 an open connection gets nothing; raised, lowered again and removed, everything arrives in order."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("bandwidth", rate=0)
        client.writer.write(SHOT)
        await touched(api, "bandwidth")
        await asyncio.sleep(0.2)  # nothing is what is waited for here
        assert (await api.stats())["bytes"]["downstream"] == 4
        await change(api, "bandwidth", rate=1_000_000)
        async with asyncio.timeout(10):
            assert await client.reader.readexactly(len(SHOT)) == SHOT
        await change(api, "bandwidth", rate=0)
        client.writer.write(SHOT[::-1])
        client.writer.write_eof()

        async def entered() -> bool:
            return bool((await evidence(api, "bandwidth"))["bytes"] == 2 * len(SHOT))

        await eventually(entered)
        counted = await evidence(api, "bandwidth")
        assert (counted["connections"], counted["bytes"]) == (1, 2 * len(SHOT))
        await remove(api, "bandwidth")
        async with asyncio.timeout(10):
            assert await client.reader.read(-1) == SHOT[::-1]


async def test_slicer_0_keeps_pieces_as_they_came_and_spaces_them(api: Api, echo: EchoServer) -> None:
    """With average_size 0 nothing is cut; what came apart leaves apart by the delay."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("slicer", average_size=0, delay=80_000)
        start = time.monotonic()
        for size in (500, 300, 200):  # each its own piece for the proxy, which is asked whether it has it
            client.writer.write(bytes(size))
            await entered_so_far(api, "slicer", {500: 500, 300: 800, 200: 1000}[size])
        reads: list[int] = []
        while sum(reads) < 1000:
            reads.append(len(await client.reader.read(65536)))
        assert time.monotonic() - start >= 0.16 - EARLY_S
        assert set(boundaries(reads)) <= {500, 800, 1000}
        counted = await evidence(api, "slicer")
        assert counted["delayed_chunks"] == 3
        await change(api, "slicer", average_size=100, delay=0)
        assert await answer(client, SHOT) == SHOT
        assert (await evidence(api, "slicer"))["delayed_chunks"] == 13
        await remove(api, "slicer")
        await client.ask()


async def entered_so_far(api: Api, kind: str, count: int) -> None:
    """Wait until that many bytes have entered a downstream toxic."""

    async def entered() -> bool:
        return bool((await evidence(api, kind))["bytes"] >= count)

    await eventually(entered)


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto"])
async def test_latency_varies_by_its_distribution_and_the_stats_agree(
    api: Api, echo: EchoServer, distribution: str
) -> None:
    """The stats' median and 90th percentile are those that 20 clients measured, and none comes before 0."""
    port = await api.proxy_to(echo.port)
    await api.toxic("latency", more={"attributes": {"latency": 200, "jitter": 50, "distribution": distribution}})
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(port)) for _ in range(20)]

        async def ask(client: Client) -> list[float]:
            return [await client.ask() for _ in range(10)]

        taken = sorted(chain(*await asyncio.gather(*(ask(client) for client in clients))))
        counted = await evidence(api, "latency")
    assert counted["delayed_chunks"] == 200
    assert statistics.stdev(taken) > 0.01
    for name, share in (("p50", 0.5), ("p90", 0.9)):
        assert counted["delay_ms"][name] - EARLY_S * 1000 <= taken[round(share * 200) - 1] * 1000
        assert taken[round(share * 200) - 1] * 1000 < counted["delay_ms"][name] + 50
