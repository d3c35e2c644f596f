"""Database sessions against a real Postgres that ends them."""

import asyncio
import time

import asyncpg
import pytest

from chaosrunner.demo.postgres import PostgresOptions, launch_postgres
from chaosrunner.demo.schema import CREATE_AGENT, LIST_AGENTS, SCHEMA, create_schema, demo_schema
from chaosrunner.demo.sessions import CarefulSessions, DatabaseAddress, DatabaseAway, LeakySessions, wait_for_database

pytestmark = pytest.mark.postgres


@pytest.fixture
async def server():
    async with launch_postgres(PostgresOptions(max_connections=30)) as server:
        await create_schema(server.dsn)
        yield server


@pytest.fixture
async def admin(server):
    connection = await asyncpg.connect(server.admin_dsn)
    yield connection
    await connection.close()


def address(server):
    return DatabaseAddress(dsn=server.dsn, application_name="shop/test")


async def end_sessions(admin):
    """End all sessions of the application and wait until the server has none."""
    mine = "application_name = 'shop/test'"
    await admin.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {mine}")


async def take_all_slots(server, hog):
    """Connect until the server has no slot left for the application."""
    for _ in range(100):
        try:
            hog.append(await asyncpg.connect(server.dsn))
        except asyncpg.TooManyConnectionsError:
            return
    raise AssertionError("slots without end")


async def until(condition):
    deadline_s = time.monotonic() + 10
    while not await condition():
        assert time.monotonic() < deadline_s, "it never came true"
        await asyncio.sleep(0.02)


async def test_careful_sessions_survive_their_end_without_an_error(server, admin):
    """After every session was ended by the server, the next statements succeed on fresh ones."""
    sessions = CarefulSessions(address(server))
    await sessions.open()
    assert sessions.statistics().size == CarefulSessions.SIZE
    await end_sessions(admin)
    for _ in range(20):
        assert await sessions.fetch("SELECT 1") == [(1,)]
    assert sessions.statistics().breaker == "closed"
    await sessions.close()


async def test_careful_sessions_give_up_in_time_and_then_at_once(server, admin):
    """While the database refuses, statements fail as `DatabaseAway`, the breaker opens, and later it closes."""
    sessions = CarefulSessions(address(server))
    await sessions.open()
    hog = []
    try:
        await take_all_slots(server, hog)
        await end_sessions(admin)
        await take_all_slots(server, hog)
        for _ in range(3):
            with pytest.raises(DatabaseAway):
                await sessions.fetch("SELECT 1")
        assert sessions.statistics().breaker == "open"
        with pytest.raises(DatabaseAway, match="breaker open"):
            await sessions.fetch("SELECT 1")
    finally:
        for connection in hog:
            await connection.close()
    assert await wait_for_database(lambda: sessions.fetch("SELECT 1"), patience_s=10)
    assert sessions.statistics().breaker == "closed"
    await sessions.close()


async def test_a_slow_statement_neither_hangs_nor_costs_a_session(server):
    """A statement beyond its deadline is `DatabaseAway`, and the pool is whole afterwards."""
    sessions = CarefulSessions(address(server))
    await sessions.open()
    with pytest.raises(DatabaseAway):
        await sessions.fetch("SELECT pg_sleep(30)")
    assert sessions.statistics().idle >= CarefulSessions.SIZE - 1
    assert await asyncio.gather(*(sessions.fetch("SELECT 1") for _ in range(CarefulSessions.SIZE)))
    await sessions.close()


async def test_more_requests_than_sessions_wait_and_then_give_up(server, admin):
    """When every session waits for a lock, further requests are counted as waiting and give up in time."""
    sessions = CarefulSessions(address(server))
    await sessions.open()
    async with admin.transaction():
        await admin.execute(f"LOCK TABLE {SCHEMA}.agents")
        requests = [asyncio.create_task(sessions.fetch(LIST_AGENTS, "ann")) for _ in range(CarefulSessions.SIZE + 5)]

        async def five_wait():
            return sessions.statistics().waiting == 5

        await until(five_wait)
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {DatabaseAway}
    assert sessions.statistics().acquire_timeouts >= 5
    assert sessions.statistics().waiting == 0
    await sessions.close()


async def test_a_wrong_statement_is_an_error_of_ours_and_opens_nothing(server):
    """A statement the server rejects does not count against the database."""
    sessions = CarefulSessions(address(server))
    await sessions.open()
    for _ in range(5):
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await sessions.fetch("SELEC 1")
    assert sessions.statistics().breaker == "closed"
    await sessions.close()


async def test_leaky_sessions_leak_what_failed_and_then_wait_for_ever(server, admin):
    """Three failures use up three sessions for good, though the database is fine again."""
    sessions = LeakySessions(address(server))
    await sessions.open()
    assert await sessions.fetch("SELECT 1") == [(1,)]
    await end_sessions(admin)
    for _ in range(LeakySessions.SIZE):
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
            await sessions.fetch("SELECT 1")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sessions.fetch("SELECT 1"), 0.5)
    assert sessions.statistics().idle == 0
    await sessions.close()


async def test_a_create_with_a_key_happens_once(server):
    """The same key again answers with the first row; without a key every create is a new row."""
    sessions = CarefulSessions(address(server))
    await sessions.open()
    first, again, other = [
        (await sessions.fetch(CREATE_AGENT, "user01", name, key))[0]["id"]
        for name, key in (("a", "k"), ("b", "k"), ("c", None))
    ]
    assert first == again != other
    await sessions.close()


async def test_a_schema_of_ours_is_dropped_and_another_is_left_alone(server, admin):
    """Only who made the schema drops it, with all that is in it."""
    exists = f"SELECT count(*) FROM pg_namespace WHERE nspname = '{SCHEMA}'"
    async with demo_schema(server.dsn):
        pass
    assert await admin.fetchval(exists) == 1
    await admin.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    async with demo_schema(server.dsn):
        assert await admin.fetchval(f"SELECT count(*) FROM {SCHEMA}.users") == 50
    assert await admin.fetchval(exists) == 0
