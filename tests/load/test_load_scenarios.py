"""Several scenarios at once, and steps that are done again and again."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest
from load_rig import GET, OK, Asked, Target, always, finished, reply, work

from chaosrunner.load.journey import Journey, Route
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import Again
from chaosrunner.model.load import Closed, LoadProfile, Outcome, Scenario, Stage, Stream


def does(name: str, *paths: str, **fields: object) -> Scenario:
    """A scenario of plain requests called like their paths."""
    steps = tuple(Request(name=path, method="GET", path=f"/{path}") for path in paths)
    return Scenario(name=name, steps=steps, **fields)  # type: ignore[arg-type]


def load_of(*streams: Stream, **fields: object) -> LoadProfile:
    return LoadProfile(streams=streams, **fields)  # type: ignore[arg-type]


def level(rate: float, lasts_s: float | None = 0.2) -> tuple[Stage, ...]:
    return (Stage(start=rate, end=rate, lasts_s=lasts_s),)


def of(target: Target) -> Counter[str]:
    """How often each path was asked for."""
    return Counter(request.path for request in target.requests)


async def test_journeys_are_shared_out_by_weight() -> None:
    """Of a hundred journeys each scenario gets its share, and each journey is made whole."""
    mix = Stream(scenarios=(does("browse", "a", "b", weight=3), does("buy", "c", weight=1)), stages=level(500))
    async with Target(always(OK)) as target:
        books = await work(load_of(mix), target.url, until=finished(175))
    asked = of(target)
    assert asked["/a"] == asked["/b"] == pytest.approx(75, abs=3)
    assert asked["/c"] == 100 - asked["/a"]
    assert [books.by_name[n].due for n in range(3)] == [asked["/a"], asked["/b"], asked["/c"]]
    assert books.journeys == 100


async def test_workers_share_a_mix() -> None:
    """What one worker does not do of a mix, the others do: together they keep the shares."""
    mix = Stream(scenarios=(does("browse", "a", weight=3), does("buy", "b", weight=1)), stages=level(500))
    async with Target(always(OK)) as target:
        for shard in range(3):
            await work(load_of(mix), target.url, shard=shard, of=3, until=finished(33))
    assert of(target)["/a"] == pytest.approx(75, abs=4)
    assert of(target).total() == 100


async def test_users_keep_to_their_scenario() -> None:
    """In a closed model a share of the users does each scenario, for good."""
    mix = Stream(
        scenarios=(does("browse", "a", weight=1), does("buy", "b", weight=1)),
        stages=level(10, None),
        closed=Closed(iterations=4),
    )
    async with Target(always(OK)) as target:
        await work(load_of(mix), target.url, until=finished(40))
    assert of(target).total() == 40
    assert of(target)["/a"] % 4 == 0
    assert of(target)["/a"] == pytest.approx(20, abs=4)


async def test_streams_run_side_by_side_each_from_its_start() -> None:
    """An open stream and a closed one share a worker; what starts later has nothing due before."""
    early = Stream(scenarios=(does("early", "a"),), stages=level(100, 0.6))
    late = Stream(scenarios=(does("late", "b"),), stages=level(2, None), closed=Closed(iterations=5), starts_s=0.3)
    async with Target(always(OK)) as target:
        books = await work(load_of(early, late), target.url, until=finished(70))
    assert of(target) == {"/a": 60, "/b": 10}
    first = {name: min(hit.due_us for hit in books.hits if hit.name == name) for name in (0, 1)}
    assert first[0] < 100_000
    assert first[1] >= 300_000


async def test_steering_reaches_every_stream() -> None:
    """A pause stops the arrivals of each stream."""
    streams = [Stream(scenarios=(does(path, path),), stages=level(40, None)) for path in ("a", "b")]
    async with Target(always(OK)) as target:
        books = await work(
            load_of(*streams),
            target.url,
            steer=[(finished(4), 0.0)],
            longest_s=1.5,
        )
    assert all(2 <= books.by_name[n].due < 40 for n in (0, 1))


async def test_a_step_so_many_times_one_after_the_other() -> None:
    """Each is due when the one before has ended; then the journey goes on."""
    steps = (Request(name="poll", method="GET", path="/poll", again=Again(times=5)), GET)
    one = Stream(scenarios=(Scenario(steps=steps),), stages=level(10, 0.1))
    async with Target(always(OK)) as target:
        books = await work(load_of(one), target.url, until=finished(6))
    polls = sorted(hit.due_us for hit in books.hits if hit.name == 0)
    ends = sorted(hit.due_us + hit.response_us for hit in books.hits if hit.name == 0)
    assert len(polls) == 5
    assert all(due == pytest.approx(end, abs=2) for due, end in zip(polls[1:], ends, strict=False))
    assert [request.path for request in target.requests] == ["/poll"] * 5 + ["/"]
    assert (books.journeys, books.skipped) == (1, 0)


async def hold_the_first(target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes | None:
    """The first request is answered only after the third has come."""
    if request.n == 0:
        await target.release.wait()
    elif request.n == 2:
        target.release.set()
    return OK


async def test_a_paced_step_does_not_wait_for_answers() -> None:
    """With `every` each is due on its schedule, whether or not earlier ones have been answered."""
    steps = (Request(name="poll", method="GET", path="/poll", again=Again(times=4, every_s=0.05)), GET)
    one = Stream(scenarios=(Scenario(steps=steps),), stages=level(10, 0.1))
    async with Target(hold_the_first) as target:
        books = await work(load_of(one), target.url, until=finished(5))
    dues = sorted(hit.due_us for hit in books.hits if hit.name == 0)
    assert all(later - due == pytest.approx(50_000, abs=2) for due, later in pairwise(dues))
    assert max(hit.response_us for hit in books.hits if hit.name == 0) > 90_000
    assert books.done == {Outcome.OK: 5}


async def test_a_step_for_a_while() -> None:
    """With `for` none is due later than that after the first."""
    steps = (Request(name="poll", method="GET", path="/poll", again=Again(for_s=0.3, every_s=0.1)), GET)
    one = Stream(scenarios=(Scenario(steps=steps),), stages=level(10, 0.1))
    async with Target(always(OK)) as target:
        await work(load_of(one), target.url, until=finished(4))
    assert of(target) == {"/poll": 3, "/": 1}
    unpaced = (Request(name="poll", method="GET", path="/poll", again=Again(for_s=0.1)), GET)
    two = Stream(scenarios=(Scenario(steps=unpaced),), stages=level(10, 0.1))
    async with Target(always(OK)) as target:
        books = await work(load_of(two), target.url, until=lambda books: 1 in books.by_name and not books.all.open)
    polls = [hit.due_us for hit in books.hits if hit.name == 0]
    assert max(polls) - min(polls) < 100_000
    assert len(polls) > 3


async def test_failures_of_a_repeated_step_do_not_end_its_journey() -> None:
    """They are counted, and the journey goes on."""

    async def fail_polls(_target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes | None:
        return reply(500) if request.path == "/poll" else OK

    steps = (Request(name="poll", method="GET", path="/poll", again=Again(times=3)), GET)
    one = Stream(scenarios=(Scenario(steps=steps),), stages=level(10, 0.1))
    async with Target(fail_polls) as target:
        books = await work(load_of(one), target.url, until=finished(4))
    assert books.done == {Outcome.STATUS: 3, Outcome.OK: 1}
    assert books.skipped == 0


async def test_a_step_has_a_timeout_of_its_own() -> None:
    """One step gives up early while another waits as long as the load says."""

    async def slow(target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes | None:
        await asyncio.sleep(0.3)
        return OK

    quick = Scenario(steps=(Request(name="quick", method="GET", path="/quick", timeout_s=0.1),))
    patient = Scenario(name="p", steps=(Request(name="patient", method="GET", path="/patient"),))
    streams = [Stream(scenarios=(one,), stages=level(50, 0.1)) for one in (quick, patient)]
    async with Target(slow) as target:
        books = await work(load_of(*streams), target.url, until=finished(10))
    assert books.by_name[0].done == {Outcome.TIMEOUT: 5}
    assert books.by_name[1].done == {Outcome.OK: 5}


class Door:
    """Something a journey holds."""

    def __init__(self, closed: list[Door]) -> None:
        self.closed = closed

    def close(self) -> None:
        self.closed.append(self)


def test_what_a_journey_holds_is_closed_in_reverse() -> None:
    """Letting go closes everything once, the latest first; without anything held nothing happens."""
    closed: list[Door] = []
    doors = [Door(closed) for _ in range(3)]
    journey = Journey(None, Route([]), 0, 0, 0)  # type: ignore[arg-type]
    journey.let_go()
    for door in doors:
        journey.hold(door)
    journey.let_go()
    journey.let_go()
    assert closed == doors[::-1]
