"""The HTTP mode between real servers and real clients."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import shutil
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from proxy_rig import Api, SinkServer, connected, eventually, running_api, until

from chaosrunner.proxy.dialect import ROOM_BYTES
from chaosrunner.proxy.link import reset_on_close

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LARGE = os.urandom(8 * 1024 * 1024)
BROKEN = (aiohttp.ClientError, http.client.HTTPException, ConnectionError)


class Site:
    """A web server that says what it was asked, and counts it.

    Attributes:
        port: Where it listens.
        asked: How often each method and path was.
    """

    def __init__(self) -> None:
        self.port = 0
        self.asked: Counter[str] = Counter()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer by path."""
        self.asked[f"{request.method} {request.path}"] += 1
        match request.path:
            case "/large":
                return web.Response(body=LARGE)
            case "/chunked":
                return await self.chunked(request)
            case "/socket":
                return await self.socket(request)
            case "/digest":
                return web.Response(text=hashlib.sha256(await request.read()).hexdigest())
        return web.Response(text=f"{request.method} {request.path_qs} {(await request.read()).decode()}")

    async def chunked(self, request: web.Request) -> web.StreamResponse:
        """Answer in chunks."""
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for word in (b"one ", b"two ", b"three"):
            await answer.write(word)
        return answer

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Send back each message of a WebSocket."""
        answer = web.WebSocketResponse(max_msg_size=0)
        await answer.prepare(request)
        async for message in answer:
            await (answer.send_bytes if message.type is aiohttp.WSMsgType.BINARY else answer.send_str)(message.data)
        return answer


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A running site."""
    async with running_site() as site:
        yield site


@asynccontextmanager
async def running_site() -> AsyncIterator[Site]:
    """A web server on a free port."""
    site = Site()
    application = web.Application(client_max_size=2 * len(LARGE))
    application.router.add_route("*", "/{path:.*}", site.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.port = runner.addresses[0][1]
    yield site
    await runner.cleanup()


@asynccontextmanager
async def client(api: Api, site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    """A keep-alive client of one connection to the site, through proxy p."""
    port = await api.proxy_to(site.port, protocol="http")
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{port}",
        connector=aiohttp.TCPConnector(limit=1),
        timeout=aiohttp.ClientTimeout(total=20),
        read_bufsize=2**20,
    ) as session:
        yield session


async def text(session: aiohttp.ClientSession, path: str = "/", method: str = "GET", **more: Any) -> tuple[int, str]:
    """Status and text of an answer."""
    async with session.request(method, path, **more) as answer:
        return answer.status, await answer.text()


async def toxic_of(api: Api, name: str) -> Any:
    """The counters of a toxic of proxy p."""
    return (await api.stats())["toxics"][name]


async def add(api: Api, kind: str, attributes: dict[str, Any] | None = None, **more: Any) -> str:
    """Add a toxic of some attributes to proxy p; its name."""
    made = await api.ok("POST", "/proxies/p/toxics", {"type": kind, "attributes": attributes or {}, **more})
    return str(made["name"])


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
async def test_each_request_of_a_kept_connection_has_its_own_luck(api: Api, site: Site, stream: str) -> None:
    """Of 1,000 requests on one connection, about 30 % get our reply, and the counters agree with what was seen."""
    async with client(api, site) as session:
        name = await add(api, "http_status", {"status": 503, "body": "no"}, toxicity=0.3, stream=stream)
        seen = Counter([await text(session) for _ in range(1000)])
        counted = await toxic_of(api, name)
        stats = await api.stats()
    assert set(seen) == {(200, "GET / "), (503, "no")}
    assert 230 < seen[503, "no"] < 370  # 300 ± 5 standard deviations
    assert (counted["matched"], counted["struck"], counted["connections"]) == (1000, seen[503, "no"], 1)
    assert site.asked["GET /"] == (1000 if stream == "downstream" else 1000 - seen[503, "no"])
    assert stats["connections"]["opened"] == 1
    assert stats["http"] == {
        "requests": 1000,
        "answers": 1000,
        "opaque": 0,
        "statuses": {"2xx": seen[200, "GET / "], "5xx": seen[503, "no"]},
    }


async def test_the_same_seed_strikes_the_same_requests(site: Site) -> None:
    """Two proxies of one seed give one client the same statuses in the same order."""
    seen = []
    for _ in range(2):
        async with running_api() as api, client(api, site) as session:
            await add(api, "http_status", toxicity=0.5)
            seen.append([(await text(session))[0] for _ in range(40)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {200, 503}


async def test_only_what_matches_is_struck(api: Api, site: Site) -> None:
    """Method and path choose; everything else is as if there were no toxic."""
    async with client(api, site) as session:
        name = await add(api, "http_status", {"method": "POST,PUT", "path": "/agents/*"})
        assert await text(session, "/agents/1?x=y") == (200, "GET /agents/1?x=y ")
        assert await text(session, "/agents", "POST") == (200, "POST /agents ")
        assert await text(session, "/agents/1?x=y", "PUT", data="z") == (503, "")
        assert await text(session, "/agents/1", "POST", data="z") == (503, "")
        assert (await toxic_of(api, name))["matched"] == 2
    assert site.asked["PUT /agents/1"] == site.asked["POST /agents/1"] == 1


async def test_head_is_answered_without_a_body(api: Api, site: Site) -> None:
    """HEAD works through the proxy, also when the reply is ours, and the connection goes on."""
    async with client(api, site) as session:
        for status in (200, 503):
            async with session.head("/x") as answer:
                assert (answer.status, await answer.read()) == (status, b"")
                assert answer.headers["Content-Length"] == ("8" if status == 200 else "9")
            await add(api, "http_status", {"method": "HEAD", "body": "our reply"}, name=f"t{status}")
        assert (await text(session))[0] == 200
        assert (await api.stats())["connections"]["opened"] == 1


@pytest.mark.parametrize("swallowed", [False, True])
async def test_a_client_that_expects_100_continue_gets_it(api: Api, site: Site, swallowed: bool) -> None:
    """From the server, or from us if that never sees the request; the body is sent, and the connection goes on."""
    async with client(api, site) as session:
        if swallowed:
            await add(api, "http_status", {"method": "POST"}, stream="upstream")
        wanted = (503, "") if swallowed else (200, "POST /x " + "body " * 1000)
        for _ in range(2):
            assert await text(session, "/x", "POST", data="body " * 1000, expect100=True) == wanted
        assert (await text(session))[0] == 200
        assert (await api.stats())["connections"]["opened"] == 1


@pytest.mark.parametrize("toxics", [[], [("http_status", {"path": "/no"})], [("http_latency", {"latency": 5})]])
async def test_large_bodies_pass_untouched(api: Api, site: Site, toxics: list[tuple[str, dict[str, Any]]]) -> None:
    """8 MiB down, and the same up in chunks, arrive whole, without toxics, beside them and late."""
    async with client(api, site) as session:
        for kind, attributes in toxics:
            for stream in ("upstream", "downstream"):
                await add(api, kind, attributes, stream=stream)
        async with session.get("/large") as answer:
            assert hashlib.sha256(await answer.read()).digest() == hashlib.sha256(LARGE).digest()

        async def pieces() -> AsyncIterator[bytes]:
            for begin in range(0, len(LARGE), 100_000):
                yield LARGE[begin : begin + 100_000]

        assert await text(session, "/digest", "POST", data=pieces()) == (200, hashlib.sha256(LARGE).hexdigest())
        stats = await api.stats()
    assert stats["http"]["opaque"] == 0
    assert stats["connections"]["opened"] == 1


async def test_a_websocket_passes_while_toxics_strike_others(api: Api, site: Site) -> None:
    """Its handshake is a request that may match; its messages are none, whatever they look like."""
    async with client(api, site) as session:
        await add(api, "http_status", {"path": "/other"})
        await add(api, "http_latency", {"latency": 10, "path": "/socket"})
        await add(api, "http_malformed", {"kind": "body", "path": "/x"})
        async with session.ws_connect("/socket", max_msg_size=0) as socket:
            for message in (b"GET /other HTTP/1.1\r\n\r\n", os.urandom(300_000), b""):
                await socket.send_bytes(message)
                assert await socket.receive_bytes() == message
            await add(api, "http_status", {}, name="all", stream="upstream")
            await socket.send_str("still there")
            assert await socket.receive_str() == "still there"
        stats = await api.stats()
    assert stats["http"] == {"requests": 1, "answers": 1, "opaque": 1, "statuses": {"1xx": 1}}
    assert stats["toxics"]["http_latency_downstream"]["struck"] == 1


async def test_a_websocket_can_be_refused(api: Api, site: Site) -> None:
    """A handshake whose answer is replaced fails, and the next one works."""
    async with client(api, site) as session:
        await add(api, "http_status", {"status": 502}, name="bad")
        with pytest.raises(aiohttp.WSServerHandshakeError, match="502"):
            await session.ws_connect("/socket")
        await api.ok("DELETE", "/proxies/p/toxics/bad")
        async with session.ws_connect("/socket") as socket:
            await socket.send_str("now")
            assert await socket.receive_str() == "now"


async def test_pipelined_requests_are_answered_in_order(api: Api, site: Site) -> None:
    """Sent in one write, some kept from the server, some late, some replaced, each answer comes at its turn."""
    port = await api.proxy_to(site.port, protocol="http")
    await add(api, "http_status", {"path": "/up*", "body": "UP"}, stream="upstream")
    await add(api, "http_status", {"path": "/down*", "body": "DOWN"})
    await add(api, "http_latency", {"path": "*late", "latency": 20})
    paths = ["/1", "/up", "/2late", "/up/late", "/down", "/3", "/down/late", "/up", "/4"]
    async with connected(port) as raw, asyncio.timeout(20):
        raw.writer.write(b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths))
        got = [await body_of(raw.reader) for _ in paths]
    assert got == ["GET /1 ", "UP", "GET /2late ", "UP", "DOWN", "GET /3 ", "DOWN", "UP", "GET /4 "]
    assert "GET /up" not in site.asked


async def body_of(reader: asyncio.StreamReader) -> str:
    """The body of the next answer, whose length is given."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    return (await reader.readexactly(int(length.partition(":")[2]))).decode()


async def test_latency_of_a_request_is_felt_and_measured(api: Api, site: Site) -> None:
    """A request that matches is late by both latencies, others on its connection are not, and the counters say so."""
    async with client(api, site) as session:
        await text(session)
        for stream in ("upstream", "downstream"):
            await add(api, "http_latency", {"latency": 60, "path": "/slow"}, stream=stream)
        began = time.perf_counter()
        assert await text(session, "/slow") == (200, "GET /slow ")
        slow = time.perf_counter() - began
        quick = min([await timed(session) for _ in range(5)])
        stats = await api.stats()
    assert slow >= 0.119
    assert quick < 0.06
    for stream in ("upstream", "downstream"):
        counted = stats["toxics"][f"http_latency_{stream}"]
        assert (counted["matched"], counted["struck"], counted["delayed_chunks"]) == (1, 1, 1)
        assert 59.9 <= counted["delayed_ms_total"] <= slow * 1000


async def timed(session: aiohttp.ClientSession) -> float:
    """Seconds that one request takes."""
    began = time.perf_counter()
    await text(session)
    return time.perf_counter() - began


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
async def test_a_held_request_goes_on_when_its_latency_is_removed(api: Api, site: Site, stream: str) -> None:
    """What would be an hour late arrives at once when the toxic goes."""
    async with client(api, site) as session:
        name = await add(api, "http_latency", {"latency": 3_600_000}, stream=stream)
        asking = asyncio.create_task(text(session))

        async def held() -> bool:
            return bool((await toxic_of(api, name))["struck"])

        await eventually(held)
        assert not asking.done()
        await api.ok("DELETE", f"/proxies/p/toxics/{name}")
        assert await asking == (200, "GET / ")


async def with_aiohttp(port: int, path: str) -> bytes:
    """The body that aiohttp reads."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return await answer.read()


async def with_http_client(port: int, path: str) -> bytes:
    """The body that Python's http.client reads."""

    def read() -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    return await asyncio.to_thread(read)


async def with_curl(port: int, path: str) -> bytes:
    """The body that curl reads."""
    running = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "-m", "10", f"http://127.0.0.1:{port}{path}"), stdout=-1, stderr=-1
    )
    body, complaint = await running.communicate()
    if running.returncode == 28:
        raise TimeoutError("curl waited for something that never came")
    if running.returncode:
        raise http.client.HTTPException(complaint.decode())
    return body


CLIENTS = [
    with_aiohttp,
    with_http_client,
    pytest.param(with_curl, marks=pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")),
]


@pytest.mark.parametrize("read", CLIENTS)
async def test_real_clients_object_to_malformed_replies(api: Api, site: Site, read: Any) -> None:
    """Each kind makes each client report an error at once, or read a wrong body, with and without chunks."""
    port = await api.proxy_to(site.port, protocol="http")
    for path, right in (("/x", b"GET /x "), ("/chunked", b"one two three")):
        assert await read(port, path) == right
        for kind in ("status_line", "header", "length", "chunk"):
            name = await add(api, "http_malformed", {"kind": kind, "path": path})
            with pytest.raises(BROKEN):
                await read(port, path)
            assert (await toxic_of(api, name))["struck"] >= 1
            await api.ok("DELETE", f"/proxies/p/toxics/{name}")
        name = await add(api, "http_malformed", {"kind": "body", "path": path})
        wrong = await read(port, path)
        assert len(wrong) == len(right)
        assert not set(zip(wrong, right, strict=True)) & {(byte, byte) for byte in right}
        await api.ok("DELETE", f"/proxies/p/toxics/{name}")
    await eventually(api.all_closed)


@pytest.mark.parametrize("read", CLIENTS)
async def test_real_clients_notice_truncated_replies(api: Api, site: Site, read: Any) -> None:
    """A body that is cut off is an error to each client, framed by length or by chunks."""
    port = await api.proxy_to(site.port, protocol="http")
    await add(api, "http_truncate", {"after": 3})
    for path in ("/x", "/chunked"):
        with pytest.raises(BROKEN):
            await read(port, path)
    await api.ok("PATCH", "/proxies/p/toxics/http_truncate_downstream", {"attributes": {"after": 13}})
    assert await read(port, "/chunked") == b"one two three"
    await eventually(api.all_closed)


async def test_a_truncated_download_ends_at_the_byte(api: Api, site: Site) -> None:
    """Of 8 MiB exactly as many bytes arrive as the toxic lets pass."""
    port = await api.proxy_to(site.port, protocol="http")
    await add(api, "http_truncate", {"after": 1_000_001})
    async with connected(port) as raw, asyncio.timeout(20):
        raw.writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await raw.reader.readuntil(b"\r\n\r\n")
        assert await raw.reader.read() == LARGE[:1_000_001]


async def test_another_protocol_passes_through_an_http_proxy(api: Api, echo: Any) -> None:
    """What is no HTTP is passed on both ways at once, toxics or not, and is counted as opaque."""
    port = await api.proxy_to(echo.port, protocol="http")
    await add(api, "http_status", stream="upstream")
    await add(api, "http_latency", {"latency": 3_600_000})
    async with connected(port) as raw:
        await raw.ask(b"\x16\x03\x01")
        await raw.ask(b"GET / HTTP/1.1\r\n\r\n")
        assert (await api.stats())["http"]["opaque"] == 1


async def test_a_half_closed_client_still_gets_its_answers(api: Api, site: Site) -> None:
    """A client that finishes its side right behind a request that the server never sees gets our reply."""
    port = await api.proxy_to(site.port, protocol="http")
    await add(api, "http_status", {"body": "ours"}, stream="upstream")
    await add(api, "http_latency", {"latency": 30})
    async with connected(port) as raw, asyncio.timeout(20):
        raw.writer.write(b"GET / HTTP/1.1\r\n\r\n" * 2)
        assert await body_of(raw.reader) == await body_of(raw.reader) == "ours"
        raw.writer.write(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        raw.writer.write_eof()
        assert await body_of(raw.reader) == "ours"
        assert await raw.reader.read() == b""


async def test_a_held_request_is_forgotten_with_its_connection(api: Api) -> None:
    """A client that resets while its request is late takes it along, and the proxy is ready for the next."""
    async with SinkServer() as sink:
        port = await api.proxy_to(sink.port, protocol="http")
        name = await add(api, "http_latency", {"latency": 3_600_000}, stream="upstream")
        async with connected(port) as raw:
            raw.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await eventually(lambda: has_struck(api, name))
            reset_on_close(raw.writer.get_extra_info("socket"))
        await eventually(api.all_closed)
        await until(lambda: sink.ended is not None)
        assert sink.received == b""


async def has_struck(api: Api, name: str) -> bool:
    """Whether a toxic of proxy p has acted."""
    return bool((await toxic_of(api, name))["struck"])


async def test_a_client_that_never_reads_cannot_make_us_owe_without_bound(api: Api, site: Site) -> None:
    """We stop reading requests when too many replies of our own are unread, and go on when they have been read."""
    count, body = 60_000, "x" * 1000
    port = await api.proxy_to(site.port, protocol="http")
    name = await add(api, "http_status", {"body": body}, stream="upstream")
    async with connected(port) as raw, asyncio.timeout(60):
        raw.writer.write((b"GET / HTTP/1.1\r\nX: " + b"x" * 200 + b"\r\n\r\n") * count)
        await eventually(lambda: struck_at_least(api, name, ROOM_BYTES // len(body)))
        read, most, reply_bytes = 0, 0, 0
        while read < count * max(reply_bytes, 1):
            data = await raw.reader.read(2**20)
            reply_bytes = reply_bytes or len(data[: data.index(b"\r\n\r\n") + 4 + len(body)])
            read += len(data)
            most = max(most, (await toxic_of(api, name))["struck"] * reply_bytes - read)
        assert read == count * reply_bytes
    assert most < 4 * ROOM_BYTES


async def struck_at_least(api: Api, name: str, count: int) -> bool:
    """Whether a toxic of proxy p has acted that often."""
    return bool((await toxic_of(api, name))["struck"] >= count)


@pytest.mark.parametrize(
    ("toxic", "word"),
    [
        ({"type": "http_status", "attributes": {"status": 100}}, "status"),
        ({"type": "http_status", "attributes": {"status": 600}}, "status"),
        ({"type": "http_status", "attributes": {"status": 204, "body": "x"}}, "no body"),
        ({"type": "http_status", "attributes": {"content_type": "a\r\nb: c"}}, "content_type"),
        ({"type": "http_status", "attributes": {"content_type": " "}}, "content_type"),
        ({"type": "http_status", "attributes": {"retry_after": -1}}, "retry_after"),
        ({"type": "http_status", "attributes": {"method": "GET POST"}}, "method"),
        ({"type": "http_status", "attributes": {"method": "GET,"}}, "method"),
        ({"type": "http_status", "attributes": {"path": "agents"}}, "path"),
        ({"type": "http_status", "attributes": {"path": "/agents?x=y"}}, "query"),
        ({"type": "http_latency", "attributes": {"latency": -1}}, "latency"),
        ({"type": "http_latency", "attributes": {"path": "x"}}, "path"),
        ({"type": "http_truncate", "attributes": {"after": -1}}, "after"),
        ({"type": "http_truncate", "attributes": {"path": "x"}}, "path"),
        ({"type": "http_truncate", "stream": "upstream"}, "downstream"),
        ({"type": "http_malformed", "stream": "upstream"}, "downstream"),
        ({"type": "http_malformed", "attributes": {"kind": "all"}}, "kind"),
    ],
)
async def test_what_could_not_work_is_refused_with_a_sentence(
    api: Api, echo: Any, toxic: dict[str, Any], word: str
) -> None:
    """A bad value is a 400 that names it, and no toxic is added."""
    await api.proxy_to(echo.port, protocol="http")
    status, answer = await api.call("POST", "/proxies/p/toxics", json=toxic)
    assert status == 400
    assert word in answer["error"]
    assert await api.ok("GET", "/proxies/p/toxics") == []


async def test_a_change_that_could_not_work_changes_nothing(api: Api, echo: Any) -> None:
    """A PATCH with a bad value leaves the toxic as it was."""
    await api.proxy_to(echo.port, protocol="http")
    made = await api.ok("POST", "/proxies/p/toxics", {"type": "http_status", "attributes": {"path": "/a"}})
    status, _ = await api.call(
        "PATCH", "/proxies/p/toxics/http_status_downstream", json={"attributes": {"path": "/b", "status": 7}}
    )
    assert status == 400
    assert await api.ok("GET", "/proxies/p/toxics/http_status_downstream") == made
