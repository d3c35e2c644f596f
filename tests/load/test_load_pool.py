"""The pool and its connections, step by step against a socket that the test holds in its hand."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from load_rig import OK

from chaosrunner.load.act import OpenHit
from chaosrunner.load.http.connection import UNKNOWN
from chaosrunner.load.http.pool import Budget, Origin, Pool, outcome_of, resolve
from chaosrunner.load.journey import Journey, Leg, Route
from chaosrunner.model.journey import Think
from chaosrunner.model.load import Outcome

REQUEST = b"GET / HTTP/1.1\r\n\r\n"


class Asked(OpenHit):
    """A hit whose end can be waited for: a status, or an outcome."""

    def __init__(self) -> None:
        leg = Leg(0, self, Think(), None, 0)
        route = Route([leg])
        super().__init__(self, Journey(None, route, 0, 0, 0), 0, 0, 0)  # type: ignore[arg-type]
        self.request = REQUEST
        self.head = UNKNOWN
        self.reply = b""
        self.right: frozenset[int] = frozenset()
        self.done: asyncio.Future[int | Outcome] = asyncio.get_running_loop().create_future()

    def answered(self, _hit: OpenHit, status: int, _body: bytes, _now_ns: int) -> None:
        self.done.set_result(status)

    def ended(self, _hit: OpenHit, outcome: Outcome, _now_ns: int) -> None:
        self.done.set_result(outcome)


async def pool_to(origin: Origin, budget: Budget, connect_timeout_s: float = 5.0) -> Pool:
    """A pool that knows where its origin is."""
    pool = Pool(origin, budget, connect_timeout_s)
    pool.addresses = list(await resolve(origin))
    return pool


class Listener:
    """A listening socket, and a pool that connects to it."""

    def __init__(self, connections: int) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.origin = Origin(tls=False, host="127.0.0.1", port=self.socket.getsockname()[1])
        self.budget = Budget(connections)

    async def accept(self) -> socket.socket:
        async with asyncio.timeout(10):
            client, _ = await asyncio.get_running_loop().sock_accept(self.socket)
        client.setblocking(False)
        return client


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """A server that does nothing by itself."""
    listener = Listener(connections=1)
    yield listener
    for pool in listener.budget.pools:
        await pool.close()
    listener.socket.close()


@pytest.fixture
async def pool(listener: Listener) -> Pool:
    """A pool of one connection."""
    return await pool_to(listener.origin, listener.budget)


async def serve(client: socket.socket, answer: bytes = OK) -> None:
    """Read one request and answer it."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        assert await loop.sock_recv(client, 4096) == REQUEST
        await loop.sock_sendall(client, answer)


async def ask(pool: Pool) -> Asked:
    exchange = Asked()
    pool.send(exchange)
    return exchange


async def end_of(exchange: Asked) -> int | Outcome:
    async with asyncio.timeout(10):
        return await exchange.done


@pytest.mark.parametrize("how", ["close", "reset", "408 unasked"])
async def test_a_connection_found_closed_before_writing_is_replaced(listener: Listener, pool: Pool, how: str) -> None:
    """If the server's close has arrived, though not yet been noticed, the next hit goes over a new connection."""
    first = await ask(pool)
    old = await listener.accept()
    await serve(old)
    assert await end_of(first) == 200
    if how == "408 unasked":
        old.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    else:
        if how == "reset":
            old.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        old.close()
    second = await ask(pool)  # without a turn of the loop in between
    new = await listener.accept()
    await serve(new)
    assert await end_of(second) == 200
    assert listener.budget.opened == 2
    new.close()
    old.close()


async def test_a_connection_lost_after_writing_is_a_reset_and_nothing_is_sent_twice(
    listener: Listener, pool: Pool
) -> None:
    """Once a request was written on a reused connection, losing that is RESET, even before any byte of a reply."""
    first = await ask(pool)
    client = await listener.accept()
    await serve(client)
    assert await end_of(first) == 200
    second = await ask(pool)
    assert await asyncio.get_running_loop().sock_recv(client, 4096) == REQUEST
    client.close()
    assert await end_of(second) is Outcome.RESET
    with pytest.raises(BlockingIOError):
        listener.socket.accept()


async def test_waiting_exchanges_are_served_in_turn_and_cancelled_ones_left_out(listener: Listener, pool: Pool) -> None:
    """First come, first served; who has given up meanwhile is not asked for."""
    one, two, three, four = [await ask(pool) for _ in range(4)]
    client = await listener.accept()
    pool.cancel(two)
    for asked in (one, three, four):
        await serve(client)
        assert await end_of(asked) == 200
    assert one.sent_ns < three.sent_ns < four.sent_ns
    assert not two.sent_ns
    assert not two.done.done()
    client.close()


async def test_cancelling_what_was_sent_ends_its_connection(listener: Listener, pool: Pool) -> None:
    """The connection of a cancelled exchange is closed, and the next one gets a new connection."""
    one, two = await ask(pool), await ask(pool)
    client = await listener.accept()
    loop = asyncio.get_running_loop()
    assert await loop.sock_recv(client, 4096) == REQUEST
    pool.cancel(one)
    assert await loop.sock_recv(client, 1) == b""
    new = await listener.accept()
    await serve(new)
    assert await end_of(two) == 200
    assert not one.done.done()
    client.close()
    new.close()


async def test_a_cancelled_waiter_opens_nothing(listener: Listener, pool: Pool) -> None:
    """A waiting exchange that is cancelled is never sent, and the connection opened for it serves the next."""
    gone = await ask(pool)
    pool.cancel(gone)
    assert not pool.starved
    other = await ask(pool)
    client = await listener.accept()
    await serve(client)
    assert await end_of(other) == 200
    assert gone.sent_ns == 0
    client.close()


async def test_an_idle_connection_makes_way_for_another_origin(listener: Listener, pool: Pool) -> None:
    """With the budget used up by an idle connection elsewhere, that one is closed."""
    first = await ask(pool)
    client = await listener.accept()
    await serve(client)
    await end_of(first)
    other = Listener(connections=1)
    second = await pool_to(other.origin, listener.budget)
    asked = await ask(second)
    server = await other.accept()
    await serve(server)
    assert await end_of(asked) == 200
    assert listener.budget.used == 1
    assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
    for sock in (client, server, other.socket):
        sock.close()


async def test_a_name_without_an_address() -> None:
    """A host that cannot be looked up has no address; its exchanges fail as DNS at once."""
    origin = Origin(tls=False, host="x" * 64 + ".invalid", port=80)
    pool = await pool_to(origin, Budget(1))
    assert await end_of(await ask(pool)) is Outcome.DNS


async def test_every_address_is_tried() -> None:
    """When the first address of a name refuses, the second is used, and first from then on."""
    listener = Listener(connections=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = await resolve(Origin(tls=False, host="127.0.0.1", port=free.getsockname()[1]))
        pool = await pool_to(listener.origin, listener.budget)
        pool.addresses = [*dead, *pool.addresses]
        asked = await ask(pool)
        client = await listener.accept()
        await serve(client)
        assert await end_of(asked) == 200
    await pool.close()
    client.close()
    listener.socket.close()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(), Outcome.REFUSED),
        (ConnectionResetError(), Outcome.RESET),
        (socket.gaierror(), Outcome.DNS),
        (OSError(113, "No route to host"), Outcome.CONNECT),
    ],
)
def test_failures_to_connect_have_classes(error: OSError, outcome: Outcome) -> None:
    """Refused, reset, DNS and everything else are told apart."""
    assert outcome_of(error) is outcome


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (Origin(False, "h", 80), "h"),
        (Origin(True, "h", 443), "h"),
        (Origin(True, "h", 80), "h:80"),
        (Origin(False, "::1", 8080), "[::1]:8080"),
    ],
)
def test_the_host_header(origin: Origin, authority: str) -> None:
    """The port is named when it is not the scheme's own; an IPv6 address is in brackets."""
    assert origin.authority == authority
