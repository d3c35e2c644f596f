"""Every load model, by real worker processes against a target, and the figures that belong to it."""

from __future__ import annotations

import asyncio

import pytest
from load_rig import OK, Asked, Books, BootClock, Keys, Target, always, crowd, playing, profile

from chaosrunner.load.driver import LoadDriver
from chaosrunner.logic.pacing import Pace
from chaosrunner.logic.parse.arrivals import Coming, parse_arrivals, parse_users
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import LoadProfile, Outcome, single

SEED = 11
WHO = Request(name="get", method="GET", path="/<who>")
ROWS = tuple({"who": str(user)} for user in range(100))


def driver(load: LoadProfile, entry: str, *, longest_s: float) -> LoadDriver:
    return LoadDriver(load, entry=entry, seed=SEED, longest_s=longest_s, clock=BootClock(), tools=Keys())


async def answer_soon(_target: Target, _request: Asked, _writer: asyncio.StreamWriter) -> bytes:
    """A reply after 20 ms."""
    await asyncio.sleep(0.02)
    return OK


async def played(load: LoadProfile, *, longest_s: float, target: Target) -> Books:
    """The books of a load that was played to its end by real workers."""
    books = Books()
    async with playing(driver(load, target.url, longest_s=longest_s), books) as running:
        await running
    books.check()
    assert books.lost() == []
    return books


def of(line: Coming, **more: object) -> LoadProfile:
    """The load that a line of a file asks for."""
    return profile(stages=line.stages, at_random=line.at_random, closed=line.closed, **more)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("100 users/s", id="constant"),
        pytest.param("0 to 100 users/s over 2s, then hold", id="ramp"),
        pytest.param("20 users/s, then step by 40 every 600ms to 100", id="staircase"),
        pytest.param("50 users/s over 1s, then spike to 300 for 500ms", id="spike"),
        pytest.param("20 to 180 users/s in waves of 1s", id="waves"),
        pytest.param("100 users/s, at random", id="Poisson"),
        pytest.param("20 to 180 users/s in waves of 1s, at random", id="waves at random"),
    ],
)
async def test_open_models_are_fired_as_their_schedule_says(line: str) -> None:
    """Two workers fire between them every journey of the schedule, in the slot it belongs to, and none twice."""
    coming = parse_arrivals(line)
    async with Target(always(OK)) as target:
        books = await played(of(coming, workers=2), longest_s=3.0, target=target)
    pace = Pace.of(coming.stages, SEED if coming.at_random else None)
    dues = [due for n in range(2000) if (due := pace.due(n)) < 3.0]
    assert books.done == {Outcome.OK: len(dues)}
    assert len(target.requests) == books.journeys == len(dues)
    assert sorted(hit.due_us for hit in books.hits) == pytest.approx([due * 1e6 for due in dues], abs=1)
    if not coming.at_random:
        assert abs(len(dues) - pace.count(3.0)) <= 1
    assert books.all.lag.quantile(0.5) < 20_000


@pytest.mark.parametrize(
    ("line", "users"),
    [
        pytest.param("12", 12, id="constant"),
        pytest.param("2 to 12 over 1s, then hold", 12, id="ramp"),
        pytest.param("4, then step by 4 every 500ms to 12", 12, id="staircase"),
    ],
)
async def test_closed_models_have_their_users(line: str, users: int) -> None:
    """Two workers have each user once between them, with one request at a time, until the end."""
    load = of(parse_users(line), workers=2, data=ROWS)
    one = load.streams[0]
    crowd_of = single(steps=(WHO,), stages=one.stages, closed=one.closed, workers=2, data=ROWS)
    async with Target(answer_soon) as target:
        books = await played(crowd_of, longest_s=3.5, target=target)
    assert {request.path for request in target.requests} == {f"/{user}" for user in range(users)}
    assert target.most_open <= users
    assert set(books.done) <= {Outcome.OK, Outcome.UNFINISHED}
    # Little's law, once all have begun: requests under way = requests a second × seconds each takes.
    level = [hit for hit in books.hits if 2_500_000 <= hit.due_us < 3_300_000]
    took = sum(hit.response_us for hit in level) / len(level) / 1e6
    assert len(level) / 0.8 * took == pytest.approx(users, rel=0.15)


async def test_a_closed_model_with_pacing_and_iterations() -> None:
    """Ten users, one journey each 300 ms, five times: fifty journeys, in step with the clock, and then silence."""
    load = crowd(WHO, users=10, every_s=0.3, iterations=5, workers=3, data=ROWS)
    async with Target(answer_soon) as target:
        books = await played(load, longest_s=3.0, target=target)
    assert books.done == {Outcome.OK: 50}
    assert books.behind == 0
    dues = sorted(hit.due_us for hit in books.hits)
    assert dues[-1] < 5 * 300_000
    for turn in range(5):
        assert sum(turn * 300_000 <= due < (turn + 1) * 300_000 for due in dues) == 10


async def test_users_are_steered_by_the_engine() -> None:
    """The engine's factor scales users: none at all while it is zero, all of them again when it is one."""
    books = Books()
    async with Target(answer_soon) as target:
        load = driver(crowd(users=6, workers=2), target.url, longest_s=60.0)
        async with playing(load, books):
            await books.until(lambda books: books.all.finished > 60)
            load.steer(0.0)
            await books.until(lambda books: at_rest(books, 0.4))
            stopped = max(hit.due_us for hit in books.hits)
            load.steer(1.0)
            await books.until(lambda books: sum(hit.due_us > stopped for hit in books.hits) > 60)
    books.check()
    assert min(hit.due_us for hit in books.hits if hit.due_us > stopped) - stopped > 400_000


def at_rest(books: Books, seconds: float) -> bool:
    """Whether every worker says that nothing has become due for so long."""
    untils = [max(frame.until_us for frame in books.frames if frame.worker == worker) for worker in (0, 1)]
    return min(untils) - max(hit.due_us for hit in books.hits) > seconds * 1e6
