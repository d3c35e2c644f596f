"""The gateway in front of replicas that misbehave on purpose; real sockets throughout."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from chaosrunner.demo.gateway import Gateway, Patience
from chaosrunner.demo.rotation import BlindRotation, CarefulRotation, Condition, Replica

QUICK = Patience(tries=3, per_try_s=0.3, total_s=2.0)


class FakeReplica:
    """Answers every request as told, and remembers what it was asked."""

    def __init__(self, name, status=200, ready=True):
        self.name, self.status, self.ready = name, status, ready
        self.asked = []

    async def answer(self, request):
        if request.path == "/health/ready":
            return web.Response(status=200 if self.ready else 503)
        self.asked.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        return web.json_response({"from": self.name}, status=self.status, headers={"X-Replica": self.name})


@asynccontextmanager
async def answering(fake):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    async with TestServer(app) as server:
        yield Replica(fake.name, str(server.make_url("")).rstrip("/"))


@asynccontextmanager
async def slamming(name):
    """A replica that takes the connection and drops it before any answer."""

    async def drop(reader, writer):
        await reader.readline()
        writer.close()

    async with raw(name, drop) as replica:
        yield replica


@asynccontextmanager
async def hanging(name):
    """A replica that takes the request and never answers, as a paused process does."""

    async def hang(reader, writer):
        await reader.read()  # until the other side gives up
        writer.close()

    async with raw(name, hang) as replica:
        yield replica


@asynccontextmanager
async def raw(name, serve):
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Replica(name, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


def refusing(name):
    """A replica that nobody listens for."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Replica(name, f"http://127.0.0.1:{probe.getsockname()[1]}")


@asynccontextmanager
async def gateway(rotation, patience=QUICK):
    async with aiohttp.ClientSession() as upstream:
        made = Gateway(rotation, patience, upstream)
        async with TestClient(TestServer(made.application())) as client:
            client.gateway = made
            yield client


@asynccontextmanager
async def in_front_of(*replicas):
    """A careful gateway in front of replicas, tried in this order at first."""
    async with AsyncExitStack() as stack:
        entered = [await stack.enter_async_context(replica) for replica in replicas]
        yield await stack.enter_async_context(gateway(CarefulRotation(entered)))


@pytest.mark.parametrize("broken", [slamming, hanging])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/agents"), ("POST", "/login"), ("POST", "/agents"), ("PATCH", "/agents/1"), ("DELETE", "/agents/1")],
)
async def test_a_request_that_may_be_repeated_goes_to_the_next_replica(broken, method, path):
    """When the first replica drops or hangs, the user gets the second one's answer and the first is out of rotation."""
    good = FakeReplica("good")
    async with broken("bad") as bad, answering(good) as replica:
        async with gateway(CarefulRotation([bad, replica])) as client:
            response = await client.request(method, path, json={"name": "x"})
            assert (response.status, await response.json()) == (200, {"from": "good"})
        assert bad.condition is Condition.GONE
        assert len(good.asked) == 1


async def test_a_refused_connection_is_no_error_to_the_user():
    """A replica that nobody listens for costs the user nothing, whatever the request."""
    good = FakeReplica("good")
    async with answering(good) as replica, gateway(CarefulRotation([refusing("bad"), replica])) as client:
        assert (await client.post("/anything", json={})).status == 200


async def test_a_request_that_may_not_be_repeated_is_not():
    """An unknown POST that was lost on its way back is told to the user as lost, and nobody else gets it."""
    good = FakeReplica("good")
    async with in_front_of(slamming("bad"), answering(good)) as client:
        assert (await client.post("/anything", json={})).status == 502
    assert good.asked == []


async def test_a_create_carries_one_key_through_all_its_tries():
    """Every create gets a key of its own, a user's key is kept, and other requests get none."""
    good = FakeReplica("good")
    async with answering(good) as replica, gateway(CarefulRotation([replica])) as client:
        for headers in ({}, {}, {"Idempotency-Key": "mine"}):
            await client.post("/agents", json={}, headers=headers)
        await client.post("/login", json={})
    first, second, given, login = (headers.get("Idempotency-Key") for _, _, headers, _ in good.asked)
    assert first
    assert second
    assert first != second
    assert (given, login) == ("mine", None)


async def test_a_repeated_delete_that_finds_nothing_has_succeeded():
    """404 on a second try means that the first one deleted it; on the first try it is 404."""
    nothing = FakeReplica("nothing", status=404)
    async with in_front_of(slamming("bad"), answering(nothing)) as client:
        assert (await client.delete("/agents/1")).status == 204
        assert (await client.delete("/agents/1")).status == 404


async def test_a_read_that_one_replica_cannot_serve_is_asked_of_the_next():
    """503 to a read is passed over while another may remember; 503 to a write is told at once."""
    away, good = FakeReplica("away", status=503), FakeReplica("good")
    async with in_front_of(answering(away), answering(good)) as client:
        assert [(await client.get("/agents")).status for _ in range(2)] == [200, 200]
        statuses = [(await client.post("/agents", json={})).status for _ in range(2)]
    assert sorted(statuses) == [200, 503]


async def test_all_replicas_gone_is_502_and_all_hanging_is_504():
    """The user is told whether nobody was there or nobody answered in time, within the budget."""
    async with gateway(CarefulRotation([refusing("a"), refusing("b")])) as client:
        assert (await client.get("/agents")).status == 502
    async with hanging("a") as a, hanging("b") as b, gateway(CarefulRotation([a, b])) as client:
        assert (await client.get("/agents")).status == 504


async def test_probes_find_who_is_ready_who_lives_and_who_is_gone():
    """A probe puts a replica in or out of rotation by its own word, and sees it come back."""
    ready, unready = FakeReplica("ready"), FakeReplica("unready", ready=False)
    async with answering(ready) as first, answering(unready) as second, slamming("gone") as third:
        third.condition = Condition.READY
        async with gateway(CarefulRotation([first, second, third])) as client:
            await client.gateway.probe()
            expected = {"ready": "ready", "unready": "unready", "gone": "gone"}
            assert await (await client.get("/gateway/replicas")).json() == expected
            assert (await client.get("/gateway/ready")).status == 503
            unready.ready = True
            await client.gateway.probe()
            assert second.condition is Condition.READY


async def test_the_request_and_the_answer_arrive_as_they_were():
    """Method, path, query, body and end-to-end headers pass both ways."""
    good = FakeReplica("good", status=418)
    async with answering(good) as replica, gateway(CarefulRotation([replica])) as client:
        response = await client.put(URL("/a%20b?c=d&e=%2F", encoded=True), data=b"\x00body", headers={"X-Mine": "1"})
        assert (response.status, response.headers["X-Replica"]) == (418, "good")
    [(method, path, headers, body)] = good.asked
    assert (method, path, headers["X-Mine"], body) == ("PUT", "/a%20b?c=d&e=%2F", "1", b"\x00body")


async def test_the_blind_keep_sending_to_the_dead():
    """The fragile gateway fails every second request for ever when one of two replicas is gone."""
    good = FakeReplica("good")
    once = Patience(tries=1, per_try_s=1, total_s=1)
    async with answering(good) as replica, gateway(BlindRotation([replica, refusing("bad")]), once) as client:
        statuses = [(await client.get("/agents")).status for _ in range(6)]
    assert statuses == [200, 502] * 3
