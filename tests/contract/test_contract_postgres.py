"""The laws, run over postgres.pool on a real Postgres with an application that uses it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio
from contract_rig import fault_of, system_of

from chaosrunner.contract import Bench, InjectorContract
from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres
from chaosrunner.model.fault import Target
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component
from fault_injectors.postgres import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PASSWORD = "wholly-secret"


class Application:
    """A pool of four sessions that asks again whenever it can, and a stranger's session that nobody may touch."""

    def __init__(self, server: Postgres, admin: asyncpg.Connection[Any]) -> None:
        self.server = server
        self.admin = admin
        self.asking: set[asyncio.Task[None]] = set()
        self.pool = self._pool()

    async def start(self) -> None:
        """Connect, and have something to ask for."""
        await self.pool
        await self.pool.execute("CREATE TABLE IF NOT EXISTS things AS SELECT 1")

    async def stop(self) -> None:
        """Ask no more."""
        await asyncio.gather(*self.asking)
        self.pool.terminate()

    def _pool(self) -> asyncpg.Pool[Any]:
        return asyncpg.create_pool(self.server.dsn, min_size=4, max_size=4, timeout=2)

    async def use(self) -> None:
        """One more query, at most two at once; waits for none of them for long, because users do not wait either."""
        if len(self.asking) < 2:
            task = asyncio.create_task(self._ask())
            self.asking.add(task)
            task.add_done_callback(self.asking.discard)
        await asyncio.wait(self.asking, timeout=0.1)

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(1):
                await self.pool.fetchval("SELECT count(*) FROM things")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return

    async def observe(self) -> tuple[bool, bool]:
        """Whether a query gets through, and whether sessions of ours are there."""
        try:
            async with asyncio.timeout(1):
                through = await self.pool.fetchval("SELECT count(*) FROM things") == 1
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            through = False
        return through, bool(await self.created())

    async def bystanders(self) -> list[int]:
        """Sessions of superusers, but for those that look."""
        rows = await self.admin.fetch(
            "SELECT pid FROM pg_stat_activity WHERE usename = 'postgres' AND application_name = 'stranger' ORDER BY pid"
        )
        return [row["pid"] for row in rows]

    async def created(self) -> list[str]:
        """Tags of sessions."""
        rows = await self.admin.fetch(
            "SELECT DISTINCT application_name AS tag FROM pg_stat_activity WHERE application_name LIKE 'chaosrunner/%'"
        )
        return [row["tag"] for row in rows]

    async def replace(self) -> None:
        """What a restart does to sessions: all of them are ended, and the application's are new ones."""
        await self.stop()
        everybody = "FROM pg_stat_activity WHERE usename = 'app' OR application_name LIKE 'chaosrunner/%'"
        await self.admin.execute(f"SELECT pg_terminate_backend(pid) {everybody}")
        async with asyncio.timeout(10):
            while await self.admin.fetchval(f"SELECT count(*) {everybody}"):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.02)
        self.pool = self._pool()
        await self.pool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """One Postgres for all."""
    async with launch_postgres(PostgresOptions(max_connections=25)) as server:
        yield server


@pytest.mark.postgres
class TestPostgresPool(InjectorContract):
    """Both ways of running a pool dry keep every law."""

    @pytest.fixture(params=[{"by": "slots"}, {"by": "locks", "table": "things"}], ids=["slots", "locks"])
    async def bench(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: Postgres
    ) -> AsyncIterator[Bench]:
        """A Postgres with an application."""
        monkeypatch.setenv("CONTRACT_PASSWORD", PASSWORD)
        injector = Pool()
        admin = await asyncpg.connect(server.admin_dsn, server_settings={"application_name": "stranger"})
        application = Application(server, admin)
        try:
            await application.start()
            dsn = server.dsn.replace("app@", "app:${CONTRACT_PASSWORD}@")
            component = Component(name="database", dsn=Secret(dsn), admin=Secret(server.admin_dsn))
            yield Bench(
                injector=injector,
                fault=fault_of(injector, Target(component="database"), **request.param),
                system=system_of(component),
                observe=application.observe,
                bystanders=application.bystanders,
                created=application.created,
                replace=application.replace,
                use=application.use,
                secrets=(PASSWORD,),
            )
        finally:
            await application.stop()
            await admin.close()
