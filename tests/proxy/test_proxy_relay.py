"""The byte path without toxics: ends, resets, back-pressure, and servers that are not there."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import AsyncExitStack

import pytest
from proxy_rig import (
    Api,
    Client,
    DeafServer,
    EchoServer,
    Server,
    SinkServer,
    connected,
    eventually,
    free_port,
    running_api,
    until,
)


class AnswerAtTheEnd(Server):
    """Answers only when the client has finished sending."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read to the end, then say how much it was."""
        writer.write(f"{len(await reader.read(-1))} bytes".encode())
        writer.close()


async def test_a_client_that_has_finished_sending_still_gets_its_answer(api: Api) -> None:
    """A half-closed connection carries the other direction."""
    async with AnswerAtTheEnd() as server, connected(await api.proxy_to(server.port)) as client:
        client.writer.write(bytes(100_000))
        client.writer.write_eof()
        async with asyncio.timeout(10):
            assert await client.reader.read(-1) == b"100000 bytes"


async def test_a_closed_connection_is_forgotten(api: Api, echo: EchoServer) -> None:
    """When both sides are done nothing of the connection remains open."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        client.writer.write_eof()
        assert await client.end() == "fin"
        await eventually(api.all_closed)


async def test_a_clients_reset_reaches_the_server(api: Api) -> None:
    """A client that resets its connection is seen as a reset by the server."""
    async with SinkServer() as sink, connected(await api.proxy_to(sink.port)) as client:
        client.writer.write(b"x")
        await until(lambda: sink.received)
        reset(client.writer)
        await until(lambda: sink.ended == "reset")


async def test_a_servers_reset_reaches_the_client(api: Api, echo: EchoServer) -> None:
    """A server that resets its connection is seen as a reset by the client."""
    async with connected(await api.proxy_to(echo.port)) as client:
        await client.ask()
        reset(echo.writers[0])
        assert await client.end() == "reset"


async def test_a_reset_after_a_finish_ends_the_connection(api: Api) -> None:
    """A client that finished sending and then resets leaves no connection behind once the server writes."""
    async with DeafServer() as server, connected(await api.proxy_to(server.port)) as client:
        client.writer.write_eof()
        await until(lambda: server.writers)
        reset(client.writer)
        async with asyncio.timeout(10):
            while (await api.stats())["connections"]["open"]:
                if not server.writers[0].transport.is_closing():
                    server.writers[0].write(bytes(1000))
                await asyncio.sleep(0.01)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other end sees a TCP reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_server_that_is_not_there_is_a_reset_and_counted(api: Api) -> None:
    """If the upstream refuses, the client is reset and the stats count a refused connection."""
    port = await api.proxy_to(free_port())
    async with connected(port) as client:
        assert await client.end() == "reset"
    stats = await api.stats()
    assert stats["connections"] == {"open": 0, "opened": 1, "refused": 1, "cut": 0}


async def test_a_host_that_is_no_host_is_a_reset_and_counted(api: Api) -> None:
    """If the upstream's name cannot even be asked for, the client is reset and the proxy goes on."""
    made = await api.ok("POST", "/proxies", {"name": "p", "upstream": f"{'a' * 70}.invalid:1"})
    for _ in range(2):
        async with connected(int(made["listen"].rpartition(":")[2])) as client:
            assert await client.end() == "reset"
    assert (await api.stats())["connections"]["refused"] == 2


async def test_a_server_that_never_accepts_stalls_nobody_else(api: Api, echo: EchoServer) -> None:
    """While connects to a silent upstream hang, clients of the same proxy are served after it is changed."""
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:  # a full backlog: the kernel drops further SYNs
        filler.setblocking(False)
        filler.connect_ex(silent.getsockname())
    port = await api.proxy_to(silent.getsockname()[1])
    hanging = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    await api.ok("PATCH", "/proxies/p", {"upstream": f"127.0.0.1:{echo.port}"})
    async with connected(port) as client:
        await client.ask()
    for _, writer in hanging:
        writer.transport.abort()
    for sock in (*fillers, silent):
        sock.close()


@pytest.mark.parametrize("toxic", [None, "latency", "bandwidth", "slicer", "slow_close", "noop"])
async def test_a_slow_reader_bounds_what_we_hold(api: Api, toxic: str | None) -> None:
    """When the server does not read, we soon stop reading from the client instead of buffering without bound."""
    values = {"latency": {"latency": 5}, "bandwidth": {"rate": 100_000}, "slicer": {"average_size": 10_000}}
    async with DeafServer() as server, connected(await api.proxy_to(server.port)) as client:
        if toxic is not None:
            await api.toxic(toxic, more={"stream": "upstream"}, **values.get(toxic, {}))
        assert await bytes_taken(client) < 60_000_000


async def bytes_taken(client: Client) -> int:
    """How much of 100 MB is taken before it stalls for 0.7 s; what the kernel holds at most is far less."""
    client.writer.transport.set_write_buffer_limits(high=0)
    for written in range(400):
        client.writer.write(bytes(256 * 1024))
        try:
            await asyncio.wait_for(client.writer.drain(), 0.7)
        except TimeoutError:
            return written * 256 * 1024
    return 400 * 256 * 1024


@pytest.mark.parametrize(("toxic", "values"), [("latency", {"latency": 600_000}), ("bandwidth", {"rate": 1})])
async def test_a_toxic_bounds_what_it_holds(api: Api, toxic: str, values: dict[str, int]) -> None:
    """What a toxic holds back for long is bounded too, although the server reads."""
    async with SinkServer() as sink, connected(await api.proxy_to(sink.port)) as client:
        await api.toxic(toxic, more={"stream": "upstream"}, **values)
        assert await bytes_taken(client) < 60_000_000
        assert len(sink.received) < 1_000_000


async def test_a_stalled_connection_keeps_neither_the_api_nor_others_waiting(api: Api, echo: EchoServer) -> None:
    """With data stuck in a toxic, calls that change it answer and other connections flow."""
    async with DeafServer() as deaf, connected(await api.proxy_to(deaf.port, "deaf")) as stuck:
        await api.toxic("bandwidth", "deaf", {"stream": "upstream"}, rate=0.001)
        stuck.writer.write(bytes(5_000_000))
        async with connected(await api.proxy_to(echo.port)) as client:
            await client.ask()
            await api.ok("PATCH", "/proxies/deaf/toxics/bandwidth_upstream", {"attributes": {"rate": 0.002}})
            await api.ok("DELETE", "/proxies/deaf/toxics/bandwidth_upstream")
            await api.ok("PATCH", "/proxies/deaf", {"enabled": False})
            await client.ask()
        assert (await api.stats("deaf"))["connections"] == {"open": 0, "opened": 1, "refused": 0, "cut": 1}


class GenerousServer(Server):
    """Sends a megabyte to whoever connects, and waits."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send it."""
        writer.write(bytes(1_000_000))
        await reader.read(1)


async def test_what_we_took_is_delivered_before_we_stop() -> None:
    """When the proxy stops, a client still gets every byte that was counted as passed."""
    async with GenerousServer() as server:
        async with running_api() as api:
            reader, writer = await asyncio.open_connection("127.0.0.1", await api.proxy_to(server.port), limit=1024)
            await until(lambda: server.writers)

            async def flows() -> bool:
                return bool((await api.stats())["bytes"]["downstream"])

            await eventually(flows)
            passed = (await api.stats())["bytes"]["downstream"]
            reading = asyncio.create_task(Client(reader, writer).count())
        assert await reading >= passed > 0
        writer.transport.abort()


HOLDING = {
    "latency": {"latency": 600_000},
    "bandwidth": {"rate": 0.001},
    "slicer": {"average_size": 10, "delay": 600_000_000},
}
HELD = bytes(range(251)) * 199


@pytest.mark.parametrize("spoilt_upstream", [False, True])
@pytest.mark.parametrize("kind", HOLDING)
async def test_what_toxics_hold_is_delivered_before_we_stop(echo: EchoServer, kind: str, spoilt_upstream: bool) -> None:
    """When the proxy stops, a client gets what a toxic held back, also if what it sent is torn meanwhile."""
    async with AsyncExitStack() as stack:
        async with running_api() as api:
            client = await stack.enter_async_context(connected(await api.proxy_to(echo.port)))
            await api.toxic(kind, **HOLDING[kind])
            client.writer.write(HELD)
            await entered(api, f"{kind}_downstream", len(HELD))
            if spoilt_upstream:
                await api.toxic("timeout", more={"stream": "upstream"})
                client.writer.write(b"swallowed")
                await entered(api, "timeout_upstream", 9)
        async with asyncio.timeout(10):
            assert await client.reader.read(-1) == HELD


async def test_the_server_gets_what_toxics_hold_before_we_stop() -> None:
    """When the proxy stops, a server gets what two toxics in a row held back, in order, and then the end."""
    async with SinkServer() as sink, AsyncExitStack() as stack:
        async with running_api() as api:
            client = await stack.enter_async_context(connected(await api.proxy_to(sink.port)))
            await api.toxic("bandwidth", more={"stream": "upstream"}, rate=1)
            await api.toxic("latency", more={"stream": "upstream"}, latency=600_000)
            client.writer.write(HELD)
            await entered(api, "bandwidth_upstream", len(HELD))
            await entered(api, "latency_upstream")
        await until(lambda: sink.ended)
    assert (sink.received, sink.ended) == (HELD, "fin")


@pytest.mark.parametrize(("kind", "end"), [("timeout", "fin"), ("reset_peer", "reset"), ("silence", "reset")])
async def test_what_is_torn_ends_so_when_we_stop(echo: EchoServer, kind: str, end: str) -> None:
    """When the proxy stops, a client that missed bytes gets no later ones, and the end that the toxic has for it."""
    async with AsyncExitStack() as stack:
        async with running_api() as api:
            client = await stack.enter_async_context(connected(await api.proxy_to(echo.port)))
            await api.toxic("latency")
            await api.toxic(kind, **({} if kind == "silence" else {"timeout": 600_000}))
            client.writer.write(b"lost")
            await entered(api, f"{kind}_downstream", 4)
            await api.ok("PATCH", "/proxies/p/toxics/latency_downstream", {"attributes": {"latency": 600_000}})
            client.writer.write(b"later")
            await entered(api, "latency_downstream", 9)
        assert await ending(client) == (b"", end)


async def ending(client: Client) -> tuple[bytes, str]:
    """What a client still hears, and how it ends: fin or reset."""
    heard = b""
    try:
        async with asyncio.timeout(10):
            while data := await client.reader.read(65536):
                heard += data
    except ConnectionError:
        return heard, "reset"
    return heard, "fin"


class AnswerHttp(Server):
    """Answers one HTTP request with HELD."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer it, and wait."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(HELD) + HELD)
        await reader.read(1)


async def test_an_answer_that_is_late_is_delivered_before_we_stop() -> None:
    """When the proxy stops, a client gets the HTTP answer that a toxic held back."""
    async with AnswerHttp() as server, AsyncExitStack() as stack:
        async with running_api() as api:
            port = await api.proxy_to(server.port, protocol="http")
            await api.toxic("http_latency", latency=600_000)
            client = await stack.enter_async_context(connected(port))
            client.writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")

            async def held() -> bool:
                return bool((await api.stats())["toxics"]["http_latency_downstream"]["struck"])

            await eventually(held)
        heard, end = await ending(client)
    assert (heard.partition(b"\r\n\r\n")[2], end) == (HELD, "fin")


async def entered(api: Api, toxic: str, least: int = 1) -> None:
    """Wait until at least so many bytes have entered a toxic."""

    async def so_many() -> bool:
        return bool((await api.stats())["toxics"][toxic]["bytes"] >= least)

    await eventually(so_many)


async def test_many_connections_at_once_all_work(api: Api, echo: EchoServer) -> None:
    """300 connections opened together each get their own bytes back."""
    port = await api.proxy_to(echo.port)

    async def one(number: int) -> None:
        async with connected(port) as client:
            await client.ask(f"I am {number:03}".encode() * 50)

    await asyncio.gather(*(one(number) for number in range(300)))
    stats = await api.stats()
    assert (stats["connections"]["opened"], stats["connections"]["refused"]) == (300, 0)
