"""Journeys: variables, data, think time, limits, ends; one worker in this process."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest
from load_rig import GET, OK, Asked, Target, always, finished, hang, profile, reply, work

from chaosrunner.errors import LoadBroken
from chaosrunner.load.act import OpenHit
from chaosrunner.load.journey import Journey, Leg, Route
from chaosrunner.load.ledger import Ledger
from chaosrunner.load.sender import Coming, Sender, Task
from chaosrunner.logic.crowd import Crowd
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import Think
from chaosrunner.model.load import Closed, Outcome, Stage, single
from chaosrunner.model.units import NANOS

LOGIN = Request(
    name="log in", method="POST", path="/login", body={"user": "<name>"}, keep={"token": "$.token", "id": "$.user.id"}
)
CREATE = Request(
    name="create", method="post", path="/users/<id>/agents?as=<name>", body={"owner": "<id>", "n": "<<<id>"}
)


async def login_server(_target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes:
    if request.path == "/login":
        return reply(200, {"token": "t-1", "user": {"id": 7}})
    return reply(201, {})


async def test_journeys_that_are_over_need_no_collector() -> None:
    """In the open model nothing is left of a journey once it is over, even if the collector never comes."""
    steps = (Request(name="a", method="GET", path="/"), Request(name="b", method="GET", path="/"))
    gc.collect()
    gc.disable()
    try:
        async with Target(always(OK)) as target:
            before = sum(type(thing) is Journey for thing in gc.get_objects())
            books = await work(profile(*steps), target.url, until=finished(40))
            assert sum(type(thing) is Journey for thing in gc.get_objects()) <= before
    finally:
        gc.enable()
    assert books.done == {Outcome.OK: 40}


class Marks:
    """An act that marks a hit in every way, once it has noted that nobody had done so before."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int, OpenHit]] = []
        self.six = asyncio.Event()

    def begin(self, hit: OpenHit) -> None:
        assert (hit.link, hit.booked, hit.over) == (None, False, False)
        assert (hit.sent_ns, hit.connected_ns, hit.first_ns) == (0, 0, 0)
        assert hit.due_ns <= hit.fired_ns
        assert hit.act is self
        self.begun.append((hit.leg, hit.name, hit))
        if len(self.begun) == 6:
            self.six.set()
        hit.link, hit.booked = hit, True  # type: ignore[assignment]
        hit.sent_ns = hit.connected_ns = hit.first_ns = hit.fired_ns
        asyncio.get_running_loop().call_soon(hit.end, Outcome.OK, hit.fired_ns)


async def test_a_hit_that_is_fired_again_is_as_new() -> None:
    """Nothing of what became of it before is seen by the act of the next step, or by the same one in a next journey."""
    act, epoch_ns = Marks(), time.monotonic_ns()
    route = Route([Leg(name, act, Think(), None, NANOS) for name in (3, 4)])  # type: ignore[arg-type]
    plan = Crowd.of((Stage(start=1, end=1, lasts_s=None),), Closed(iterations=3))
    coming = Coming(routes=(route,), plan=plan, closed=Closed(iterations=3))
    sender = Sender(
        Task(streams=(coming,), shard=0, of=1, longest_s=9.0), Ledger(worker=0, names=5, epoch_ns=epoch_ns), epoch_ns
    )
    sender.start()
    async with asyncio.timeout(10):
        await act.six.wait()
        await sender.stop()
    assert [begun[:2] for begun in act.begun] == [(0, 3), (1, 4)] * 3
    assert len({begun[2] for begun in act.begun}) == 1


async def test_variables_travel_from_replies_and_rows_into_requests() -> None:
    """Kept values keep their JSON type, are spelled for their place, and the token authorises once it is known."""
    load = profile(LOGIN, CREATE, data=({"name": "ann b/c"}, {"name": "bob"}))
    async with Target(login_server) as target:
        books = await work(load, f"{target.url}/", until=finished(40), auths=("bearer <token>",))
    assert books.done == {Outcome.OK: 40}
    logins = [request for request in target.requests if request.path == "/login"]
    creates = [request for request in target.requests if request.path != "/login"]
    assert [request.json for request in logins] == [{"user": "ann b/c"}, {"user": "bob"}] * 10
    assert {request.path for request in creates} == {"/users/7/agents?as=ann%20b%2Fc", "/users/7/agents?as=bob"}
    assert all(request.json == {"owner": 7, "n": "<7"} for request in creates)
    assert all("authorization" not in request.headers for request in logins)
    assert {request.headers["authorization"] for request in creates} == {"Bearer t-1"}
    assert {request.method for request in creates} == {"POST"}
    assert {request.headers["content-type"] for request in creates} == {"application/json"}
    assert {request.headers["host"] for request in creates} == {f"127.0.0.1:{target.port}"}


async def test_rows_are_dealt_over_all_workers_together() -> None:
    """Journey n gets row n mod rows, whichever worker fires it."""
    step = Request(name="get", method="GET", path="/<n>")
    rows = tuple({"n": str(n)} for n in range(3))
    async with Target(always(OK)) as target:
        for shard in range(2):
            await work(profile(step, data=rows, rate=50), target.url, until=finished(5), shard=shard, of=2)
    first, second = [r.path for r in target.requests[:5]], [r.path for r in target.requests[5:]]
    assert first == ["/0", "/2", "/1", "/0", "/2"]
    assert second == ["/1", "/0", "/2", "/1", "/0"]


async def test_a_failed_step_ends_its_journey() -> None:
    """After a step that is not OK the remaining ones are never due; they count as skipped."""

    async def second_fails(_target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        return reply(503) if request.path == "/b" else OK

    steps = [Request(name=name, method="GET", path=f"/{name}") for name in "abcd"]
    async with Target(second_fails) as target:
        books = await work(profile(*steps), target.url, until=finished(40))
    assert {name: dict(slot.done) for name, slot in books.by_name.items()} == {
        0: {Outcome.OK: 20},
        1: {Outcome.STATUS: 20},
    }
    assert books.skipped == 40


async def test_think_time_passes_before_a_step_is_due() -> None:
    """A step is due at its predecessor's done plus its think time, and fired then, not before."""
    steps = (GET, Request(name="later", method="GET", path="/later", think=Think(0.15)))
    async with Target(always(OK)) as target:
        books = await work(profile(*steps), target.url, until=finished(40))
    firsts = sorted(hit.due_us + hit.response_us for hit in books.hits if hit.name == 0)
    laters = sorted(hit.due_us for hit in books.hits if hit.name == 1)
    assert len(firsts) == len(laters) == 20
    assert all(0 <= due - (done + 150_000) <= 1 for done, due in zip(firsts, laters, strict=True))
    assert min(hit.lag_us for hit in books.hits) >= 0


async def test_the_first_step_has_no_think_time() -> None:
    """Asked 1 is due by the schedule, whatever its think time says."""
    async with Target(always(OK)) as target:
        books = await work(
            profile(Request(name="a", method="GET", path="/", think=Think(5))), target.url, until=finished(20)
        )
    assert [hit.due_us for hit in sorted(books.hits, key=lambda hit: hit.due_us)] == pytest.approx(
        [5_000 + 10_000 * n for n in range(20)], abs=1
    )


async def test_one_journey_too_many_is_shed() -> None:
    """With `max_in_flight` journeys open, one more is an error without any time, and its later steps are skipped."""
    async with Target(hang) as target:
        load = profile(GET, GET, max_in_flight=5, timeout_s=5)
        books = await work(load, target.url, until=lambda books: books.done.get(Outcome.SHED, 0) == 15)
    assert books.done == {Outcome.SHED: 15, Outcome.UNFINISHED: 5}
    assert books.skipped == 20
    assert books.all.failed.total == 5
    assert len(target.requests) == 5


async def test_open_hits_are_censored_at_their_age() -> None:
    """What is open when the load ends is UNFINISHED with its age, at least the drain's 2 s here."""
    async with Target(hang) as target:
        books = await work(profile(), target.url, until=lambda books: books.journeys == 20)
    assert books.done == {Outcome.UNFINISHED: 20}
    assert books.all.failed.rank(1) >= 2_000_000


async def test_hits_answered_during_the_drain_count_as_answered() -> None:
    """The end of the load cuts nobody off who answers within the drain, and starts no further step."""

    async def slow(_target: Target, _request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.6)
        return OK

    async with Target(slow) as target:
        books = await work(profile(GET, GET), target.url, until=lambda books: books.journeys == 20)
    assert books.done == {Outcome.OK: 20}
    assert books.skipped == 0
    assert books.frames[-1].last


async def test_a_connection_is_waited_for_in_turn() -> None:
    """No more connections than allowed are ever open; waiting hits are served first come, first served."""

    async def slow(_target: Target, _request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.04)
        return OK

    step = Request(name="get", method="GET", path="/<n>")
    load = profile(step, connections=2, data=tuple({"n": str(n)} for n in range(20)))
    async with Target(slow) as target:
        books = await work(load, target.url, until=finished(20))
    assert books.done == {Outcome.OK: 20}
    assert target.most_open == books.connects == 2
    served = [int(request.path[1:]) for request in target.requests]
    assert all(abs(place - n) <= 1 for place, n in enumerate(served))
    assert books.all.wait.rank(20) > 100_000


async def test_two_origins_share_the_connections() -> None:
    """With one connection allowed and two hosts to talk to, an idle connection makes way for the other host."""
    async with Target(always(OK)) as one, Target(always(OK)) as two:
        steps = [
            Request(name=name, method="GET", path=f"{where.url}/x?y=1") for name, where in (("a", one), ("b", two))
        ]
        books = await work(profile(*steps, connections=1), "", until=finished(40))
    assert books.done == {Outcome.OK: 40}
    assert {request.path for request in one.requests} == {"/x?y=1"}
    assert one.most_open == two.most_open == 1
    assert one.connections + two.connections == books.connects > 2


async def test_late_hits_are_counted_and_never_fired() -> None:
    """When this process stands still for over a second, what became due meanwhile is LATE, not a burst."""
    async with Target(always(OK)) as target:
        asleep = asyncio.get_running_loop().call_later(0.3, time.sleep, 1.6)
        books = await work(
            profile(GET, GET, rate=100, lasts_s=2.5), target.url, until=lambda books: books.journeys == 250
        )
        asleep.cancel()
    late = books.done[Outcome.LATE]
    assert late >= 40
    assert set(books.done) == {Outcome.OK, Outcome.LATE}
    assert len(target.requests) == books.done[Outcome.OK]
    assert books.skipped == books.by_name[0].done[Outcome.LATE]
    assert books.all.errors == 0


async def test_nothing_due_after_the_end_is_fired() -> None:
    """The load ends by itself, with every journey due until then, also when nobody says stop."""
    load = single(steps=(GET,), stages=(Stage(start=100, end=100, lasts_s=None),))
    async with Target(always(OK)) as target:
        books = await work(load, target.url, longest_s=0.5)
    assert books.journeys == len(target.requests) == 50
    assert books.frames[-1].until_us == 500_000


async def test_each_delta_belongs_to_the_slot_of_its_due_time() -> None:
    """At 100 journeys a second every 100 ms slot has ten, however late the replies come."""

    async def slow(_target: Target, _request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.35)
        return OK

    async with Target(slow) as target:
        books = await work(profile(lasts_s=1), target.url, until=finished(100))
    assert {number: slot.due for number, slot in books.by_slot.items()} == dict.fromkeys(range(10), 10)
    assert {number: slot.finished for number, slot in books.by_slot.items()} == dict.fromkeys(range(10), 10)


async def test_a_kept_value_cannot_smuggle_a_header() -> None:
    """Line breaks in a kept value are blanks in a header and encoded in a path; odd characters break nothing."""
    evil = "a\r\nX-Evil: 1\ud800"

    async def server(_target: Target, request: Asked, _writer: asyncio.StreamWriter) -> bytes:
        return reply(200, {"v": evil, "next": f"/next?{evil}"}) if request.path == "/" else OK

    keep = Request(name="keep", method="GET", path="/", keep={"v": "$.v", "next": "$.next"})
    use = Request(name="use", method="POST", path="/use/<v>", headers={"X-V": "<v>"}, body=["<v>"])
    follow = Request(name="follow", method="GET", path="<next>")
    async with Target(server) as target:
        books = await work(profile(keep, use, follow), target.url, until=finished(60))
    assert books.done == {Outcome.OK: 60}
    assert all("x-evil" not in request.headers for request in target.requests)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        pytest.param(Request(name="a", method="GET", path="/<nobody>"), "nothing known as <nobody>", id="unknown name"),
        pytest.param(
            Request(name="a", method="GET", path="/", headers={"X": "<no>"}), "<no>", id="unknown in a header"
        ),
        pytest.param(Request(name="a", method="GET", path="/", body={"<no>": 1}), "<no>", id="unknown in a key"),
        pytest.param(Request(name="a", method="GET", path="/", keep={"v": "token"}), "begins with", id="no JSON path"),
        pytest.param(
            Request(name="a", method="GET", path="/", keep={"v": "$.a["}), "looks like", id="half a JSON path"
        ),
        pytest.param(Request(name="a", method="GET", path="http://"), "no http", id="no host"),
        pytest.param(Request(name="a", method="GET", path="http://u:p@h/"), "auth:", id="a user in the URL"),
        pytest.param(
            Request(name="a", method="GET", path="http://<h>/"), "placeholder", id="a host that is a variable"
        ),
        pytest.param(Request(name="a", method="GET", path="http://h:99999/"), "ort", id="no port"),
        pytest.param(
            Request(name="a", method="GET", path="/", headers={"X Y": "1"}), "header name", id="no header name"
        ),
        pytest.param(Request(name="a", method="G T", path="/"), "method", id="no method"),
        pytest.param(
            Request(name="a", method="GET", path="/", headers={"content-length": "1"}), "not the file's", id="framing"
        ),
    ],
)
async def test_what_cannot_be_sent_is_said_before_anything_is(step: Request, why: str) -> None:
    """A step that cannot work breaks the load before the first request."""
    async with Target(always(OK)) as target:
        with pytest.raises(LoadBroken, match=why):
            await work(profile(step), target.url)
    assert target.connections == 0


async def test_a_relative_path_needs_an_entry() -> None:
    """Without an entry only absolute URLs have a host."""
    with pytest.raises(LoadBroken, match="no entry"):
        await work(profile(), "")


async def test_an_auth_nobody_fills_is_said_without_showing_it() -> None:
    """A placeholder in auth that no step keeps breaks the load; the message does not quote a revealed secret."""
    with pytest.raises(LoadBroken, match="auth") as caught:
        await work(profile(), "http://127.0.0.1:1", auths=("basic se<cr>et",))
    assert "cr" not in str(caught.value).replace("placeholder that no step keeps and no data column", "")


async def test_stages_that_are_no_schedule() -> None:
    """A profile without a schedule breaks the load."""
    with pytest.raises(LoadBroken, match="flat"):
        await work(single(steps=(GET,), stages=(Stage(start=1, end=2, lasts_s=None),)), "http://127.0.0.1:1")


async def test_a_step_brings_its_own_authorization() -> None:
    """A header of a step takes the place of the one that the load would send."""
    step = Request(name="a", method="GET", path="/", headers={"authorization": "Basic x", "ACCEPT": "text/html"})
    async with Target(always(OK)) as target:
        await work(profile(step), target.url, until=finished(20), auths=("fixed",))
    assert {request.headers["authorization"] for request in target.requests} == {"Basic x"}
    assert {request.headers["accept"] for request in target.requests} == {"text/html"}
