"""One worker against targets that answer in every way a server may, and some that it may not."""

from __future__ import annotations

import asyncio
import socket

import pytest
from load_rig import GET, OK, Asked, Books, Target, always, finished, hang, profile, reply, work

from chaosrunner.model.http_step import Request
from chaosrunner.model.load import Outcome

HEAD = Request(name="head", method="HEAD", path="/")


async def outcome_of(answer: bytes | None, *steps: Request) -> tuple[Books, Target]:
    """The books of 20 journeys that all get the same reply."""
    async with Target(always(answer)) as target:
        books = await work(profile(*steps), target.url, until=finished(20))
    return books, target


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK, id="content-length"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="204 without a length"),
        pytest.param(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", id="204 with a length that lies"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", id="304 with a length of elsewhere"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", id="chunked"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n", id="trailers"
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, id="100 first"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + OK, id="103 first"),
        pytest.param(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", id="1.0 kept alive"),
    ],
)
async def test_whole_replies_keep_the_connection(answer: bytes) -> None:
    """A reply that says where it ends is OK, and its connection is used again."""
    books, target = await outcome_of(answer)
    assert books.done == {Outcome.OK: 20}
    assert target.connections == books.connects < 20


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall that there is", id="until the end"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", id="close and length"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nX: connection: close\r\n\r\nok", id="1.0"),
    ],
)
async def test_whole_replies_that_end_the_connection(answer: bytes) -> None:
    """A reply after which the connection must close is OK, and every hit has a connection of its own."""

    async def close_after(_target: Target, _request: Asked, writer: asyncio.StreamWriter) -> bytes | None:
        writer.write(answer)
        await writer.drain()
        return None

    async with Target(close_after) as target:
        books = await work(profile(), target.url, until=finished(20))
    assert books.done == {Outcome.OK: 20}
    assert target.connections == books.connects == 20


async def test_head_has_no_body_whatever_its_headers_say() -> None:
    """A HEAD is whole with its headers, and the next reply on the connection is read from its beginning."""
    books, target = await outcome_of(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", HEAD)
    assert books.done == {Outcome.OK: 20}
    assert target.connections < 20


async def test_a_reply_in_small_pieces() -> None:
    """A reply that arrives byte by byte is whole with its last byte."""

    async def slowly(_target: Target, _request: Asked, writer: asyncio.StreamWriter) -> bytes:
        for byte in OK[:-1]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        return OK[-1:]

    async with Target(slowly) as target:
        books = await work(profile(), target.url, until=finished(20))
    assert books.done == {Outcome.OK: 20}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        pytest.param(None, Outcome.RESET, id="closed without a word"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nok", Outcome.RESET, id="short"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            Outcome.RESET,
            id="no last chunk",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: \r\nConnection: close\r\nContent-Le", Outcome.RESET, id="half a header"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", Outcome.PROTOCOL, id="another protocol"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Outcome.PROTOCOL, id="a malformed chunk"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", Outcome.PROTOCOL, id="two lengths"
        ),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Outcome.PROTOCOL,
            id="an upgrade nobody asked for",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 21), Outcome.PROTOCOL, id="endless headers"),
        pytest.param(reply(500), Outcome.STATUS, id="500"),
        pytest.param(reply(404), Outcome.STATUS, id="404"),
    ],
)
async def test_each_way_to_fail_has_its_name(answer: bytes | None, outcome: Outcome) -> None:
    """Broken replies are counted by what was wrong with them, never as OK, and never without a time."""
    books, _ = await outcome_of(answer)
    assert books.done == {outcome: 20}
    assert books.all.failed.total == 20
    assert {hit.outcome for hit in books.hits} == {outcome}
    assert len(books.hits) == 20


async def test_expected_statuses_and_no_others() -> None:
    """`expect` names the statuses that are ok: 404 may be one, and then 200 is none."""
    step = Request(name="gone", method="GET", path="/", expect=(404, 410))
    assert (await outcome_of(reply(404), step))[0].done == {Outcome.OK: 20}
    assert (await outcome_of(reply(200), step))[0].done == {Outcome.STATUS: 20}


async def test_a_redirect_is_an_answer() -> None:
    """A status below 400 is ok unless the step expects another; it is not followed."""
    books, target = await outcome_of(reply(302, headers="Location: /elsewhere\r\n"))
    assert books.done == {Outcome.OK: 20}
    assert {request.path for request in target.requests} == {"/"}


@pytest.mark.parametrize("body", [{"other": 1}, [1], "text", None])
async def test_a_variable_that_is_not_in_the_reply(body: object) -> None:
    """A reply without what is to be kept is CHECK, also when it is no JSON at all."""
    step = Request(name="login", method="POST", path="/", keep={"token": "$.token"})
    books, _ = await outcome_of(reply(200, body), step, GET)
    assert books.done == {Outcome.CHECK: 20}
    assert books.skipped == 20


async def test_refused() -> None:
    """Nobody listens: REFUSED, with a time that is not zero, one attempt a hit."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        books = await work(profile(), url, until=finished(20))
    assert books.done == {Outcome.REFUSED: 20}
    assert books.all.failed.rank(1) > 0


async def test_a_name_that_does_not_exist() -> None:
    """A host without an address is DNS for every hit."""
    books = await work(profile(), "http://nowhere.invalid", until=finished(20))
    assert books.done == {Outcome.DNS: 20}


async def test_https_to_a_plain_server() -> None:
    """A server that answers a TLS greeting in plain HTTP is TLS."""

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(400))
        await writer.drain()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        books = await work(profile(), f"https://127.0.0.1:{port}", until=finished(20))
    assert books.done == {Outcome.TLS: 20}


async def test_a_host_that_swallows_connections() -> None:
    """When no connection can be opened at all, a hit's time ends as CONNECT, not as a slow reply."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.socket() as first, socket.socket() as second:
            for client in (first, second):
                client.setblocking(False)
                client.connect_ex(full.getsockname())  # fills the backlog: what comes later gets no answer
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            books = await work(profile(timeout_s=0.3), url, until=finished(20))
    assert books.done == {Outcome.CONNECT: 20}
    assert books.all.failed.rank(1) >= 300_000


async def test_a_timeout_counts_from_due_and_ends_the_connection() -> None:
    """A hit without a reply is a TIMEOUT of about the time allowed; its connection is never used again."""
    async with Target(hang) as target:
        books = await work(profile(timeout_s=0.3), target.url, until=finished(20))
        assert books.done == {Outcome.TIMEOUT: 20}
        assert books.all.failed.rank(1) >= 300_000
        assert len(target.requests) == target.connections == 20


async def test_a_late_reply_is_not_the_answer_to_the_next_hit() -> None:
    """The reply to a hit that has timed out never reaches another hit."""

    async def first_late(target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        if request.n == 0:
            await asyncio.sleep(0.4)
            return reply(500)
        return OK

    async with Target(first_late) as target:
        books = await work(profile(rate=20, lasts_s=1, timeout_s=0.2, connections=1), target.url, until=finished(20))
    assert books.done[Outcome.TIMEOUT] >= 1
    assert Outcome.STATUS not in books.done


async def test_an_endless_body_ends_by_its_timeout() -> None:
    """A body that never ends is a TIMEOUT, and nothing of it is kept."""

    async def endless(_target: Target, _request: Asked, writer: asyncio.StreamWriter) -> bytes | None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"4\r\nmore\r\n")
            await writer.drain()
            await asyncio.sleep(0.002)
        return None

    async with Target(endless) as target:
        books = await work(profile(timeout_s=0.3), target.url, until=finished(20))
    assert books.done == {Outcome.TIMEOUT: 20}


async def test_a_kept_body_has_a_limit() -> None:
    """A reply to be searched for a variable is given up at 16 MiB, before it fills the memory."""

    async def huge(_target: Target, _request: Asked, writer: asyncio.StreamWriter) -> bytes | None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        for _ in range(40):
            writer.write(chunk)
            await writer.drain()
        return None

    step = Request(name="get", method="GET", path="/", keep={"a": "$.a"})
    async with Target(huge) as target:
        books = await work(profile(step, rate=2, lasts_s=0.5), target.url, until=finished(1))
    assert books.done == {Outcome.PROTOCOL: 1}


async def test_bytes_nobody_asked_for_end_the_connection() -> None:
    """A second reply to one request is never taken for the reply to the next."""
    books, target = await outcome_of(OK + reply(500))
    assert books.done == {Outcome.OK: 20}
    assert target.connections == 20


async def test_a_reply_cut_short_after_many_good_ones_is_a_reset() -> None:
    """A connection lost after the request was written counts, even on a reused connection before any byte."""

    async def tenth_dies(_target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes | None:
        return None if request.n == 10 else OK

    async with Target(tenth_dies) as target:
        books = await work(profile(connections=1), target.url, until=finished(20))
    assert books.done == {Outcome.OK: 19, Outcome.RESET: 1}
    assert len(target.requests) == 20
    assert target.connections == 2
