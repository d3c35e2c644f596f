"""The WebSocket driver against the demo: many sockets, slow consumers, and coming back after a loss."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from load_rig import crowd, work
from websocket_rig import of, outcomes

from chaosrunner.demo.options import DemoOptions, free_base_port
from chaosrunner.demo.rotation import Replica
from chaosrunner.demo.running import running_demo
from chaosrunner.demo.socket_relay import relay_socket
from chaosrunner.demo.sockets import Hub
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import Again
from chaosrunner.model.load import LoadProfile, Outcome, Scenario, Stage, Stream
from chaosrunner.model.websocket_step import Await, Close, Open, Reconnect, Send

OK = Outcome.OK
LOGIN = Request(
    name="log in",
    method="POST",
    path="/login",
    body={"user": "user01", "password": "pass01"},
    keep={"token": "$.token"},
)


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """An application on a free port."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def replica_and_gateway(hub: Hub) -> AsyncIterator[tuple[str, str]]:
    """The WebSocket end of a replica, and the gateway's in front of it."""
    inner, outer = web.Application(), web.Application()
    inner.router.add_get("/ws", hub.talk)
    async with serving(inner) as url, aiohttp.ClientSession() as client:
        replicas = [Replica("api-1", url)]

        async def relay(request: web.Request) -> web.StreamResponse:
            return await relay_socket(request, replicas, client, timeout_s=5.0)

        outer.router.add_get("/ws", relay)
        async with serving(outer) as gateway:
            yield url, gateway


@pytest.mark.postgres
async def test_five_hundred_sockets_say_more_than_a_thousand_things_a_second() -> None:
    """With 500 sockets open at once through the demo's gateway, 1,250 messages due a second are all answered."""
    opening = Open(name="open", path="/ws?token=<token>", ping_s=1.0)
    say = Send(name="say", on="open", message={"id": "<id>", "text": "hello"}, again=Again(times=6, every_s=0.4))
    async with running_demo(DemoOptions(base_port=free_base_port())) as demo:
        load = crowd(LOGIN, opening, say, Close(name="bye", on="open"), users=500, iterations=1, connections=500)
        books = await work(load, demo.entry, until=lambda books: outcomes(books, load, "bye").get(OK, 0) >= 500)
    assert outcomes(books, load, "open") == {OK: 500}
    # LATE would be this process's fault, on a machine that has other things to do; never the demo's.
    assert sum(outcomes(books, load, "say").values()) == 3_000
    assert set(outcomes(books, load, "say")) <= {OK, Outcome.LATE}
    assert set(outcomes(books, load, "open.ping")) == {OK}
    assert books.counts["open.closed.1000"] == 500


async def test_a_slow_consumer_is_sent_away_and_hurts_nobody() -> None:
    """Replica and gateway send a client away with 1013 that does not keep up; whoever reads is served on."""
    streams = []
    async with replica_and_gateway(Hub()) as urls:
        for name, url in zip(("direct", "relayed"), urls, strict=True):
            snail = Open(
                name=f"{name} snail",
                path=f"{url}/ws",
                reads_per_s=60_000.0,
                say={"subscribe": {"every_ms": 10, "pad": 8_000}},
            )
            shed = Await(name=f"{name} shed", on=snail.name, close=(1013,), timeout_s=15)
            opening = Open(name=f"{name} open", path=f"{url}/ws")
            say = Send(name=f"{name} say", on=opening.name, message={"id": "<id>"}, again=Again(times=20, every_s=0.1))
            for steps in ((snail, shed), (opening, say)):
                stage = Stage(start=20, end=20, lasts_s=0.1)
                streams.append(Stream(scenarios=(Scenario(name=steps[1].name + "ing", steps=steps),), stages=(stage,)))
        load = LoadProfile(streams=tuple(streams))
        books = await work(load, "", until=lambda books: books.all.finished >= 2 * (2 + 2 + 2 + 40))
    for name in ("direct", "relayed"):
        assert outcomes(books, load, f"{name} shed") == {OK: 2}
        assert of(books, load, f"{name} shed").ok.rank(1) >= 2_000_000
        assert outcomes(books, load, f"{name} say") == {OK: 40}
        assert books.counts[f"{name} snail.closed.1013"] == 2


async def test_ticks_go_on_where_they_were_on_a_careful_server_only() -> None:
    """After a close the feed goes on without a gap where the server remembers, and has lost messages where not."""
    opening = Open(
        name="feed",
        path="/ws",
        say={"subscribe": {"every_ms": 20, "after": "<last>"}},
        numbered="$.n",
        resumed="$.subscribed.resumed",
        reconnect=Reconnect(first_s=0.2),
    )
    ending = Send(name="end it", on="feed", message={"close": 4000}, think=replace(LOGIN.think, at_s=0.3))
    waiting = Await(name="wait", on="feed", message={"n": -1}, timeout_s=0.8)
    for careful in (True, False):
        async with replica_and_gateway(Hub(careful=careful)) as (_, gateway):
            load = crowd(opening, ending, waiting, users=3, iterations=1)
            books = await work(load, gateway, until=lambda books: books.all.finished >= 9)
        found = outcomes(books, load, "feed.numbered")
        assert found.pop(OK) >= 3 * 30
        assert set(found) == (set() if careful else {Outcome.LOST})
        assert books.counts["feed.closed.4000"] == 3
        assert books.counts["feed.resumed" if careful else "feed.fresh"] == 3
        assert outcomes(books, load, "feed.useful") == {OK: 3}


async def test_what_a_socket_answers_to_nonsense_and_wishes() -> None:
    """Nonsense is told and not punished; a wish to be closed is granted with its code, out of range it is nonsense."""
    async with replica_and_gateway(Hub()) as (url, _), aiohttp.ClientSession(url) as client:  # noqa: SIM117
        async with client.ws_connect("/ws") as socket:
            for nonsense in ("no JSON", "[]", '{"close": 17}', '{"subscribe": 1}'):
                await socket.send_str(nonsense)
                assert "error" in await socket.receive_json(timeout=5)
            await socket.send_json({"subscribe": {"every_ms": 0, "after": -1, "pad": True}})
            assert await socket.receive_json(timeout=5) == {"subscribed": {"resumed": False}}
            first = (await socket.receive_json(timeout=5))["n"]
            assert (await socket.receive_json(timeout=5))["n"] == first + 1
            await socket.send_json({"close": 1001})
            while (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
                pass
            assert socket.close_code == 1001
