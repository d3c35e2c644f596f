"""HTTP against a server that answers nonsense: thousands of valid replies, each with something wrong in it."""

from __future__ import annotations

import asyncio
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from load_rig import Asked, Target, finished, profile, work

from chaosrunner.load.act import OpenHit
from chaosrunner.load.http.connection import UNKNOWN, Connection
from chaosrunner.load.http.full_connection import Attempt, FullConnection
from chaosrunner.load.http.pool import Budget, Origin, Pool
from chaosrunner.model.http_client import Check, Client, Retry
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import Outcome

JSON = b'{"id": 7, "items": [{"name": "a"}, null], "text": "\xc3\xa9"}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Next: /a\r\n\r\n"


def sized(head: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def squeezed(name: bytes, body: bytes) -> bytes:
    return sized(b"200 OK\r\nContent-Encoding: " + name, body)


VALID = (
    sized(b"200 OK\r\nX-Next: /a\r\nContent-Type: application/json", JSON),
    sized(b"200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; Max-Age=9\r\nX-Next: /b", JSON),
    sized(b"302 Found\r\nLocation: /there?x=1", b""),
    sized(b"503 Busy\r\nRetry-After: 0", b"busy"),
    b"HTTP/1.1 204 No Content\r\nX-Next: /c\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"200 OK\r\nX-Next: /a", JSON),
    CHUNKED + b"%x\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(JSON), JSON),
    CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in JSON) + b"0\r\n\r\n",
    squeezed(b"gzip", gzip.compress(JSON)),
    squeezed(b"deflate", zlib.compress(JSON)),
    squeezed(b"br", brotli.compress(JSON)),
    b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n" + JSON,
)
PIECES = (b"\r\n", b"\n", b"\0", b"\xff\xfe", b": ", b"0\r\n\r\n", b"Content-Length: 9\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
          b"ffffffffffffffff\r\n", b"-1\r\n", b"Transfer-Encoding: chunked\r\n", b"Location: //[\r\n", b"\x1f\x8b",
          b"Set-Cookie: \x80=;;=\r\n", b"Content-Encoding: gzip\r\n", b"HTTP/9.9 ", b"Upgrade: x\r\n")  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """A valid reply in which something was changed, left out, doubled or put in; one in five is left as it is."""
    reply = bytearray(chance.choice(VALID))
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at = chance.randrange(len(reply) or 1)
        end = at + chance.randint(1, 12)
        match chance.randrange(5):
            case 0:
                reply[at:at] = chance.choice(PIECES)
            case 1:
                del reply[at:end]
            case 2:
                reply[at:at] = reply[at:end]
            case 3:
                reply[at : at + 1] = bytes([chance.randrange(256)])
            case _:
                del reply[at:]
    return bytes(reply)


def nonsense(seed: int) -> object:
    """Answers with a mutated reply, in pieces or at once, and goes away after one in three."""
    chance = random.Random(seed)

    async def handler(_target: Target, request: Asked, writer: asyncio.StreamWriter) -> bytes | None:
        reply = mutated(random.Random(f"{seed}/{request.n}"))
        if chance.random() < 0.2:
            middle = chance.randrange(len(reply) + 1)
            writer.write(reply[:middle])
            await asyncio.sleep(0)
            reply = reply[middle:]
        if chance.random() < 0.35:
            writer.write(reply)
            return None
        return reply

    return handler


KEEP = {"id": "$.id", "name": "$.items[0].name"}
CHECKS = (
    Check(says="body lacks xyz", subject="body", test="lacks", value="xyz"),
    Check(says="$.id = 7", subject="json", where="$.id", test="=", value="7"),
)
FAST = Request(name="get", method="GET", path="/", keep=KEEP, checks=CHECKS)
FULL = Request(
    name="get",
    method="POST",
    path="/",
    body={"a": 1},
    keep={**KEEP, "next": "header X-Next", "word": "/na(m)e/"},
    checks=CHECKS,
    client=Client(
        redirects=3,
        cookies=True,
        compression=True,
        retry=Retry(times=1, statuses=(503,), outcomes=("reset", "timeout"), backoff_s=0.001, timeout_s=0.2),
    ),
)


@pytest.mark.parametrize(("step", "seed"), [(FAST, 1), (FAST, 2), (FULL, 3), (FULL, 4)], ids=lambda it: str(it)[:0])
async def test_whatever_a_server_answers(step: Request, seed: int) -> None:
    """Of 1,200 hits, each answered with nonsense, every one has an outcome with a name, and nothing was raised."""
    raised: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: raised.append(context))
    async with Target(nonsense(seed)) as target:  # type: ignore[arg-type]
        load = profile(step, rate=1000, lasts_s=1.2, timeout_s=0.4, connections=100, max_in_flight=2000)
        books = await work(load, target.url, until=finished(1200))
    assert not raised, raised[0]
    assert sum(books.done.values()) == 1200
    assert len(target.requests) >= 200, "this machine is too busy to say anything"
    # A reply that was cut is waited for, and so are its successors; on a busy machine some are never sent.
    others = {Outcome.TIMEOUT, Outcome.CONNECT, Outcome.LATE}
    assert set(books.done) - others <= {Outcome.OK, Outcome.RESET, Outcome.PROTOCOL, Outcome.CHECK, Outcome.STATUS}
    assert {Outcome.OK, Outcome.PROTOCOL, Outcome.CHECK} <= set(books.done)
    assert all(note["why"] for note in books.noted("reply"))


# --- without a network: any bytes at all


class Wire:
    """A transport and a socket in one."""

    def get_extra_info(self, _name: str) -> None:
        return None

    def write(self, _data: bytes) -> None:
        pass

    def send(self, data: bytes) -> int:
        return len(data)

    def abort(self) -> None:
        pass


class Owner(Pool):
    """A pool that counts what it has lost."""

    losses = 0

    def lost(self, connection: Connection) -> None:
        self.losses += 1
        super().lost(connection)


class Ends(list[object]):
    """Act and road of one attempt: notes how that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.reply, self.right = UNKNOWN, b"", frozenset[int]()
        journey = SimpleNamespace(route=SimpleNamespace(legs=[SimpleNamespace(act=self, name=0)]))
        self.hit = SimpleNamespace(journey=journey, leg=0, due_ns=0)
        self.ready = SimpleNamespace(judge=SimpleNamespace(needs_body=True))

    def answered(self, _hit: OpenHit, status: int, body: bytes, _now_ns: int) -> None:
        self.append((status, body))

    def ended(self, _hit: OpenHit, outcome: Outcome, _now_ns: int) -> None:
        self.append(outcome)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    yield from (data[begin:end] for begin, end in pairwise(at))


@given(
    seed=st.integers(0, 1 << 32),
    cuts=st.lists(st.integers(0, 500), max_size=6),
    kind=st.sampled_from([Connection, FullConnection]),
    is_head=st.booleans(),
    garbage=st.one_of(st.none(), st.binary(max_size=200)),
)
@settings(max_examples=400, deadline=None)
def test_any_bytes_end_a_hit_once(
    seed: int, cuts: list[int], kind: type[Connection], is_head: bool, garbage: bytes | None
) -> None:
    """However a reply is mutated and cut, and at last the connection with it, its hit ends exactly once."""
    owner, wire, ends = Owner(Origin(False, "x", 80), Budget(1), 1.0), Wire(), Ends()
    hit = Attempt(ends, b"", is_head=is_head)  # type: ignore[arg-type]
    connection = kind(owner, wire)  # type: ignore[arg-type]
    connection.connection_made(wire)  # type: ignore[arg-type]
    connection.send(hit)
    data = mutated(random.Random(seed)) if garbage is None else garbage
    for piece in pieces(data, cuts):
        connection.data_received(piece)
    connection.connection_lost(None)
    connection.connection_lost(None)
    assert len(ends) == 1
    assert hit.link is None
    assert owner.losses == 1


# --- bodies that do not end


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", id="chunked"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", id="until the end"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", id="a length beyond reach"),
    ],
)
@pytest.mark.parametrize("full", [False, True], ids=["fast", "full"])
async def test_an_endless_body_ends_with_its_hit(head: bytes, full: bool) -> None:
    """A body that never ends is read and forgotten until the hit's timeout; the memory does not grow with it."""
    sent = 0
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"

    async def endless(_target: Target, _request: Asked, writer: asyncio.StreamWriter) -> bytes | None:
        nonlocal sent
        writer.write(head)
        while True:
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
            await asyncio.sleep(0.0005)

    step = Request(
        name="get", method="GET", path="/", client=Client(redirects=1, compression=full) if full else Client()
    )
    tracemalloc.start()
    async with Target(endless) as target:
        books = await work(profile(step, rate=20, lasts_s=0.1, timeout_s=0.6), target.url, until=finished(2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert books.done == {Outcome.TIMEOUT: 2}
    assert 300_000 <= books.all.failed.rank(1) < 20_000_000
    assert peak < 16 << 20


@pytest.mark.parametrize("full", [False, True], ids=["fast", "full"])
async def test_headers_that_drip(full: bool) -> None:
    """A server that sends a byte of its headers now and then keeps nobody beyond the hit's timeout."""

    async def drip(_target: Target, _request: Asked, writer: asyncio.StreamWriter) -> bytes | None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)
        return None

    step = Request(name="get", method="GET", path="/", client=Client(redirects=int(full)))
    async with Target(drip) as target:
        books = await work(profile(step, rate=50, timeout_s=0.4), target.url, until=finished(10))
    assert books.done == {Outcome.TIMEOUT: 10}
    assert all(hit.first_us is not None for hit in books.hits)
