"""What Toxiproxy's toxics do to real bytes: through a real Toxiproxy and ours, against each other and the arithmetic.

The two are measured at the same time and in turn, so that a busy machine disturbs both alike. Where they differ it is
by a known error of Toxiproxy's, and the test says so.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from effects_rig import SHOT, Life, boundaries, critical, distance, distance_between, likely_hits, live, quantiles
from proxy_processes import own_process
from proxy_rig import Api, Client, EchoServer, SinkServer, allow_descriptors, api_at, connected, port_of, until
from toxiproxy_peer import their_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

# The proxies are processes with loops of their own; which one the measuring client uses makes no difference.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

OURS, THEIRS = "ours", "toxiproxy"
EFFECT_S = 2.0
# A timer may round to a millisecond.
EARLY_S = 0.002
# What two measurements at once, on a busy machine, may differ by.
CLOSE = 0.25 * EFFECT_S


@dataclass(frozen=True)
class Both:
    """One way to the echo server through each proxy, and their control APIs."""

    apis: dict[str, Api]
    ports: dict[str, int]

    async def toxic(self, kind: str, toxicity: float = 1, **attributes: float) -> None:
        """Add the same toxic to both, downstream."""
        for api in self.apis.values():
            await api.toxic(kind, more={"toxicity": toxicity}, **attributes)

    async def clients(self, stack: AsyncExitStack, count: int) -> dict[str, list[Client]]:
        """Open connections through each, in turn."""
        opened: dict[str, list[Client]] = {name: [] for name in self.ports}
        for _ in range(count):
            for name, port in self.ports.items():
                opened[name].append(await stack.enter_async_context(connected(port)))
        return opened

    async def lives(self, count: int) -> dict[str, list[Life]]:
        """Live through so many connections through each, all at once, the two in turn."""
        allow_descriptors(4 * count + 200)
        lives = await asyncio.gather(*(live(port) for _ in range(count) for port in self.ports.values()))
        return {name: lives[place :: len(self.ports)] for place, name in enumerate(self.ports)}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Both proxies as processes; the addresses of their APIs."""
    audit = tmp_path_factory.mktemp("effects") / "audit"
    with their_server() as theirs, own_process(audit, "-seed", "11") as ours:
        yield {OURS: ours.url, THEIRS: theirs.url}


@pytest.fixture
async def both(servers: dict[str, str], echo: EchoServer) -> AsyncIterator[Both]:
    """Fresh ways through both to an echo server."""
    async with AsyncExitStack() as stack:
        apis = {name: await stack.enter_async_context(api_at(url)) for name, url in servers.items()}
        yield Both(apis, {name: await api.proxy_to(echo.port) for name, api in apis.items()})
        for api in apis.values():
            await api.ok("DELETE", "/proxies/p")


@dataclass(frozen=True)
class Effect:
    """What a toxic does to a connection that sends one shot.

    Attributes:
        attributes: Chosen so that what it does takes `EFFECT_S`.
        felt_s: How long it took.
        echoed: How much of the shot comes back.
        end: How the connection then ends.
    """

    attributes: dict[str, float]
    felt_s: Callable[[Life], float]
    echoed: int = len(SHOT)
    end: str = "fin"

    def struck(self, life: Life) -> bool:
        """Whether the toxic was at work on that connection."""
        return life.echoed < len(SHOT) or self.felt_s(life) > EFFECT_S / 2


EFFECTS = {
    "latency": Effect({"latency": 2000}, lambda life: life.whole_s),
    "bandwidth": Effect({"rate": 1}, lambda life: life.whole_s),
    "slicer": Effect({"average_size": 250, "delay": 286_000}, lambda life: life.whole_s),
    "slow_close": Effect({"delay": 2000}, lambda life: life.closing_s),
    "timeout": Effect({"timeout": 2000}, lambda life: life.lasted_s, echoed=0),
    "reset_peer": Effect({"timeout": 2000}, lambda life: life.lasted_s, echoed=0, end="reset"),
}


@pytest.mark.parametrize("toxicity", [0, 0.5, 1])
@pytest.mark.parametrize("kind", EFFECTS)
async def test_a_toxic_strikes_as_many_and_as_hard_as_toxiproxys(both: Both, kind: str, toxicity: float) -> None:
    """It strikes the share of connections that its toxicity says; they feel what it says, and the others nothing."""
    effect = EFFECTS[kind]
    await both.toxic(kind, toxicity, **effect.attributes)
    lives = await both.lives(200 if toxicity == 0.5 else 50)
    for name, all_lives in lives.items():
        struck = [life for life in all_lives if effect.struck(life)]
        spared = [life for life in all_lives if not effect.struck(life)]
        assert len(struck) in likely_hits(len(all_lives), toxicity), name
        assert {(life.echoed, life.end) for life in struck} <= {(effect.echoed, effect.end)}, name
        # Toxiproxy's reset_peer sets the linger of every new connection, struck or not: all of them end in a reset.
        end = "reset" if (kind, name) == ("reset_peer", THEIRS) else "fin"
        assert {(life.echoed, life.end) for life in spared} <= {(len(SHOT), end)}, name
        assert all(effect.felt_s(life) >= EFFECT_S - EARLY_S for life in struck), name
    if toxicity:
        ours, theirs = (
            statistics.median(effect.felt_s(life) for life in lives[name] if effect.struck(life))
            for name in (OURS, THEIRS)
        )
        assert abs(ours - theirs) < CLOSE
        assert ours < EFFECT_S + CLOSE


@pytest.mark.parametrize("toxicity", [0, 0.5, 1])
async def test_limit_data_passes_the_same_bytes(both: Both, toxicity: float) -> None:
    """Through both, a struck connection gets exactly its bytes and then the end, and the others get everything."""
    await both.toxic("limit_data", toxicity, bytes=300)
    for name, lives in (await both.lives(200)).items():
        assert {(life.echoed, life.end) for life in lives} <= {(300, "fin"), (len(SHOT), "fin")}, name
        assert sum(life.echoed == 300 for life in lives) in likely_hits(200, toxicity), name


async def test_down_refuses_new_connections_and_ends_open_ones(both: Both) -> None:
    """Through both, a disabled proxy refuses; open connections end, ours with a reset, and live again once enabled."""
    async with AsyncExitStack() as stack:
        opened = await both.clients(stack, 5)
        for client in (*opened[OURS], *opened[THEIRS]):
            await client.ask()
        for name, api in both.apis.items():
            await api.ok("POST", "/proxies/p", {"enabled": False})
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", both.ports[name])
        assert {await client.end() for client in opened[OURS]} == {"reset"}
        assert {await client.end() for client in opened[THEIRS]} <= {"fin", "reset"}
    for api in both.apis.values():
        await api.ok("POST", "/proxies/p", {"enabled": True})
    for name, lives in (await both.lives(10)).items():
        assert {(life.echoed, life.end) for life in lives} == {(len(SHOT), "fin")}, name


async def asked(both: Both, clients: int, times: int) -> dict[str, list[float]]:
    """Round trips through each, in seconds: so many clients each ask so many times."""

    async def ask(client: Client) -> list[float]:
        return [await client.ask() for _ in range(times)]

    async with AsyncExitStack() as stack:
        opened = await both.clients(stack, clients)
        taken = await asyncio.gather(*(ask(client) for pair in zip(*opened.values(), strict=True) for client in pair))
    return {name: list(chain(*taken[place :: len(opened)])) for place, name in enumerate(opened)}


async def test_latency_has_the_same_quantiles(both: Both) -> None:
    """Each message is late by the latency, never by less; quantiles of both agree."""
    await both.toxic("latency", latency=160)
    taken = await asked(both, clients=20, times=8)
    assert min(taken[OURS] + taken[THEIRS]) >= 0.16 - EARLY_S
    for ours, theirs in zip(quantiles(taken[OURS]), quantiles(taken[THEIRS]), strict=True):
        assert abs(ours - theirs) < 0.25 * 0.16


async def test_jitter_has_the_same_distribution(both: Both) -> None:
    """Each message is late by latency ± jitter, evenly: through both, and as the arithmetic says."""
    await both.toxic("latency", latency=200, jitter=160)
    taken = await asked(both, clients=40, times=10)
    # A slow turn of this machine, of up to 32 ms for most, shifts the curve by a tenth of the 320 ms it rises in.
    noise = 0.1
    for name, times in taken.items():
        assert min(times) >= 0.04 - EARLY_S, name
        assert distance(times, lambda taken_s: min(max((taken_s - 0.04) / 0.32, 0), 1)) < critical(400) + noise, name
    assert distance_between(taken[OURS], taken[THEIRS]) < critical(400, 400) + noise


async def arrivals(client: Client, size: int) -> list[float]:
    """Seconds after which each tenth of `size` bytes has come back."""
    start = time.monotonic()
    client.writer.write(bytes(size))
    times = []
    for _ in range(10):
        await client.reader.readexactly(size // 10)
        times.append(time.monotonic() - start)
    return times


async def test_bandwidth_draws_the_same_line(both: Both) -> None:
    """Each tenth of 200 kB at 100 kB/s arrives when its share of 2 s is over, at most a slice of Toxiproxy's early."""
    await both.toxic("bandwidth", rate=100)
    async with AsyncExitStack() as stack:
        opened = await both.clients(stack, 5)
        curves = await asyncio.gather(
            *(arrivals(client, 200_000) for pair in zip(*opened.values(), strict=True) for client in pair)
        )
    for curve in curves:
        assert all(at >= 0.2 * number - 0.1 - EARLY_S for number, at in enumerate(curve, start=1))
        assert curve[-1] >= 2 - EARLY_S
    for tenth in range(10):
        ours, theirs = (statistics.median(curve[tenth] for curve in curves[place::2]) for place in (0, 1))
        assert abs(ours - theirs) < 0.1 + 0.25


async def cuts(both: Both, expected: dict[str, set[int]]) -> dict[str, set[int]]:
    """Where pieces of a shot are seen to end; we look again while some end that is expected has not been seen.

    What the kernel glued together because we read late still ends where a piece ended.
    """
    seen: dict[str, set[int]] = {name: set() for name in both.ports}
    for _ in range(6):
        for name, lives in (await both.lives(10)).items():
            seen[name].update(*(boundaries([size for _, size in life.reads]) for life in lives))
        if all(seen[name] >= expected[name] for name in seen):
            break
    return seen


def halved(start: int, end: int, average: int) -> list[int]:
    """Where the pieces end of what is halved until it is no longer than the average: Toxiproxy's way of slicing."""
    if end - start <= average:
        return [end]
    middle = start + (end - start) // 2
    return [*halved(start, middle, average), *halved(middle, end, average)]


async def test_slicer_cuts_at_the_same_places(both: Both) -> None:
    """Data of 8 average sizes is cut into exactly those by both, and the pause between them is the delay."""
    await both.toxic("slicer", average_size=250, delay=30_000)
    expected = {name: set(range(250, 2001, 250)) for name in both.ports}
    assert await cuts(both, expected) == expected
    assert min(life.whole_s for lives in (await both.lives(5)).values() for life in lives) >= 7 * 0.03 - EARLY_S


async def test_slicer_means_the_average_only_in_ours(both: Both) -> None:
    """Pieces of 100 bytes on average are that in ours; Toxiproxy halves what it has until it is small enough: 62."""
    await both.toxic("slicer", average_size=100, delay=30_000)
    expected = {OURS: set(range(100, 2001, 100)), THEIRS: set(halved(0, 2000, 100))}
    assert len(expected[THEIRS]) == 32
    assert await cuts(both, expected) == expected


async def test_slicer_varies_within_its_bounds(both: Both) -> None:
    """With a variation, piece sizes spread; ours evenly and only within average ± variation."""
    await both.toxic("slicer", average_size=100, size_variation=60, delay=40_000)
    lives = await both.lives(50)
    firsts = {name: [life.reads[0][1] for life in all_lives] for name, all_lives in lives.items()}
    assert all(len(set(sizes)) > 10 for sizes in firsts.values())
    alone = [size for size in firsts[OURS] if size <= 160]  # the others were glued to the next because we read late
    assert (min(alone) >= 40, len(alone) > 25) == (True, True)
    assert distance(alone, lambda size: (int(size) - 39) / 121) < critical(len(alone))


async def test_an_end_is_as_late_as_the_data_only_in_ours(both: Both) -> None:
    """Latency delays the end of a stream as a slow network would; Toxiproxy passes it at once."""
    await both.toxic("latency", latency=500)
    lives = await both.lives(20)
    assert min(life.closing_s for life in lives[OURS]) >= 0.5 - EARLY_S
    assert statistics.median(life.closing_s for life in lives[THEIRS]) < 0.25


async def test_steady_traffic_never_times_out_in_toxiproxy_only(both: Both) -> None:
    """A timeout ends a connection that keeps talking in ours; Toxiproxy starts the clock anew with each piece."""
    await both.toxic("timeout", timeout=500)
    async with AsyncExitStack() as stack:
        opened = await both.clients(stack, 1)
        ends = {name: asyncio.create_task(clients[0].end()) for name, clients in opened.items()}
        start = time.monotonic()
        while time.monotonic() - start < 1.5:
            for name, clients in opened.items():
                if not ends[name].done():
                    clients[0].writer.write(b"still here")
            await asyncio.sleep(0.03)
        assert {name: ended.done() for name, ended in ends.items()} == {OURS: True, THEIRS: False}
        ends[THEIRS].cancel()


async def test_reset_peer_resets_open_connections_only_in_ours(both: Both) -> None:
    """A connection that was open before the toxic came sees a reset in ours, an ordinary end in Toxiproxy's."""
    async with AsyncExitStack() as stack:
        opened = await both.clients(stack, 5)
        for client in (*opened[OURS], *opened[THEIRS]):
            await client.ask()
        await both.toxic("reset_peer")
        for client in (*opened[OURS], *opened[THEIRS]):
            client.writer.write(b"x")
        assert {await client.end() for client in opened[OURS]} == {"reset"}
        assert {await client.end() for client in opened[THEIRS]} == {"fin"}


async def test_reset_peer_resets_the_server_of_an_idle_client_only_in_toxiproxy(both: Both) -> None:
    """When a client goes that has had no byte, its server sees an ordinary end in ours, a reset in Toxiproxy's."""
    ends = {}
    for name, api in both.apis.items():
        async with SinkServer() as sink:
            port = await api.proxy_to(sink.port, "idle")
            await api.toxic("reset_peer", "idle")
            async with connected(port) as client:
                await until(lambda: sink.writers)
                client.writer.close()
                await until(lambda: sink.ended)
            ends[name] = sink.ended
            await api.ok("DELETE", "/proxies/idle")
    assert ends == {OURS: "fin", THEIRS: "reset"}


async def test_limit_data_of_0_waits_for_a_byte_only_in_toxiproxy(both: Both) -> None:
    """Where no byte may pass, ours closes at once; Toxiproxy when the server has answered what it was asked."""
    await both.toxic("limit_data", bytes=0)
    async with AsyncExitStack() as stack:
        opened = await both.clients(stack, 1)
        ends = {name: asyncio.create_task(clients[0].end()) for name, clients in opened.items()}
        assert await ends[OURS] == "fin"
        await asyncio.wait([ends[THEIRS]], timeout=0.5)
        assert not ends[THEIRS].done()
        opened[THEIRS][0].writer.write(b"x")
        assert await ends[THEIRS] == "fin"


async def test_a_neighbour_redraws_the_lot_only_in_toxiproxy(both: Both) -> None:
    """At toxicity 0.5, adding another toxic leaves the same connections struck in ours, and draws anew in Toxiproxy."""
    await both.toxic("latency", 0.5, latency=1000)
    async with AsyncExitStack() as stack:
        opened = await both.clients(stack, 60)

        async def struck(name: str) -> list[bool]:
            return [taken > 0.5 for taken in await asyncio.gather(*(client.ask() for client in opened[name]))]

        before = {name: await struck(name) for name in opened}
        await both.toxic("noop")
        after = {name: await struck(name) for name in opened}
    assert before[OURS] == after[OURS]
    assert before[THEIRS] != after[THEIRS]
    assert all(sum(hits) in likely_hits(60, 0.5) for hits in (*before.values(), *after.values()))


async def test_counters_are_live_only_in_ours(both: Both) -> None:
    """While a connection is open, our stats agree with what the client measured; Toxiproxy has no such call."""
    await both.toxic("latency", latency=50)
    taken = await asked_while_open(both, times=10)
    stats: dict[str, Any] = await both.apis[OURS].stats()
    latency = stats["toxics"]["latency_downstream"]
    assert (latency["connections"], latency["bytes"], latency["delayed_chunks"]) == (1, 40, 10)
    assert 50 - EARLY_S * 1000 <= latency["delay_ms"]["p50"] <= statistics.median(taken) * 1000 + 1
    assert (await both.apis[THEIRS].call("GET", "/proxies/p/stats"))[0] == 404


async def asked_while_open(both: Both, times: int) -> list[float]:
    """Round trips of one connection through ours."""
    async with connected(port_of(await both.apis[OURS].ok("GET", "/proxies/p"))) as client:
        return [await client.ask() for _ in range(times)]
