"""Both ends of a cluster's line, without a cluster: what is asked twice is done once, and what is lost comes again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import psutil
import pytest
from dask_rig import alive, until
from load_rig import OK, Books, BootClock, Keys, Target, always, playing, profile

from chaosrunner.errors import LoadBroken
from chaosrunner.load.cluster.clock import PINGS, FarClock, here
from chaosrunner.load.cluster.relay import Answer, Question, Relay
from chaosrunner.load.cluster.remote import RemoteWorker
from chaosrunner.load.crew import Size
from chaosrunner.load.driver import LoadDriver
from chaosrunner.load.orders import Orders, cut, to_line
from chaosrunner.model.load import LoadProfile, Outcome
from chaosrunner.model.units import NANOS


def orders(url: str, load: LoadProfile) -> bytes:
    return to_line(cut(Orders(profile=load, entry=url, auths=(None,), shard=0, of=1, seed=1, longest_s=60)))


class Line:
    """A relay as an actor, over a line that breaks when told to."""

    def __init__(self) -> None:
        self.relay = Relay()
        self.breaks = 0
        self.asked = 0

    async def place(self) -> object:
        return await self.relay.place()

    async def now(self) -> int:
        return await self.relay.now()

    async def halt(self) -> None:
        await self.relay.halt()

    async def exchange(self, question: Question) -> Answer:
        """The question arrives; of the first ones the answer is lost."""
        self.asked += 1
        answer = await self.relay.exchange(question)
        if self.asked <= self.breaks:
            raise OSError("the line broke")
        return answer


class OverLines:
    """A crew of relays."""

    lead_ns = 1_000_000_000

    def __init__(self, *lines: Line) -> None:
        self.lines = lines

    async def size(self, profile: LoadProfile) -> Size:
        return Size(len(self.lines))

    async def spawn(self, number: int) -> RemoteWorker:
        line = self.lines[number]
        worker = RemoteWorker(number, f"line {number}", line, await line.place())  # type: ignore[arg-type]
        await worker.compare_clocks()
        return worker


@asynccontextmanager
async def asking(url: str, load: LoadProfile) -> AsyncIterator[tuple[Relay, Question]]:
    """A relay whose worker process is ready, and the question it was asked."""
    relay = Relay()
    question = Question(
        attempt=(await relay.place()).attempt, begin=0, lines=(orders(url, load),), seen=0, lease_s=30.0
    )
    try:
        async with asyncio.timeout(30):
            while not (answer := await relay.exchange(question)).lines:  # noqa: ASYNC110 - asking tells
                await asyncio.sleep(0.02)
        assert answer.done == 1  # however often the orders were sent
        yield relay, question
    finally:
        await relay.halt()


def epoch(in_s: float) -> bytes:
    return b'{"epoch": %d}\n' % (here() + int(in_s * NANOS))


async def test_a_broken_line_loses_and_repeats_nothing() -> None:
    """Answers that were lost are asked for again: one process is started, every hit is sent and reported once."""
    books, line = Books(), Line()
    line.breaks = 2
    async with Target(always(OK)) as target:
        load = profile(rate=50, lasts_s=1.2)
        driver = LoadDriver(
            load, entry=target.url, seed=1, longest_s=60, clock=BootClock(), tools=Keys(), crew=OverLines(line)
        )
        async with playing(driver, books):
            await books.until(lambda books: books.all.finished > 10)
            line.breaks = line.asked + 3
            assert len([one for one in psutil.Process().children() if "chaosrunner.load.worker" in one.cmdline()]) == 1
            await books.until(lambda books: books.all.finished == 60)
    books.check()
    assert books.done == {Outcome.OK: 60}
    assert len(target.requests) == 60
    assert books.lost() == []


async def test_an_attempt_that_was_not_meant_does_nothing() -> None:
    """A relay that Dask has made anew is asked for another attempt, starts nothing, and its runner gives it up."""
    relay = Relay()
    question = Question(attempt="another", begin=0, lines=(b"orders\n",), seen=0, lease_s=30)
    answer = await relay.exchange(question)
    assert (answer.done, answer.over, answer.pid) == (0, "another one was meant", 0)
    line = Line()
    worker = RemoteWorker(0, "line 0", line, replace(await line.place(), attempt="another"))  # type: ignore[type-var]
    with pytest.raises(LoadBroken, match="its Dask worker was started anew"):
        await worker.get_ready(b"orders\n")
    await worker.reap()
    assert psutil.Process().children() == []


async def test_no_answer_for_as_long_as_the_lease_is_an_end() -> None:
    """A line that stays broken is given up when the lease over there has run out."""
    line = Line()
    line.breaks = 10**9
    worker = RemoteWorker(0, "line 0", line, await line.place())  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        with pytest.raises(LoadBroken, match=r"no answer for 5 s \(the line broke\), so its lease has run out"):
            await worker.get_ready(orders("http://127.0.0.1:1", profile()))
    await worker.reap()


async def test_instants_are_those_of_the_other_clock() -> None:
    """Epoch and steering are told in the time over there; the error of that is known, and grows when it strays."""
    clock, ahead_ns = FarClock(), 3_600 * NANOS

    async def ask() -> int:
        return here() + ahead_ns

    await clock.compare(ask)
    assert abs(clock.seen.offset_ns - ahead_ns) <= clock.seen.error_ns == clock.error_ns < NANOS
    offset = clock.seen.offset_ns
    assert clock.theirs({"epoch": 1, "at": 2, "steer": 3}) == {"epoch": 1 + offset, "at": 2 + offset, "steer": 3}
    for _ in range(PINGS):
        clock.answered(here(), here() + ahead_ns + NANOS)
    assert NANOS - clock.seen.error_ns <= clock.error_ns <= 2 * NANOS
    assert clock.seen.offset_ns == offset


async def test_a_worker_that_waits_for_the_epoch_ends_with_its_lease() -> None:
    """Nobody renews the lease of a worker that is ready: it ends without a request."""
    async with Target(always(OK)) as target, asking(target.url, profile(rate=50, lasts_s=None)) as (relay, question):
        answer = await relay.exchange(replace(question, lease_s=0.3))
        worker = psutil.Process(answer.pid)
        await until(lambda: not alive(worker), "the worker's end")
        answer = await relay.exchange(question)
        assert answer.over.endswith("its lease ran out")
        assert (await relay.exchange(question)).over == answer.over
    assert target.requests == []


async def test_a_worker_that_wakes_after_its_lease_fires_nothing() -> None:
    """A worker process that stood still until its lease was over sends nothing on waking, and ends."""
    async with Target(always(OK)) as target, asking(target.url, profile(rate=100, lasts_s=None)) as (relay, question):
        ready = await relay.exchange(question)
        worker = psutil.Process(ready.pid)
        told = await relay.exchange(replace(question, begin=1, lines=(epoch(0.05),), seen=1, lease_s=1.0))
        await until(lambda: len(target.requests) >= 20, "load")
        worker.suspend()
        await until(lambda: here() > told.now_ns + NANOS, "the end of the lease")
        before = len(target.requests)
        worker.resume()
        await until(lambda: not alive(worker), "the worker's end")
        assert before >= 20
        assert len(target.requests) == before
