"""Postgres faults on a real server: exact ways back, deadlines the server keeps, refusals, leftovers found by name."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio
from contract_rig import fault_of, system_of
from resources_rig import may_mount, small_disk

from chaosrunner.demo.binaries import NOBODY
from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres
from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Injector, Recipe, Target
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component, System
from chaosrunner.model.units import Bytes, Seconds, Share
from chaosrunner.world.injectors import RealTools
from fault_injectors import processes
from fault_injectors.postgres import ConnectionStorm, KillBackends, NearExhaustion, Pool
from fault_injectors.postgres_held import holders
from fault_injectors.postgres_locks import IdleInTransaction, LockRows, LockTable
from fault_injectors.postgres_pressure import DiskFull, HeavyQueries, VacuumPressure
from fault_injectors.postgres_settings import ConnectionLimit, ReadOnly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.postgres
TOOLS = RealTools({})
SETTINGS = "SELECT unnest(setconfig) FROM pg_db_role_setting ORDER BY 1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """One Postgres for all, with two tables of the application."""
    async with launch_postgres(PostgresOptions(max_connections=30)) as server:
        app = await asyncpg.connect(server.dsn)
        await app.execute("CREATE TABLE orders AS SELECT n FROM generate_series(1, 10) AS n")
        await app.execute("CREATE TABLE items AS SELECT 1 AS n")
        await app.close()
        yield server


@pytest.fixture
async def admin(server: Postgres) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A superuser's session."""
    connection = await asyncpg.connect(server.admin_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def app(server: Postgres) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session of the application."""
    connection = await asyncpg.connect(server.dsn)
    yield connection
    connection.terminate()


def system_at(server: Postgres, admin: str = "") -> System:
    """A system whose `database` is the server."""
    return system_of(Component(name="database", dsn=Secret(server.dsn), admin=Secret(admin or server.admin_dsn)))


async def prepared(injector: Injector, system: System, *, keep: tuple[str, ...] = (), **params: object) -> Recipe:
    """A recipe of a run of its own."""
    run = f"r{random.randrange(10**9)}"
    context = Context(run=run, system=system, tools=TOOLS, rng=random.Random(1), spare=frozenset, keep=keep)
    return await injector.prepare(fault_of(injector, Target(component="database"), **params), context)


async def until(ask: Any, deadline_s: float = 15.0) -> Any:
    """Ask until the answer, or its evidence, is yes."""
    async with asyncio.timeout(deadline_s):
        while not getattr(answer := await ask(), "ok", answer):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.05)
    return answer


@asynccontextmanager
async def injected(injector: Injector, recipe: Recipe) -> AsyncIterator[None]:
    """The fault for as long as the body lasts."""
    try:
        await injector.inject(recipe, TOOLS)
        yield
    finally:
        await injector.undo(recipe, TOOLS)
        await until(lambda: injector.absent(recipe, TOOLS))


@pytest.mark.parametrize("before", [[], ["default_transaction_read_only=off", "work_mem=5MB"]], ids=["unset", "set"])
async def test_a_read_only_role_is_as_it_was_afterwards(
    before: list[str], server: Postgres, admin: asyncpg.Connection[Any], app: asyncpg.Connection[Any]
) -> None:
    """Sessions opened under it read and do not write; afterwards the setting, or its absence, is what it was."""
    alter = "ALTER ROLE app IN DATABASE shop"
    await admin.execute(f"{alter} RESET ALL")
    for setting in before:
        await admin.execute(f"{alter} SET {setting.replace('=', ' = ')!s}".replace("5MB", "'5MB'"))
    recipe = await prepared(ReadOnly(), system_at(server))
    async with injected(ReadOnly(), recipe):
        assert await until(lambda: _closed(app))
        inside = await asyncpg.connect(server.dsn)
        assert await inside.fetchval("SELECT count(*) FROM orders") == 10
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await inside.execute("UPDATE items SET n = 2")
        evidence = await ReadOnly().verify(recipe, TOOLS)
        assert evidence.ok, evidence
        [found] = await ReadOnly().scan(system_at(server), TOOLS)
        assert found.data["tag"] == recipe.data["tag"]
        with pytest.raises(InjectorError, match="at work there already"):
            await ReadOnly().inject(await prepared(ReadOnly(), system_at(server)), TOOLS)
        await ReadOnly().undo(found, TOOLS)
        assert [row[0] for row in await admin.fetch(SETTINGS)] == before
        await until(lambda: _closed(inside))
    after = await asyncpg.connect(server.dsn)
    await after.execute("UPDATE items SET n = 2")
    await after.close()
    assert [row[0] for row in await admin.fetch(SETTINGS)] == before
    await admin.execute(f"{alter} RESET ALL")


@pytest.mark.parametrize(("somebody", "left"), [("SELECT 1", 7), ("ALTER ROLE app CONNECTION LIMIT 9", 9)])
async def test_a_limit_is_written_back_unless_somebody_else_has_changed_it(
    somebody: str, left: int, server: Postgres, admin: asyncpg.Connection[Any], app: asyncpg.Connection[Any]
) -> None:
    """The application gets no more sessions than allowed; the earlier limit comes back, or a newer one stays."""
    await admin.execute("ALTER ROLE app CONNECTION LIMIT 7")
    recipe = await prepared(ConnectionLimit(), system_at(server))
    async with injected(ConnectionLimit(), recipe):
        assert (await until(lambda: ConnectionLimit().verify(recipe, TOOLS))).says.startswith("the application has 0")
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(server.dsn)
        await admin.execute(somebody)
    limit = await admin.fetchval("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app'")
    await admin.execute("ALTER ROLE app CONNECTION LIMIT -1")
    assert limit == left
    assert await admin.fetch(SETTINGS) == []


async def test_a_change_that_has_to_wait_for_somebody_is_given_up(
    server: Postgres, admin: asyncpg.Connection[Any]
) -> None:
    """While somebody else is altering the role nothing of ours can land, neither now nor when they are done."""
    recipe = await prepared(ConnectionLimit(), system_at(server))
    async with admin.transaction():
        await admin.execute("ALTER ROLE app CONNECTION LIMIT 5")
        with pytest.raises(InjectorError, match="lock timeout"):
            await ConnectionLimit().inject(recipe, TOOLS)
    assert (await until(lambda: ConnectionLimit().absent(recipe, TOOLS))).says.startswith("no note")
    assert await admin.fetchval("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app'") == 5
    await admin.execute("ALTER ROLE app CONNECTION LIMIT -1")


async def test_rows_are_locked_by_a_condition_that_the_server_understands(
    server: Postgres, app: asyncpg.Connection[Any]
) -> None:
    """Who writes a locked row waits, other rows and reads do not; nonsense, two statements and no row are errors."""
    recipe = await prepared(LockRows(), system_at(server), table="orders", where="n <= 3")
    async with injected(LockRows(), recipe):
        assert await app.fetchval("SELECT count(*) FROM orders") == 10
        await app.execute("UPDATE orders SET n = n WHERE n = 4")
        with pytest.raises(TimeoutError):
            await app.execute("UPDATE orders SET n = n WHERE n = 3", timeout=0.3)
    for where, says in (
        ("m < 3", "does not exist"),
        ("true) --", "syntax error"),
        ("true); DROP TABLE items; SELECT (1", "multiple commands"),
    ):
        with pytest.raises(InjectorError, match=says):
            await prepared(LockRows(), system_at(server), table="orders", where=where)
    nobody = await prepared(LockRows(), system_at(server), table="orders", where="n > 99")
    with pytest.raises(InjectorError, match=r"no row of public\.orders where n > 99"):
        await LockRows().inject(nobody, TOOLS)
    await until(lambda: LockRows().absent(nobody, TOOLS))


async def test_several_tables_are_locked_in_the_mode_asked_for(server: Postgres, app: asyncpg.Connection[Any]) -> None:
    """With mode share reads go on and writes wait, in each of the tables."""
    recipe = await prepared(LockTable(), system_at(server), tables="orders, public.items", mode="share")
    async with injected(LockTable(), recipe):
        for table in ("orders", "items"):
            await app.fetchval(f"SELECT count(*) FROM {table}", timeout=5)
            with pytest.raises(TimeoutError):
                await app.execute(f"UPDATE {table} SET n = n", timeout=0.2)


async def test_a_pulse_makes_statements_slow_and_not_stuck(server: Postgres, app: asyncpg.Connection[Any]) -> None:
    """While a table is locked in turns its statements get through, and the server has seen them wait."""
    recipe = await prepared(LockTable(), system_at(server), tables="items", pulse=Seconds(0.3))
    async with injected(LockTable(), recipe):

        async def ask() -> bool:
            await app.execute("UPDATE items SET n = n", timeout=10)
            return False

        asking = asyncio.create_task(until(ask, 30))
        assert await until(lambda: LockTable().verify(recipe, TOOLS))
        assert not asking.done()
        asking.cancel()
        await asyncio.wait([asking])


async def test_the_server_ends_what_a_hanging_holder_does(server: Postgres, admin: asyncpg.Connection[Any]) -> None:
    """A stopped holder loses its sessions to timeouts that the server keeps, and no lock is left."""
    recipe = await prepared(LockTable(), system_at(server), tables="items", pulse=Seconds(0.2))
    assert recipe.guard == "target"
    recipe = replace(recipe, data={**recipe.data, "seconds": 1.5})
    async with injected(LockTable(), recipe):
        [holder] = holders(recipe)
        processes.send(holder, signal.SIGSTOP)
        ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        assert await admin.fetchval(ours, recipe.data["tag"])
        await until(lambda: _none(admin, ours, recipe.data["tag"]))
        assert holders(recipe)


async def test_churn_stays_within_its_bound_and_what_a_stranger_adds_is_not_dropped(
    server: Postgres, admin: asyncpg.Connection[Any]
) -> None:
    """Our own table begins anew when it is big enough; a stranger's table in our schema stops the undo, and stays."""
    recipe = await prepared(VacuumPressure(), system_at(server), at_most=Bytes(10_000_000))
    tag = recipe.data["tag"]
    node, size = (f"SELECT pg_relation_{what}('\"{tag}\".churn')" for what in ("filenode", "size"))
    async with injected(VacuumPressure(), recipe):
        first, biggest = await admin.fetchval(node), 0
        async with asyncio.timeout(20):
            while await admin.fetchval(node) == first:
                biggest = max(biggest, await admin.fetchval(size))
        assert 9_000_000 < biggest < 13_000_000
        await admin.execute(f'CREATE TABLE "{tag}".precious (n int)')
        [found] = [one for one in await Pool().scan(system_at(server), TOOLS) if one.data["tag"] == tag]
        await until(lambda: _undone(Pool(), found))
        with pytest.raises(InjectorError, match="precious"):
            await VacuumPressure().undo(recipe, TOOLS)
        assert not (await VacuumPressure().absent(recipe, TOOLS)).ok
        assert await admin.fetchval(f'SELECT count(*) FROM "{tag}".precious') == 0
        [left] = await VacuumPressure().scan(system_at(server), TOOLS)
        await admin.execute(f'DROP TABLE "{tag}".precious')
        await VacuumPressure().undo(left, TOOLS)
    assert await VacuumPressure().scan(system_at(server), TOOLS) == []


@pytest.mark.skipif(not may_mount(), reason="needs root: mounts a small tmpfs")
async def test_a_tablespace_is_filled_to_its_floor(server: Postgres, admin: asyncpg.Connection[Any]) -> None:
    """Our own table takes all but the floor, what does not fit fails as on a full disk, and the undo leaves nothing."""
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name)) as disk:
        os.chown(disk, NOBODY, NOBODY)
        with pytest.raises(InjectorError, match="keeps its own state"):
            await prepared(DiskFull(), system_at(server), path=str(disk), keep=(str(disk / "runs"),))
        recipe = await prepared(DiskFull(), system_at(server), path=str(disk), floor=Bytes(4_000_000))
        async with injected(DiskFull(), recipe):
            evidence = await until(lambda: DiskFull().verify(recipe, TOOLS))
            assert evidence.data["bytes"] > 40_000_000, evidence
            assert 3_000_000 < os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize < 6_000_000
            with pytest.raises(asyncpg.DiskFullError):
                await admin.execute(
                    f'CREATE TABLE big TABLESPACE "{recipe.data["tag"]}" AS '
                    "SELECT repeat('x', 1900) FROM generate_series(1, 9000)"
                )
            with pytest.raises(InjectorError, match="is not empty"):
                await prepared(DiskFull(), system_at(server), path=str(disk))
            [found] = await DiskFull().scan(system_at(server), TOOLS)
            assert found.data["tag"] == recipe.data["tag"]
        assert list(disk.iterdir()) == []


async def test_a_disk_that_must_not_be_filled_is_refused(server: Postgres) -> None:
    """The file system of the server's own data needs to be meant; a directory of somebody else, or none, is refused."""
    with tempfile.TemporaryDirectory() as name:
        for path, says in ((f"{name}/none", "must be on this host"), (name, "must belong to the server's user")):
            if path != name or os.geteuid() == 0:
                with pytest.raises(InjectorError, match=says):
                    await prepared(DiskFull(), system_at(server), path=path)
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
        with pytest.raises(InjectorError, match="file system of the server's data"):
            await prepared(DiskFull(), system_at(server), path=name)


async def test_an_admin_without_the_rights_is_refused(server: Postgres, admin: asyncpg.Connection[Any]) -> None:
    """What needs a superuser says so before anything is touched; what does not, does without."""
    await admin.execute("DROP ROLE IF EXISTS helper")
    await admin.execute("CREATE ROLE helper LOGIN IN ROLE pg_signal_backend, pg_read_all_stats")
    weak = system_at(server, server.admin_dsn.replace("postgres@", "helper@"))
    for kind, params in ((ReadOnly, {}), (ConnectionLimit, {}), (DiskFull, {"path": "/nowhere"})):
        with pytest.raises(InjectorError, match="must be a superuser"):
            await prepared(kind(), weak, **params)
    assert (await prepared(NearExhaustion(), weak, leave=3)).claims
    assert (await prepared(HeavyQueries(), weak)).claims


async def test_without_sessions_there_is_nobody_to_kill(server: Postgres, admin: asyncpg.Connection[Any]) -> None:
    """An application without sessions is refused, and only a share of those it has is ended."""
    gone = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1"
    await until(lambda: _none(admin, gone, "app"))
    with pytest.raises(InjectorError, match="no session in shop"):
        await prepared(KillBackends(), system_at(server))
    sessions = [await asyncpg.connect(server.dsn) for _ in range(4)]
    recipe = await prepared(KillBackends(), system_at(server), share=Share(0.5), every=Seconds(30.0))
    async with injected(KillBackends(), recipe):
        assert (await until(lambda: KillBackends().verify(recipe, TOOLS))).data["ended"] == 2
        assert sum([await _closed(one) for one in sessions]) == 2
    for session in sessions:
        session.terminate()


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (KillBackends, {"share": 0.0}),
        (KillBackends, {"every": 0.01}),
        (NearExhaustion, {"leave": -1}),
        (ConnectionStorm, {"per_second": 0}),
        (LockTable, {"busiest": 0}),
        (LockTable, {"pulse": 0.001}),
        (LockRows, {"rows": 0}),
        (IdleInTransaction, {"sessions": 0}),
        (HeavyQueries, {"sessions": 101}),
        (VacuumPressure, {"at_most": 1}),
        (DiskFull, {"path": "here"}),
        (DiskFull, {"path": "/there", "floor": -1}),
        (ConnectionLimit, {"limit": -1}),
    ],
)
def test_parameters_out_of_bounds_are_refused(kind: type[Injector], params: dict[str, object]) -> None:
    """A number that means nothing is refused by name."""
    with pytest.raises(ValueError, match=f"'{list(params)[-1]}'"):
        kind.Params(**params)


async def _crash(server: Postgres) -> None:
    """A session of the application's is killed by the kernel; the server ends all others and begins anew."""
    app = await until(lambda: _last_place(server))
    os.kill(await app.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
    assert await until(lambda: _closed(app))


async def _last_place(server: Postgres) -> asyncpg.Connection[Any] | None:
    """A session in the one slot that is left, unless somebody who has just gone still has it."""
    try:
        return await asyncpg.connect(server.dsn)
    except asyncpg.TooManyConnectionsError:
        return None


async def _restart(server: Postgres) -> None:
    """Somebody starts it anew."""
    await server.child.stop()
    await server.child.start()


async def _end_ours(server: Postgres) -> None:
    """An operator ends our sessions."""
    admin = await asyncpg.connect(server.admin_dsn)
    await admin.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'chaosrunner/%'"
    )
    await admin.close()


async def test_what_went_with_a_server_that_started_anew_has_ended_by_itself() -> None:
    """A crash of a session or a restart takes what was held with it; an operator who ends our sessions does not."""
    injector = NearExhaustion()
    async with launch_postgres() as server:
        for happens, says in (
            (_end_ours, "nothing of ours"),
            (_crash, "the server was started anew"),
            (_restart, "the server was started anew"),
        ):
            recipe = await prepared(injector, system_at(server))
            async with injected(injector, recipe):
                await until(lambda recipe=recipe: injector.verify(recipe, TOOLS))
                await happens(server)
                assert says in await until(lambda recipe=recipe: _lost(injector, recipe))
                of_before = {key: value for key, value in recipe.data.items() if key != "began"}
                assert not (await injector.verify(replace(recipe, data=of_before), TOOLS)).ended


async def _lost(injector: Injector, recipe: Recipe) -> str:
    """What the evidence says of a fault that is not in effect; nothing while it is, or the server cannot be asked."""
    try:
        evidence = await injector.verify(recipe, TOOLS)
    except InjectorError:
        return ""
    assert evidence.ended is ("started anew" in evidence.says)
    return evidence.says if evidence.ok is False else ""


async def _closed(connection: asyncpg.Connection[Any]) -> bool:
    try:
        await connection.fetchval("SELECT 1")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return True
    return False


async def _none(admin: asyncpg.Connection[Any], ask: str, *arguments: object) -> bool:
    return not await admin.fetchval(ask, *arguments)


async def _undone(injector: Injector, recipe: Recipe) -> bool | None:
    await injector.undo(recipe, TOOLS)
    return (await injector.absent(recipe, TOOLS)).ok
