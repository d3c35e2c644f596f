"""Whatever may be wrong with a server ends as a counted, named failure, in time."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from load_rig import crowd, finished, profile
from postgres_rig import play, session, sql

from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres
from chaosrunner.model.postgres_step import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = [pytest.mark.postgres, pytest.mark.asyncio(loop_scope="module")]

ONE = sql("one", "SELECT 1", pool=Pool(size=3))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """One Postgres."""
    async with launch_postgres(PostgresOptions()) as server:
        yield server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_refused_connection_is_refused_and_never_quick(server: Postgres) -> None:
    """Nothing listens: every hit fails as REFUSED, attempts back off, and there is no storm of them."""
    account = await play(
        profile(ONE, rate=200, lasts_s=0.5), f"postgresql://app@127.0.0.1:{_free_port()}/shop", until=finished(100)
    )
    assert account.outcomes("one") == {"refused": 100}
    assert account.of("one").ok.total == 0
    assert account.count("db.connect.refused") < 20
    (outage,) = account.notes("postgres outage")
    assert outage["over"] is False
    assert outage["last_good_commit_ms"] is None


@pytest.mark.parametrize(
    ("change", "outcome", "sqlstate"),
    [
        (lambda dsn: dsn.replace("/shop", "/nowhere"), "connect", "3D000"),
        (lambda dsn: dsn.replace("app@", "nobody@"), "connect", "28000"),
        (lambda dsn: dsn + "?sslmode=require", "tls", ""),
        (lambda dsn: dsn.replace("127.0.0.1", "nowhere.invalid"), "dns", ""),
    ],
    ids=["no such database", "no such role", "no TLS there", "no such host"],
)
async def test_what_the_server_refuses_is_named(
    server: Postgres, change: Callable[[str], str], outcome: str, sqlstate: str
) -> None:
    """By the class of failure, and by SQLSTATE where the server gave one."""
    account = await play(profile(ONE), change(server.dsn), until=finished(20))
    assert account.outcomes("one") == {outcome: 20}
    if sqlstate:
        assert account.count(f"db.sqlstate.{sqlstate}") > 0


async def test_a_wrong_password_is_named_and_shown_nowhere(server: Postgres) -> None:
    """28P01, and the DSN's password is in no note."""
    async with session(server.admin_dsn) as admin:
        await admin.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        hba = await admin.fetchval("SHOW hba_file")
        with open(hba, "r+", encoding="utf-8") as file:  # noqa: ASYNC230, PTH123 - a test's small file
            rest = file.read()
            file.seek(0)
            file.write("host all guarded all scram-sha-256\n" + rest)
        await admin.execute("SELECT pg_reload_conf()")
        dsn = server.dsn.replace("app@", "guarded:{}@")
        await _until(lambda: _refuses(dsn.format("wrong")))
    account = await play(profile(ONE), dsn.format("hunter2"), until=finished(20))
    assert account.outcomes("one") == {"connect": 20}
    assert account.count("db.sqlstate.28P01") > 0
    assert "hunter2" not in str(account.books.notes)
    account = await play(profile(ONE), dsn.format("right"), until=finished(20))
    assert account.outcomes("one") == {"ok": 20}


async def _refuses(dsn: str) -> bool:
    import asyncpg

    try:
        async with session(dsn):
            return False
    except asyncpg.InvalidPasswordError:
        return True


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - a server's state
            await asyncio.sleep(0.02)


async def test_a_session_that_is_ended_in_the_middle_is_closed_and_another_one_is_opened(server: Postgres) -> None:
    """An administrator ends our sessions: the hits under way are CLOSED with 57P01, idle ones are replaced unseen."""
    nap = sql("nap", "SELECT pg_sleep(0.3)", pool=Pool(size=4))

    async def end_them() -> None:
        async with session(server.admin_dsn) as admin:
            await _until(lambda: _any(admin, "query LIKE '%pg_sleep(0.3)%'"))
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'load.chaosrunner/%' AND application_name NOT LIKE '%control'"
            )

    ending = asyncio.create_task(end_them())
    account = await play(crowd(nap, users=2, iterations=4), server.dsn, until=finished(8))
    await ending
    assert account.outcomes("nap")["closed"] >= 1
    assert account.outcomes("nap")["closed"] + account.outcomes("nap")["ok"] == 8
    assert account.count("nap.sqlstate.57P01") == account.outcomes("nap")["closed"]


async def _any(admin: object, where: str) -> bool:
    text = f"SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' AND {where}"
    return bool(await admin.fetchval(text))  # type: ignore[attr-defined]


@asynccontextmanager
async def _frozen(server: Postgres, after_s: float) -> AsyncIterator[None]:
    """All of a server's processes stop after a while, and go on at the end."""
    import psutil

    assert server.pid is not None

    async def freeze() -> None:
        await asyncio.sleep(after_s)
        for process in [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]:
            process.send_signal(signal.SIGSTOP)
            stopped.append(process)

    stopped: list[psutil.Process] = []
    freezing = asyncio.create_task(freeze())
    try:
        yield
    finally:
        await freezing
        for process in stopped:
            process.send_signal(signal.SIGCONT)


async def test_a_server_that_hangs_ends_hits_in_their_time_and_the_load_in_its() -> None:
    """SIGSTOP: TIMEOUT for what was under way, CONNECT or POOL for what had no connection, and settling is bounded."""
    async with launch_postgres(PostgresOptions()) as server:
        step = sql("one", "SELECT 1", pool=Pool(size=2), timeout_s=0.3)
        begin = time.monotonic()
        async with _frozen(server, 0.5):
            account = await play(profile(step, rate=50, lasts_s=1.0), server.dsn, longest_s=1.0)
            took = time.monotonic() - begin
        outcomes = account.outcomes("one")
        assert outcomes["ok"] > 0
        assert outcomes["timeout"] > 0
        assert set(outcomes) <= {"ok", "timeout", "pool", "connect", "unfinished"}
        assert took < 20
        (end,) = account.notes("postgres sessions at the end")
        assert "unknown" in end["left_at_the_server"]


async def test_a_server_that_dies_in_the_middle_of_queries_is_named_and_comes_back_to_no_storm(
    server: Postgres,
) -> None:
    """SIGKILL of one backend restarts all of them: RESET or CLOSED, refused or starting up, and then good again."""
    step = sql("one", "SELECT pg_sleep(0.01)", pool=Pool(size=4))

    async def kill() -> None:
        async with session(server.admin_dsn) as admin:
            await _until(lambda: _any(admin, "query LIKE '%pg_sleep(0.01)%'"))
            await asyncio.sleep(0.3)
            pid = await admin.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'load.chaosrunner/%/1' LIMIT 1"
            )
            os.kill(pid, signal.SIGKILL)

    killing = asyncio.create_task(kill())
    account = await play(crowd(step, users=4), server.dsn, longest_s=2.0)
    await asyncio.gather(killing, return_exceptions=True)
    outcomes = account.outcomes("one")
    assert outcomes["ok"] > 50
    assert sum(outcomes.get(name, 0) for name in ("reset", "closed")) >= 1
    assert set(outcomes) <= {"ok", "reset", "closed", "refused", "connect", "unfinished"}
    assert sum(account.count(f"db.connect.{name}") for name in ("refused", "connect", "reset", "closed")) < 20
