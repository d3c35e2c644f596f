"""WebSocket journeys against a healthy peer: answers, awaited messages, closing, and what is measured beside them."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
import websockets
from load_rig import Asked, Target, crowd, finished, profile, reply, work
from websocket_rig import Guest, Peer, closing, done, frame, of, outcomes

from chaosrunner.errors import LoadBroken
from chaosrunner.load.orders import Orders, from_line, to_line
from chaosrunner.model.http_client import Tls
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import Again
from chaosrunner.model.load import Outcome
from chaosrunner.model.websocket_step import Await, Close, Open, Reconnect, Send, Silence

OK, CHECK, TIMEOUT, CLOSED = Outcome.OK, Outcome.CHECK, Outcome.TIMEOUT, Outcome.CLOSED
OPEN = Open(name="open", path="/ws")
SAY = Send(name="say", on="open", message={"id": "<id>", "text": "hello"})
BYE = Close(name="bye", on="open")


async def echoes(guest: Guest) -> None:
    await guest.upgrade()
    await guest.echo()


async def test_another_library_understands_all_of_it() -> None:
    """Against a server of the websockets library every step is OK, and each part of connecting is timed."""

    async def handler(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(handler, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        large = replace(SAY, name="large", message={"id": "<id>", "text": "x" * 70_000})
        load = profile(replace(OPEN, ping_s=0.02), SAY, large, replace(BYE, think=replace(BYE.think, at_s=0.1)))
        books = await work(load, f"ws://127.0.0.1:{port}".replace("ws:", "http:"), until=finished(80))
    names = ("open", "say", "large", "bye", "open.tcp", "open.upgrade")
    assert done(books, load, names) == {name: {OK: 20} for name in names}
    assert outcomes(books, load, "open.tls") == {}
    assert set(outcomes(books, load, "open.ping")) == {OK}
    assert of(books, load, "open.ping").due >= 40
    assert books.connects == books.counts["open.closed.1000"] == 20


async def test_an_answer_is_known_by_its_id_in_whatever_order_they_come() -> None:
    """Pipelined questions get their own answers, also when a later one is answered first, in fragments, after noise."""

    async def backwards(guest: Guest) -> None:
        await guest.upgrade()
        asked = [json.loads(await guest.text()) for _ in range(5)]
        await guest.write(frame({"news": 912345000000001}), frame("no JSON"), frame("[1, 2]"))
        for question in reversed(asked):
            whole = json.dumps({"of": question["id"], "nth": question["nth"]}).encode()
            await guest.write(frame(whole[:9], fin=False), frame(b"", 0, fin=False), frame(whole[9:], 0))
            await asyncio.sleep(0.03)
        await guest.silence()

    saying = Send(
        name="say",
        on="open",
        message={"id": "<id>", "nth": "<n>"},
        expect={"nth": "<n>"},
        keep={"asked": "$.of"},
        again=Again(times=5, every_s=0.001),
    )
    last = Request(name="last", method="GET", path="/<asked>")

    async def server(_target: Target, _asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
        return reply(200)

    async with Peer(backwards) as peer, Target(server) as target:
        load = profile(
            replace(OPEN, path=f"{peer.url}/ws"), saying, last, rate=10, lasts_s=0.1, data=({"n": "a"},), timeout_s=3.0
        )
        books = await work(load, target.url, until=finished(7))
    assert outcomes(books, load, "say") == {OK: 5}
    said = sorted((hit for hit in books.hits if hit.name == 1), key=lambda hit: hit.due_us)
    assert said[0].response_us > said[-1].response_us + 60_000
    assert len(target.requests) == 1
    assert target.requests[0].path[1:].isdecimal()


async def test_an_answer_must_hold_what_is_expected() -> None:
    """An answer without what is expected, or without what is to be kept, is CHECK: an error is never a fast request."""

    async def refuses(guest: Guest) -> None:
        await guest.upgrade()
        while True:
            question = json.loads(await guest.text())
            await guest.write(frame({"id": question["id"], "ok": question["want"] != "no"}))

    steps = {
        "fine": Send(name="fine", on="open", message={"id": "<id>", "want": 1}, expect={"ok": True}),
        "kept": Send(name="kept", on="open", message={"id": "<id>", "want": 1}, keep={"x": "$.nowhere"}),
        "refused": Send(name="refused", on="open", message={"id": "<id>", "want": "no"}, expect={"ok": True}),
        "a number": Send(name="a number", on="open", message={"id": "<id>", "want": 1}, expect={"ok": 1}),
    }
    async with Peer(refuses) as peer:
        for name, step in steps.items():
            load = profile(OPEN, step, rate=50, lasts_s=0.1)
            books = await work(load, peer.url, until=finished(10))
            assert outcomes(books, load, name) == {OK if name == "fine" else CHECK: 5}


async def test_where_the_id_must_be_can_be_said() -> None:
    """With `match` a message that only quotes the question is not its answer."""

    async def quotes_first(guest: Guest) -> None:
        await guest.upgrade()
        while True:
            question = json.loads(await guest.text())
            await guest.write(frame({"received": question}))
            await asyncio.sleep(0.05)
            await guest.write(frame({"of": [{"id": f"r{question['id']}"}]}))

    async with Peer(quotes_first) as peer:
        exact = replace(SAY, match="$.of[0].id")
        for step, least in ((SAY, 0), (exact, 50_000)):
            load = profile(OPEN, step, rate=50, lasts_s=0.1)
            books = await work(load, peer.url, until=finished(10))
            assert outcomes(books, load, "say") == {OK: 5}
            assert (of(books, load, "say").ok.rank(1) >= 50_000) == (least > 0)


async def test_a_message_without_an_id_is_done_when_it_is_sent() -> None:
    """Texts go out as they are, JSON as JSON, with variables in them; nobody waits for an answer."""
    heard: list[str] = []

    async def listens(guest: Guest) -> None:
        await guest.upgrade()
        while True:
            heard.append(await guest.text())

    steps = (
        OPEN,
        Send(name="text", on="open", message="hello <who> <<3"),
        Send(name="json", on="open", message={"<who>": ["<who>", 1, None]}),
        BYE,
    )
    async with Peer(listens) as peer:
        load = profile(*steps, rate=50, lasts_s=0.1, data=({"who": "änn"},))
        books = await work(load, peer.url, until=finished(20))
    assert books.done == {OK: 20}
    assert heard.count("hello änn <3") == heard.count('{"änn":["änn",1,null]}') == 5
    assert len(heard) == 10


async def test_the_upgrade_carries_path_headers_and_authorization() -> None:
    """Variables travel from an HTTP step into the upgrade's path and headers; what is said on opening comes first."""
    heard: list[str] = []

    async def listens(guest: Guest) -> None:
        await guest.upgrade()
        heard.append(await guest.text())
        await guest.echo()

    async def server(_target: Target, _asked: Asked, _writer: asyncio.StreamWriter) -> bytes:
        return reply(200, {"token": "t;1/x"})

    login = Request(name="log in", method="POST", path="/login", keep={"token": "$.token"})
    async with Peer(listens) as peer, Target(server) as target:
        ws = peer.url.replace("http", "ws")
        opening = Open(name="open", path=f"{ws}/a;b?t=<token>", headers={"X-T": "<token>"}, say={"from": "<last>"})
        load = profile(login, opening, SAY, rate=50, lasts_s=0.1)
        books = await work(load, target.url, until=finished(15), auths=("bearer <token>",))
    assert books.done == {OK: 15}
    requests = [guest.request.split("\r\n") for guest in peer.guests]
    assert {lines[0] for lines in requests} == {"GET /a%3Bb?t=t%3B1%2Fx HTTP/1.1"}
    assert all("X-T: t;1/x" in lines and "Authorization: Bearer t;1/x" in lines for lines in requests)
    assert all(f"Host: 127.0.0.1:{peer.port}" in lines for lines in requests)
    assert heard == ['{"from":0}'] * 5


async def test_connecting_is_split_where_the_time_is_spent(tmp_path: Path) -> None:
    """A slow upgrade shows in the upgrade and not in TLS, slow TLS in TLS and not in TCP; a bad certificate is TLS."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trusting = Tls(ca=str(tmp_path / "ca.pem"))

    async def slow(guest: Guest) -> None:
        await asyncio.sleep(0.1)
        await guest.upgrade()
        await guest.echo()

    async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass everything on, the client's first bytes late: the handshake waits for them."""
        there, back = await asyncio.open_connection("127.0.0.1", peer.port)
        first = await reader.read(1 << 16)
        await asyncio.sleep(0.1)
        back.write(first)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(1 << 16):
                sink.write(data)
            sink.close()

        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    def parts(books: object, load: object) -> list[float]:
        return [of(books, load, f"open.{part}").ok.rank(1) for part in ("tcp", "tls", "upgrade")]  # type: ignore[arg-type]

    load = replace(profile(OPEN, SAY, rate=50, lasts_s=0.1), tls=trusting)
    async with Peer(slow, ssl=context) as peer:
        tcp, tls, upgrade = parts(await work(load, peer.url, until=finished(10)), load)
        assert upgrade >= 100_000 > max(tcp, tls) > 0
    async with Peer(echoes, ssl=context) as peer:
        relay = await asyncio.start_server(through, "127.0.0.1", 0)
        port = relay.sockets[0].getsockname()[1]
        tcp, tls, upgrade = parts(await work(load, f"https://127.0.0.1:{port}", until=finished(10)), load)
        relay.close()
        assert tls >= 100_000 > tcp
        for wrong in (None, replace(trusting, server_name="elsewhere.test")):
            unsafe = replace(load, tls=wrong)
            books = await work(unsafe, peer.url, until=finished(5))
            names = ("open", "open.tcp", "open.tls", "open.upgrade")
            expected = [{Outcome.TLS: 5}, {OK: 5}, {Outcome.TLS: 5}, {}]
            assert list(done(books, unsafe, names).values()) == expected
            assert books.counts == {f"open.tls.{'wrong_name' if wrong else 'unknown_ca'}": 5}


async def test_an_awaited_message_may_come_early_or_late() -> None:
    """AWAIT ends with the first message that holds what it wants, also one that came before; others it passes by."""

    async def tells(guest: Guest) -> None:
        await guest.upgrade()
        await guest.write(frame({"type": "hello", "to": 7}), frame({"type": "noise"}), frame({"type": "news", "n": 1}))
        await guest.text()
        await guest.write(frame({"type": "noise"}))
        await asyncio.sleep(0.05)
        await guest.write(frame({"type": "news", "n": 2}))
        await guest.silence()

    steps = (
        OPEN,
        Await(name="hello", on="open", message={"type": "hello"}, keep={"to": "$.to"}),
        Await(name="early", on="open", message={"type": "news"}),
        Send(name="go", on="open", message={"to": "<to>"}),
        Await(name="late", on="open", message={"type": "news", "n": 2}),
        Await(name="never", on="open", timeout_s=0.2),
    )
    async with Peer(tells) as peer:
        load = profile(*steps, rate=50, lasts_s=0.1)
        books = await work(load, peer.url, until=finished(30))
    names = ("hello", "early", "go", "late")
    assert done(books, load, names) == {name: {OK: 5} for name in names}
    assert of(books, load, "late").ok.rank(1) >= 50_000
    assert outcomes(books, load, "never") == {TIMEOUT: 5}


async def test_the_end_of_a_connection_can_be_awaited() -> None:
    """AWAIT close is OK with one of the codes it expects, CHECK with another, also when the end came before it."""

    async def sends_away(guest: Guest) -> None:
        await guest.upgrade()
        await guest.text()
        await guest.write(closing(1013))
        await guest.read()

    def load_of(codes: tuple[int, ...], *, late: bool) -> object:
        pause = replace(BYE.think, at_s=0.1 if late else 0.0)
        steps = (OPEN, Send(name="go", on="open", message="go"), Await(name="end", on="open", close=codes, think=pause))
        return profile(*steps, rate=50, lasts_s=0.1)

    async with Peer(sends_away) as peer:
        for late in (False, True):
            for codes, outcome in (((1013, 1001), OK), ((), OK), ((4000,), CHECK)):
                load = load_of(codes, late=late)
                books = await work(load, peer.url, until=finished(15))  # type: ignore[arg-type]
                assert outcomes(books, load, "end") == {outcome: 5}  # type: ignore[arg-type]
                assert books.counts["open.closed.1013"] == 5


async def test_a_journey_that_is_over_says_goodbye() -> None:
    """Sockets that nobody closed are left with 1001 when their journey ends; CLOSE sends its own code."""
    async with Peer(echoes) as peer:
        for last, code in ((), 1001), ((replace(BYE, code=4001),), 4001):
            load = profile(OPEN, SAY, *last, rate=50, lasts_s=0.1)
            books = await work(load, peer.url, until=finished(10 + 5 * len(last)))
            assert set(books.done) == {OK}
            assert [guest.close_code for guest in peer.guests[-5:]] == [code] * 5
            assert books.counts["open.left"] == (0 if last else 5)


async def test_a_socket_that_is_gone_is_no_fast_request() -> None:
    """After a loss a repeated step fails each time, after a tenth of a second, not as fast as a loop can turn."""

    async def once(guest: Guest) -> None:
        await guest.upgrade()
        await guest.text()
        await guest.write(closing(1000))

    async with Peer(once) as peer:
        load = profile(OPEN, replace(SAY, again=Again(for_s=0.55)), rate=10, lasts_s=0.1)
        books = await work(load, peer.url, until=lambda books: books.frames[-1:] and books.all.finished > 4)
    said = outcomes(books, load, "say")
    assert set(said) <= {CLOSED, Outcome.UNFINISHED}
    assert 3 <= said[CLOSED] <= 7


async def test_sockets_keep_to_the_limit_of_connections() -> None:
    """With three connections allowed never more than three are open; whoever waits gets one when a journey ends."""
    open_now = most = 0

    async def counts(guest: Guest) -> None:
        nonlocal open_now, most
        await guest.upgrade()
        open_now += 1
        most = max(most, open_now)
        await guest.text()
        await asyncio.sleep(0.1)
        open_now -= 1  # before the client can know that it may go
        await guest.write(frame("x"))
        await guest.silence()

    async with Peer(counts) as peer:
        steps = (OPEN, Send(name="go", on="open", message="go"), Await(name="x", on="open"))
        load = profile(*steps, connections=3)
        books = await work(load, peer.url, until=finished(60))
    assert books.done == {OK: 60}
    assert most == 3
    assert of(books, load, "open").wait.rank(20) > 100_000


async def test_one_user_may_hold_many_sockets() -> None:
    """A repeated OPEN opens one socket each time; the next steps speak on the latest that is open."""
    async with Peer(echoes) as peer:
        many = replace(OPEN, again=Again(times=10))
        load = crowd(many, SAY, BYE, replace(SAY, name="again"), users=1, iterations=1)
        books = await work(load, peer.url, until=finished(13))
    assert books.done == {OK: 13}
    assert books.connects == len(peer.guests) == 10
    assert books.counts["open.closed.1000"] == 1
    assert books.counts["open.left"] == 9


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((SAY,), "opens 'open'"),
        ((replace(OPEN, path="ws://<host>/"),), "placeholder"),
        ((replace(OPEN, numbered="n"),), "begins with"),
        ((replace(OPEN, say="<nobody>"),), "<nobody>"),
        ((OPEN, replace(SAY, message="<nobody>")), "<nobody>"),
        ((OPEN, Await(name="a", on="open", message={"x": "<nobody>"})), "<nobody>"),
    ],
)
async def test_what_cannot_work_is_said_before_anything_is_opened(steps: tuple[object, ...], why: str) -> None:
    """A step that cannot work breaks the load before the first connection."""
    async with Peer(echoes) as peer:
        with pytest.raises(LoadBroken, match=why):
            await work(profile(*steps), peer.url)  # type: ignore[arg-type]
    assert peer.guests == []


async def test_a_binary_answer_is_an_answer() -> None:
    """An id is found in a binary message, too, and in one that is not UTF-8."""

    async def binary(guest: Guest) -> None:
        await guest.upgrade()
        while True:
            digits = str(json.loads(await guest.text())["id"]).encode()
            await guest.write(frame(b"\xff\x00" + digits + b"\x80", 2))

    async with Peer(binary) as peer:
        load = profile(OPEN, SAY, rate=50, lasts_s=0.1)
        books = await work(load, peer.url, until=finished(10))
    assert books.done == {OK: 10}


def test_a_worker_is_told_all_of_it() -> None:
    """Every field of every step survives the way to a worker."""
    opening = Open(
        name="open",
        path="/ws",
        headers={"a": "b"},
        say={"after": "<last>", "and": [1, None, True]},
        numbered="$.n",
        resumed="$.r",
        ping_s=1.5,
        silent=Silence(medians=3.0, leave=True),
        reconnect=Reconnect(first_s=0.1, most_s=2.0, attempts=3),
        reads_per_s=100.0,
        timeout_s=4.0,
    )
    asking = Send(
        name="say", on="open", message=["<id>"], match="$[0]", expect={"a": [None]}, keep={"x": "$.x"}, everyone=True
    )
    steps = (opening, asking, Await(name="end", on="open", close=(1000, 1001)), Await(name="m", on="open"), BYE)
    orders = Orders(profile=profile(*steps), entry="http://h", shard=0, of=1, seed=1, longest_s=1.0)
    assert from_line(to_line(orders)) == orders


def test_a_machine_without_its_library_is_told_what_to_install() -> None:
    """Where picows has no build, a load with WebSocket steps is broken before it begins, with what to do."""
    program = (
        "import sys; sys.modules['picows'] = None\n"
        "from chaosrunner.load.websocket.driver import driver\n"
        "from chaosrunner.errors import LoadBroken\n"
        "try: driver(None)\n"
        "except LoadBroken as broken: print(broken)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.startswith("WebSocket steps need a package; pip install picows")
