"""What a peer can do wrong to a WebSocket client: each ends as a counted, named failure, and in time."""

from __future__ import annotations

import asyncio
import random
import struct

import pytest
from load_rig import profile, work
from websocket_rig import BINARY, CLOSE, PING, PONG, TEXT, Guest, Peer, closing, frame, outcomes

from chaosrunner.model.load import Closed, LoadProfile, Outcome, Scenario, Stage, Stream
from chaosrunner.model.websocket_step import Open, Send

OK, STATUS, TIMEOUT, RESET, CLOSED = Outcome.OK, Outcome.STATUS, Outcome.TIMEOUT, Outcome.RESET, Outcome.CLOSED
PROTOCOL = Outcome.PROTOCOL

REPLY = b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n"
FORGED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: bm9uc2Vuc2U=\r\n\r\n"
)


def answer(raw: bytes):
    """Answer the upgrade with these bytes."""

    async def play(guest: Guest) -> None:
        await guest.upgrade(answer=raw)
        await guest.silence()

    return play


def frames(*raw: bytes):
    """Answer the first message with these bytes, and then say no more."""

    async def play(guest: Guest) -> None:
        await guest.upgrade()
        await guest.text()
        await guest.write(*raw)
        await guest.silence()

    return play


async def says_nothing(guest: Guest) -> None:
    await guest.reader.readuntil(b"\r\n\r\n")
    await guest.silence()


async def hangs_up(guest: Guest) -> None:
    await guest.reader.readuntil(b"\r\n\r\n")


async def cuts_the_upgrade(guest: Guest) -> None:
    await guest.reader.readuntil(b"\r\n\r\n")
    guest.cut()


async def drips_the_upgrade(guest: Guest) -> None:
    await guest.reader.readuntil(b"\r\n\r\n")
    for byte in b"HTTP/1.1 101 Switching Protocols\r\n" * 100:
        await guest.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def endless_headers(guest: Guest) -> None:
    await guest.reader.readuntil(b"\r\n\r\n")
    await guest.write(b"HTTP/1.1 101 Switching Protocols\r\n")
    for _ in range(10_000):
        await guest.write(b"X-More: " + b"x" * 1_000 + b"\r\n")


async def endless_frame(guest: Guest) -> None:
    await guest.upgrade()
    await guest.text()
    await guest.write(b"\x81\x7f" + struct.pack("!Q", 10 << 20))
    for _ in range(10_000):
        await guest.write(b"x" * 100)
        await asyncio.sleep(0.01)


async def endless_fragments(guest: Guest) -> None:
    await guest.upgrade()
    await guest.text()
    await guest.write(frame(b"", TEXT, fin=False))
    for _ in range(10_000):
        await guest.write(frame(b"", 0, fin=False) * 1_000)


async def half_open(guest: Guest) -> None:
    await guest.upgrade()
    await guest.text()
    guest.writer.write_eof()
    await guest.silence()


async def cuts(guest: Guest) -> None:
    await guest.upgrade()
    await guest.text()
    guest.cut()


async def dies_in_a_message(guest: Guest) -> None:
    await guest.upgrade()
    await guest.text()
    await guest.write(b"\x81\x7e\x10\x00and then")


async def echoes(guest: Guest) -> None:
    await guest.upgrade()
    await guest.echo()


CASES = {
    "healthy": (echoes, OK, OK),
    "status 503": (answer(REPLY % b"503 Service Unavailable"), STATUS, None),
    "status 200": (answer(REPLY % b"200 OK"), STATUS, None),
    "a redirect": (answer(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"), STATUS, None),
    "status 999": (answer(REPLY % b"999 What"), PROTOCOL, None),
    "a forged accept": (answer(FORGED), PROTOCOL, None),
    "no HTTP": (answer(b"SSH-2.0-OpenSSH\r\n\r\n"), PROTOCOL, None),
    "no text at all": (answer(bytes(range(256)) * 8 + b"\r\n\r\n"), PROTOCOL, None),
    "endless headers": (endless_headers, PROTOCOL, None),
    "headers byte by byte": (drips_the_upgrade, TIMEOUT, None),
    "no answer to the upgrade": (says_nothing, TIMEOUT, None),
    "closes instead of an answer": (hangs_up, RESET, None),
    "resets instead of an answer": (cuts_the_upgrade, RESET, None),
    "an unknown opcode": (frames(frame(b"x", 3)), OK, PROTOCOL),
    "a reserved bit": (frames(frame(b"x", rsv=4)), OK, PROTOCOL),
    "another reserved bit": (frames(frame(b"x", rsv=1)), OK, PROTOCOL),
    "a masked frame": (frames(b"\x81\x81\0\0\0\0x"), OK, PROTOCOL),
    "text that is none": (frames(frame(b"\xff\xfe")), OK, PROTOCOL),
    "fragments of text that is none": (frames(frame(b"\xff", fin=False), frame(b"\xfe", 0)), OK, PROTOCOL),
    "a continuation of nothing": (frames(frame(b"x", 0)), OK, PROTOCOL),
    "a message in a message": (frames(frame(b"x", fin=False), frame(b"y")), OK, PROTOCOL),
    "a ping in fragments": (frames(frame(b"x", PING, fin=False)), OK, PROTOCOL),
    "a ping too long": (frames(b"\x89\x7e\x00\xff" + b"x" * 255), OK, PROTOCOL),
    "a frame too large": (frames(b"\x81\x7f" + struct.pack("!Q", 1 << 40)), OK, PROTOCOL),
    "an impossible length": (frames(b"\x81\x7f" + struct.pack("!Q", 1 << 63)), OK, PROTOCOL),
    "an endless frame": (endless_frame, OK, TIMEOUT),
    "endless fragments": (endless_fragments, OK, PROTOCOL),
    "half open": (half_open, OK, RESET),
    "silent": (frames(), OK, TIMEOUT),
    "a reset": (cuts, OK, RESET),
    "dies in a message": (dies_in_a_message, OK, RESET),
    "only pongs": (frames(frame(b"x", PONG) * 1_000), OK, TIMEOUT),
    "only pings": (frames(frame(b"x", PING) * 1_000), OK, TIMEOUT),
    "somebody else's answer": (frames(frame({"id": 1}), frame(b"\x00\xff", BINARY)), OK, TIMEOUT),
    "closes with 1001": (frames(closing(1001)), OK, CLOSED),
    "closes with 4000": (frames(closing(4000)), OK, CLOSED),
    "closes without a code": (frames(closing(None)), OK, CLOSED),
    "closes with a code that is never sent": (frames(closing(1006)), OK, PROTOCOL),
    "closes with a code that means nothing": (frames(closing(999)), OK, PROTOCOL),
    "a close of one byte": (frames(frame(b"x", CLOSE)), OK, PROTOCOL),
    "a close whose reason is no text": (frames(frame(struct.pack("!H", 1000) + b"\xff", CLOSE)), OK, PROTOCOL),
}
NEVER_CONNECTS = {"refused": Outcome.REFUSED, "unknown": Outcome.DNS}


def one_each(urls: dict[str, str]) -> LoadProfile:
    """One user for each case, who opens a socket and says one thing."""
    streams = []
    for case, url in urls.items():
        opening = Open(name=f"open {case}", path=f"{url}/ws")
        saying = Send(name=f"say {case}", on=opening.name, message={"id": "<id>"})
        stages = (Stage(start=1, end=1, lasts_s=None),)
        scenario = Scenario(name=case, steps=(opening, saying))
        streams.append(Stream(scenarios=(scenario,), stages=stages, closed=Closed(iterations=1)))
    return LoadProfile(streams=tuple(streams), timeout_s=2.5)


async def test_every_fault_of_a_peer_is_a_failure_with_a_name() -> None:
    """Whatever a peer does wrong, opening or saying ends with the outcome of its class, and nothing hangs."""
    peers = {case: Peer(play) for case, (play, *_) in CASES.items()}
    try:
        for peer in peers.values():
            await peer.__aenter__()
        urls = {case: peer.url for case, peer in peers.items()}
        urls |= {"refused": "http://127.0.0.1:1", "unknown": "ws://nobody.invalid"}
        load = one_each(urls)
        over = sum(1 if said is None else 2 for _, _, said in CASES.values()) + len(NEVER_CONNECTS)
        books = await work(load, "", until=lambda books: books.all.finished >= over)
    finally:
        for peer in peers.values():
            await peer.__aexit__(None, None, None)
    found = {case: (outcomes(books, load, f"open {case}"), outcomes(books, load, f"say {case}")) for case in urls}
    expected = {case: ({opened: 1}, {said: 1} if said else {}) for case, (_, opened, said) in CASES.items()}
    expected |= {case: ({outcome: 1}, {}) for case, outcome in NEVER_CONNECTS.items()}
    assert found == expected
    failed = {case for case in CASES if OK not in outcomes(books, load, f"open {case}.upgrade")}
    assert failed == {case for case, (_, opened, _) in CASES.items() if opened is not OK}
    assert all(outcomes(books, load, f"open {case}.tcp") == {OK: 1} for case in CASES)
    assert {name: n for name, n in books.counts.items() if ".upgrade." in name} == {
        "open status 503.upgrade.503": 1,
        "open status 200.upgrade.200": 1,
        "open a redirect.upgrade.302": 1,
    }
    assert books.counts["open closes with 4000.closed.4000"] == 1
    assert books.counts["open closes without a code.closed.1005"] == 1
    assert books.counts["open a reset.closed.1006"] == 1


@pytest.mark.parametrize("seed", range(3))
async def test_nonsense_never_ends_in_anything_but_an_outcome(seed: int) -> None:
    """Random bytes, before and after a right upgrade, end each journey with a failure, in time, without a traceback."""
    chance = random.Random(seed)

    async def babble(guest: Guest) -> None:
        if chance.random() < 0.7:
            await guest.upgrade()
        for _ in range(chance.randrange(1, 6)):
            noise = chance.randbytes(chance.randrange(1, 400))
            await guest.write(
                noise if chance.random() < 0.5 else bytes([chance.choice(b"\x01\x81\x80\x88\x89")]) + noise
            )
        if chance.random() < 0.5:
            await guest.silence()

    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    async with Peer(babble) as peer:
        opening = Open(name="open", path="/ws", numbered="$.n", ping_s=0.05)
        load = profile(
            opening, Send(name="say", on="open", message={"id": "<id>"}), rate=200, lasts_s=0.2, timeout_s=0.5
        )
        books = await work(load, peer.url, until=lambda books: books.all.finished + books.skipped >= 80)
    assert books.journeys == len(peer.guests) == 40
    assert OK not in outcomes(books, load, "say")
    assert complaints == []


async def test_a_target_that_dies_under_many_open_sockets() -> None:
    """When a server's process is gone at once, every hit that waits on it is RESET and no journey hangs."""
    gone = asyncio.Event()

    async def dies(guest: Guest) -> None:
        await guest.upgrade()
        await guest.text()
        if guest.nth == 19:
            gone.set()
        await gone.wait()
        guest.cut()

    async with Peer(dies) as peer:
        load = profile(Open(name="open", path="/ws"), Send(name="say", on="open", message={"id": "<id>"}))
        books = await work(load, peer.url, until=lambda books: books.all.finished >= 40)
    assert outcomes(books, load, "open") == {OK: 20}
    assert outcomes(books, load, "say") == {RESET: 20}
