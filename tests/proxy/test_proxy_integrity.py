"""Whatever is switched while it flows: every byte arrives once and in order, in both directions."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from random import Random
from typing import Any

import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proxy_rig import Api, Server, connected, running_api

# What a toxic would hold back for ever must all arrive when it is removed, and each is removed in the end.
SHORT_OR_FOR_EVER = st.integers(0, 15) | st.just(600_000)
LOSSLESS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "noop": {},
    "latency": {"latency": SHORT_OR_FOR_EVER, "jitter": st.integers(0, 15)},
    "bandwidth": {"rate": st.integers(500, 200_000) | st.just(1)},
    "slicer": {
        "average_size": st.integers(50, 5000),
        "size_variation": st.integers(0, 49),
        "delay": st.integers(0, 50) | st.just(600_000_000),
    },
    "slow_close": {"delay": SHORT_OR_FOR_EVER},
}


@st.composite
def a_toxic(draw: st.DrawFn) -> dict[str, Any]:
    """A toxic that may delay and cut, and loses nothing."""
    kind = draw(st.sampled_from(sorted(LOSSLESS)))
    return {
        "type": kind,
        "stream": draw(st.sampled_from(["upstream", "downstream"])),
        "toxicity": draw(st.sampled_from([1, 0.5])),
        "attributes": {key: draw(value) for key, value in LOSSLESS[kind].items()},
    }


@dataclass(frozen=True)
class Switch:
    """A toxic that comes, perhaps changes, and goes, each after a pause; alone, or with all others at the end."""

    toxic: dict[str, Any]
    changed: dict[str, Any] | None
    pauses_ms: tuple[int, int, int]
    removed_alone: bool


@st.composite
def a_switch(draw: st.DrawFn) -> Switch:
    """A toxic's life."""
    toxic = draw(a_toxic())
    attributes = LOSSLESS[toxic["type"]]
    changed = draw(st.none() | st.fixed_dictionaries(attributes))
    return Switch(toxic, changed, draw(st.tuples(*[st.integers(0, 12)] * 3)), draw(st.booleans()))


class TalkingServer(Server):
    """Sends its own random bytes while it reads the client's; keeps what it read."""

    def __init__(self, speech: bytes, chunks: Random) -> None:
        super().__init__()
        self.speech = speech
        self.chunks = chunks
        self.heard = bytearray()
        self.done = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk and listen at once; finish both."""
        await asyncio.gather(speak(writer, self.speech, self.chunks), listen(reader, self.heard))
        self.done.set()


async def speak(writer: asyncio.StreamWriter, speech: bytes, chunks: Random) -> None:
    """Send all of it in chunks of random size, then finish."""
    place = 0
    while place < len(speech):
        size = chunks.choice([1, 7, 300, 5000, 70_000])
        writer.write(speech[place : place + size])
        place += size
        await writer.drain()
        if chunks.random() < 0.2:
            await asyncio.sleep(0.002)
    writer.write_eof()


async def listen(reader: asyncio.StreamReader, heard: bytearray) -> None:
    """Keep everything up to the end."""
    while data := await reader.read(65536):
        heard += data


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


async def converse(size: int, chunk_seed: int, switches: list[Switch]) -> None:
    """Talk both ways at once through changing toxics, and compare what was said with what was heard."""
    up, down = os.urandom(size), os.urandom(size)
    async with running_api() as api, TalkingServer(down, Random(chunk_seed)) as server:
        heard = bytearray()
        async with connected(await api.proxy_to(server.port)) as client, asyncio.timeout(60):
            await asyncio.gather(
                speak(client.writer, up, Random(chunk_seed + 1)),
                listen(client.reader, heard),
                switch_all(api, switches),
            )
            await server.done.wait()
        stats = await api.stats()
    assert hashlib.sha256(server.heard).digest() == hashlib.sha256(up).digest()
    assert hashlib.sha256(heard).digest() == hashlib.sha256(down).digest()
    assert stats["bytes"] == {"upstream": size, "downstream": size}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.integers(0, 400_000),
    chunk_seed=st.integers(0, 2**16),
    switches=st.lists(a_switch(), max_size=6),
    on_uvloop=st.booleans(),
)
def test_every_byte_arrives_once_and_in_order(
    size: int, chunk_seed: int, switches: list[Switch], on_uvloop: bool
) -> None:
    """Random data in random chunks, both ways, with toxics that come, change and go: nothing is lost or swapped."""
    run = uvloop.run if on_uvloop else asyncio.run
    run(converse(size, chunk_seed, switches))
