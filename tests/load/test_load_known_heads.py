"""A reply whose head was seen before is read without the parser, and to the same end as with it."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from load_rig import Target, always, crowd, finished, reply, work

from chaosrunner.load.act import OpenHit
from chaosrunner.load.http.connection import HEADS, UNKNOWN, Connection, Head
from chaosrunner.load.journey import Journey, Leg, Route
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import Think
from chaosrunner.model.load import Outcome

Told = tuple[object, bytes, bool]
"""Status or outcome, body, and whether the connection may be used again."""


class Step:
    """Act of the hits of one step, whose requests all have the same method, and whom they tell."""

    def __init__(self, right: frozenset[int]) -> None:
        self.head = UNKNOWN
        self.reply = b""
        self.right = right
        self.told: list[tuple[object, bytes]] = []

    def answered(self, hit: OpenHit, status: int, body: bytes, now_ns: int) -> None:
        if status in self.right:
            self.ended(hit, Outcome.OK, now_ns)
        else:
            self.told.append((status, body))

    def ended(self, _hit: OpenHit, outcome: Outcome, _now_ns: int) -> None:
        self.told.append((outcome, b""))


class Bench:
    """Owner of a connection on which two steps are played, of which one asks by HEAD."""

    def __init__(self, right: frozenset[int] = frozenset()) -> None:
        self.heads: dict[bytes, Head] = {}
        self.waiting: deque[OpenHit] = deque()
        self.shortcut = True
        self.hot: Connection | None = None
        self.steps = Step(right), Step(right)
        self.connection = self.fresh()

    def fresh(self) -> Connection:
        """A connection that was just opened."""
        self.open, self.free = True, False
        connection = Connection(self, self)  # type: ignore[arg-type]
        connection.connection_made(self)  # type: ignore[arg-type]
        return connection

    # --- as an owner, a socket and a transport

    def freed(self, _connection: Connection) -> None:
        self.free = True

    def lost(self, _connection: Connection) -> None:
        self.open = False

    def send(self, data: bytes) -> int:
        return len(data)

    def abort(self) -> None:
        pass

    def get_extra_info(self, _name: str) -> None:
        return None

    def ask(self, pieces: list[bytes], *, is_head: bool = False) -> Told:
        """One request, answered in these pieces, and then the end of the connection if that did not end it."""
        if not self.open:
            self.connection = self.fresh()
        step = self.steps[is_head]
        route = Route([Leg(0, step, Think(), None, 10**9)])  # type: ignore[arg-type]
        hit = OpenHit(step, Journey(None, route, 0, 0, 0), 0, 0, 0)  # type: ignore[arg-type]
        hit.is_head, hit.keeps_body, self.free = is_head, True, False
        told = len(step.told)
        self.connection.send(hit)
        for piece in pieces:
            if len(step.told) == told:
                self.connection.data_received(piece)
        if len(step.told) == told:
            self.connection.connection_lost(None)
        assert len(step.told) == told + 1
        return (*step.told[-1], self.open and self.free)


LENGTHS = st.sampled_from([b"Content-Length: 2\r\n", b"content-length:2\r\n", b"Content-Length: 0\r\n", b""])
HEADS_OF_REPLIES = st.builds(
    b"".join,
    st.tuples(
        st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 No\r\n", b"HTTP/1.1 204 X\r\n", b"HTTP/1.1 304 X\r\n"]),
        LENGTHS,
        st.sampled_from([b"", b"", b"Connection: close\r\n", b"Transfer-Encoding: chunked\r\n", b"Date: now\r\n"]),
        LENGTHS.filter(lambda line: not line) | st.just(b"Server: x\r\n"),
        st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]),
    ),
)
BODIES = st.sampled_from([b"ok", b"ko", b"", b"x", b"okk", b"2\r\nok\r\n0\r\n\r\n", b"ok" + b"HTTP/1.1 200 OK\r\n\r\n"])
BEFORE = st.sampled_from([b"", b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
WIRES = st.builds(lambda *parts: b"".join(parts), BEFORE, HEADS_OF_REPLIES, BODIES)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(WIRES, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=12),
    st.integers(0, 200),
    st.sampled_from([frozenset[int](), frozenset({200, 204})]),
)
def test_memory_changes_nothing(
    wires: list[bytes], order: list[tuple[int, bool]], cut: int, right: frozenset[int]
) -> None:
    """Whatever a server answers, in whatever order and pieces: it is told as if each reply were the first ever."""
    remembering = Bench(right)
    for turn, (which, is_head) in enumerate(order):
        wire = wires[which % len(wires)]
        pieces = [wire[:cut], wire[cut:]] if turn % 3 == 2 and 0 < cut < len(wire) else [wire]
        assert remembering.ask(pieces, is_head=is_head) == Bench(right).ask(pieces, is_head=is_head)


def test_the_second_reply_with_a_head_is_not_parsed() -> None:
    """After one reply with a length the same head with another body needs no parser; cut in two, it does."""
    bench = Bench()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    assert bench.ask([head + b"ok"]) == (200, b"ok", True)
    assert list(bench.heads) == [head]
    parser, bench.connection._parser = bench.connection._parser, None  # type: ignore[assignment]
    assert bench.ask([head + b"ko"]) == (200, b"ko", True)
    bench.connection._parser = parser
    assert bench.ask([head, b"ok"]) == (200, b"ok", True)


def test_not_every_head_is_remembered_for_ever() -> None:
    """A server whose heads all differ fills no memory."""
    bench = Bench()
    for number in range(3 * HEADS):
        wire = b"HTTP/1.1 200 OK\r\nX-Request: %d\r\nContent-Length: 2\r\n\r\nok" % number
        assert bench.ask([wire]) == (200, b"ok", True)
        assert len(bench.heads) <= HEADS


@pytest.mark.parametrize("answer", [reply(body={"id": 7}), reply(404), reply(body=[1] * 50, headers="Date: now\r\n")])
async def test_users_without_pauses_are_answered_one_by_one(answer: bytes) -> None:
    """Users who ask again at once get each reply for the request it belongs to, on the connections they have."""
    step = Request(name="get", method="GET", path="/", expect=(200, 404))
    async with Target(always(answer)) as target:
        books = await work(crowd(step, users=3), target.url, until=finished(300))
    assert books.done[Outcome.OK] >= 300
    assert target.connections <= 3
    assert len(target.requests) == books.all.due


async def test_a_server_that_closes_without_saying_so_is_found_out() -> None:
    """If each connection ends after its reply without a word, requests are not written to it, but to new ones."""

    async def once(_target: Target, _request: object, writer: object) -> bytes | None:
        writer.write(reply())  # type: ignore[attr-defined]
        return None

    async with Target(once) as target:  # type: ignore[arg-type]
        books = await work(crowd(users=1), target.url, until=finished(30))
    assert books.done[Outcome.OK] > books.all.due / 2
