"""The pool under load: waits, exhaustion, churn, connections that journeys keep, and leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from load_rig import crowd, finished, profile
from postgres_rig import play, session, sql

from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres
from chaosrunner.errors import LoadBroken
from chaosrunner.model.journey import Think
from chaosrunner.model.postgres_step import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.postgres, pytest.mark.asyncio(loop_scope="module")]

OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'load.chaosrunner/%'"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """A Postgres with few slots: 3 of 15 for superusers."""
    async with launch_postgres(PostgresOptions(max_connections=15)) as server:
        yield server


async def test_who_waits_for_a_connection_waits_beside_the_query_time(server: Postgres) -> None:
    """More arrive than two connections serve: the wait is in its own series and in the hit's, the query in service."""
    step = sql("nap", "SELECT pg_sleep(0.05)", pool=Pool(size=2))
    account = await play(profile(step, rate=80, lasts_s=0.5), server.dsn, until=finished(40))
    hits, waits = account.of("nap"), account.of("nap.acquire")
    service, wait, acquire = (of.quantile(0.5) for of in (hits.service, hits.wait, waits.ok))
    assert service is not None
    assert wait is not None
    assert acquire is not None
    assert service >= 50_000
    assert wait > 40_000
    assert abs(wait - acquire) < 20_000
    assert waits.finished == hits.finished == 40
    assert account.books.connects == 2


async def test_a_queue_that_takes_too_long_is_a_pool_outcome(server: Postgres) -> None:
    """Those who wait longer than the pool allows are told POOL, at about that time, and the server is not to blame."""
    step = sql("nap", "SELECT pg_sleep(0.25)", pool=Pool(size=1, wait_s=0.1))
    account = await play(crowd(step, users=4, iterations=2), server.dsn, until=finished(8))
    assert account.outcomes("nap")["pool"] >= 3
    assert account.outcomes("nap.acquire")["pool"] == account.outcomes("nap")["pool"]
    failed = account.of("nap").failed
    assert failed.quantile(0.0) is not None
    assert failed.rank(1) >= 100_000
    assert not account.notes("postgres outage")


async def test_a_hit_whose_time_is_up_in_the_queue_is_a_pool_outcome_too(server: Postgres) -> None:
    """Without a limit of the pool's own the step's timeout ends the wait, and it is still the pool that ran dry."""
    step = sql("nap", "SELECT pg_sleep(0.6)", pool=Pool(size=1), timeout_s=0.25)
    account = await play(profile(step, rate=100_000, lasts_s=0.00003), server.dsn, until=finished(3))
    assert account.outcomes("nap") == {"pool": 2, "timeout": 1}


async def test_the_exhaustion_curve_rises_with_those_who_ask(server: Postgres) -> None:
    """One row a level of concurrency, from no wait up to the pool's size to a long one beyond it."""
    stages_step = sql("nap", "SELECT pg_sleep(0.03)", pool=Pool(size=2))
    account = await play(crowd(stages_step, users=8), server.dsn, longest_s=1.0)
    (note,) = account.notes("postgres pool")
    curve = {row["asking"]: row for row in note["curve"]}
    assert curve[1]["p99_ms"] == curve[2]["p99_ms"] == 0
    assert 8 in curve
    assert curve[8]["p50_ms"] > 50
    assert [row["of"] for row in note["curve"]] == [2] * len(curve)
    assert sum(row["n"] for row in note["curve"]) >= account.of("nap").finished - 8


async def test_a_connection_each_time_is_opened_and_closed_and_measured(server: Postgres) -> None:
    """Every hit has a connection of its own, its opening is in a series, and no more are open than the pool allows."""
    step = sql("churn", "SELECT pg_backend_pid()", connection="each time", pool=Pool(size=3))
    account = await play(crowd(step, users=5), server.dsn, longest_s=1.0)
    ok = account.outcomes("churn")["ok"]
    assert ok > 20
    assert account.books.connects >= ok
    assert account.outcomes("churn.connect")["ok"] == account.books.connects
    assert not account.notes("postgres session nobody has")
    async with session(server.admin_dsn) as admin:
        assert await admin.fetchval(OURS) == 0


async def test_pooled_and_own_connections_share_one_budget(server: Postgres) -> None:
    """An idle pooled connection makes way for one of its own, and both kinds go on."""
    steps = (
        sql("pooled", "SELECT 1", pool=Pool(size=1)),
        sql("own", "SELECT 1", connection="each time"),
    )
    account = await play(crowd(*steps, users=3, iterations=4), server.dsn, until=finished(24))
    assert account.outcomes("pooled") == account.outcomes("own") == {"ok": 12}


async def test_a_journey_may_keep_its_connection(server: Postgres) -> None:
    """Its steps see one session, a transaction begun by hand spans them, and it ends clean when the journey does."""
    steps = (
        sql("begin", "BEGIN", connection="of the journey", pool=Pool(size=2)),
        sql("set", "SELECT set_config('app.who', 'me', true)"),
        sql("get", "SELECT 1 / (current_setting('app.who', true) = 'me')::int"),
    )
    account = await play(crowd(*steps, users=4, iterations=5), server.dsn, until=finished(60))
    assert account.outcomes("begin") == account.outcomes("set") == account.outcomes("get") == {"ok": 20}
    (end,) = account.notes("postgres sessions at the end")
    assert end["kept_in_all"] == 0
    assert end["left_at_the_server"] == []


async def test_a_connection_that_is_kept_too_long_is_named_with_the_stack_that_took_it(server: Postgres) -> None:
    """A journey that thinks with a connection in its hand: a leak as applications have them, seen by three books."""
    steps = (
        sql("take", "SELECT 1", connection="of the journey", pool=Pool(size=3, leak_s=0.3)),
        sql("never", "SELECT 1", think=Think(60.0)),
    )
    account = await play(profile(*steps, rate=2, lasts_s=1.0), server.dsn, longest_s=2.2)
    leaks = account.notes("postgres leak")
    assert [leak["step"] for leak in leaks] == ["take", "take"]
    assert account.count("db.leaks") == 2
    for leak in leaks:
        assert leak["age_s"] >= 0.3
        assert leak["state"] == "idle"
        assert any("asking.py" in frame and "begin" in frame for frame in leak["stack"])
    (end,) = account.notes("postgres sessions at the end")
    assert end["kept_in_all"] == 2
    assert end["pool"] == {"open": 3, "idle": 1, "busy": 2}
    assert end["left_at_the_server"] == []


async def test_a_session_that_nobody_here_has_is_named(server: Postgres) -> None:
    """Whatever carries our name at the server and is in none of our books is a leak of ours."""
    import asyncpg

    name = "load.chaosrunner/t0001/w0/999"
    stray = await asyncpg.connect(server.dsn, server_settings={"application_name": name})
    try:
        account = await play(crowd(sql("one", "SELECT 1", pool=Pool(size=1)), users=1), server.dsn, longest_s=2.6)
    finally:
        await stray.close()
    (found,) = account.notes("postgres session nobody has")
    assert found["pid"] == stray.get_server_pid() or found["session"] == "999"
    assert account.count("db.sessions_nobody_has") == 1
    (end,) = account.notes("postgres sessions at the end")
    assert [left["session"] for left in end["left_at_the_server"]] == ["999"]


async def test_more_connections_than_the_server_has_do_not_fail_hits_that_others_can_serve(server: Postgres) -> None:
    """The refusals are counted by SQLSTATE, attempts are bounded, and the connections that are open do the work."""
    step = sql("nap", "SELECT pg_sleep(0.02)", pool=Pool(size=40))
    account = await play(crowd(step, users=40), server.dsn, longest_s=1.0)
    assert set(account.outcomes("nap")) == {"ok"}
    assert 1 <= account.count("db.sqlstate.53300") <= 30
    assert not account.notes("postgres outage")


async def test_a_pool_too_small_for_its_workers_is_refused(server: Postgres) -> None:
    """Every worker needs a connection."""
    with pytest.raises(LoadBroken, match="cannot be shared by 3 workers"):
        await play(profile(sql("it", "SELECT 1", pool=Pool(size=2))), server.dsn, shard=2, of=3)
