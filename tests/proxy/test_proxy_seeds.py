"""Seeds: the same seed and the same connections in the same order give the same faults, whatever the neighbours do."""

from __future__ import annotations

import asyncio
import math
import statistics
from contextlib import AsyncExitStack
from itertools import pairwise
from random import Random
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import pytest
from effects_rig import boundaries, critical, distance
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_processes import own_process
from proxy_rig import Api, Client, EchoServer, api_at, connected, eventually, running_api

from chaosrunner.proxy.agenda import Agenda
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics.chain import stage_for
from chaosrunner.proxy.toxics.kinds import Delay, Latency, Slicer
from chaosrunner.proxy.toxics.luck import Luck
from chaosrunner.proxy.toxics.stage import Means
from chaosrunner.proxy.toxics.toxic import Toxic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DRAWS = 20_000


def toxic(attributes: Any = None, toxicity: float = 0.5, seed: int | None = None) -> AppliedToxic:
    """A toxic at work."""
    return AppliedToxic(Toxic("t", "latency", "downstream", toxicity, attributes or Latency(), seed))


def struck(applied: AppliedToxic, seed: str, connections: int) -> list[bool]:
    """Which of so many connections in a row it strikes."""
    return [Luck(seed, applied).strikes() for _ in range(connections)]


# The arithmetic


def uniform_cdf(delay_s: float) -> float:
    """100 ± 60 ms, evenly."""
    return min(max((delay_s - 0.04) / 0.12, 0), 1)


def normal_cdf(delay_s: float) -> float:
    """100 ms with a standard deviation of 60 ms, nothing below 0."""
    return NormalDist(0.1, 0.06).cdf(delay_s) if delay_s >= 0 else 0


def pareto_cdf(delay_s: float) -> float:
    """Pareto with shape 3, moved and scaled to 100 ms on average and a standard deviation of 60 ms.

    Of x, Pareto from 1 on with shape a: mean a / (a - 1), variance a / ((a - 1)² (a - 2)), CDF 1 - x^-a.
    """
    raw = (delay_s - 0.1) / 0.06 * math.sqrt(0.75) + 1.5
    return 1 - raw**-3 if raw >= 1 else 0


CDFS: dict[str, Callable[[float], float]] = {"uniform": uniform_cdf, "normal": normal_cdf, "pareto": pareto_cdf}


@pytest.mark.parametrize("distribution", CDFS)
def test_delays_are_distributed_as_the_formula_says(distribution: Any) -> None:
    """20,000 delays of each distribution are as near to its formula as chance has them, and far from the other two."""
    random = Random(2)
    delays = [Delay(100, 60, distribution).draw_s(random) for _ in range(DRAWS)]
    distances = {name: distance(delays, cdf) for name, cdf in CDFS.items()}
    assert distances.pop(distribution) < critical(DRAWS)
    assert min(distances.values()) > critical(DRAWS)


def test_a_long_tail_is_longer_than_a_bell() -> None:
    """Of normal and Pareto delays with the same mean and deviation, Pareto's worst in a thousand is far later."""
    worst = {}
    for distribution in ("normal", "pareto"):
        random = Random(3)
        delays = sorted(Delay(1000, 100, distribution).draw_s(random) for _ in range(20_000))  # type: ignore[arg-type]
        assert statistics.mean(delays) == pytest.approx(1, abs=0.01)
        worst[distribution] = delays[-20]
    assert worst["pareto"] > worst["normal"] + 0.2


@given(
    latency=st.floats(0, 1e5),
    jitter=st.floats(0, 1e6),
    distribution=st.sampled_from(["uniform", "normal", "pareto"]),
    seed=st.integers(),
)
def test_no_delay_is_below_0(latency: float, jitter: float, distribution: Any, seed: int) -> None:
    """Whatever the jitter, a delay is a number of seconds from 0 on."""
    assert 0 <= Delay(latency, jitter, distribution).draw_s(Random(seed)) < math.inf


# The plan of a toxic


@given(seed=st.integers(), toxicity=st.floats(0, 1))
def test_luck_is_a_matter_of_seed_and_number_only(seed: int, toxicity: float) -> None:
    """Two toxics of the same seed strike the same connections, and a third of another seed, at 0.5, does not."""
    one, other = (struck(toxic(toxicity=toxicity, seed=seed), f"proxy {number}", 64) for number in range(2))
    assert one == other
    assert struck(toxic(seed=seed), "", 64) != struck(toxic(seed=seed + 1), "", 64)


@given(seed=st.text())
def test_without_a_seed_of_its_own_a_toxic_takes_the_proxys(seed: str) -> None:
    """The proxy's seed decides, and another one decides otherwise; so does another name beside it."""
    assert struck(toxic(), seed, 64) == struck(toxic(), seed, 64) != struck(toxic(), f"{seed}+", 64)
    namesake = toxic()
    namesake.toxic = Toxic("u", "latency", "downstream", 0.5, Latency())
    assert struck(namesake, seed, 64) != struck(toxic(), seed, 64)


@given(seed=st.integers(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_who_is_struck_at_a_low_toxicity_is_struck_at_a_high_one(seed: int, low: float, high: float) -> None:
    """Turning toxicity up adds connections to those that are struck and frees none."""
    few, many = (struck(toxic(toxicity=share, seed=seed), "", 50) for share in sorted((low, high)))
    assert all(also or not first for first, also in zip(few, many, strict=True))


def test_struck_connections_are_no_pattern() -> None:
    """Over 10,000 connections the share of the toxicity is struck, and it tells nothing about the next one."""
    hits = struck(toxic(toxicity=0.3, seed=5), "", 10_000)
    assert 2700 < sum(hits) < 3300
    after_a_hit = [later for earlier, later in pairwise(hits) if earlier]
    assert sum(after_a_hit) / len(after_a_hit) == pytest.approx(0.3, abs=0.05)


@settings(max_examples=30)
@given(seed=st.integers(), asked_first=st.booleans())
def test_the_draws_of_a_connection_do_not_depend_on_whether_its_luck_was_asked(seed: int, asked_first: bool) -> None:
    """Jitter is drawn apart from the toxicity: a connection has the same delays at every toxicity."""
    luck, same = (Luck("", toxic(seed=seed)) for _ in range(2))
    if asked_first:
        luck.strikes()
    delay = Delay(100, 50, "normal")
    assert [delay.draw_s(luck.random) for _ in range(10)] == [delay.draw_s(same.random) for _ in range(10)]


# Real bytes


async def open_in_a_row(stack: AsyncExitStack, port: int, count: int, echo: EchoServer) -> list[Client]:
    """Clients whose order at the proxy is theirs."""
    clients = []
    for _ in range(count):
        seen = len(echo.writers)
        clients.append(await stack.enter_async_context(connected(port)))

        async def arrived(seen: int = seen) -> bool:
            return len(echo.writers) > seen

        await eventually(arrived)
    return clients


async def spoilt_answers(api: Api, port: int, echo: EchoServer, meanwhile: Callable[[Api], Any] | None) -> list[bytes]:
    """What 12 connections in a row get back of 3 × 4,000 zeros; `meanwhile` is done before each time."""
    answers = [b""] * 12
    async with AsyncExitStack() as stack:
        clients = await open_in_a_row(stack, port, 12, echo)
        for _ in range(3):
            if meanwhile is not None:
                await meanwhile(api)
            for number, client in enumerate(clients):
                client.writer.write(bytes(4000))
                answers[number] += await asyncio.wait_for(client.reader.readexactly(4000), 10)
    return answers


async def neighbours(api: Api) -> None:
    """Add a toxic before and after, in both directions, change one, and remove one."""
    number = len(await api.ok("GET", "/proxies/p/toxics"))
    for stream in ("upstream", "downstream"):
        await api.toxic("corrupt", more={"name": f"{number}{stream}", "stream": stream}, probability=0)
    await api.toxic("slicer", more={"name": f"slicer{number}"}, average_size=97, size_variation=50)
    await api.toxic("latency", more={"name": f"latency{number}", "toxicity": 0.5}, latency=2, jitter=1)
    await api.ok("PATCH", f"/proxies/p/toxics/latency{number}", {"attributes": {"latency": 1}, "toxicity": 0.7})
    await api.ok("DELETE", f"/proxies/p/toxics/{number}upstream")


CORRUPT = {"type": "corrupt", "name": "it", "toxicity": 0.5, "attributes": {"probability": 0.01}}


async def corrupted(
    echo: EchoServer, before: bool, meanwhile: Callable[[Api], Any] | None, **given: Any
) -> list[bytes]:
    """What a seeded corrupt toxic makes of the same traffic, in a fresh proxy of seed 7."""
    async with running_api() as api:
        port = await api.proxy_to(echo.port)
        if before:
            await neighbours(api)
        await api.ok("POST", "/proxies/p/toxics", {**CORRUPT, **given})
        return await spoilt_answers(api, port, echo, meanwhile)


async def test_the_same_seed_corrupts_the_same_bytes_whatever_the_neighbours_do(echo: EchoServer) -> None:
    """The same connections are struck and the same bytes become the same others; of another seed they do not."""
    plain = await corrupted(echo, before=False, meanwhile=None, seed=3)
    assert len({answer == bytes(12_000) for answer in plain}) == 2
    assert await corrupted(echo, before=True, meanwhile=neighbours, seed=3) == plain
    other = await corrupted(echo, before=False, meanwhile=None, seed=4)
    assert other != plain
    of_proxy = await corrupted(echo, before=False, meanwhile=None)
    assert await corrupted(echo, before=True, meanwhile=neighbours) == of_proxy
    assert of_proxy not in (plain, other)


async def test_a_corrupted_byte_does_not_depend_on_how_data_is_cut(echo: EchoServer) -> None:
    """40,000 bytes are corrupted at the same places to the same values, sent as one, in shreds, or with pauses."""
    got = set[bytes]()
    for sizes in ([40_000], [1, 999] * 40, [7, 93] * 400):
        async with running_api() as api, connected(await api.proxy_to(echo.port)) as client:
            await api.toxic("corrupt", more={"seed": 1}, probability=0.003)
            answer = b""
            for size in sizes:
                client.writer.write(bytes(size))
                answer += await asyncio.wait_for(client.reader.readexactly(size), 10)
            got.add(answer)
    assert len(got) == 1
    assert 60 < sum(map(bool, got.pop())) < 190


async def pieces(seed: int, chunks: list[bytes]) -> list[bytes]:
    """How a slicer of that seed cuts what its first connection sends."""
    agenda, passed = Agenda(), list[Any]()
    applied = toxic(Slicer(average_size=300, size_variation=250), seed=seed)
    stage = stage_for(applied, Luck("", applied), Means(review=lambda: None, agenda=agenda))
    stage.next = passed.append
    for chunk in chunks:
        stage.take(chunk)
    agenda.close()
    return passed


async def test_a_seed_cuts_the_same_slices() -> None:
    """Of the same seed the sizes of all pieces are the same, of another they are not; all within their bounds."""
    data = Random(1).randbytes(20_000)
    cut = await pieces(3, [data])
    assert (b"".join(cut), await pieces(3, [data])) == (data, cut)
    assert [len(piece) for piece in await pieces(4, [data])] != [len(piece) for piece in cut]
    sizes = [len(piece) for piece in cut[:-1]]
    assert (min(sizes) >= 50, max(sizes) <= 550, len(set(sizes)) > 20) == (True, True, True)


async def test_real_pieces_are_those_of_the_plan(api: Api, echo: EchoServer) -> None:
    """What a client reads ends where the seeded plan cuts, whatever else is at work."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await neighbours(api)
        await api.toxic("slicer", more={"seed": 3}, average_size=300, size_variation=250, delay=15_000)
        data = Random(1).randbytes(3000)
        plan = await pieces(3, [data])
        for name in ("slicer0", "latency0"):
            await api.ok("DELETE", f"/proxies/p/toxics/{name}")
        client.writer.write(data)
        reads: list[int] = []
        while sum(reads) < 3000:
            reads.append(len(await asyncio.wait_for(client.reader.read(65536), 10)))
    assert set(boundaries(reads)) <= set(boundaries([len(piece) for piece in plan]))
    assert len(reads) > 3


async def test_real_delays_are_those_of_the_plan(api: Api, echo: EchoServer) -> None:
    """Each of 3 connections feels the delays that its seed and number say, one for each message."""
    port = await api.proxy_to(echo.port)
    await neighbours(api)
    await api.ok("DELETE", "/proxies/p/toxics/slicer0")
    jitter, applied = Latency(120, 100), toxic(seed=9)
    await api.toxic("latency", more={"seed": 9}, latency=120, jitter=100)
    async with AsyncExitStack() as stack:
        for client in await open_in_a_row(stack, port, 3, echo):
            random = Luck("", applied).random
            plan = [jitter.draw_s(random) for _ in range(5)]
            late = [await client.ask() - planned for planned in plan]
            assert min(late) >= -0.002
            assert statistics.median(late) < 0.06


async def hit(client: Client) -> bool:
    """Whether a connection's bytes are spoilt."""
    client.writer.write(bytes(100))
    return await asyncio.wait_for(client.reader.readexactly(100), 10) != bytes(100)


async def test_a_process_of_the_same_seed_strikes_the_same_connections(tmp_path: Path, echo: EchoServer) -> None:
    """Of 40 connections in a row, two processes of -seed 5 strike the same, one of -seed 6 others."""
    found = []
    for seed in ("5", "5", "6"):
        async with AsyncExitStack() as stack:
            process = stack.enter_context(own_process(tmp_path / "audit", "-seed", seed))
            api = await stack.enter_async_context(api_at(process.url))
            port = await api.proxy_to(echo.port)
            await api.toxic("corrupt", more={"toxicity": 0.5}, probability=1)
            clients = await open_in_a_row(stack, port, 40, echo)
            found.append([await hit(client) for client in clients])
    assert found[0] == found[1] != found[2]
    assert all(10 < sum(hits) < 30 for hits in found)


async def test_a_toxic_that_comes_again_draws_the_same_again(api: Api, echo: EchoServer) -> None:
    """Removed and added with its seed, a toxic strikes the same of the connections that were open all the time."""
    port = await api.proxy_to(echo.port)
    found = []
    async with AsyncExitStack() as stack:
        clients = await open_in_a_row(stack, port, 30, echo)
        for seed in (1, 1, 2):
            await api.toxic("corrupt", more={"toxicity": 0.5, "seed": seed}, probability=1)
            found.append([await hit(client) for client in clients])
            await api.ok("DELETE", "/proxies/p/toxics/corrupt_downstream")
    assert found[0] == found[1] != found[2]
