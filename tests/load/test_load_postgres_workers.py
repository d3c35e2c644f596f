"""Postgres load from several worker processes, as the product runs it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from load_rig import Books, BootClock, Keys, finished, playing, profile
from postgres_rig import RUN, Account, play, session, sql

from chaosrunner.demo.postgres import PostgresOptions, launch_postgres
from chaosrunner.load.driver import LoadDriver
from chaosrunner.model.postgres_step import Pool
from chaosrunner.model.secret import Secret

pytestmark = pytest.mark.postgres

SECRET = "hunter2secret"


async def test_workers_share_the_pool_and_the_schema_and_show_no_secret() -> None:
    """One pool in all, one schema until the last of both has ended, and the password nowhere to be read."""
    setup = ("CREATE TABLE things AS SELECT 1 AS id",)
    step = sql("write", "SELECT id FROM things", numbered=True, pool=Pool(size=5), setup=setup)
    load = profile(step, rate=100, lasts_s=1.5, workers=2)
    books = Books()
    async with launch_postgres(PostgresOptions()) as server:
        dsn = server.dsn.replace("app@", "app:${PASSWORD}@")
        keys = Keys({"${PASSWORD}": SECRET})
        driver = LoadDriver(
            load, entry="", places={"db": Secret(dsn)}, run=RUN, seed=1, longest_s=10.0, clock=BootClock(), tools=keys
        )
        async with playing(driver, books), session(server.dsn) as admin:
            await books.until(lambda books: books.all.finished >= 50)
            public = [
                (Path(f"/proc/{pid}") / name).read_bytes() for pid in driver.pids() for name in ("cmdline", "environ")
            ]
            names = {row[0] for row in await admin.fetch(NAMES)}
            await books.until(lambda books: books.all.finished >= 150)
        account = Account(load, books)
        assert account.outcomes("write") == {"ok": 150}
        assert account.outcomes("write.acknowledged") == {"ok": 150}
        assert len(names) == 5
        assert {name.split("/")[2] for name in names} == {"w0", "w1"}
        assert len(public) == 4
        assert not any(SECRET.encode() in text for text in public)
        assert SECRET not in str(books.events)
        async with session(server.dsn) as admin:
            assert await admin.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'chaosrunner%'") == 0


async def test_what_a_killed_worker_left_is_named_by_the_next_load_and_dropped_once_its_time_is_over() -> None:
    """SIGKILL leaves the schema behind; it may be in use until the end that its comment says, and is not afterwards."""
    load = profile(sql("write", numbered=True), rate=50, lasts_s=5.0)
    books = Books()
    async with launch_postgres(PostgresOptions()) as server, session(server.dsn) as admin:
        driver = LoadDriver(
            load,
            entry="",
            places={"db": Secret(server.dsn)},
            run="killed",
            seed=1,
            longest_s=10.0,
            clock=BootClock(),
            tools=Keys({}),
        )
        async with playing(driver, books):
            await books.until(lambda books: books.all.finished >= 5)
            (pid,) = driver.pids()
            os.kill(pid, signal.SIGKILL)
        comment = await admin.fetchval(COMMENT)
        assert comment.startswith("made by chaosrunner for its run killed; over by ")
        while await admin.fetchval(STILL_THERE):  # noqa: ASYNC110 - the server tells nobody when a session is gone
            await asyncio.sleep(0.02)
        short = profile(sql("it", numbered=True))
        (named,) = (await play(short, server.dsn, until=finished(5))).notes("postgres schema of a dead run")
        assert (named["schema"], named["dropped"]) == ("chaosrunner_killed", False)
        assert "may last until" in named["why"]
        await admin.execute(
            f"COMMENT ON SCHEMA chaosrunner_killed IS '{comment.replace('; over by 2', '; over by 1')}'"
        )
        (dropped,) = (await play(short, server.dsn, until=finished(5))).notes("postgres schema of a dead run")
        assert dropped["dropped"]
        assert await admin.fetchval(COMMENT) is None


COMMENT = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'chaosrunner_killed'"
STILL_THERE = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'load.chaosrunner/killed/%'"

NAMES = """
SELECT application_name FROM pg_stat_activity
WHERE application_name LIKE 'load.chaosrunner/%' AND application_name NOT LIKE '%control'
"""
