"""How streams end when a side has TLS, and that nothing is lost on the way there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proxy_rig import (
    DEADLINE_S,
    Api,
    Client,
    DeafServer,
    EchoServer,
    Server,
    SinkServer,
    connected,
    eventually,
    running_api,
    until,
)
from test_proxy_integrity import Switch, a_switch, switch_all
from test_proxy_relay import AnswerAtTheEnd, bytes_taken, reset
from tls_rig import Authority, Talk, TlsEchoServer, one_talk, talk_to, tls_connected

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificates."""
    return Authority(tmp_path / "authority")


def both(authority: Authority) -> dict[str, object]:
    """TLS on both sides."""
    return {"listen": authority.pair().as_json(), "upstream": authority.upstream()}


async def in_thread(act: Callable[[], None]) -> None:
    """Run something that blocks."""
    async with asyncio.timeout(3 * DEADLINE_S):
        await asyncio.to_thread(act)


async def test_a_client_that_said_farewell_still_gets_its_answer(api: Api, authority: Authority) -> None:
    """TLS's half-close goes through: the server hears the end, answers half a megabyte, and the client reads it."""
    answer = os.urandom(500_000)

    def serve(talk: Talk) -> None:
        assert talk.rest() == (b"question", "whole")
        talk.say(answer)
        talk.farewell()

    def ask() -> None:
        talk = talk_to(port, authority.client_context())
        talk.say(b"question")
        talk.farewell()
        assert talk.rest() == (answer, "whole")
        talk.close()

    async with one_talk(authority.server_context(), serve) as server_port:
        port = await api.proxy_to(server_port, tls=both(authority))
        await in_thread(ask)
    assert (await api.stats())["connections"]["tls_truncated"] == 0


async def test_a_farewell_is_a_finish_for_a_plain_server(api: Api, authority: Authority) -> None:
    """A TLS client that says farewell is seen as finished by a plain server, whose answer at the end arrives whole."""

    def ask() -> None:
        talk = talk_to(port, authority.client_context())
        talk.say(bytes(100_000))
        talk.farewell()
        assert talk.rest() == (b"100000 bytes", "whole")
        talk.close()

    async with AnswerAtTheEnd() as server:
        port = await api.proxy_to(server.port, tls={"listen": authority.pair().as_json()})
        await in_thread(ask)


async def test_a_finish_is_a_farewell_for_a_tls_server(api: Api, authority: Authority) -> None:
    """A plain client that finishes is heard to say farewell by a TLS server, and its answer arrives."""

    def serve(talk: Talk) -> None:
        assert talk.rest() == (bytes(100_000), "whole")
        talk.say(b"thanks")
        talk.farewell()

    async with one_talk(authority.server_context(), serve) as server_port:
        port = await api.proxy_to(server_port, tls={"upstream": authority.upstream()})
        async with connected(port) as client:
            client.writer.write(bytes(100_000))
            client.writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                assert await client.reader.read(-1) == b"thanks"


@pytest.mark.parametrize("farewell", [True, False])
async def test_a_stream_that_breaks_off_is_not_made_whole(api: Api, authority: Authority, farewell: bool) -> None:
    """A server's stream without farewell reaches the client without one, with every byte, and is counted."""

    def serve(talk: Talk) -> None:
        talk.read(1)
        talk.say(bytes(300_000))
        (talk.farewell if farewell else talk.break_off)()
        talk.rest()

    def ask() -> None:
        talk = talk_to(port, authority.client_context())
        talk.say(b"x")
        assert talk.rest() == (bytes(300_000), "whole" if farewell else "broken off")
        talk.farewell()
        talk.close()

    async with one_talk(authority.server_context(), serve) as server_port:
        port = await api.proxy_to(server_port, tls=both(authority))
        await in_thread(ask)
    counts = (await api.stats())["connections"]
    assert (counts["tls_truncated"], counts["tls_failed"]) == (0 if farewell else 1, 0)


async def test_a_client_that_breaks_off_is_not_made_whole_either(api: Api, authority: Authority) -> None:
    """A client's stream without farewell reaches the server without one, and the server's answer still arrives."""

    def serve(talk: Talk) -> None:
        assert talk.rest() == (b"half a quest", "broken off")
        talk.say(b"what?")
        talk.farewell()

    def ask() -> None:
        talk = talk_to(port, authority.client_context())
        talk.say(b"half a quest")
        talk.break_off()
        assert talk.rest() == (b"what?", "whole")
        talk.close()

    async with one_talk(authority.server_context(), serve) as server_port:
        port = await api.proxy_to(server_port, tls=both(authority))
        await in_thread(ask)
    assert (await api.stats())["connections"]["tls_truncated"] == 1


async def test_a_plain_side_gets_every_byte_of_a_stream_that_breaks_off(api: Api, authority: Authority) -> None:
    """Plain TCP has no word for it: the bytes arrive, then a finish, and the stats count what it was."""

    def serve(talk: Talk) -> None:
        talk.say(bytes(300_000))
        talk.break_off()
        talk.rest()

    async with one_talk(authority.server_context(), serve) as server_port:
        port = await api.proxy_to(server_port, tls={"upstream": authority.upstream()})
        async with connected(port) as client:
            assert await client.count() == 300_000
    assert (await api.stats())["connections"]["tls_truncated"] == 1


async def test_a_reset_goes_through_tls(api: Api, authority: Authority) -> None:
    """A TCP reset by the client is one for the server, and one by the server is one for the client."""
    async with SinkServer() as sink:
        port = await api.proxy_to(sink.port, tls={"listen": authority.pair().as_json()})
        async with tls_connected(port, authority.client_context()) as client:
            client.writer.write(b"x")
            await until(lambda: sink.received)
            reset(client.writer)
            await until(lambda: sink.ended == "reset")

    def serve(talk: Talk) -> None:
        talk.read(1)
        talk.reset()

    def ask() -> None:
        talk = talk_to(port, authority.client_context())
        talk.say(b"x")
        assert talk.rest() == (b"", "reset")

    async with one_talk(authority.server_context(), serve) as server_port:
        port = await api.proxy_to(server_port, "q", tls=both(authority))
        await in_thread(ask)


async def test_each_ending_toxic_ends_tls_too(api: Api, authority: Authority, echo: EchoServer) -> None:
    """limit_data and timeout say farewell behind the last byte, reset_peer resets, disabling resets."""
    port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})
    context = authority.client_context()
    ends = []
    for kind, values in (("limit_data", {"bytes": 3}), ("timeout", {"timeout": 20}), ("reset_peer", {"timeout": 1})):
        await api.toxic(kind, more={"name": "t"}, **values)

        def ask() -> None:
            talk = talk_to(port, context)
            talk.say(b"abcdef")
            ends.append(talk.rest())
            talk.close()

        await in_thread(ask)
        await api.ok("DELETE", "/proxies/p/toxics/t")
    assert ends == [(b"abc", "whole"), (b"", "whole"), (b"", "reset")]
    async with tls_connected(port, context) as client:
        await client.ask()
        await api.ok("PATCH", "/proxies/p", {"enabled": False})
        assert await client.end() == "reset"


async def test_a_proxy_that_stops_says_farewell(authority: Authority, echo: EchoServer) -> None:
    """When the fault proxy stops, a TLS client gets what was under way and a farewell."""
    heard: list[tuple[bytes, str]] = []
    async with running_api() as api:
        port = await api.proxy_to(echo.port, tls={"listen": authority.pair().as_json()})

        def ask() -> None:
            talk = talk_to(port, authority.client_context())
            talk.say(b"ping")
            heard.append(talk.rest())
            talk.close()

        asking = asyncio.create_task(in_thread(ask))
        await eventually(lambda: flown(api, 4))
    await asking
    assert heard == [(b"ping", "whole")]


async def flown(api: Api, size: int) -> bool:
    """Whether so many bytes have gone to the client."""
    return bool((await api.stats())["bytes"]["downstream"] == size)


async def test_toxics_act_on_the_plain_bytes_in_between(api: Api, authority: Authority) -> None:
    """Latency delays, and corrupted bytes arrive as bytes that differ, not as broken TLS."""
    async with TlsEchoServer(authority.server_context()) as echo:
        port = await api.proxy_to(echo.port, tls=both(authority))
        async with tls_connected(port, authority.client_context()) as client:
            await client.ask()
            await api.toxic("latency", latency=80)
            assert await client.ask() >= 0.08
            await api.toxic("corrupt", probability=1)
            client.writer.write(bytes(1000))
            heard = await client.reader.readexactly(1000)
            assert 0 not in heard
    assert (await api.stats())["connections"]["tls_failed"] == 0


async def test_a_slow_server_bounds_what_we_hold(api: Api, authority: Authority) -> None:
    """When the server does not read, we soon stop reading from a TLS client."""
    async with DeafServer() as server:
        port = await api.proxy_to(server.port, tls={"listen": authority.pair().as_json()})
        talk = await asyncio.to_thread(talk_to, port, authority.client_context())
        assert await asyncio.to_thread(talk.taken_of, 100_000_000) < 60_000_000
        talk.close()


async def test_a_slow_tls_client_bounds_what_we_hold(api: Api, authority: Authority) -> None:
    """When a TLS client does not read, the server soon finds that nothing more is taken; then everything arrives."""
    stalled: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Pourer(SinkServer):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            stalled.set_result(await bytes_taken(Client(reader, writer)))
            await writer.drain()
            writer.close()

    async with Pourer() as server:
        port = await api.proxy_to(server.port, tls={"listen": authority.pair().as_json()})
        talk = await asyncio.to_thread(talk_to, port, authority.client_context())
        async with asyncio.timeout(DEADLINE_S):
            taken = await stalled
        assert taken < 60_000_000
        heard, end = await asyncio.to_thread(talk.rest)
        assert (len(heard) >= taken, end) == (True, "whole")
        talk.close()


async def converse(size: int, seed: int, switches: list[Switch], asked: tuple[bool, bool]) -> None:
    """Talk both ways at once through changing toxics, with TLS on the sides asked for."""
    up, down = os.urandom(size), os.urandom(size)
    with tempfile.TemporaryDirectory() as directory:
        authority = Authority(Path(directory))
        tls = {key: value for (key, value), on in zip(both(authority).items(), asked, strict=True) if on}
        server = EndlessTalker(down, Random(seed), authority if asked[1] else None)
        async with running_api() as api, server:
            port = await api.proxy_to(server.port, tls=tls)
            context = authority.client_context() if asked[0] else None
            name = "localhost" if asked[0] else None
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
            heard = bytearray()
            async with asyncio.timeout(60):
                await asyncio.gather(
                    pour(writer, up, Random(seed + 1)),
                    take(reader, heard, size),
                    switch_all(api, switches),
                )
                await until(lambda: len(server.heard) >= size)
                writer.close()
                await eventually(api.all_closed)
            stats = await api.stats()
    assert hashlib.sha256(server.heard).digest() == hashlib.sha256(up).digest()
    assert hashlib.sha256(heard).digest() == hashlib.sha256(down).digest()
    assert stats["bytes"] == {"upstream": size, "downstream": size}
    assert (stats["connections"]["tls_failed"], stats["connections"]["refused"]) == (0, 0)


class EndlessTalker(Server):
    """Talks and listens at once, with TLS if an authority signs for it, and finishes when the client does.

    The loops' TLS closes both directions at once: who finishes early would lose what is still to be heard.
    """

    def __init__(self, speech: bytes, chunks: Random, authority: Authority | None) -> None:
        super().__init__()
        self.speech = speech
        self.chunks = chunks
        self.heard = bytearray()
        self._context = None if authority is None else authority.server_context()

    async def __aenter__(self) -> EndlessTalker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk and listen."""
        await asyncio.gather(pour(writer, self.speech, self.chunks), take(reader, self.heard))
        writer.close()


async def pour(writer: asyncio.StreamWriter, speech: bytes, chunks: Random) -> None:
    """Send all of it in chunks of random size."""
    place = 0
    while place < len(speech):
        size = chunks.choice([1, 7, 300, 5000, 70_000])
        writer.write(speech[place : place + size])
        place += size
        await writer.drain()
        if chunks.random() < 0.2:
            await asyncio.sleep(0.002)


async def take(reader: asyncio.StreamReader, heard: bytearray, size: int = 2**60) -> None:
    """Keep so many bytes, or all."""
    while len(heard) < size and (data := await reader.read(65536)):
        heard += data


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.integers(1, 400_000),
    seed=st.integers(0, 2**16),
    switches=st.lists(a_switch(), max_size=6),
    asked=st.sampled_from([(True, True), (True, False), (False, True)]),
    on_uvloop=st.booleans(),
)
def test_every_byte_arrives_once_and_in_order_through_tls(
    size: int, seed: int, switches: list[Switch], asked: tuple[bool, bool], on_uvloop: bool
) -> None:
    """Random data in random chunks, both ways, with toxics that come, change and go, and TLS on one side or both."""
    run = uvloop.run if on_uvloop else asyncio.run
    run(converse(size, seed, switches, asked))
