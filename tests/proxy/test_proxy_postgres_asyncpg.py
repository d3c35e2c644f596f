"""Postgres statements struck on their way between asyncpg and real servers."""

import asyncio
import time

import asyncpg
import pytest
import trustme
from proxy_postgres_server import (
    LOCKED_PASSWORD,
    LOCKED_ROLE,
    NEVER_MS,
    fronted,
    installations,
    postgres_server,
)
from proxy_rig import DEADLINE_S, eventually, until

pytestmark = pytest.mark.postgres
DELAY_MS = 80


@pytest.fixture(scope="module", params=installations(), ids=lambda path: path.parent.name)
def server(request):
    """A server of each version that is here."""
    with postgres_server(request.param) as server:
        yield server


@pytest.fixture
async def front(server):
    """The proxy in front of it."""
    async with fronted(server) as front:
        yield front


@pytest.fixture
async def connection(front):
    """A connection by way of the proxy."""
    connection = await asyncpg.connect(front.dsn)
    yield connection
    connection.terminate()


@pytest.mark.parametrize("arguments", [(), (2,)], ids=["simple", "extended"])
async def test_a_failed_statement_aborts_its_transaction(front, connection, arguments):
    """Client and server agree that the transaction is aborted, and nothing of it has happened."""
    name = await front.fail(query="values .(2|\\$1)", sqlstate="40001", message="try again")
    statement = "INSERT INTO t VALUES ($1)" if arguments else "INSERT INTO t VALUES (2)"
    async with asyncio.timeout(DEADLINE_S):
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(asyncpg.SerializationError, match="try again"):
            await connection.execute(statement, *arguments)
        assert connection.is_in_transaction()
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await connection.execute("SELECT 1")
        await transaction.rollback()
        assert not connection.is_in_transaction()
        await connection.execute("INSERT INTO t VALUES (3)")
    assert await front.rows("SELECT array_agg(a) FROM t") == [3]
    assert await front.struck(name) == (1, 1)
    assert (await front.counts())["failed_by_us"] == 1


async def test_a_savepoint_takes_a_failed_statement_back(front, connection):
    """What failed inside a savepoint can be rolled back to it, and the rest of the transaction counts."""
    await front.fail(query="values .2")
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(asyncpg.InternalServerError):
            async with connection.transaction():
                await connection.execute("INSERT INTO t VALUES (2)")
        await connection.execute("INSERT INTO t VALUES (3)")
    assert await front.rows("SELECT array_agg(a ORDER BY a) FROM t") == [1, 3]


async def test_a_failed_insert_did_not_happen(front, connection):
    """Without a transaction just the statement fails, and the connection goes on."""
    name = await front.fail(query="^insert")
    for arguments, text in (((), "INSERT INTO t VALUES (1)"), ((2,), "insert into t values ($1)")):
        with pytest.raises(asyncpg.InternalServerError, match="failed on purpose"):
            await connection.execute(text, *arguments)
        assert not connection.is_in_transaction()
    await front.remove(name)
    await connection.execute("INSERT INTO t VALUES (5)")
    assert await front.rows("SELECT array_agg(a) FROM t") == [5]


async def test_all_of_several_statements_in_one_query_fail(front, connection):
    """A query of several statements is matched and fails as one."""
    await front.fail(query="values .2")
    with pytest.raises(asyncpg.InternalServerError):
        await connection.execute("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)")
    assert await front.rows("SELECT count(*) FROM t") == 0


async def test_even_a_rollback_of_a_failed_transaction_can_fail(front, connection):
    """In an aborted transaction a statement fails as the toxic says, and the transaction stays aborted."""
    await connection.execute("BEGIN")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.fetchval("SELECT 1/0")
    name = await front.fail(query="rollback", sqlstate="57014")
    with pytest.raises(asyncpg.QueryCanceledError):
        await connection.execute("ROLLBACK")
    assert connection.is_in_transaction()
    await front.remove(name)
    await connection.execute("ROLLBACK")
    assert not connection.is_in_transaction()


async def test_a_statement_prepared_before_the_toxic_is_struck(front, connection):
    """Statements that asyncpg has prepared are struck when they are executed, and work again afterwards."""
    prepared = await connection.prepare("SELECT $1::int + 1")
    cached = "SELECT $1::int + 2"
    assert await prepared.fetchval(1) == 2
    assert await connection.fetchval(cached, 1) == 3
    name = await front.fail(query="::int", sqlstate="55P03")
    for ask in (lambda: prepared.fetchval(1), lambda: connection.fetchval(cached, 1)):
        with pytest.raises(asyncpg.LockNotAvailableError):
            await ask()
    await front.remove(name)
    assert await prepared.fetchval(1) == 2
    assert await connection.fetchval(cached, 1) == 3
    assert (await front.counts())["forgotten"] == 0


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
async def test_only_what_is_meant_is_late(front, connection, stream):
    """A delay holds the statements it is meant for, once each, by at least what it says, and no others."""
    name = await front.delay(stream, query="'late'", latency=DELAY_MS)
    for text in ("SELECT 'late'", "SELECT $1::text || 'late'"):
        start = time.monotonic()
        await connection.fetchval(text, *(["too "] if "$1" in text else []))
        assert time.monotonic() - start >= DELAY_MS / 1000
        await connection.fetchval("SELECT 'soon'")
    stats = (await front.api.stats())["toxics"][name]
    assert (stats["matched"], stats["struck"], stats["delayed_chunks"], stats["connections"]) == (2, 2, 2, 1)
    assert stats["delay_ms"]["p50"] >= DELAY_MS


async def test_a_late_statement_has_not_happened_yet_and_a_late_answer_has(front, connection):
    """Upstream an insert is done only when it was let go; downstream it is done while its answer is held."""
    down = await front.delay("downstream", query="values .1", latency=NEVER_MS)
    first = asyncio.create_task(connection.execute("INSERT INTO t VALUES (1)"))

    async def inserted():
        return await front.rows("SELECT count(*) FROM t") == 1

    await eventually(inserted)
    assert not first.done()
    await front.remove(down)
    await asyncio.wait_for(first, DEADLINE_S)
    up = await front.delay("upstream", query="values .2", latency=NEVER_MS)
    second = asyncio.create_task(connection.execute("INSERT INTO t VALUES (2)"))

    async def held():
        return (await front.struck(up))[1] == 1

    await eventually(held)
    assert await front.rows("SELECT count(*) FROM t") == 1
    assert not second.done()
    await front.remove(up)
    await asyncio.wait_for(second, DEADLINE_S)
    assert await front.rows("SELECT count(*) FROM t") == 2


async def test_authentication_is_never_struck(front):
    """With every statement held for an hour and failing, sessions begin as ever, by trust and by password."""
    for stream in ("upstream", "downstream"):
        await front.delay(stream, latency=NEVER_MS)
    await front.fail()
    for more in ({}, {"user": LOCKED_ROLE, "password": LOCKED_PASSWORD}):
        connection = await asyncpg.connect(front.dsn, timeout=DEADLINE_S, **more)
        connection.terminate()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(front.dsn, timeout=DEADLINE_S, user=LOCKED_ROLE, password="wrong")
    counts = await front.counts()
    assert (counts["sessions"], counts["statements"], counts["opaque"]) == (2, 0, 0)


async def test_counts_are_what_a_pool_of_clients_did(front):
    """Over a pool with random failures what was struck failed, what was not happened, and all of it was counted."""
    name = await front.fail(0.3, query="insert into t", sqlstate="40001")
    outcomes = []
    async with asyncpg.create_pool(front.dsn, min_size=4, max_size=4) as pool:

        async def insert(number):
            try:
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute("SELECT 1")
                    await connection.execute("INSERT INTO t VALUES ($1)", number)
            except asyncpg.SerializationError:
                outcomes.append(False)
            else:
                outcomes.append(True)

        await asyncio.gather(*(insert(number) for number in range(200)))
    failed = outcomes.count(False)
    assert await front.rows("SELECT count(*) FROM t") == outcomes.count(True)
    assert await front.struck(name) == (200, failed)
    assert 0 < failed < 200
    counts = await front.counts()
    assert counts["failed_by_us"] == failed
    verbs = counts["by_verb"]
    # Whenever a connection goes back to the pool, asyncpg resets it by one query that begins with SELECT.
    expected = {"BEGIN": 200, "SELECT": 400, "INSERT": 200, "COMMIT": 200 - failed, "ROLLBACK": failed}
    assert {verb: verbs.get(verb) for verb in expected} == expected
    assert counts["statements"] == sum(verbs.values())
    assert (counts["opaque"], counts["forgotten"], counts["sessions"]) == (0, 0, 4)


async def test_one_failed_row_of_a_pipelined_batch_undoes_the_batch(front, connection):
    """`executemany` pipelines its executes; when one of them fails the server skips the rest and keeps none."""
    await connection.executemany("INSERT INTO t VALUES ($1)", [(-number,) for number in range(1, 5001)])
    assert (await front.counts())["by_verb"]["INSERT"] == 5000
    name = await front.fail(0.001, query="insert into t", sqlstate="40001")
    with pytest.raises(asyncpg.SerializationError):
        await connection.executemany("INSERT INTO t VALUES ($1)", [(number,) for number in range(20_000)])
    assert await front.rows("SELECT count(*) FROM t") == 5000
    assert (await front.counts())["failed_by_us"] == 1
    assert (await front.struck(name))[1] >= 1
    await front.remove(name)
    await connection.executemany("INSERT INTO t VALUES ($1)", [(number,) for number in range(1000)])
    assert await front.rows("SELECT count(*) FROM t") == 6000
    assert (await front.counts())["opaque"] == 0


async def test_copy_works_fails_and_works_again(front, connection):
    """COPY in both directions passes, is one statement, can fail, and leaves the connection in step."""
    rows = [(number,) for number in range(50_000)]
    await connection.copy_records_to_table("t", records=rows)
    seen = bytearray()

    async def take(data):
        seen.extend(data)

    await connection.copy_from_table("t", output=take)
    assert seen.count(b"\n") == 50_000
    assert (await front.counts())["by_verb"]["COPY"] == 2
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.copy_records_to_table("t", records=rows)
    name = await front.fail(query="^copy", sqlstate="53100")
    with pytest.raises(asyncpg.DiskFullError):
        await connection.copy_records_to_table("t", records=[(-1,)])
    with pytest.raises(asyncpg.DiskFullError):
        await connection.copy_from_table("t", output=take)
    await front.remove(name)
    await connection.copy_records_to_table("t", records=[(-1,)])
    assert await connection.fetchval("SELECT count(*) FROM t") == 50_001
    assert (await front.counts())["opaque"] == 0


async def test_a_cursor_is_one_statement(front, connection):
    """Fetching a cursor in parts executes its statement once, and its delay is added once."""
    name = await front.delay(query="generate_series", latency=DELAY_MS)
    async with connection.transaction():
        found = [row[0] async for row in connection.cursor("SELECT * FROM generate_series(1, 500)", prefetch=50)]
    assert found == list(range(1, 501))
    stats = (await front.api.stats())["toxics"][name]
    assert (stats["matched"], stats["struck"], stats["delayed_chunks"]) == (1, 1, 1)


async def test_a_cancelled_statement_is_told_so(front, connection):
    """A cancel request goes by the proxy, and its error is not taken for the toxic's."""
    await front.fail(query="never")
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT pg_sleep(3600)", timeout=0.1)
    assert await connection.fetchval("SELECT 1") == 1
    assert (await front.counts())["failed_by_us"] == 0


async def test_notices_and_notifications_pass(front, connection):
    """What the server says unasked reaches the client, whoever's answer is late."""
    heard, notices = [], []
    await connection.add_listener("news", lambda *said: heard.append(said[3]))
    connection.add_log_listener(lambda _, notice: notices.append(notice.message))
    await front.delay(query="notify", latency=DELAY_MS)
    await connection.execute("DO $$ BEGIN RAISE NOTICE 'look'; END $$")
    await connection.execute("NOTIFY news, 'read all about it'")
    await until(lambda: heard == ["read all about it"] and notices == ["look"])


async def test_an_encrypted_session_is_opaque(front, server):
    """Sessions that use TLS pass untouched and are counted as opaque; others are seen, also where a server has none."""
    admin = await asyncpg.connect(server.admin_dsn)
    issued = trustme.CA().issue_cert("127.0.0.1")
    for name, pem in (("server.crt", issued.cert_chain_pems[0]), ("server.key", issued.private_key_pem)):
        lines = f"SELECT unnest(string_to_array('{pem.bytes().decode()}', E'\\n'))"
        await admin.execute(f"COPY ({lines}) TO PROGRAM 'umask 077; cat > {name}'")
    try:
        await admin.execute("ALTER SYSTEM SET ssl = on")
    except asyncpg.InvalidParameterValueError:  # a build without TLS: it says no, and the session goes on plain
        await admin.close()
        before = await front.counts()
        plain = await asyncpg.connect(front.dsn, ssl="prefer")
        assert await plain.fetchval("SELECT 1") == 1
        after = await front.counts()
        assert after["sessions"] == before.get("sessions", 0) + 1
        assert after.get("opaque", 0) == before.get("opaque", 0)
        plain.terminate()
        return
    try:
        await admin.execute("SELECT pg_reload_conf()")
        await front.fail(query="select")
        secret = await connected_by_tls(front)
        assert await secret.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is True
        before = await front.counts()
        plain = await asyncpg.connect(front.dsn, ssl="disable")
        with pytest.raises(asyncpg.InternalServerError):
            await plain.fetchval("SELECT 1")
        after = await front.counts()
        assert before["opaque"] == after["opaque"] > 0
        assert after["sessions"] == before["sessions"] + 1
        for connection in (secret, plain):
            connection.terminate()
    finally:
        await admin.execute("ALTER SYSTEM RESET ssl")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.close()


async def connected_by_tls(front):
    """A connection by TLS; a server takes it as soon as it has read its settings again."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await asyncpg.connect(front.dsn, ssl="require")
            except (ConnectionError, asyncpg.PostgresError):
                await asyncio.sleep(0.02)
