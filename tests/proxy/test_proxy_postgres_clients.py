"""Postgres statements struck on their way between libpq's clients (psycopg, psql, pgbench) and a real server."""

import asyncio
import os

import psycopg
import pytest
from proxy_postgres_server import fronted, installations, postgres_server, program
from proxy_rig import DEADLINE_S

pytestmark = pytest.mark.postgres
IDLE = psycopg.pq.TransactionStatus.IDLE
ABORTED = psycopg.pq.TransactionStatus.INERROR


@pytest.fixture(scope="module")
def server():
    """A server of the version that the demo uses."""
    with postgres_server(installations()[0]) as server:
        yield server


@pytest.fixture
async def front(server):
    """The proxy in front of it."""
    async with fronted(server) as front:
        yield front


@pytest.fixture
async def connection(front):
    """A connection by way of the proxy that commits each statement; libpq asks for encryption first."""
    async with await psycopg.AsyncConnection.connect(front.dsn, autocommit=True) as connection:
        yield connection


async def run(*command):
    """What a client program prints; a failure is shown with its words."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PGCONNECT_TIMEOUT": "10"},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 6 * DEADLINE_S)
    return process.returncode, output.decode()


async def test_one_failure_aborts_its_pipeline_and_not_the_next(front, connection):
    """What follows a failed statement up to the next sync is aborted, what follows the sync is done."""
    name = await front.fail(query=r"values .2", sqlstate="40001")
    libpq = connection.pgconn
    libpq.enter_pipeline_mode()
    for batch in ([1], [2, 3], [4], [5]):
        for number in batch:
            libpq.send_query_params(f"INSERT INTO t VALUES ({number})".encode(), None)
        libpq.pipeline_sync()
    outcomes = [status for status in await pipelined(connection) if status is not None]
    ok, failed, aborted, sync = (
        psycopg.pq.ExecStatus[name] for name in ("COMMAND_OK", "FATAL_ERROR", "PIPELINE_ABORTED", "PIPELINE_SYNC")
    )
    assert outcomes == [ok, sync, failed, aborted, sync, ok, sync, ok, sync]
    libpq.exit_pipeline_mode()
    assert connection.info.transaction_status == IDLE
    assert await front.rows("SELECT array_agg(a ORDER BY a) FROM t") == [1, 4, 5]
    assert await front.struck(name) == (1, 1)
    counts = await front.counts()
    assert (counts["failed_by_us"], counts["by_verb"]["INSERT"], counts["opaque"]) == (1, 5, 0)


async def pipelined(connection):
    """The statuses of all results up to the fourth sync, in order; None ends those of one statement."""
    libpq, statuses = connection.pgconn, []
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(libpq.socket, readable.set)
    try:
        async with asyncio.timeout(DEADLINE_S):
            libpq.flush()
            while statuses.count(psycopg.pq.ExecStatus.PIPELINE_SYNC) < 4:
                libpq.consume_input()
                if libpq.is_busy():
                    readable.clear()
                    await readable.wait()
                    continue
                result = libpq.get_result()
                statuses.append(None if result is None else psycopg.pq.ExecStatus(result.status))
    finally:
        loop.remove_reader(libpq.socket)
    return statuses


async def test_pipelined_statements_that_are_late_keep_their_order(front, connection):
    """Delays on single statements of a pipeline change no result and no order."""
    for stream in ("upstream", "downstream"):
        await front.delay(stream, query="-- late", latency=5, jitter=5)
    async with connection.pipeline():
        cursors = [await connection.execute(f"SELECT {n}{' -- late' * (n % 3 == 0)}") for n in range(60)]
        assert [(await cursor.fetchone())[0] for cursor in cursors] == list(range(60))
    stats = (await front.api.stats())["toxics"]
    assert [stats[f"postgres_delay_{stream}"]["struck"] for stream in ("upstream", "downstream")] == [20, 20]


async def test_a_statement_that_psycopg_has_prepared_is_struck(front, connection):
    """Executed often enough it is prepared under a name; a toxic that comes later means it by its text."""
    connection.prepare_threshold = 1
    for number in range(5):
        await connection.execute("INSERT INTO t VALUES (%s)", [number])
    await front.fail(query="insert into t")
    with pytest.raises(psycopg.errors.InternalError_):
        await connection.execute("INSERT INTO t VALUES (%s)", [5])
    await connection.execute("DEALLOCATE ALL")
    assert await front.rows("SELECT count(*) FROM t") == 5
    assert (await front.counts())["forgotten"] == 0


async def test_a_transaction_is_aborted_for_psycopg_too(front, connection):
    """Psycopg reports the state that the server really has, and a savepoint takes the failure back."""
    await front.fail(query="values .2")
    async with connection.transaction():
        await connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(psycopg.errors.InternalError_):
            await in_savepoint(connection, "INSERT INTO t VALUES (2)")
        await connection.execute("INSERT INTO t VALUES (3)")
    assert connection.info.transaction_status == IDLE
    assert await front.rows("SELECT array_agg(a ORDER BY a) FROM t") == [1, 3]


async def in_savepoint(connection, statement):
    """Execute what will fail, inside a savepoint, and see that the transaction is aborted until it is rolled back."""
    async with connection.transaction():
        try:
            await connection.execute(statement)
        finally:
            assert connection.info.transaction_status == ABORTED


async def test_cursors_in_the_server_fetch_by_statements_that_can_be_struck(front, connection):
    """DECLARE and each FETCH are statements of their own text."""
    name = await front.fail(0, query="^fetch")
    async with connection.transaction(), connection.cursor("c") as cursor:
        await cursor.execute("SELECT * FROM generate_series(1, 100)")
        assert len(await cursor.fetchmany(10)) == 10
        assert len(await cursor.fetchmany(10)) == 10
    assert await front.struck(name) == (2, 0)
    assert (await front.counts())["by_verb"]["FETCH"] == 2


async def test_copy_by_libpq_works_fails_and_works_again(front, connection):
    """COPY in both directions, taken, broken off by the client, refused by the server and failed by a toxic."""

    async def copy_in(first, count):
        async with connection.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
            for number in range(first, first + count):
                await copy.write_row((number,))

    await copy_in(0, 20_000)
    with pytest.raises(psycopg.errors.UniqueViolation):
        await copy_in(0, 20_000)
    with pytest.raises(ZeroDivisionError):
        await break_off(connection)
    name = await front.fail(query="copy")
    with pytest.raises(psycopg.errors.InternalError_):
        await copy_in(30_000, 10)
    await front.remove(name)
    await copy_in(30_000, 10)
    async with connection.cursor() as cursor, cursor.copy("COPY t TO STDOUT") as copy:
        assert len([row async for row in copy.rows()]) == 20_010
    counts = await front.counts()
    assert counts["by_verb"]["COPY"] == 6
    assert (counts["failed_by_us"], counts["opaque"]) == (1, 0)


async def break_off(connection):
    """Begin a COPY and have the client end it as failed."""
    async with connection.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
        await copy.write_row((-1,))
        raise ZeroDivisionError


async def test_psql_shows_the_error_as_the_servers(front):
    """Users of psql see SQLSTATE and message, then that the transaction is aborted, and nothing is committed."""
    await front.fail(query="values .2", sqlstate="ZZ042", message="lost your row, sorry")
    _, output = await run(
        program("psql"), "-X", "-v", "VERBOSITY=verbose", front.dsn,
        "-c", "BEGIN", "-c", "INSERT INTO t VALUES (1)", "-c", "INSERT INTO t VALUES (2)",
        "-c", "INSERT INTO t VALUES (3)", "-c", "COMMIT",
    )  # fmt: skip
    assert "ERROR:  ZZ042: lost your row, sorry\n" in output
    assert "ERROR:  25P02" in output
    assert output.endswith("ROLLBACK\n")
    assert await front.rows("SELECT count(*) FROM t") == 0


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
async def test_the_banks_of_pgbench_add_up(front, mode):
    """Whatever fails at random inside its transactions, pgbench's balances agree with its history to the last unit."""
    pgbench = program("pgbench")
    code, output = await run(pgbench, "-i", "-q", front.direct)
    assert code == 0, output
    fail = await front.fail(0.05, query="update pgbench_(tellers|branches)|insert into", sqlstate="40001")
    await front.delay(query="update pgbench_tellers", latency=1)
    code, output = await run(
        pgbench, "-n", "-c", "4", "-t", "50", "-M", mode, "--max-tries=100", "--verbose-errors", front.dsn
    )
    assert code == 0, output
    assert "number of transactions actually processed: 200/200" in output
    sums = [
        await front.rows(f"SELECT coalesce(sum({column}), 0) FROM pgbench_{table}")
        for column, table in (("abalance", "accounts"), ("tbalance", "tellers"), ("bbalance", "branches"))
    ]
    assert sums == [await front.rows("SELECT coalesce(sum(delta), 0) FROM pgbench_history")] * 3
    assert await front.rows("SELECT count(*) FROM pgbench_history") == 200
    counts, (matched, struck) = await front.counts(), await front.struck(fail)
    assert counts["failed_by_us"] == struck > 0
    assert counts["by_verb"]["END"] == 200
    assert counts["by_verb"]["ROLLBACK"] == struck
    # Each try ends with its insert or with what failed; a try has two updates and an insert that are meant.
    tries = 200 + struck
    assert counts["by_verb"]["BEGIN"] == tries
    assert 600 < matched <= 3 * tries
    assert (counts["opaque"], counts["forgotten"]) == (0, 0)
