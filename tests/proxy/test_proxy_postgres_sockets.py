"""The Postgres dialect on real sockets: back-pressure, ends and resets around statements that are held."""

import asyncio

import pytest
from proxy_postgres_rig import AUTHENTICATED, READY, ROW, ROWS, Between, complete, message, query, startup
from proxy_rig import DEADLINE_S, Server, connected, eventually, until

from chaosrunner.proxy.dialect import ROOM_BYTES
from chaosrunner.proxy.link import reset_on_close

NEVER_MS = 3_600_000
MUCH_BYTES = 48 * 1024 * 1024
KERNEL_BYTES = 16 * 1024 * 1024  # more than the sockets on the way can hold
SELECT, ANSWER = query("select 1"), ROWS + ROW + complete() + READY


class Answering(Server):
    """Begins a session, keeps what it is sent, and sends what `answers` has for the first piece of it."""

    def __init__(self):
        super().__init__()
        self.received = 0
        self.answers = b""
        self.ended = None

    async def serve(self, reader, writer):
        """Begin, then read to the end."""
        await reader.readexactly(len(startup()))
        writer.write(AUTHENTICATED)
        try:
            while data := await reader.read(1 << 20):
                self.received += len(data)
                answers, self.answers = self.answers, b""
                writer.write(answers)
            self.ended = "fin"
        except ConnectionError:
            self.ended = "reset"


@pytest.fixture
async def server():
    """A server that speaks enough of the protocol."""
    async with Answering() as server:
        yield server


@pytest.fixture
async def client(api, server):
    """A client whose session has begun."""
    port = await api.proxy_to(server.port, protocol="postgres")
    async with connected(port) as client:
        client.writer.write(startup())
        await client.reader.readexactly(len(AUTHENTICATED))
        yield client


async def hold(api, stream):
    """Have every statement, or its answer, wait for an hour."""
    await api.toxic("postgres_delay", latency=NEVER_MS, more={"stream": stream})


async def let_go(api, stream):
    """Let all of it go."""
    await api.ok("DELETE", f"/proxies/p/toxics/postgres_delay_{stream}")


def struck(api):
    """Ask whether a statement is held."""

    async def ask():
        return any(toxic["struck"] for toxic in (await api.stats())["toxics"].values())

    return ask


def reset(writer):
    """End a connection so that the other side sees a TCP reset."""
    reset_on_close(writer.get_extra_info("socket"))
    writer.transport.abort()


async def steady(size):
    """What `size()` is once it has not changed for a while."""
    before = -1
    async with asyncio.timeout(DEADLINE_S):
        while size() != before:
            before = size()
            await asyncio.sleep(0.2)
    return before


async def test_a_statement_that_is_held_is_not_read_without_bound(api, server, client):
    """Behind a held statement the client is read until the room is full; let go, every byte arrives."""
    await hold(api, "upstream")
    long = query("select '" + "x" * MUCH_BYTES + "'")
    client.writer.write(long)
    await eventually(struck(api))
    left = await steady(client.writer.transport.get_write_buffer_size)
    assert left >= MUCH_BYTES - ROOM_BYTES - KERNEL_BYTES
    assert server.received == 0
    await let_go(api, "upstream")
    await until(lambda: server.received == len(long))


async def test_an_answer_that_is_held_is_not_read_without_bound(api, server, client):
    """Of an answer that is held the server can send until the room is full; let go, every byte arrives."""
    await hold(api, "downstream")
    server.answers = ROWS + message("D", bytes(1 << 20)) * (MUCH_BYTES >> 20) + complete() + READY
    size = len(server.answers)
    client.writer.write(SELECT)
    await eventually(struck(api))
    left = await steady(server.writers[0].transport.get_write_buffer_size)
    assert left >= MUCH_BYTES - ROOM_BYTES - KERNEL_BYTES
    await let_go(api, "downstream")
    async with asyncio.timeout(DEADLINE_S):
        await client.reader.readexactly(size)


async def test_an_end_arrives_behind_the_statement_that_is_held(api, server, client):
    """A client that has finished is passed on as finished only behind what it said last."""
    await hold(api, "upstream")
    client.writer.write(SELECT)
    client.writer.write_eof()
    await eventually(struck(api))
    assert (server.received, server.ended) == (0, None)
    await let_go(api, "upstream")
    await until(lambda: server.ended == "fin")
    assert server.received == len(SELECT)


async def test_a_server_that_dies_is_noticed_while_a_statement_is_held(api, server, client):
    """A reset from the server reaches the client at once, whatever waits on the way."""
    for stream in ("upstream", "downstream"):
        await hold(api, stream)
    client.writer.write(SELECT)
    await eventually(struck(api))
    reset(server.writers[0])
    assert await client.end() == "reset"
    await eventually(api.all_closed)


async def test_a_client_that_dies_takes_its_held_statement_with_it(api, server, client):
    """Of a client that is gone the server sees the reset, and never the statement that was held."""
    await hold(api, "upstream")
    client.writer.write(SELECT)
    await eventually(struck(api))
    reset(client.writer)
    await until(lambda: server.ended == "reset")
    await let_go(api, "upstream")
    assert server.received == 0
    assert await api.all_closed()


async def test_what_passes_together_is_written_together():
    """Messages that came in one piece, with nothing to wait for, go on in one piece: one write, one packet."""
    between = Between()
    between.ask(SELECT * 3)
    between.answer(ANSWER * 3)
    assert between.server == [SELECT * 3]
    assert between.client == [ANSWER * 3]


async def test_postgres_toxics_need_a_postgres_proxy(api, server):
    """A proxy that does not understand statements refuses toxics that act on them, with a sentence."""
    await api.proxy_to(server.port, "plain")
    status, body = await api.call("POST", "/proxies/plain/toxics", {"type": "postgres_fail"})
    assert (status, body["error"]) == (400, "postgres_fail needs a proxy whose protocol is postgres, not tcp")
