"""Whatever is switched while it flows: every byte arrives once and in order, both ways, on many connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proxy_rig import Api, Server, allow_descriptors, connected, eventually, running_api

# What a toxic would hold back for ever must all arrive when it is removed, and each is removed in the end.
SHORT_OR_FOR_EVER = st.integers(0, 15) | st.just(600_000)
DELAY: dict[str, st.SearchStrategy[Any]] = {
    "latency": SHORT_OR_FOR_EVER,
    "jitter": st.integers(0, 15),
    "distribution": st.sampled_from(["uniform", "normal", "pareto"]),
}
PAUSE = st.integers(0, 50) | st.just(600_000_000)
LOSSLESS: list[tuple[str, dict[str, st.SearchStrategy[Any]]]] = [
    ("noop", {}),
    ("latency", DELAY),
    ("bandwidth", {"rate": st.integers(500, 200_000) | st.sampled_from([0, 1])}),
    ("slicer", {"average_size": st.integers(50, 5000), "size_variation": st.integers(0, 49), "delay": PAUSE}),
    ("slicer", {"average_size": st.just(0), "delay": PAUSE}),
    ("slow_close", {"delay": SHORT_OR_FOR_EVER}),
    ("delay_connect", DELAY),
]


@dataclass(frozen=True)
class Switch:
    """A toxic that comes, perhaps changes, and goes, each after a pause; alone, or with all others at the end."""

    toxic: dict[str, Any]
    changed: dict[str, Any] | None
    pauses_ms: tuple[int, int, int]
    removed_alone: bool


@st.composite
def a_switch(draw: st.DrawFn) -> Switch:
    """The life of a toxic that may delay and cut, and loses nothing."""
    kind, attributes = draw(st.sampled_from(LOSSLESS))
    toxic = {
        "type": kind,
        "stream": draw(st.sampled_from(["upstream", "downstream"])),
        "toxicity": draw(st.sampled_from([1, 0.5])),
        "attributes": draw(st.fixed_dictionaries(attributes)),
    }
    changed = draw(st.none() | st.fixed_dictionaries(attributes))
    return Switch(toxic, changed, draw(st.tuples(*[st.integers(0, 12)] * 3)), draw(st.booleans()))


@dataclass(frozen=True)
class Script:
    """What all sides say: each random bytes of its own after its number, by which they sort, in random chunks."""

    seed: int
    longest: int

    def speech(self, side: str, number: int) -> bytes:
        """What one side of one conversation says."""
        random = Random(f"{self.seed}/{side}/{number}")
        return number.to_bytes(4, "big") + random.randbytes(random.randint(0, self.longest))

    async def speak(self, writer: asyncio.StreamWriter, side: str, number: int) -> None:
        """Say all of it, then finish."""
        speech, chunks, place = self.speech(side, number), Random(f"{self.seed}/{side}/{number}/chunks"), 0
        while place < len(speech):
            size = chunks.choice([1, 7, 300, 5000, 70_000])
            writer.write(speech[place : place + size])
            place += size
            await writer.drain()
            if chunks.random() < 0.2:
                await asyncio.sleep(0.002)
        writer.write_eof()

    def as_written(self, side: str, heard: list[bytes]) -> bool:
        """Whether what was heard of that side is exactly what each of its speakers said."""
        return sorted(heard) == [self.speech(side, number) for number in range(len(heard))]


class TalkingServer(Server):
    """Talks while it listens, by the script; keeps what it heard."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.heard: list[bytes] = []
        self.greeted = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk and listen at once; finish both."""
        number, self.greeted = self.greeted, self.greeted + 1
        heard, _ = await asyncio.gather(listen(reader), self.script.speak(writer, "server", number))
        self.heard.append(heard)


async def listen(reader: asyncio.StreamReader) -> bytes:
    """Everything up to the end."""
    heard = bytearray()
    while data := await reader.read(65536):
        heard += data
    return bytes(heard)


async def talk(port: int, script: Script, number: int) -> bytes:
    """Be one client: say what the script says, and hear the server out."""
    async with connected(port) as client:
        heard, _ = await asyncio.gather(listen(client.reader), script.speak(client.writer, "client", number))
    return heard


async def switch_on_and_off(api: Api, name: str, switch: Switch) -> None:
    """Let one toxic come, change and go, or stay to the end."""
    await asyncio.sleep(switch.pauses_ms[0] / 1000)
    await api.ok("POST", "/proxies/p/toxics", {**switch.toxic, "name": name})
    await asyncio.sleep(switch.pauses_ms[1] / 1000)
    if switch.changed is not None:
        await api.ok("PATCH", f"/proxies/p/toxics/{name}", {"attributes": switch.changed, "toxicity": 1})
    await asyncio.sleep(switch.pauses_ms[2] / 1000)
    if switch.removed_alone:
        await api.ok("DELETE", f"/proxies/p/toxics/{name}")


async def switch_all(api: Api, switches: list[Switch]) -> None:
    """Run all switches at once, then remove in one call what is left of them."""
    await asyncio.gather(*(switch_on_and_off(api, f"t{number}", switch) for number, switch in enumerate(switches)))
    await api.ok("POST", "/reset")


async def converse(script: Script, connections: int, switches: list[Switch]) -> None:
    """Talk both ways at once on all connections through changing toxics; what was heard must be what was said."""
    async with running_api() as api, TalkingServer(script) as server:
        port = await api.proxy_to(server.port)
        async with asyncio.timeout(60):
            *heard, _ = await asyncio.gather(
                *(talk(port, script, number) for number in range(connections)), switch_all(api, switches)
            )
        await eventually(api.all_closed)
        stats = await api.stats()
    assert script.as_written("server", heard)
    assert script.as_written("client", server.heard)
    assert stats["connections"] == {"open": 0, "opened": connections, "refused": 0, "cut": 0}
    assert stats["bytes"] == {"upstream": sum(map(len, server.heard)), "downstream": sum(map(len, heard))}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**16),
    longest=st.integers(0, 400_000),
    connections=st.integers(1, 5),
    switches=st.lists(a_switch(), max_size=6),
    on_uvloop=st.booleans(),
)
def test_every_byte_arrives_once_and_in_order(
    seed: int, longest: int, connections: int, switches: list[Switch], on_uvloop: bool
) -> None:
    """Random data in random chunks, both ways, with toxics that come, change and go: nothing is lost or swapped."""
    run = uvloop.run if on_uvloop else asyncio.run
    run(converse(Script(seed, longest), connections, switches))


AT_ONCE, TIMES = 500, 20


@settings(max_examples=TIMES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**16),
    longest=st.sampled_from([0, 100, 5000]),
    switches=st.lists(a_switch(), min_size=1, max_size=6),
    on_uvloop=st.booleans(),
)
def test_ten_thousand_connections_lose_nothing(
    seed: int, longest: int, switches: list[Switch], on_uvloop: bool
) -> None:
    """Twenty times 500 connections at once, through toxics that come, change and go: each hears what was said to it."""
    allow_descriptors(4 * AT_ONCE + 200)
    run = uvloop.run if on_uvloop else asyncio.run
    run(converse(Script(seed, longest), AT_ONCE, switches))


class FinishesFirst(Server):
    """Says a word and finishes; then hears the client out, and keeps what it heard."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: bytes | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Finish first, listen later."""
        writer.write(b"I have said")
        writer.write_eof()
        self.heard = await listen(reader)


HALF_CLOSED = [None, ("latency", {"latency": 20}), ("slow_close", {"delay": 20}), ("bandwidth", {"rate": 10_000})]


@pytest.mark.parametrize("toxic", HALF_CLOSED, ids=lambda toxic: toxic[0] if toxic else "none")
async def test_a_server_may_finish_first(api: Api, toxic: tuple[str, dict[str, float]] | None) -> None:
    """A client that has read the server's end can still send 300 kB, and all of it arrives."""
    speech = Random(1).randbytes(300_000)
    async with FinishesFirst() as server, connected(await api.proxy_to(server.port)) as client:
        await add_both_ways(api, toxic)
        async with asyncio.timeout(10):
            assert await client.reader.read(-1) == b"I have said"
            client.writer.write(speech)
            client.writer.write_eof()

            async def heard() -> bool:
                return server.heard is not None

            await eventually(heard)
    assert server.heard == speech


@pytest.mark.parametrize("toxic", HALF_CLOSED, ids=lambda toxic: toxic[0] if toxic else "none")
async def test_a_client_may_finish_first(api: Api, toxic: tuple[str, dict[str, float]] | None) -> None:
    """A server that has read the client's end can still send 300 kB, and all of it arrives."""
    speech = Random(1).randbytes(300_000)
    async with AnswersAtTheEnd(speech) as server, connected(await api.proxy_to(server.port)) as client:
        await add_both_ways(api, toxic)
        client.writer.write(b"your turn")
        client.writer.write_eof()
        async with asyncio.timeout(10):
            assert await client.reader.read(-1) == b"your turn" + speech


class AnswersAtTheEnd(Server):
    """Hears the client out, then repeats it and gives a speech."""

    def __init__(self, speech: bytes) -> None:
        super().__init__()
        self.speech = speech

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Listen first, talk later."""
        writer.write(await listen(reader) + self.speech)
        writer.close()


async def add_both_ways(api: Api, toxic: tuple[str, dict[str, float]] | None) -> None:
    """Add a toxic in both directions."""
    if toxic is None:
        return
    kind, attributes = toxic
    for stream in ("upstream", "downstream"):
        await api.toxic(kind, more={"stream": stream}, **attributes)
