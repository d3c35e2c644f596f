"""postgres.pool on a real server: rights, reserve, deadlines, and every way its holder ends."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio
from contract_rig import fault_of, system_of

from chaosrunner.demo.postgres import RESERVED_SESSIONS, Postgres, PostgresOptions, launch_postgres
from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Recipe, Target
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component, System
from chaosrunner.world.injectors import RealTools
from fault_injectors import postgres_server, processes
from fault_injectors.postgres import NearExhaustion, Pool
from fault_injectors.postgres_held import HOLDER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.postgres
SLOTS = 20
TOOLS = RealTools({})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """One Postgres for all."""
    async with launch_postgres(PostgresOptions(max_connections=SLOTS + RESERVED_SESSIONS)) as server:
        yield server


@pytest.fixture
async def admin(server: Postgres) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A superuser's session."""
    connection = await asyncpg.connect(server.admin_dsn)
    yield connection
    await connection.close()


@asynccontextmanager
async def application(server: Postgres, sessions: int = 3) -> AsyncIterator[list[asyncpg.Connection[Any]]]:
    """Sessions of the application, warm, that never come back once they are ended."""
    opened = [await asyncpg.connect(server.dsn) for _ in range(sessions)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.terminate()


def system_at(server: Postgres, *, dsn: str = "", admin: str = "") -> System:
    """A system whose `database` is the server."""
    secrets = {"dsn": Secret(dsn or server.dsn), "admin": Secret(admin or server.admin_dsn)}
    return system_of(Component(name="database", **secrets))


async def prepared(system: System, **params: object) -> Recipe:
    """A recipe of a run of its own."""
    run = f"r{random.randrange(10**9)}"
    context = Context(run=run, system=system, tools=TOOLS, rng=random.Random(1), spare=frozenset)
    return await Pool().prepare(fault_of(Pool(), Target(component="database"), **params), context)


def lasting(recipe: Recipe, seconds: float) -> Recipe:
    """The same recipe with another deadline."""
    return replace(recipe, data={**recipe.data, "seconds": seconds})


async def until_ok(ask: Any, deadline_s: float = 15.0) -> Any:
    """Ask until the evidence is ok."""
    async with asyncio.timeout(deadline_s):
        while not (evidence := await ask()).ok:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.05)
    return evidence


@asynccontextmanager
async def injected(recipe: Recipe) -> AsyncIterator[None]:
    """The fault for as long as the body lasts."""
    try:
        await Pool().inject(recipe, TOOLS)
        yield
    finally:
        await Pool().undo(recipe, TOOLS)
        await until_ok(lambda: Pool().absent(recipe, TOOLS))


def holders(recipe: Recipe) -> list[processes.Process]:
    """Its holder, if there is one."""
    return processes.running(["-m", HOLDER, str(recipe.data["tag"])])


async def test_warm_sessions_are_ended_and_nobody_gets_another(server: Postgres) -> None:
    """The application loses the sessions it had, and is refused a new one, while a superuser gets in."""
    async with application(server) as sessions:
        recipe = await prepared(system_at(server))
        async with injected(recipe):
            evidence = await until_ok(lambda: Pool().verify(recipe, TOOLS))
            assert "0 sessions, had 3" in evidence.says
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                await sessions[0].fetchval("SELECT 1")
            with pytest.raises(asyncpg.TooManyConnectionsError):
                await asyncpg.connect(server.dsn)
            await (await asyncpg.connect(server.admin_dsn)).close()
    await (await asyncpg.connect(server.dsn)).close()


async def test_a_reserve_is_left_free(server: Postgres) -> None:
    """With a reserve so many ordinary slots stay free for others."""
    async with application(server):
        recipe = await prepared(system_at(server), reserve=2)
        async with injected(recipe):
            await until_ok(lambda: Pool().verify(recipe, TOOLS))
            await (await asyncpg.connect(server.dsn, server_settings={"application_name": "chaosrunner-test"})).close()


async def test_an_application_without_sessions_proves_nothing(server: Postgres) -> None:
    """If the application had no session to lose, holding all slots is no evidence about it."""
    recipe = await prepared(system_at(server))
    async with injected(recipe):
        evidence = await Pool().verify(recipe, TOOLS)
        assert evidence.ok is None
        assert "none to lose" in evidence.says


async def test_what_is_not_held_is_evidence_of_the_contrary(server: Postgres) -> None:
    """Without any session of ours the fault is not in effect."""
    async with application(server):
        assert (await Pool().verify(await prepared(system_at(server)), TOOLS)).ok is False


async def test_a_lock_makes_the_applications_sessions_wait(server: Postgres, admin: asyncpg.Connection[Any]) -> None:
    """With `locks` a query waits, is counted as waiting for us, and goes on after the undo."""
    await admin.execute("CREATE SCHEMA IF NOT EXISTS odd AUTHORIZATION app")
    await admin.execute('CREATE TABLE IF NOT EXISTS odd."Or ders" AS SELECT 1 AS n')
    await admin.execute('ALTER TABLE odd."Or ders" OWNER TO app')
    async with application(server, 1) as [session]:
        recipe = await prepared(system_at(server), by="locks", table="Or ders")
        assert recipe.data["what"] == 'odd."Or ders"'
        async with injected(recipe):
            assert (await Pool().verify(recipe, TOOLS)).ok is None
            query = asyncio.create_task(session.fetchval('SELECT n FROM odd."Or ders"'))
            evidence = await until_ok(lambda: Pool().verify(recipe, TOOLS))
            assert evidence.says.startswith("1 of the application's sessions wait")
            assert not query.done()
        assert await asyncio.wait_for(query, 10) == 1


@pytest.mark.parametrize("params", [{}, {"by": "locks", "table": "kept"}], ids=["slots", "locks"])
async def test_the_holder_ends_at_its_deadline(
    params: dict[str, object], server: Postgres, admin: asyncpg.Connection[Any]
) -> None:
    """With nobody left to undo it, the holder lets go by itself."""
    await admin.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 1")
    await admin.execute("ALTER TABLE kept OWNER TO app")
    recipe = lasting(await prepared(system_at(server), **params), 1.5)
    await Pool().inject(recipe, TOOLS)
    assert holders(recipe)
    await until_ok(lambda: Pool().absent(recipe, TOOLS))
    assert not holders(recipe)


@pytest.mark.parametrize("params", [{}, {"by": "locks", "table": "kept"}], ids=["slots", "locks"])
async def test_the_server_lets_go_of_a_holder_that_hangs(
    params: dict[str, object], server: Postgres, admin: asyncpg.Connection[Any]
) -> None:
    """A holder that cannot end itself loses what it holds to a timeout that the server keeps."""
    await admin.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 1")
    await admin.execute("ALTER TABLE kept OWNER TO app")
    recipe = lasting(await prepared(system_at(server), **params), 2.0)
    assert recipe.guard == "target"
    async with injected(recipe):
        [holder] = holders(recipe)
        processes.send(holder, signal.SIGSTOP)
        of_app = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND usename = 'app'"
        assert await admin.fetchval(of_app, recipe.data["tag"])
        async with asyncio.timeout(15):
            while await admin.fetchval(of_app, recipe.data["tag"]):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)
        assert holders(recipe)


async def test_ending_its_sessions_from_anywhere_ends_the_holder(
    server: Postgres, admin: asyncpg.Connection[Any]
) -> None:
    """An undo on another host, which sees no process, is enough."""
    recipe = await prepared(system_at(server))
    await Pool().inject(recipe, TOOLS)
    tag = recipe.data["tag"]
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", tag)
    async with asyncio.timeout(15):
        while holders(recipe):  # noqa: ASYNC110 - it is no child of ours
            await asyncio.sleep(0.02)
    await until_ok(lambda: Pool().absent(recipe, TOOLS))


async def test_leftovers_are_found_by_tag(server: Postgres) -> None:
    """A scan finds what is held, and its recipe undoes it."""
    recipe = await prepared(system_at(server))
    async with injected(recipe):
        [found] = await Pool().scan(system_at(server), TOOLS)
        assert found.data["tag"] == recipe.data["tag"]
        assert found.claims == recipe.claims
        await Pool().undo(found, TOOLS)
        await until_ok(lambda: Pool().absent(found, TOOLS))
    assert await Pool().scan(system_at(server), TOOLS) == []


async def test_a_second_fault_has_the_same_claim(server: Postgres) -> None:
    """Two faults on one server, however it is spelt, change the same resource."""
    here = await prepared(system_at(server))
    there = await prepared(system_at(server, dsn=server.dsn.replace("127.0.0.1", "localhost")))
    assert here.claims == there.claims


@pytest.mark.parametrize(
    ("dsn", "admin", "says"),
    [
        ("", "postgresql://postgres:hush-hush@127.0.0.1:1/shop", "admin: Postgres cannot be reached"),
        ("postgresql://nobody:hush-hush@{at}/shop", "", "dsn: Postgres says"),
        ("postgresql://app:hush-hush@{at}:x/shop", "", "dsn is not understood"),
        ("postgresql://postgres:hush-hush@{at}/shop", "", "is a superuser"),
        ("", "postgresql://weak:hush-hush@{at}/shop", "needs pg_signal_backend"),
    ],
    ids=["unreachable", "unknown role", "no dsn", "superuser", "weak admin"],
)
async def test_what_cannot_be_undone_is_not_begun(dsn: str, admin: str, says: str, server: Postgres) -> None:
    """A role that cannot get in, may not end sessions, or is a superuser is refused; no error quotes a password."""
    control = await asyncpg.connect(server.admin_dsn)
    await control.execute("DROP ROLE IF EXISTS weak")
    await control.execute("CREATE ROLE weak LOGIN")
    await control.close()
    at = f"127.0.0.1:{server.port}"
    with pytest.raises(InjectorError, match=says) as caught:
        await prepared(system_at(server, dsn=dsn.format(at=at), admin=admin.format(at=at)))
    assert "hush" not in str(caught.value)


async def test_a_table_that_is_not_one_table_is_refused(server: Postgres, admin: asyncpg.Connection[Any]) -> None:
    """No table, or two of that name, is an error that lists what was found."""
    for schema in ("one", "two"):
        await admin.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        await admin.execute(f"CREATE TABLE IF NOT EXISTS {schema}.twins (n int)")
    with pytest.raises(InjectorError, match=r"found one\.twins, two\.twins"):
        await prepared(system_at(server), by="locks", table="twins")
    assert (await prepared(system_at(server), by="locks", table="two.twins")).data["what"] == "two.twins"
    with pytest.raises(InjectorError, match="found none"):
        await prepared(system_at(server), by="locks", table="nothing")


async def test_a_lock_without_the_right_to_it_fails_and_leaves_nothing(
    server: Postgres, admin: asyncpg.Connection[Any]
) -> None:
    """What Postgres answers the holder is what the error says."""
    await admin.execute("CREATE TABLE IF NOT EXISTS closed (n int)")
    recipe = await prepared(system_at(server), by="locks", table="closed")
    with pytest.raises(InjectorError, match="permission denied"):
        await Pool().inject(recipe, TOOLS)
    await until_ok(lambda: Pool().absent(recipe, TOOLS))


@pytest.mark.parametrize("params", [{"table": "x"}, {"reserve": -1}, {"by": "locks", "table": "x", "reserve": 1}])
def test_parameters_that_contradict_each_other_are_refused(params: dict[str, Any]) -> None:
    """A table goes with locks, a reserve with slots."""
    with pytest.raises(ValueError, match="goes with"):
        Pool.Params(**params)


SEEN = postgres_server.Server(
    began="",
    identity="1", version=180000, slots=20, kept=3, role="app", database="shop", role_is_super=False,
    admin_is_super=True, admin_may_end=True, admin_may_checkpoint=True, app=3, tables=(), files="",
    counters=postgres_server.Counters(sessions=0, killed=0, rolled_back=0, checkpoints=0, wal=0),
)  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "reserve", "says"),
    [
        (replace(SEEN, admin_is_super=False), 0, "no slot would be left"),
        (replace(SEEN, kept=0), 0, "no slot would be left"),
        (SEEN, 20, "less than the server's 20 slots"),
    ],
)
def test_somebody_must_be_able_to_get_in_to_undo_it(seen: postgres_server.Server, reserve: int, says: str) -> None:
    """All slots are held only where those kept for superusers let the admin in."""
    with pytest.raises(InjectorError, match=says):
        Pool().plan(Pool.Params(reserve=reserve), seen, "chaosrunner/r/0")
    with pytest.raises(InjectorError, match=says):
        NearExhaustion().plan(NearExhaustion.Params(leave=reserve), seen, "chaosrunner/r/0")


def test_a_reserve_is_enough_for_an_admin_that_is_no_superuser() -> None:
    """With a reserve the admin gets in like everybody; with locks no slot is taken at all."""
    weak = replace(SEEN, admin_is_super=False, tables=("public.things",))
    assert Pool().plan(Pool.Params(reserve=1), weak, "t").job["capacity"] == 19
    assert Pool().plan(Pool.Params(by="locks"), weak, "t").job["do"] == "scripts"


def test_orders_that_do_not_arrive_whole_are_not_obeyed() -> None:
    """A holder whose starter died while speaking ends at once."""
    done = subprocess.run(
        [sys.executable, "-m", HOLDER, "chaosrunner/cut/0"],
        input=b'{"dsn": "postg', capture_output=True, timeout=30, check=True, env=os.environ,
    )  # fmt: skip
    assert b"did not arrive whole" in done.stdout
