"""What each toxic does to real bytes, on connections that were open before it came and on new ones."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import pytest
from proxy_rig import (
    Api,
    Client,
    DeafServer,
    EchoServer,
    SinkServer,
    connected,
    eventually,
    port_of,
    running_api,
    until,
)


async def test_latency_is_felt_by_a_warm_connection_and_only_while_it_is_there(api: Api, echo: EchoServer) -> None:
    """A warm connection is slow as soon as latency is added, and quick again as soon as it is removed."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("latency", latency=80)
        slow = [await client.ask() for _ in range(3)]
        await api.ok("DELETE", "/proxies/p/toxics/latency_downstream")
        quick = min([await client.ask() for _ in range(5)])
    assert min(slow) >= 0.079
    assert quick < 0.04


async def test_removing_latency_delivers_what_is_under_way_at_once(api: Api, echo: EchoServer) -> None:
    """Bytes that a long latency holds back arrive, in order, when it is removed."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("latency", latency=60_000)
        client.writer.write(b"first ")
        await until_bytes(api, 6)
        client.writer.write(b"second")
        await until_bytes(api, 12)
        await api.ok("DELETE", "/proxies/p/toxics/latency_downstream")
        async with asyncio.timeout(10):
            assert await client.reader.readexactly(12) == b"first second"


async def test_changing_latency_acts_on_what_is_under_way(api: Api, echo: EchoServer) -> None:
    """Bytes held back by a long latency arrive when it is made short."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("latency", latency=60_000)
        client.writer.write(b"held")
        await until_bytes(api, 4)
        await api.ok("PATCH", "/proxies/p/toxics/latency_downstream", {"attributes": {"latency": 1}})
        async with asyncio.timeout(10):
            assert await client.reader.readexactly(4) == b"held"


async def until_bytes(api: Api, count: int, toxic: str = "latency_downstream") -> None:
    """Wait until the toxic has been entered by that many bytes."""

    async def entered() -> bool:
        return bool((await api.stats())["toxics"][toxic]["bytes"] >= count)

    await eventually(entered)


async def test_latency_adds_up_over_both_directions(api: Api, echo: EchoServer) -> None:
    """Latency upstream and downstream is felt as their sum."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await api.toxic("latency", latency=40)
        await api.toxic("latency", more={"stream": "upstream"}, latency=60)
        assert await client.ask() >= 0.099


async def test_jitter_spreads_around_the_latency(api: Api, echo: EchoServer) -> None:
    """With jitter round trips differ, and stay within latency ± jitter on the early side."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await api.toxic("latency", latency=30, jitter=25)
        times = [await client.ask() for _ in range(30)]
    assert min(times) >= 0.0045
    assert statistics.stdev(times) > 0.005


async def test_the_same_seed_draws_the_same_delays(echo: EchoServer) -> None:
    """Two proxies of one seed strike the same connections."""
    struck = []
    for _ in range(2):
        async with running_api() as api:
            await api.proxy_to(echo.port)
            await api.toxic("timeout", more={"toxicity": 0.5})
            clients = await open_clients(api, 12)
            struck.append(await asyncio.gather(*(is_struck(client) for client in clients)))
    assert struck[0] == struck[1]
    assert len(set(struck[0])) == 2


async def open_clients(api: Api, count: int) -> list[Client]:
    """Clients of proxy p, connected one after the other so that their order is theirs."""
    port = port_of(await api.ok("GET", "/proxies/p"))
    return [Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(count)]


async def is_struck(client: Client) -> bool:
    """Whether a connection gets no answer within a second."""
    client.writer.write(b"x")
    try:
        async with asyncio.timeout(1):
            await client.reader.readexactly(1)
    except TimeoutError:
        return True
    finally:
        client.writer.transport.abort()
    return False


async def test_toxicity_is_drawn_once_a_connection(api: Api, echo: EchoServer) -> None:
    """A connection that is spared stays spared, and one that is struck stays struck, whatever its neighbours do."""
    await api.proxy_to(echo.port)
    await api.toxic("latency", more={"toxicity": 0.5}, latency=400)
    clients = await open_clients(api, 12)

    async def slow() -> list[bool]:
        return [took > 0.2 for took in await asyncio.gather(*(client.ask() for client in clients))]

    first = await slow()
    for change in range(3):
        await api.toxic("noop", more={"name": f"neighbour{change}"})
        assert await slow() == first
    assert len(set(first)) == 2
    for client in clients:
        client.writer.transport.abort()


@pytest.mark.parametrize("kind", ["latency", "timeout", "reset_peer", "limit_data", "slow_close"])
async def test_at_toxicity_0_nothing_is_touched(api: Api, echo: EchoServer, kind: str) -> None:
    """A toxic of toxicity 0 touches no connection."""
    values: dict[str, Any] = {"latency": {"latency": 60_000}, "slow_close": {"delay": 60_000}}.get(kind, {})
    port = await api.proxy_to(echo.port)
    await api.toxic(kind, more={"toxicity": 0}, **values)
    async with connected(port) as client:
        await client.ask()
        client.writer.write_eof()
        assert await client.end() == "fin"
    assert (await api.stats())["toxics"][f"{kind}_downstream"]["connections"] == 0


async def test_toxicity_can_be_turned_up_and_down(api: Api, echo: EchoServer) -> None:
    """A warm connection is struck when toxicity goes to 1 and freed when it goes back to 0."""
    path = "/proxies/p/toxics/latency_downstream"
    async with connected(await api.proxy_to(echo.port)) as client:
        await api.toxic("latency", more={"toxicity": 0}, latency=300)
        quick = min([await client.ask() for _ in range(3)])
        await api.ok("PATCH", path, {"toxicity": 1})
        slow = await client.ask()
        await api.ok("PATCH", path, {"toxicity": 0})
        quick_again = min([await client.ask() for _ in range(3)])
    assert max(quick, quick_again) < 0.15 < slow


async def test_bandwidth_takes_the_time_its_rate_says(api: Api, echo: EchoServer) -> None:
    """100 kB at 100 kB/s take at least 1 s, and trickle in rather than burst."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("bandwidth", rate=100)
        start = time.monotonic()
        client.writer.write(bytes(100_000))
        await client.reader.readexactly(25_000)
        first_quarter = time.monotonic() - start
        await client.reader.readexactly(75_000)
        whole = time.monotonic() - start
    assert whole >= 0.999
    assert first_quarter < 0.75 * whole


async def test_bandwidth_can_be_widened_for_what_waits(api: Api, echo: EchoServer) -> None:
    """Data that crawls arrives soon after the rate is raised."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("bandwidth", rate=1)
        client.writer.write(bytes(100_000))
        await until_bytes(api, 1, "bandwidth_downstream")
        await api.ok("PATCH", "/proxies/p/toxics/bandwidth_downstream", {"attributes": {"rate": 1_000_000}})
        async with asyncio.timeout(10):
            await client.reader.readexactly(100_000)


async def test_slicer_cuts_and_pauses(api: Api, echo: EchoServer) -> None:
    """1,000 bytes in pieces of 100, 10 ms apart, take at least 90 ms and come in several reads."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("slicer", average_size=100, size_variation=0, delay=10_000)
        start, pieces, got = time.monotonic(), 0, b""
        client.writer.write(bytes(range(250)) * 4)
        while len(got) < 1000:
            got += await client.reader.read(65536)
            pieces += 1
        assert time.monotonic() - start >= 0.089
    assert got == bytes(range(250)) * 4
    assert pieces > 1


async def test_slicing_a_large_chunk_into_bytes_leaves_time_for_others(api: Api, echo: EchoServer) -> None:
    """The control API answers in the middle of cutting 200 kB into single bytes, and all of them arrive."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await api.toxic("slicer", average_size=1)
        client.writer.write(bytes(200_000))

        async def half_way() -> bool:
            stats = await api.stats()
            return bool(0 < stats["bytes"]["downstream"] < stats["toxics"]["slicer_downstream"]["bytes"])

        await eventually(half_way)
        async with asyncio.timeout(30):
            await client.reader.readexactly(200_000)


async def test_timeout_swallows_and_closes_after_its_time(api: Api, echo: EchoServer) -> None:
    """Nothing arrives, and the connection is closed after the timeout although data keeps coming."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        start = time.monotonic()
        await api.toxic("timeout", timeout=150)
        ended = asyncio.create_task(client.end())
        while not ended.done() and time.monotonic() - start < 5:
            client.writer.write(b"x")
            await asyncio.sleep(0.02)
        assert 0.149 <= time.monotonic() - start < 5
        await ended
    await eventually(api.all_closed)


@pytest.mark.parametrize("timeout_ms", [0, 600_000])
@pytest.mark.parametrize("stream", ["upstream", "downstream"])
@pytest.mark.parametrize("sent", [b"", b"lost"])
async def test_timeout_passes_the_end(api: Api, echo: EchoServer, sent: bytes, stream: str, timeout_ms: int) -> None:
    """Clients that come and go under a timeout toxic hear the end and nothing else, and none of them stays open."""
    port = await api.proxy_to(echo.port)
    await api.toxic("timeout", more={"stream": stream}, timeout=timeout_ms)
    for _ in range(5):
        async with connected(port) as client:
            client.writer.write(sent)
            client.writer.write_eof()
            assert await client.count() == 0
    await eventually(api.all_closed)
    assert (await api.stats())["toxics"][f"timeout_{stream}"]["bytes"] == 5 * len(sent)


async def test_timeout_closes_also_what_is_half_closed(api: Api) -> None:
    """A client that has finished sending is closed in time although its server never ends."""
    async with DeafServer() as deaf, connected(await api.proxy_to(deaf.port)) as client:
        await until(lambda: deaf.writers)
        start = time.monotonic()
        await api.toxic("timeout", more={"stream": "upstream"}, timeout=150)
        client.writer.write_eof()
        assert await client.end() == "fin"
        assert time.monotonic() - start >= 0.149
        await eventually(api.all_closed)


async def test_a_removed_timeout_leaves_whole_connections_and_closes_torn_ones(api: Api, echo: EchoServer) -> None:
    """When a timeout toxic is removed, a connection that lost nothing goes on, one that lost bytes is closed."""
    port = await api.proxy_to(echo.port)
    async with connected(port) as idle, connected(port) as torn:
        await idle.ask()
        await torn.ask()
        await api.toxic("timeout")
        torn.writer.write(b"lost")
        await until_bytes(api, 4, "timeout_downstream")
        await api.ok("DELETE", "/proxies/p/toxics/timeout_downstream")
        assert await torn.end() in {"fin", "reset"}
        await idle.ask()


@pytest.mark.parametrize("timeout_ms", [0, 60])
async def test_reset_peer_resets_open_and_new_connections(api: Api, echo: EchoServer, timeout_ms: int) -> None:
    """Both an open and a new connection see a TCP reset, after the first byte and the timeout."""
    port = await api.proxy_to(echo.port)
    async with connected(port) as warm:
        await warm.ask()
        await api.toxic("reset_peer", timeout=timeout_ms)
        async with connected(port) as fresh:
            for client in (warm, fresh):
                start = time.monotonic()
                client.writer.write(b"x")
                assert await client.end() == "reset"
                assert time.monotonic() - start >= timeout_ms / 1000 - 0.001


async def test_reset_peer_resets_the_server_too(api: Api) -> None:
    """The server sees a reset as well."""
    async with SinkServer() as sink, connected(await api.proxy_to(sink.port)) as client:
        await api.toxic("reset_peer", more={"stream": "upstream"})
        client.writer.write(b"x")
        assert await client.end() == "reset"
        await until(lambda: sink.ended == "reset")
    assert sink.received == b""


async def test_limit_data_passes_exactly_its_bytes_and_closes(api: Api) -> None:
    """A server gets the allowed bytes, not one more, and the end of the stream."""
    async with SinkServer() as sink, connected(await api.proxy_to(sink.port)) as client:
        await api.toxic("limit_data", more={"stream": "upstream"}, bytes=1000)
        for start in range(0, 1500, 300):
            client.writer.write(bytes(x % 251 for x in range(start, start + 300)))
            await asyncio.sleep(0.01)
        await until(lambda: sink.ended)
    assert sink.received == bytes(x % 251 for x in range(1000))


async def test_limit_data_of_0_closes_open_connections(api: Api, echo: EchoServer) -> None:
    """A limit of nothing ends a warm connection at once."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        await api.toxic("limit_data")
        assert await client.end() == "fin"


async def test_slow_close_delays_only_the_end(api: Api, echo: EchoServer) -> None:
    """Data passes quickly, the end of the stream arrives its delay later."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await api.toxic("slow_close", delay=400)
        assert min([await client.ask() for _ in range(3)]) < 0.3
        start = time.monotonic()
        client.writer.write_eof()
        assert await client.end() == "fin"
        assert time.monotonic() - start >= 0.399


async def test_a_removed_slow_close_lets_go(api: Api, echo: EchoServer) -> None:
    """An end that is held back arrives when the toxic is removed."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await api.toxic("slow_close", delay=600_000)
        await client.ask()
        client.writer.write_eof()

        async def held() -> bool:
            return bool((await api.stats())["toxics"]["slow_close_downstream"]["bytes"] and echo.closed)

        await eventually(held)
        await api.ok("DELETE", "/proxies/p/toxics/slow_close_downstream")
        assert await client.end() == "fin"


async def test_a_toxic_upstream_leaves_downstream_alone(api: Api, echo: EchoServer) -> None:
    """A toxic counts only the bytes of its own stream."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask(b"12345678")
        await api.toxic("noop", more={"stream": "upstream", "name": "up"})
        await api.toxic("noop", more={"name": "down"})
        await client.ask(b"1234")
        stats = await api.stats()
    assert {name: toxic["bytes"] for name, toxic in stats["toxics"].items()} == {"up": 4, "down": 4}
    assert stats["bytes"] == {"upstream": 12, "downstream": 12}


async def test_stats_prove_what_a_toxic_did(api: Api, echo: EchoServer) -> None:
    """A latency toxic's stats hold the connections, bytes and delay of its own time, and nothing from before."""
    port = await api.proxy_to(echo.port)
    async with connected(port) as one, connected(port) as two, connected(port) as idle:
        await idle.ask(b"before")
        await api.toxic("latency", latency=20)
        for client in (one, two, two):
            await client.ask(b"during")
        stats = await api.stats()
    toxic = stats["toxics"]["latency_downstream"]
    assert (toxic["connections"], toxic["bytes"], toxic["delayed_chunks"]) == (2, 18, 3)
    assert 58 <= toxic["delayed_ms_total"] < 60_000
    assert toxic["added_seconds_ago"] >= 0.06
    assert stats["connections"] == {"open": 3, "opened": 3, "refused": 0, "cut": 0}


async def test_a_connection_is_counted_once_however_often_it_is_struck(api: Api, echo: EchoServer) -> None:
    """Five times turned off and on again, toxics have still touched the one connection that there is."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        for stream in ("upstream", "downstream"):
            await api.toxic("noop", more={"stream": stream})
        for toxicity in [1, 0] * 5:
            for stream in ("upstream", "downstream"):
                await api.ok("PATCH", f"/proxies/p/toxics/noop_{stream}", {"toxicity": toxicity})
            await client.ask()
        stats = await api.stats()
    assert stats["connections"]["opened"] == 1
    assert [(toxic["connections"], toxic["bytes"]) for toxic in stats["toxics"].values()] == [(1, 20)] * 2


async def test_a_connection_that_waits_is_counted_once(api: Api, echo: EchoServer) -> None:
    """A delay that is turned off and on while a client waits behind another one has delayed one connection."""
    port = await api.proxy_to(echo.port)
    for name in ("one", "two"):
        await api.toxic("delay_connect", more={"name": name}, latency=600_000)
    async with connected(port):

        async def waits() -> bool:
            return bool((await api.stats())["toxics"]["one"]["connections"])

        await eventually(waits)
        for toxicity in [0, 1] * 5:
            await api.ok("PATCH", "/proxies/p/toxics/one", {"toxicity": toxicity})
        toxics = (await api.stats())["toxics"]
    assert [toxic["connections"] for toxic in toxics.values()] == [1, 1]
