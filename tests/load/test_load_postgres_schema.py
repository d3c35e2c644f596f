"""Our own schema: made, tagged, used and dropped; nothing else is ever touched."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from load_rig import finished, profile
from postgres_rig import RUN, play, session, sql

from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres
from chaosrunner.errors import LoadBroken
from chaosrunner.load.postgres.schema import Schema
from chaosrunner.load.postgres.sweeping import unsure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.postgres, pytest.mark.asyncio(loop_scope="module")]

NAME = f"chaosrunner_{RUN}"
HOSTILE = 'x"; DROP TABLE public.dear; --'
SWEPT = "postgres schema of a dead run"
SCHEMAS = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'chaosrunner%'"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """A Postgres with something dear in it."""
    async with launch_postgres(PostgresOptions()) as server:
        async with session(server.dsn) as admin:
            await admin.execute("CREATE TABLE public.dear AS SELECT 1 AS id")
        yield server


async def test_setup_happens_in_our_schema_and_all_of_it_is_dropped(server: Postgres) -> None:
    """Tables, views, sequences and functions of the file's setup live where the load finds them, and go with it."""
    setup = (
        "CREATE TABLE parent (id serial PRIMARY KEY, v int)",
        "CREATE TABLE child (parent int REFERENCES parent, at int) PARTITION BY RANGE (at)",
        "CREATE TABLE child_1 PARTITION OF child FOR VALUES FROM (0) TO (10)",
        "CREATE VIEW seen AS SELECT * FROM parent",
        "CREATE MATERIALIZED VIEW seen_once AS SELECT * FROM seen",
        "CREATE SEQUENCE turn",
        "CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS $$ SELECT n * 2 $$",
        "INSERT INTO parent (v) SELECT 1 FROM generate_series(1, 5)",
    )
    step = sql("use", "SELECT twice(count(*)::int) + nextval('turn') FROM seen", setup=setup)
    account = await play(profile(step), server.dsn, until=finished(20))
    assert account.outcomes("use") == {"ok": 20}
    async with session(server.dsn) as admin:
        assert await admin.fetchval(SCHEMAS) == 0
        assert await admin.fetchval("SELECT count(*) FROM pg_class WHERE relname IN ('parent', 'child_1')") == 0
        assert await admin.fetchval("SELECT count(*) FROM public.dear") == 1


async def test_a_schema_of_that_name_that_is_not_ours_is_refused(server: Postgres) -> None:
    """Nothing in it is touched, and the load does not begin."""
    async with session(server.dsn) as admin:
        await admin.execute(f'CREATE SCHEMA "{NAME}"')
        await admin.execute(f'CREATE TABLE "{NAME}".acknowledged AS SELECT 42 AS answer')
        with pytest.raises(LoadBroken, match="this load did not make it"):
            await play(profile(sql("it", numbered=True, transaction=True)), server.dsn)
        assert await admin.fetchval(f'SELECT answer FROM "{NAME}".acknowledged') == 42
        await admin.execute(f'DROP SCHEMA "{NAME}" CASCADE')


async def test_what_others_hung_on_our_tables_keeps_them_and_is_said(server: Postgres) -> None:
    """A view elsewhere stands on a table of ours: neither is dropped, our schema stays whole, and the note says why."""
    setup = ("CREATE TABLE held (id int)", "CREATE VIEW public.hanger AS SELECT id FROM held")
    account = await play(profile(sql("it", "SELECT * FROM held", setup=setup)), server.dsn, until=finished(20))
    (left,) = account.notes("postgres schema left behind")
    assert "hanger" in left["why"] or "depend" in left["why"]
    async with session(server.dsn) as admin:
        assert await admin.fetchval("SELECT count(*) FROM public.hanger") == 0
        await admin.execute("DROP VIEW public.hanger")
        await admin.execute(f'DROP SCHEMA "{NAME}" CASCADE')


async def test_a_schema_whose_comment_was_changed_is_not_dropped(server: Postgres) -> None:
    """What no longer says that it is ours is not ours to drop."""
    async with session(server.dsn) as admin:
        schema = Schema(RUN, 60.0)
        await schema.make(admin, ())
        await schema.enter(admin)
        await admin.execute(f"COMMENT ON SCHEMA \"{NAME}\" IS 'mine now'")
        assert await schema.leave(admin) == "its comment does not say that it is ours"
        assert await admin.fetchval(SCHEMAS) == 1
        await admin.execute(f'DROP SCHEMA "{NAME}" CASCADE')


async def test_the_last_of_two_workers_drops_it(server: Postgres) -> None:
    """As long as one still reads back, the other leaves it alone."""
    async with session(server.dsn) as first, session(server.dsn) as second:
        one, two = Schema(RUN, 60.0), Schema(RUN, 60.0)
        await one.make(first, ())
        await one.enter(first)
        await two.enter(second)
        assert await one.leave(first) == ""
        assert await second.fetchval(SCHEMAS) == 1
        assert await two.leave(second) == ""
        assert await second.fetchval(SCHEMAS) == 0


async def test_a_hostile_name_is_only_a_name(server: Postgres) -> None:
    """Quotes and semicolons in a run's id stay inside the name."""
    account = await play(
        profile(sql("it", numbered=True, transaction=True)), server.dsn, until=finished(20), run=HOSTILE
    )
    assert account.outcomes("it.acknowledged") == {"ok": 20}
    async with session(server.dsn) as admin:
        assert await admin.fetchval("SELECT count(*) FROM public.dear") == 1
        assert await admin.fetchval(SCHEMAS) == 0
    with pytest.raises(LoadBroken, match="longer name than the 63 bytes"):
        Schema("r" * 60, 1.0)


async def test_setup_that_fails_undoes_all_of_it(server: Postgres) -> None:
    """The load does not begin, the statement is named by its number, and nothing is left."""
    setup = ("CREATE TABLE fine (id int)", "CREATE TABLE wrong (id nonsense)")
    with pytest.raises(LoadBroken, match=r"setup statement 2: .*nonsense.*42704"):
        await play(profile(sql("it", "SELECT 1", setup=setup)), server.dsn)
    async with session(server.dsn) as admin:
        assert await admin.fetchval(SCHEMAS) == 0


async def test_without_the_right_to_make_one_or_without_a_server_the_load_does_not_begin(server: Postgres) -> None:
    """What could not be measured is not begun, and the message says what would help."""
    async with session(server.admin_dsn) as admin:
        await admin.execute("CREATE ROLE guest LOGIN")
        with pytest.raises(LoadBroken, match="may not create the schema"):
            await play(profile(sql("it", numbered=True, transaction=True)), server.dsn.replace("app@", "guest@"))
    with pytest.raises(LoadBroken, match="no schema can be made at 'db': refused"):
        await play(profile(sql("it", numbered=True, transaction=True)), "postgresql://app@127.0.0.1:1/shop")


async def test_a_killed_runs_schema_is_dropped_by_the_next_load_once_it_is_surely_over(server: Postgres) -> None:
    """Past the end that its comment says, without a lock and without a session, it goes with all that is in it."""
    async with session(server.dsn) as admin:
        await Schema("dead", -1_000.0).make(admin, ("CREATE TABLE left_over AS SELECT 1 AS id",))
        account = await play(profile(sql("it", numbered=True)), server.dsn, until=finished(5))
        assert account.notes(SWEPT) == [{"on": "db", "schema": "chaosrunner_dead", "dropped": True, "why": ""}]
        assert account.outcomes("it.acknowledged") == account.outcomes("it")
        assert await admin.fetchval(SCHEMAS) == 0


async def test_what_may_still_be_somebodys_is_only_named(server: Postgres) -> None:
    """A run that may last on, a schema that is only called like ours and one that others stand on stay, with why."""
    async with session(server.dsn) as admin:
        await Schema("cut_off", 3_600.0).make(admin, ())
        await admin.execute("CREATE SCHEMA chaosrunner_diary")
        await Schema("stood_on", -1_000.0).make(admin, ("CREATE TABLE held (id int)",))
        await admin.execute("CREATE VIEW public.stander AS SELECT id FROM chaosrunner_stood_on.held")
        account = await play(profile(sql("it", numbered=True)), server.dsn, until=finished(5))
        told = {note["schema"].removeprefix("chaosrunner_"): note for note in account.notes(SWEPT)}
        assert sorted(told) == ["cut_off", "diary", "stood_on"]
        assert not any(note["dropped"] for note in told.values())
        assert "may last until" in told["cut_off"]["why"]
        assert "does not say that it is ours" in told["diary"]["why"]
        assert "depend" in told["stood_on"]["why"]
        assert await admin.fetchval(SCHEMAS) == 3
        await admin.execute("DROP VIEW public.stander")
        for name in told:
            await admin.execute(f"DROP SCHEMA chaosrunner_{name} CASCADE")


async def test_a_schema_in_use_is_neither_dropped_nor_named(server: Postgres) -> None:
    """The lock of a worker, or any session of the run, says that it lives, whatever its comment says."""
    async with session(server.dsn) as locking, session(server.dsn) as admin:
        locked, at_work = Schema("locked", -1_000.0), Schema("at_work", -1_000.0)
        await locked.make(admin, ())
        await at_work.make(admin, ())
        await locked.enter(locking)
        await admin.execute("SET application_name = 'load.chaosrunner/at_work/w3/17'")
        account = await play(profile(sql("it", numbered=True)), server.dsn, until=finished(5))
        assert account.notes(SWEPT) == []
        assert await admin.fetchval(SCHEMAS) == 2
        for schema in (locked, at_work):
            await admin.execute(f"DROP SCHEMA {schema.name} CASCADE")


@pytest.mark.parametrize(
    ("comment", "why"),
    [
        ("made by chaosrunner for its run a; over by 2026-01-02T03:04:05+00:00", ""),
        ("made by chaosrunner for its run a; over by 2026-01-02T05:04:05+00:00", "may last until"),
        ("made by chaosrunner for its run b; over by 2026-01-02T03:04:05+00:00", "does not say"),
        ("made by chaosrunner for its run a; over by 2026-01-02T03:04:05", "does not say"),
        ("made by chaosrunner for its run a; over by and by", "does not say"),
        ("made by chaosrunner for its run a", "does not say"),
        ("", "does not say"),
    ],
)
async def test_only_a_comment_that_says_whose_and_until_when_is_sure(comment: str, why: str) -> None:
    """It names the run that the schema is named after, and an instant with a zone that has passed."""
    now = datetime(2026, 1, 2, 4, tzinfo=UTC)
    said = unsure("chaosrunner_a", comment, now)
    assert why in said
    assert bool(why) == bool(said)
