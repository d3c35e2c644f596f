"""The closed model: users who go on by themselves; and what chance does in both models. One worker in this process."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from itertools import pairwise
from statistics import median

import pytest
from load_rig import GET, OK, Asked, Books, Target, always, crowd, finished, hang, profile, reply, work

from chaosrunner.errors import LoadBroken
from chaosrunner.load.journey import Journey, Leg, Route
from chaosrunner.load.sender import Coming, Task
from chaosrunner.load.users import AGAIN_NS, Users
from chaosrunner.logic.chance import pause_s
from chaosrunner.logic.crowd import GOLDEN, Crowd
from chaosrunner.logic.pacing import Pace
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import Think
from chaosrunner.model.load import Closed, Outcome, Stage, Wave
from chaosrunner.model.units import NANOS

WHO = Request(name="get", method="GET", path="/<who>")


def rows(users: int) -> tuple[dict[str, str], ...]:
    """A row a user, so that a target can tell them apart."""
    return tuple({"who": str(user)} for user in range(users))


def slow(seconds: float) -> object:
    """Answer everybody after a while."""

    async def handler(_target: Target, _request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(seconds)
        return OK

    return handler


def of_step(books: Books, name: int) -> list[tuple[int, int]]:
    """(due, done) of every hit of a step, by due time. µs after the epoch."""
    return sorted((hit.due_us, hit.due_us + hit.response_us) for hit in books.hits if hit.name == name)


async def test_users_go_on_by_themselves() -> None:
    """Each user has one journey at a time, on its own row, and begins the next when the one before is done."""
    async with Target(slow(0.05)) as target:  # type: ignore[arg-type]
        books = await work(crowd(WHO, data=rows(5)), target.url, until=finished(60))
    assert books.done.keys() <= {Outcome.OK, Outcome.UNFINISHED}
    assert target.most_open == books.connects == 5
    shares = Counter(request.path for request in target.requests)
    assert len(shares) == 5
    assert max(shares.values()) - min(shares.values()) <= 20
    hits = sorted((hit.due_us, hit.due_us + hit.response_us) for hit in books.hits)
    begins = [done for _, done in hits] + [int((user + 1) * GOLDEN % 1 * 1_000_000) for user in range(5)]
    assert all(min(abs(due - begin) for begin in begins) <= 1 for due, _ in hits)


async def test_users_begin_one_by_one() -> None:
    """Who is wanted from the beginning begins within the first second, each at another instant."""
    load = crowd(users=40, iterations=1)
    async with Target(always(OK)) as target:
        books = await work(load, target.url, until=finished(40))
    assert {number: slot.due for number, slot in books.by_slot.items()} == pytest.approx(
        dict.fromkeys(range(10), 4), abs=1
    )
    assert books.journeys == 40


async def test_think_time_is_part_of_a_round() -> None:
    """Before its next journey a user thinks as long as the first step says, counted from the done before; drawn from
    the seed.
    """
    think = Think(0.05, to_s=0.15)
    steps = (
        Request(name="a", method="GET", path="/", think=think),
        Request(name="b", method="GET", path="/", think=think),
    )
    async with Target(always(OK)) as target:
        books = await work(crowd(*steps, users=1), target.url, until=finished(20), seed=9)
    hits = sorted((hit.due_us, hit.due_us + hit.response_us, hit.name) for hit in books.hits)
    pauses = [due - done for (_, done, _), (due, _, _) in pairwise(hits)]
    drawn = [pause_s(think, 9, 0, nth // 2, nth % 2) * 1e6 for nth in range(1, len(hits))]
    assert pauses == pytest.approx(drawn, abs=3)
    assert [name for _, _, name in hits] == [nth % 2 for nth in range(len(hits))]


async def test_pacing_counts_from_due_to_due() -> None:
    """With pacing a journey is due so long after the one before was due, however long that took, if it was done."""
    async with Target(slow(0.05)) as target:  # type: ignore[arg-type]
        books = await work(crowd(users=4, every_s=0.2), target.url, until=finished(24))
    dues = [due for due, _ in of_step(books, 0)]
    firsts = sorted((user + 1) * GOLDEN % 1 * 200_000 for user in range(4))
    assert dues == pytest.approx([firsts[nth % 4] + 200_000 * (nth // 4) for nth in range(len(dues))], abs=2)
    assert books.behind == 0


async def test_pacing_that_cannot_be_kept_is_counted() -> None:
    """A journey that takes longer than its turn is followed at once by the next, which counts as behind."""
    async with Target(slow(0.12)) as target:  # type: ignore[arg-type]
        books = await work(crowd(users=1, every_s=0.1), target.url, until=finished(5))
    hits = of_step(books, 0)
    assert all(abs(due - done) <= 1 for (_, done), (due, _) in pairwise(hits))
    assert books.behind == len(hits) - 1


async def test_iterations_are_counted_by_user() -> None:
    """After its iterations a user has left; when all have, nothing more is due, and the load waits for its end."""
    async with Target(always(OK)) as target:
        books = await work(crowd(WHO, users=6, iterations=7, data=rows(6)), target.url, longest_s=2.5)
    assert books.done == {Outcome.OK: 42}
    assert set(Counter(request.path for request in target.requests).values()) == {7}
    assert books.frames[-1].until_us == 2_500_000


async def test_workers_share_the_users() -> None:
    """Two workers have each user once between them."""
    load = crowd(WHO, users=5, iterations=2, data=rows(5))
    async with Target(always(OK)) as target:
        for shard, users in ((0, 3), (1, 2)):
            await work(load, target.url, until=finished(2 * users), shard=shard, of=2)
    assert Counter(request.path for request in target.requests) == {f"/{user}": 2 for user in range(5)}


async def test_users_come_and_go_on_a_ramp() -> None:
    """From 2 to 8 users and back: so many are under way, and who goes ends its journey first."""
    ramp = (Stage(start=2, end=8, lasts_s=1), Stage(start=8, end=8, lasts_s=1), Stage(start=8, end=2, lasts_s=1))
    steps = (Request(name="a", method="GET", path="/<who>"), Request(name="b", method="GET", path="/<who>"))
    load = crowd(*steps, stages=(*ramp, Stage(start=2, end=2, lasts_s=None)), data=rows(9))
    async with Target(slow(0.02)) as target:  # type: ignore[arg-type]
        books = await work(load, target.url, longest_s=4.5)
    assert set(books.done) <= {Outcome.OK, Outcome.UNFINISHED}
    # Little's law: users under way = requests a second × seconds each takes.
    response = sum(done - due for step in (0, 1) for due, done in of_step(books, step)) / books.all.finished / 1e6

    def under_way(begin_s: float, end_s: float) -> float:
        due = sum(slot.due for number, slot in books.by_slot.items() if begin_s <= number / 10 < end_s)
        return due / (end_s - begin_s) * response

    assert under_way(2.0, 2.1) == pytest.approx(8, rel=0.3)
    assert under_way(3.2, 4.4) == pytest.approx(2, rel=0.4)
    last = defaultdict(int)
    for request in target.requests:
        last[request.path] += 1
    assert set(last) == {f"/{user}" for user in range(8)}
    assert all(count % 2 == 0 for path, count in last.items() if path not in ("/0", "/1"))


async def test_steering_scales_users() -> None:
    """Twice the users, then none: those under way end their journeys, and nobody begins another; then all again."""
    seen: list[int] = []

    def mark(condition: object) -> object:
        def met(books: Books) -> bool:
            if not condition(books):  # type: ignore[operator]
                return False
            seen.append(books.frames[-1].until_us)
            return True

        return met

    steer = [
        (mark(lambda books: books.frames and books.frames[-1].until_us > 1_200_000), 2.0),
        (mark(lambda books: books.frames[-1].until_us > 2_700_000), 0.0),
        (mark(lambda books: books.frames[-1].until_us > 3_500_000), 1.0),
    ]
    async with Target(slow(0.05)) as target:  # type: ignore[arg-type]
        books = await work(
            crowd(users=4, connections=20),
            target.url,
            until=lambda books: len(seen) == 3 and books.frames[-1].until_us > seen[2] + 2_000_000,
            steer=steer,
        )
    assert target.most_open == 8
    pause = [due for due, _ in of_step(books, 0) if seen[1] + 400_000 < due < seen[2]]
    assert pause == []
    again = [due for due, _ in of_step(books, 0) if seen[2] + 1_400_000 < due < seen[2] + 1_900_000]
    assert 4 <= len(again) <= 4 * 0.5 / 0.05 + 4


async def test_users_who_are_refused_do_not_become_a_flood() -> None:
    """A journey that fails at once is due again a tenth of a second after it was due."""
    async with Target(always(reply(503))) as target:
        books = await work(crowd(GET, GET, users=2), target.url, until=finished(20))
    assert books.done == {Outcome.STATUS: books.journeys}
    dues = [due for due, _ in of_step(books, 0)]
    mine = dues[::2]
    assert all(later - earlier >= AGAIN_NS // 1000 - 1 for earlier, later in pairwise(mine))
    assert median(later - earlier for earlier, later in pairwise(mine)) == pytest.approx(AGAIN_NS / 1000, abs=2)
    assert books.skipped == books.journeys


async def test_users_do_not_outlive_a_name_that_is_not_found() -> None:
    """A host without an address fails every journey, a tenth of a second apart, without a stack of calls."""
    step = Request(name="get", method="GET", path="http://no-such-host.invalid/")
    books = await work(crowd(step, users=3), "", until=finished(12))
    assert set(books.done) == {Outcome.DNS}


async def test_users_wait_for_a_target_that_hangs() -> None:
    """While the target hangs nothing more becomes due; what is open at the end is UNFINISHED at its age."""
    async with Target(hang) as target:
        books = await work(crowd(users=3), target.url, until=lambda books: books.journeys == 3)
    assert books.done == {Outcome.UNFINISHED: 3}
    assert books.all.failed.rank(1) >= 2_000_000


async def test_time_that_this_process_takes_from_users_is_counted() -> None:
    """When this process stands still, each second that a user could not go on is one LATE, and no burst follows.

    A user whose request is under way just then loses no turn: it is the request that takes longer.
    """
    async with Target(always(OK)) as target:
        asleep = asyncio.get_running_loop().call_later(1.5, time.sleep, 3.3)
        load = crowd(Request(name="a", method="GET", path="/", think=Think(0.1)), users=4)
        books = await work(load, target.url, longest_s=6.0)
        asleep.cancel()
    assert set(books.done) <= {Outcome.OK, Outcome.LATE, Outcome.UNFINISHED}
    assert 2 * 2 <= books.done[Outcome.LATE] <= 4 * 3  # on a crowded host two may be under way
    assert len(target.requests) == books.all.due - books.done[Outcome.LATE]
    lost = (
        books.done[Outcome.LATE] + sum(cell_us(cell) * n for cell, n in books.all.lag if cell_us(cell) > 10_000) / 1e6
    )
    assert 2 * 3.3 * 0.8 <= lost <= 4 * 3.3 * 1.2


def cell_us(cell: int) -> float:
    from chaosrunner.model.histogram import lowest_in

    return lowest_in(cell)


async def test_with_pacing_a_turn_that_was_missed_is_late() -> None:
    """A turn that came while this process stood still is LATE; the next one is a turn later."""
    async with Target(always(OK)) as target:
        asleep = asyncio.get_running_loop().call_later(1.1, time.sleep, 2.5)
        books = await work(crowd(users=4, every_s=0.5), target.url, longest_s=5.0)
        asleep.cancel()
    assert books.journeys == pytest.approx(40, abs=4)
    assert books.done[Outcome.LATE] == pytest.approx(4 * (2.5 - 1.0) / 0.5, abs=4)
    assert books.behind == 0


class Noted:
    """A firing loop that only writes down what begins."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int, int, dict[str, object]]] = []

    def begin(self, journey: Journey) -> None:
        self.begun.append((journey.who, journey.nth, journey.due_ns, journey.variables))


@pytest.mark.parametrize("think", [Think(0.0), Think(0.5)])
def test_each_journey_of_a_user_is_a_new_one(think: Think) -> None:
    """A user's next journey has a number and a due time of its own, and knows nothing that the one before has kept."""
    route, road = Route([Leg(0, None, think, None, NANOS)]), Noted()  # type: ignore[arg-type]
    plan = Crowd.of((Stage(start=1, end=1, lasts_s=None),), Closed())
    task = Task(streams=(Coming(routes=(route,), plan=plan),), shard=0, of=1, longest_s=9.0)
    users = Users(road, task, task.streams[0], 0)  # type: ignore[arg-type]
    user, dues = users._users[0], [users.next_ns]
    for nth in range(3):
        if users.next_ns == dues[-1]:
            users.take(dues[-1])
        assert road.begun[-1] == (0, nth, dues[-1], {})
        user.variables["token"] = "kept"
        dues.append(dues[-1] + NANOS + round(think.at_s * NANOS))
        users.over(user, dues[-2] + NANOS, True)


async def test_a_closed_load_without_a_crowd_is_broken() -> None:
    """Stages that say no number of users break the load before the first request."""
    load = crowd(stages=(Wave(low=1, high=5, period_s=1, lasts_s=None),))
    with pytest.raises(LoadBroken, match="no waves"):
        await work(load, "http://127.0.0.1:1")


async def test_arrivals_at_random_are_those_of_the_seed() -> None:
    """Every journey is due at the instant of the seed's Poisson process; another seed gives other instants."""
    load = profile(rate=100, lasts_s=1, at_random=True)
    async with Target(always(OK)) as target:
        one, same, other = [await work(load, target.url, longest_s=1.2, seed=seed) for seed in (3, 3, 4)]
    pace = Pace.of(load.streams[0].stages, 3)
    wanted = [int(pace.due(n) * 1e6) for n in range(one.journeys)]
    assert [due for due, _ in of_step(one, 0)] == pytest.approx(wanted, abs=1)
    assert of_step(one, 0)[0][0] == of_step(same, 0)[0][0] != of_step(other, 0)[0][0]
    assert one.journeys == same.journeys == sum(pace.due(n) < 1 for n in range(1000))


async def test_a_wave_arrives_as_its_integral_says() -> None:
    """In waves of a second between 20 and 180, each tenth of a second has the journeys of its area."""
    wave = Wave(low=20, high=180, period_s=1, lasts_s=2)
    load = profile(stages=(wave,))
    async with Target(always(OK)) as target:
        books = await work(load, target.url, longest_s=2.2)
    pace = Pace.of((wave,))
    assert books.journeys == len(target.requests) == 200
    for number in range(20):
        area = pace.count((number + 1) / 10) - pace.count(number / 10)
        assert abs(books.by_slot[number].due - area) <= 1


async def test_pauses_in_the_open_model_are_drawn_by_journey() -> None:
    """A later step's pause belongs to the seed, the journey and the step."""
    think = Think(0.05, sigma=0.5)
    steps = (GET, Request(name="later", method="GET", path="/later", think=think))
    async with Target(always(OK)) as target:
        books = await work(profile(*steps), target.url, until=finished(40), seed=6)
    firsts = [done for _, done in of_step(books, 0)]
    dues = sorted(due for due, _ in of_step(books, 1))
    drawn = sorted(done + round(pause_s(think, 6, n, 0, 1) * 1e6) for n, done in enumerate(firsts))
    assert dues == pytest.approx(drawn, abs=3)
