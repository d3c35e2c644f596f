"""The failover timeline and the acknowledged-write ledger, through real crashes of a real Postgres."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio
from load_rig import Books, crowd, finished, profile
from postgres_rig import RUN, play, session, sql

from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres
from chaosrunner.model.load import Outcome
from chaosrunner.model.postgres_step import Pool
from chaosrunner.proxy.server import FaultProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.postgres, pytest.mark.asyncio(loop_scope="module")]

TABLE = f'"chaosrunner_{RUN}".acknowledged'
WRITE = sql("write", numbered=True, transaction=True, pool=Pool(size=4))
WRITES = profile(WRITE, rate=50, lasts_s=None)


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """A Postgres of this test's own, which it may crash; it acknowledges before it has written (its own setting)."""
    async with launch_postgres(PostgresOptions()) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def steady() -> AsyncIterator[Postgres]:
    """One Postgres for all that leave it running."""
    async with launch_postgres(PostgresOptions()) as server:
        yield server


async def _crash(server: Postgres) -> None:
    """End it at once and without a checkpoint, as a power cut does, and start it again."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)
    await server.child.ended()
    await server.child.start()


async def _numbered(server: Postgres, count: int) -> None:
    """Wait until so many writes are in our table."""
    async with session(server.dsn) as watcher, asyncio.timeout(20):
        while not await watcher.fetchval("SELECT to_regclass($1)", TABLE):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        while (await watcher.fetchval(f"SELECT count(*) FROM {TABLE}")) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_write_deleted_behind_its_back_is_lost_and_named(steady: Postgres) -> None:
    """Three acknowledged writes vanish: three are LOST, by number, the others are found, and our schema goes away."""

    async def delete() -> None:
        await _numbered(steady, 20)
        async with session(steady.dsn) as thief:
            await thief.execute(f"DELETE FROM {TABLE} WHERE number IN (3, 5, 8)")

    deleting = asyncio.create_task(delete())
    account = await play(profile(WRITE, rate=200, lasts_s=0.5), steady.dsn, until=finished(100))
    await deleting
    assert account.outcomes("write.acknowledged") == {"ok": 97, "lost": 3}
    (note,) = account.notes("postgres acknowledged writes lost")
    assert note["numbers"] == [3, 5, 8]
    async with session(steady.dsn) as admin:
        assert await admin.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'chaosrunner%'") == 0


async def test_writes_are_looked_for_while_the_load_goes_on(steady: Postgres) -> None:
    """One that is missing a second later is LOST there and then; the end adds only what was not booked before."""

    async def delete() -> None:
        await _numbered(steady, 20)
        async with session(steady.dsn) as thief:
            await thief.execute(f"DELETE FROM {TABLE} WHERE number = 7")

    deleting = asyncio.create_task(delete())
    index = next(index for index, name in WRITES.names.items() if name == "write.acknowledged")
    seen = []

    def lost_is_seen(books: Books) -> bool:
        slot = books.by_name.get(index)
        seen.append(dict(slot.done) if slot else {})
        return slot is not None and Outcome.LOST in slot.done

    account = await play(WRITES, steady.dsn, until=lost_is_seen, longest_s=8.0)
    await deleting
    assert seen[-1].get(Outcome.OK, 0) > 0
    assert account.outcomes("write.acknowledged") == {"ok": account.outcomes("write")["ok"] - 1, "lost": 1}


async def test_a_crash_loses_what_was_acknowledged_before_it_was_written_and_that_is_found(server: Postgres) -> None:
    """synchronous_commit = off and a crash: LOST, in doubt and an outage, each counted for itself."""
    async with session(server.admin_dsn) as admin:
        await admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        await admin.execute("SELECT pg_reload_conf()")

    async def crash() -> None:
        await _numbered(server, 50)
        await _crash(server)

    crashing = asyncio.create_task(crash())
    account = await play(crowd(WRITE, users=4), server.dsn, longest_s=2.0)
    await crashing
    acknowledged, writes = account.outcomes("write.acknowledged"), account.outcomes("write")
    assert acknowledged["lost"] > 0
    assert acknowledged["ok"] + acknowledged["lost"] == writes["ok"]
    assert account.count("write.in_doubt_gone") + account.count("write.in_doubt_landed") <= 4
    notes = account.notes("postgres acknowledged writes lost")
    assert sum(note["lost"] for note in notes) == acknowledged["lost"]
    assert account.count("db.restarts") == 1


async def test_a_crash_loses_nothing_where_commits_are_written_first(server: Postgres) -> None:
    """synchronous_commit = on: the same crash, the same outage, and not one acknowledged write is missing."""
    async with session(server.admin_dsn) as admin:
        await admin.execute("ALTER ROLE app SET synchronous_commit = on")

    async def crash() -> None:
        await _numbered(server, 50)
        await _crash(server)

    crashing = asyncio.create_task(crash())
    account = await play(crowd(WRITE, users=4), server.dsn, longest_s=2.0)
    await crashing
    assert account.outcomes("write.acknowledged") == {"ok": account.outcomes("write")["ok"]}
    assert account.outcomes("write")["ok"] > 100
    (outage,) = account.notes("postgres outage")
    marks = [outage[f"{name}_ms"] for name in ("last_good_commit", "first_failure", "reconnected", "first_good_commit")]
    assert marks == sorted(marks)
    assert outage["over"]
    assert outage["lasted_ms"] == pytest.approx(marks[3] - marks[0], abs=0.01)
    assert account.outcomes("write.outage") == {"ok": 1}
    assert sum(outage["failures"].values()) >= 1


async def test_the_timeline_through_a_proxy_that_is_switched_off(steady: Postgres) -> None:
    """The server stays up, its address does not: refused for as long as the proxy is off, and good right after."""
    async with FaultProxy("127.0.0.1", 0, seed=7) as proxy, aiohttp.ClientSession() as http:
        made = {"name": "db", "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{steady.port}"}
        async with http.post(f"{proxy.url}/proxies", json=made) as answer:
            listen = (await answer.json())["listen"]

        async def switch() -> None:
            await _numbered(steady, 50)
            for on, pause_s in ((False, 0.6), (True, 0.0)):
                async with http.post(f"{proxy.url}/proxies/db", json={"enabled": on}) as answer:
                    assert answer.status == 200
                await asyncio.sleep(pause_s)

        switching = asyncio.create_task(switch())
        dsn = steady.dsn.replace(f"127.0.0.1:{steady.port}", listen)
        account = await play(profile(WRITE, rate=100, lasts_s=2.0), dsn, until=finished(200))
        await switching
    outage, *later = account.notes("postgres outage")
    assert outage["over"]
    assert not any("refused" in one["failures"] for one in later), "a slow host, at the most, makes another gap"
    assert outage["lasted_ms"] >= 580
    assert outage["first_good_commit_ms"] > outage["reconnected_ms"] > outage["first_failure_ms"]
    outcomes = account.outcomes("write")
    assert outcomes["refused"] > 0
    assert set(outcomes) <= {"ok", "refused", "reset", "closed"}
    assert account.outcomes("write.acknowledged") == {"ok": outcomes["ok"]}
    assert account.count("db.connect.refused") < 15 * max(1.0, outage["lasted_ms"] / 600)
    assert account.count("db.restarts") == 0


async def test_writes_that_cannot_be_read_back_are_no_pass(server: Postgres) -> None:
    """The server is gone at the end: everything acknowledged is UNFINISHED, and the schema is said to be left."""

    async def stop() -> None:
        await _numbered(server, 50)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGQUIT)
        await server.child.ended()

    stopping = asyncio.create_task(stop())
    account = await play(profile(WRITE, rate=100, lasts_s=1.2), server.dsn, until=finished(120))
    await stopping
    acknowledged = account.outcomes("write.acknowledged")
    assert acknowledged["unfinished"] >= account.outcomes("write")["ok"]
    assert account.outcomes("write.outage") == {"unfinished": 1}
    (left,) = account.notes("postgres schema left behind")
    assert left["schema"] == f"chaosrunner_{RUN}"
