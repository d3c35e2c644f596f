"""Statements, transactions and mixes on a real Postgres."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from load_rig import crowd, finished, profile
from postgres_rig import play, session, sql

from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres
from chaosrunner.errors import LoadBroken
from chaosrunner.model.postgres_step import Draw, Mix, Pool, Query, Rows, Statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.postgres, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """One Postgres with ten accounts of 100 each."""
    async with launch_postgres(PostgresOptions(max_connections=60)) as server:
        async with session(server.dsn) as admin:
            await admin.execute("CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)")
            await admin.execute("INSERT INTO accounts SELECT n, 100 FROM generate_series(1, 10) n")
        async with session(server.admin_dsn) as admin:
            await admin.execute("ALTER ROLE app SET deadlock_timeout = '100ms'")
        yield server


async def test_a_statement_is_asked_with_its_args_and_its_rows_are_judged(server: Postgres) -> None:
    """Args come from data and from kept variables, rows are counted, and what is kept reaches later steps."""
    steps = (
        sql(
            "read", "", statements=(Statement(
                sql="SELECT id, balance::numeric AS much FROM accounts WHERE id = $1",
                args=("<id>",),
                expect=Rows(least=1, most=1),
                keep={"much": "$[0].much", "id2": "$[0].id"},
            ),)),
        sql("again", "SELECT $1::int + $2::numeric", args=("<id2>", "<much>")),
    )  # fmt: skip
    account = await play(profile(*steps, data=({"id": "3"}, {"id": "7"})), server.dsn, until=finished(40))
    assert account.outcomes("read") == account.outcomes("again") == {"ok": 20}
    assert account.outcomes("read.acquire") == {"ok": 20}


async def test_other_rows_than_expected_are_a_failed_check(server: Postgres) -> None:
    """A statement without a result is judged by the rows it says it touched."""
    none = Statement(sql="UPDATE accounts SET balance = balance WHERE id = $1", args=(99,), expect=Rows(least=1))
    some = Statement(sql="UPDATE accounts SET balance = balance WHERE id < $1", args=(4,), expect=Rows(least=3, most=3))
    nothing_kept = Statement(sql="SELECT id FROM accounts WHERE id = 99", keep={"id": "$[0].id"})
    for statement, outcome in ((none, "check"), (some, "ok"), (nothing_kept, "check")):
        account = await play(profile(sql("it", "", statements=(statement,))), server.dsn, until=finished(20))
        assert account.outcomes("it") == {outcome: 20}


async def test_an_arg_that_its_parameter_cannot_take_is_a_failed_check_and_is_told_once(server: Postgres) -> None:
    """It is no error of the server's, which was never asked."""
    step = sql("it", "SELECT $1::int", args=("<word>",))
    account = await play(profile(step, data=({"word": "seven"},)), server.dsn, until=finished(20))
    assert account.outcomes("it") == {"check": 20}
    assert account.count("it.bad_argument") == 20
    (note,) = account.notes("postgres argument")
    assert "seven" not in str(note)


async def test_slow_reads_are_no_outage_of_writes(server: Postgres) -> None:
    """A read whose time is up says nothing of commits, which go on half a second apart."""
    slow = profile(sql("slow", "SELECT pg_sleep(2)", timeout_s=0.1, connection="each time"), rate=10, lasts_s=1.6)
    write = profile(sql("write", "UPDATE accounts SET balance = balance WHERE id = 1"), rate=2, lasts_s=1.6)
    both = replace(slow, streams=(*slow.streams, *write.streams))
    account = await play(both, server.dsn, until=finished(19))
    assert account.outcomes("slow")["timeout"] >= 8
    assert account.outcomes("write") == {"ok": 3}
    assert not account.notes("postgres outage")


async def test_errors_of_the_server_are_counted_by_sqlstate(server: Postgres) -> None:
    """A division by zero is SQL, and a column that is missing is SQL of another state."""
    account = await play(profile(sql("zero", "SELECT 1 / $1::int", args=(0,)), rate=50), server.dsn, until=finished(10))
    assert account.outcomes("zero") == {"sql": 10}
    assert account.count("zero.sqlstate.22012") == 10
    account = await play(profile(sql("gone", "SELECT nowhere FROM accounts")), server.dsn, until=finished(20))
    assert account.count("gone.sqlstate.42703") == 20


async def test_a_draw_is_spread_over_its_whole_range(server: Postgres) -> None:
    """Both ends come up, and nothing beyond them."""
    async with session(server.dsn) as admin:
        await admin.execute("CREATE TABLE drawn (n int)")
        step = sql("put", "INSERT INTO drawn VALUES ($1)", args=(Draw(low=1, high=4),))
        await play(profile(step, rate=400, lasts_s=0.25), server.dsn, until=finished(100))
        assert [row["n"] for row in await admin.fetch("SELECT DISTINCT n FROM drawn ORDER BY n")] == [1, 2, 3, 4]


async def test_a_transaction_is_all_or_nothing(server: Postgres) -> None:
    """A failed check in its second statement undoes its first, and the session is clean for the next."""
    move = (
        Statement(sql="UPDATE accounts SET balance = balance - 1 WHERE id = 1"),
        Statement(sql="UPDATE accounts SET balance = balance + 1 WHERE id = $1", args=(99,), expect=Rows(least=1)),
    )
    steps = (sql("move", "", statements=move, transaction=True, pool=Pool(size=1)),)
    account = await play(profile(*steps), server.dsn, until=finished(20))
    assert account.outcomes("move") == {"check": 20}
    async with session(server.dsn) as admin:
        assert await admin.fetchval("SELECT balance FROM accounts WHERE id = 1") == 100
        assert await admin.fetchval("SELECT sum(balance) FROM accounts") == 1000


SKEW = (
    Statement(sql="SELECT sum(balance) FROM accounts"),
    Statement(sql="UPDATE accounts SET balance = balance + 1 WHERE id = $1", args=(Draw(low=1, high=10),)),
    Statement(sql="UPDATE accounts SET balance = balance - 1 WHERE id = $1", args=(Draw(low=1, high=10),)),
)


async def test_serialization_failures_are_tried_again_and_counted(server: Postgres) -> None:
    """Retries and their SQLSTATE are counted; with enough of them most transactions succeed, and the sum is right."""
    step = Query(name="move", on="db", statements=SKEW, transaction=True, isolation="serializable", retry=50)
    account = await play(crowd(step, users=4), server.dsn, longest_s=1.0)
    assert account.outcomes("move")["ok"] > 0.9 * account.of("move").due
    assert account.count("move.retries") > 0
    assert account.count("move.sqlstate.40001") + account.count("move.sqlstate.40P01") >= account.count("move.retries")
    async with session(server.dsn) as admin:
        assert await admin.fetchval("SELECT sum(balance) FROM accounts") == 1000


async def test_without_retries_left_it_is_a_conflict(server: Postgres) -> None:
    """A failure that a retry might have cured is told apart from an error of the statement."""
    step = Query(name="move", on="db", statements=SKEW, transaction=True, isolation="serializable")
    account = await play(crowd(step, users=4), server.dsn, longest_s=1.0)
    assert account.outcomes("move")["conflict"] == (
        account.count("move.sqlstate.40001") + account.count("move.sqlstate.40P01")
    )
    assert account.count("move.retries") == 0


async def test_deadlocks_are_seen_by_both_sides(server: Postgres) -> None:
    """Two orders of locking meet: 40P01 in the answers, and as many deadlocks in the database's own count."""
    async with session(server.dsn) as admin:
        await admin.execute("CREATE TABLE pair AS SELECT n AS id, 0 AS v FROM generate_series(1, 2) n")
    texts = [f"UPDATE pair SET v = v + 1 WHERE id = {n}" for n in (1, 2)]
    nap = "SELECT pg_sleep(0.02)"
    one = sql("up", texts[0], nap, texts[1])
    other = sql("down", texts[1], nap, texts[0])
    mix = Mix(name="both", queries=(_named(one, "both.up"), _named(other, "both.down")), weights=(1, 1))
    account = await play(crowd(mix, users=4), server.dsn, longest_s=1.5)
    seen = account.count("both.up.sqlstate.40P01") + account.count("both.down.sqlstate.40P01")
    assert seen > 0
    assert account.count("db.deadlocks") == seen
    assert account.of("both.up.lock_wait").finished + account.of("both.down.lock_wait").finished > 0


def _named(query: Query, name: str) -> Query:
    from dataclasses import replace

    return replace(query, name=name)


async def test_lock_waits_are_measured_from_the_servers_own_view(server: Postgres) -> None:
    """While a stranger holds a row, its waiters show up with what they wait for and for about how long."""
    async with session(server.dsn) as stranger:
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute("UPDATE accounts SET balance = balance WHERE id = 5")
        step = sql("wait", "UPDATE accounts SET balance = balance WHERE id = 5", pool=Pool(size=2))

        async def let_go() -> None:
            async with session(server.dsn) as watcher, asyncio.timeout(10):
                while not await watcher.fetchval(WAITERS):  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.7)
            await transaction.rollback()

        releasing = asyncio.create_task(let_go())
        account = await play(crowd(step, users=2, iterations=1), server.dsn, until=finished(2))
        await releasing
    assert account.outcomes("wait") == {"ok": 2}
    assert account.count("wait.lock_waits.transactionid") >= 1
    longest = account.of("wait.lock_wait").ok.quantile(1.0)
    assert longest is not None
    assert 200_000 < longest < 2_900_000


WAITERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'load.chaosrunner%'"
)


async def test_the_servers_statement_timeout_is_its_error_and_the_clients_is_a_timeout(server: Postgres) -> None:
    """57014 has its own count; a hit whose time is up is cancelled at the server, and its session is used again."""
    pool = Pool(size=1, statement_timeout_s=0.05)
    account = await play(profile(sql("slow", "SELECT pg_sleep(5)", pool=pool), rate=5), server.dsn, until=finished(1))
    assert account.count("slow.sqlstate.57014") >= 1
    assert account.outcomes("slow")["sql"] >= 1
    steps = sql("slow", "SELECT pg_sleep(CASE WHEN $1 = 1 THEN 5 ELSE 0 END)", args=("<n>",), pool=Pool(size=1))
    account = await play(
        crowd(steps, users=1, data=({"n": "1"},), timeout_s=0.3, iterations=3), server.dsn, until=finished(3)
    )
    assert account.outcomes("slow") == {"timeout": 3}
    assert account.books.connects == 1
    async with session(server.admin_dsn) as admin:
        assert await admin.fetchval(SLEEPERS) == 0


SLEEPERS = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(CASE%' AND pid <> pg_backend_pid()"


async def test_a_mix_keeps_its_weights_and_each_query_has_its_own_figures(server: Postgres) -> None:
    """Every hit of the mix is one of its queries, about as often as the weights say."""
    queries = (sql("m.often", "SELECT 1"), sql("m.seldom", "SELECT 2"), sql("m.wrong", "SELECT 1 / 0"))
    mix = Mix(name="m", queries=queries, weights=(8, 1, 1))
    account = await play(profile(mix, rate=800, lasts_s=0.5), server.dsn, until=finished(400))
    often, seldom, wrong = (account.of(f"m.{name}").finished for name in ("often", "seldom", "wrong"))
    assert often + seldom + wrong == account.of("m").finished == 400
    assert 260 < often < 380
    assert seldom
    assert wrong
    assert account.outcomes("m") == {"ok": often + seldom, "sql": wrong}
    assert account.outcomes("m.wrong") == {"sql": wrong}


async def test_the_plan_of_the_slowest_is_captured_and_writes_are_never_run_for_it(server: Postgres) -> None:
    """A query is run once more to be measured, an update is only planned."""
    steps = (
        sql("read", "SELECT * FROM accounts WHERE id = $1", args=(Draw(low=1, high=10),)),
        sql("write", "UPDATE accounts SET balance = balance + 1 WHERE id = 2"),
    )
    async with session(server.dsn) as admin:
        before = await admin.fetchval("SELECT balance FROM accounts WHERE id = 2")
        account = await play(profile(*steps), server.dsn, until=finished(40))
        assert await admin.fetchval("SELECT balance FROM accounts WHERE id = 2") == before + 20
        await admin.execute("UPDATE accounts SET balance = $1 WHERE id = 2", before)
    plans = {note["step"]: note for note in account.notes("postgres plan of the slowest")}
    assert plans["read"]["took_ms"] > 0
    assert "Actual Total Time" in plans["read"]["plan"]["Plan"]
    assert plans["write"]["plan"]["Plan"]["Node Type"] == "ModifyTable"
    assert "Actual Total Time" not in plans["write"]["plan"]["Plan"]


async def test_a_prepared_statement_whose_table_changed_is_prepared_anew(server: Postgres) -> None:
    """One error a session, and then it goes on."""
    async with session(server.dsn) as admin:
        await admin.execute("CREATE TABLE shape AS SELECT 1 AS a")
        step = sql("star", "SELECT * FROM shape", pool=Pool(size=1))

        async def change() -> None:
            await asyncio.sleep(0.2)
            await admin.execute("ALTER TABLE shape ADD COLUMN b text")

        changing = asyncio.create_task(change())
        account = await play(profile(step, rate=50, lasts_s=0.5), server.dsn, until=finished(25))
        await changing
    bad = 25 - account.outcomes("star")["ok"]
    assert bad <= 1


async def test_a_step_that_cannot_work_is_refused_before_anything_is_sent(server: Postgres) -> None:
    """A placeholder that nothing fills, a component without a DSN, a DSN that means nothing."""
    with pytest.raises(LoadBroken, match="nothing known as <id>"):
        await play(profile(sql("it", "SELECT $1::int", args=("<id>",))), server.dsn)
    with pytest.raises(LoadBroken, match="no dsn is known of the component 'other'"):
        await play(profile(sql("it", "SELECT 1", on="other")), server.dsn)
    with pytest.raises(LoadBroken, match="the dsn of 'db' cannot be understood") as refused:
        await play(profile(sql("it", "SELECT 1")), server.dsn.replace("app@", "app:hunter2@") + "?sslmode=bla")
    assert "hunter2" not in str(refused.value)
