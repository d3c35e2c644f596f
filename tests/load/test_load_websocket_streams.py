"""What is measured on open sockets: numbered messages, messages to everyone, silence, slow reading, coming back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from load_rig import finished, profile, work
from websocket_rig import PING, PONG, Guest, Peer, closing, frame, of, outcomes

from chaosrunner.model.journey import Again
from chaosrunner.model.load import LoadProfile, Outcome, Scenario, Stage, Stream
from chaosrunner.model.websocket_step import Await, Open, Reconnect, Send, Silence

OK, LOST, REPEATED, REORDERED = Outcome.OK, Outcome.LOST, Outcome.REPEATED, Outcome.REORDERED
STALLED, UNFINISHED = Outcome.STALLED, Outcome.UNFINISHED
OPEN = Open(name="open", path="/ws?u=<u>")
USERS = tuple({"u": f"u{nth}"} for nth in range(20))
SAY = Send(name="say", on="open", message={"id": "<id>"})
END = Await(name="end", on="open", message={"end": True})
AT_ONCE = Reconnect()


def numbers(*sent: int):
    """Send these numbers, and then that it is over."""

    async def play(guest: Guest) -> None:
        await guest.upgrade()
        for number in sent:
            await guest.write(frame({"n": number}))
        await guest.write(frame({"end": True}))
        await guest.silence()

    return play


async def test_numbers_tell_what_was_lost_repeated_and_reordered() -> None:
    """Each numbered message is an observation, each number that never came another one: LOST."""
    async with Peer(numbers(5, 6, 6, 8, 10, 9, 11, 14)) as peer:
        load = profile(replace(OPEN, numbered="$.n"), END, rate=50, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=finished(10))
    assert books.done == {OK: 10}
    # 5, 6, 8, 10, 11, 14 are news, 6 comes twice, 9 late; 7, 12 and 13 never come.
    assert outcomes(books, load, "open.numbered") == {OK: 30, REPEATED: 5, REORDERED: 5, LOST: 15}
    assert books.counts["open.lost"] == 15


async def test_a_huge_gap_is_counted_whole_and_costs_little() -> None:
    """Of a gap of a million numbers all are counted, and no more than a thousand a socket become observations."""
    async with Peer(numbers(1, 1_000_001)) as peer:
        load = profile(replace(OPEN, numbered="$.n"), END, rate=20, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=finished(4))
    assert books.counts["open.lost"] == 2 * 999_999
    assert outcomes(books, load, "open.numbered") == {OK: 4, LOST: 2 * 2_000}


class Room:
    """A peer that passes what one says on to everyone, except to whom it forgets."""

    def __init__(self, forgets: str = "") -> None:
        self.guests: list[Guest] = []
        self.forgets = forgets

    async def play(self, guest: Guest) -> None:
        await guest.upgrade()
        self.guests.append(guest)
        try:
            while True:
                text = await guest.text()
                for other in self.guests:
                    if other.path != self.forgets:
                        other.writer.write(frame(text))
        finally:
            self.guests.remove(guest)


async def test_a_message_to_everyone_is_done_when_everyone_has_it() -> None:
    """Each socket's receipt is timed by one clock; the sender's hit ends with the last of them."""
    shout = Send(name="shout", on="open", message={"all": "<id>"}, everyone=True, again=Again(times=5, every_s=0.05))
    async with Peer(Room().play) as peer:
        pause = replace(shout.think, at_s=0.3)
        load = profile(OPEN, replace(shout, think=pause), rate=60, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=finished(36))
    assert outcomes(books, load, "open") == {OK: 6}
    assert outcomes(books, load, "shout") == {OK: 30}
    received = of(books, load, "shout.received")
    assert received.done[OK] >= 5 * 6 * 3  # who has shouted its last leaves, and is not missed
    assert set(received.done) == {OK}
    assert received.ok.rank(1) > 0
    assert of(books, load, "shout").ok.max() >= received.ok.max()  # type: ignore[operator]


async def test_who_did_not_get_a_message_to_everyone_is_named() -> None:
    """A socket that a broadcast never reaches makes it incomplete: TIMEOUT for the sender, LOST for that socket."""
    shout = Send(name="shout", on="open", message={"all": "<id>"}, everyone=True, timeout_s=0.4)
    listen = Scenario(name="listen", steps=(replace(OPEN, name="ear"), replace(END, on="ear", timeout_s=1)), data=USERS)
    talk = Scenario(name="talk", steps=(OPEN, shout), data=USERS[5:])
    streams = (
        Stream(scenarios=(listen,), stages=(Stage(start=30, end=30, lasts_s=0.1),)),
        Stream(scenarios=(talk,), stages=(Stage(start=10, end=10, lasts_s=0.1),), starts_s=0.3),
    )
    load = LoadProfile(streams=streams, timeout_s=1.0)
    async with Peer(Room("/ws?u=u1").play) as peer:
        books = await work(load, peer.url, until=lambda books: bool(outcomes(books, load, "shout")))
    assert outcomes(books, load, "shout") == {Outcome.TIMEOUT: 1}
    assert outcomes(books, load, "shout.received") == {OK: 3, LOST: 1}
    (note,) = [note["data"] for note in books.notes if note["about"] == "websocket.incomplete"]
    assert note == {"step": "shout", "sockets": 4, "missing": 1, "who": ["ear 1"]}


async def test_silence_is_told_when_it_begins_and_how_long_it_was() -> None:
    """A gap beyond the limit is STALLED while it lasts, whatever pongs come; the others are gaps like any."""

    async def pauses(guest: Guest) -> None:
        await guest.upgrade()
        for pause in (0.02, 0.02, 0.5, 0.02):
            await asyncio.sleep(pause)
            await guest.write(frame(b"", PONG), frame("tick"))
        await guest.write(frame(b"", PING))
        await guest.silence()

    for silent in (Silence(after_s=0.2), Silence(medians=3.0)):
        async with Peer(pauses) as peer:
            opening = replace(OPEN, silent=silent)
            never = Await(name="never", on="open", message="x", timeout_s=0.9)
            load = profile(opening, never, rate=30, lasts_s=0.1, data=USERS)
            books = await work(load, peer.url, until=finished(6))
        found = outcomes(books, load, "open.silence")
        # By the median nothing is silent before fifteen gaps are known, and here four are all there is.
        assert found == ({OK: 9, STALLED: 6} if silent.after_s else {OK: 12})
        if silent.after_s:
            assert 200_000 <= of(books, load, "open.silence").failed.rank(1) < 500_000
            assert books.counts["open.stalled"] == 6
            assert books.counts["open.stalled_ms"] >= 3 * 450
            lasted = sorted(n["data"]["lasted_ms"] for n in books.notes if n["about"] == "websocket.stall")  # type: ignore[index]
            assert len(lasted) == 6
            assert lasted[-1] >= 450


async def test_a_median_of_gaps_is_learned() -> None:
    """After some messages a silence of many times their median gap is a stall, and the client may leave for it."""

    async def stops(guest: Guest) -> None:
        await guest.upgrade()
        for _ in range(20):
            await guest.write(frame("tick"))
            await asyncio.sleep(0.02)
        if guest.visit:
            await guest.write(frame({"end": True}))
        await guest.silence()

    opening = replace(OPEN, silent=Silence(medians=5.0, leave=True), reconnect=AT_ONCE)
    async with Peer(stops) as peer:
        load = profile(opening, END, rate=20, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=finished(4))
    assert books.done == {OK: 4}
    assert len(peer.guests) == books.connects == 4
    assert outcomes(books, load, "open.silence")[STALLED] == 2
    assert outcomes(books, load, "open.reopened") == {OK: 2}


async def test_a_slow_reader_is_slow_and_learns_that_it_is_sent_away() -> None:
    """A client that reads 20 KB a second takes seconds for 30 KB; the close behind them is its step's answer."""

    async def pours(guest: Guest) -> None:
        await guest.upgrade()
        for _ in range(10):
            await guest.write(frame("." * 3_000))
        await guest.write(closing(1013))
        await guest.read()

    slow = replace(OPEN, reads_per_s=20_000.0)
    async with Peer(pours) as peer:
        shed = Await(name="shed", on="open", close=(1013,))
        load = profile(slow, shed, rate=30, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=finished(6))
    assert outcomes(books, load, "shed") == {OK: 3}
    assert of(books, load, "shed").ok.rank(1) >= 1_300_000


async def test_a_ping_without_a_pong_is_a_timeout() -> None:
    """Each ping is timed by its own pong; one that is not answered until the next is TIMEOUT."""

    async def answers_the_first(guest: Guest) -> None:
        await guest.upgrade()
        _, payload = await guest.read()
        await guest.write(frame(b"nobody asked", PONG))
        await asyncio.sleep(0.03)
        await guest.write(frame(payload, PONG))
        await guest.silence()

    async with Peer(answers_the_first) as peer:
        opening = replace(OPEN, ping_s=0.1)
        never = Await(name="never", on="open", message="x", timeout_s=0.45)
        load = profile(opening, never, rate=30, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=finished(6))
    pings = outcomes(books, load, "open.ping")
    assert pings[OK] == 3
    assert 3 <= pings[Outcome.TIMEOUT] <= 9
    assert of(books, load, "open.ping").ok.rank(1) >= 30_000


class Feed:
    """A peer that sends numbers, cuts each connection after some, and goes on where the client says, or afresh."""

    def __init__(self, *, resumes: bool, after: int = 5, says: bool = True) -> None:
        self.resumes = resumes
        self.after = after
        self.says = says

    async def play(self, guest: Guest) -> None:
        await guest.upgrade()
        last = json.loads(await guest.text())["after"]
        resumed = self.resumes and last > 0
        if self.says:
            await guest.write(frame({"resumed": resumed}))
        first = last + 1 if resumed else 1
        for number in range(first, first + self.after):
            await guest.write(frame({"n": number}))
        if guest.visit < 2:
            guest.cut()
        await guest.write(frame({"end": True}))
        await guest.silence()


async def test_coming_back_is_timed_and_known_as_resumed_or_fresh() -> None:
    """From each loss to open and to the first useful message; resumed or fresh by the target's word, or its numbers."""
    for resumes in (True, False):
        for says in (True, False):
            opening = replace(
                OPEN,
                say={"after": "<last>"},
                numbered="$.n",
                resumed="$.resumed" if says else None,
                reconnect=Reconnect(first_s=0.05),
            )
            async with Peer(Feed(resumes=resumes, says=says).play) as peer:
                load = profile(opening, END, rate=20, lasts_s=0.1, data=USERS)
                books = await work(load, peer.url, until=finished(4))
            assert books.done == {OK: 4}
            assert outcomes(books, load, "open.reopened") == outcomes(books, load, "open.useful") == {OK: 4}
            assert of(books, load, "open.reopened").ok.rank(1) >= 50_000
            assert books.counts["open.resumed" if resumes else "open.fresh"] == 4
            assert books.counts["open.reconnects"] == books.counts["open.closed.1006"] == 4
            assert outcomes(books, load, "open.numbered") == {OK: 30}
            (herd,) = [note["data"] for note in books.notes if note["about"] == "websocket.herd"]
            assert herd["attempts"] == sum(herd["by_second"].values()) == 4  # type: ignore[index]
            assert 1 <= herd["peak_in_1s"] <= 4  # type: ignore[index]


async def test_what_is_due_while_a_connection_is_away_waits_for_it() -> None:
    """Answers under way are RESET; what is said while it is away is sent once it is back, and the wait counts."""

    async def cuts_once(guest: Guest) -> None:
        await guest.upgrade()
        if not guest.visit:
            await guest.text()
            guest.cut()
        else:
            await guest.echo()

    opening = replace(OPEN, reconnect=Reconnect(first_s=0.3))
    say = replace(SAY, again=Again(times=5, every_s=0.1))
    async with Peer(cuts_once) as peer:
        load = profile(opening, say, rate=30, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=finished(18))
    assert outcomes(books, load, "say") == {OK: 12, Outcome.RESET: 3}
    said = of(books, load, "say")
    assert said.wait.rank(15) >= 150_000
    assert said.ok.rank(12) >= 150_000


async def test_a_client_gives_up_after_so_many_attempts() -> None:
    """With three attempts each socket makes three; then what waits fails with the last attempt's outcome."""

    async def refuses_to_take_back(guest: Guest) -> None:
        await guest.hear()
        if not guest.visit:
            await guest.upgrade()
            await guest.text()
            await guest.write(closing(1012))
        else:
            await guest.upgrade(answer=b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

    opening = replace(OPEN, reconnect=Reconnect(first_s=0.05, attempts=3))
    say = replace(SAY, again=Again(times=2, every_s=0.05))
    async with Peer(refuses_to_take_back) as peer:
        load = profile(opening, say, rate=20, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=finished(6))
    assert outcomes(books, load, "say") == {Outcome.CLOSED: 2, Outcome.STATUS: 2}
    assert outcomes(books, load, "open.reopened") == outcomes(books, load, "open.useful") == {Outcome.STATUS: 2}
    assert books.counts["open.reconnects"] == books.counts["open.reconnect.status"] == len(peer.guests) - 2 == 6
    assert books.counts["open.upgrade.503"] == 6


async def test_a_reconnect_that_does_not_last_is_a_failed_attempt() -> None:
    """A target that takes clients back and drops them at once exhausts their attempts, and is no success."""

    async def flaps(guest: Guest) -> None:
        await guest.upgrade()
        await asyncio.sleep(0.02)
        guest.cut()

    opening = replace(OPEN, reconnect=Reconnect(first_s=0.01, attempts=3), numbered="$.n")
    async with Peer(flaps) as peer:
        load = profile(opening, END, rate=20, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=finished(4))
    assert outcomes(books, load, "end") == outcomes(books, load, "open.useful") == {Outcome.RESET: 2}
    assert outcomes(books, load, "open.reopened") == {OK: 6}
    assert len(peer.guests) == 8


async def test_an_answer_may_carry_a_number_of_the_stream() -> None:
    """Where a target numbers all it says, answers fill their places and nothing is lost."""

    async def numbers_all(guest: Guest) -> None:
        await guest.upgrade()
        for number in range(0, 20, 2):
            question = json.loads(await guest.text())
            await guest.write(frame({"n": number, "of": question["id"]}), frame({"n": number + 1}))
        await guest.silence()

    async with Peer(numbers_all) as peer:
        say = replace(SAY, again=Again(times=10))
        load = profile(replace(OPEN, numbered="$.n"), say, rate=20, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=finished(22))
    found = outcomes(books, load, "open.numbered")
    assert set(found) == {OK}
    assert found[OK] >= 2 * 19  # the last one may come after its journey is over


async def test_who_is_away_when_the_load_ends_was_not_seen_to_come_back() -> None:
    """At the end a socket that is away, or has brought nothing useful since, is UNFINISHED, not forgotten."""

    async def takes_one_back(guest: Guest) -> None:
        await guest.hear()
        if not guest.visit or guest.path == "/ws?u=u0":
            await guest.upgrade()
            await guest.text()
        if not guest.visit:
            guest.cut()
        await guest.silence()

    opening = replace(OPEN, say="hello", numbered="$.n", reconnect=AT_ONCE)
    async with Peer(takes_one_back) as peer:
        load = profile(opening, END, rate=20, lasts_s=0.1, data=USERS)
        books = await work(load, peer.url, until=lambda books: books.counts["open.reconnects"] == 2)
    assert outcomes(books, load, "open.reopened") == {OK: 1, UNFINISHED: 1}
    assert outcomes(books, load, "open.useful") == {UNFINISHED: 2}
    assert outcomes(books, load, "end") == {UNFINISHED: 2}
