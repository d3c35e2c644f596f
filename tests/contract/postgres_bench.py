"""A real Postgres with an application that uses it, a stranger beside it, and all that a fault may change there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
from contract_rig import fault_of, system_of

from chaosrunner.contract import Bench
from chaosrunner.model.fault import Target
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chaosrunner.demo.postgres import Postgres
    from chaosrunner.model.fault import Injector

PASSWORD = "wholly-secret"
LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_SETTINGS = """SELECT unnest(setconfig) FROM pg_db_role_setting UNION ALL
    SELECT 'limit of role=' || rolconnlimit FROM pg_roles WHERE rolname = 'app' UNION ALL
    SELECT 'limit of database=' || datconnlimit FROM pg_database WHERE datname = 'shop' ORDER BY 1"""
_OURS = """SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'chaosrunner/%'
    UNION SELECT nspname FROM pg_namespace WHERE nspname LIKE 'chaosrunner/%'
    UNION SELECT spcname FROM pg_tablespace WHERE spcname LIKE 'chaosrunner/%'"""


class Application:
    """A pool of four sessions that reads and writes whenever it can, and a stranger's session nobody may touch."""

    def __init__(self, server: Postgres, admin: asyncpg.Connection[Any]) -> None:
        self.server = server
        self.admin = admin
        self.asking: set[asyncio.Task[bool]] = set()
        self.pool = self._pool()

    async def start(self) -> None:
        """Connect, and have something to ask for."""
        await self.pool
        await self.pool.execute("CREATE TABLE IF NOT EXISTS things AS SELECT 1 AS n")
        async with self.pool.acquire() as connection:
            await connection.execute("UPDATE things SET n = n + 1")
            await connection.execute("SELECT pg_stat_force_next_flush()")  # so that the server has seen a busiest table

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

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(1):
                await self.pool.execute("UPDATE things SET n = n + 1")
                return await self.pool.fetchval("SELECT count(*) FROM things") == 1
        except LOST:
            return False

    async def observe(self) -> tuple[object, ...]:
        """Whether the application gets through, what of ours is there, and every setting and limit."""
        settings = [row[0] for row in await self.admin.fetch(_SETTINGS)]
        return await self._ask(), await self.created(), settings

    async def bystanders(self) -> list[int]:
        """Sessions of superusers, but for those that look."""
        rows = await self.admin.fetch(
            "SELECT pid FROM pg_stat_activity WHERE usename = 'postgres' AND application_name = 'stranger' ORDER BY pid"
        )
        return [row["pid"] for row in rows]

    async def created(self) -> list[str]:
        """Tags of sessions, schemas and tablespaces; and who wrote notes."""
        return [row[0] for row in await self.admin.fetch(_OURS)]

    async def replace(self) -> None:
        """What another server in its place has: no session and nothing of ours, new sessions of the application."""
        await self.stop()
        everybody = "FROM pg_stat_activity WHERE usename = 'app' OR application_name LIKE 'chaosrunner/%'"
        await self.admin.execute(f"SELECT pg_terminate_backend(pid) {everybody}")
        async with asyncio.timeout(10):
            while await self.admin.fetchval(f"SELECT count(*) {everybody}"):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.02)
        for row in await self.admin.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'chaosrunner/%'"):
            await self.admin.execute(f'DROP SCHEMA "{row[0]}" CASCADE')
        await self.admin.execute("ALTER ROLE app IN DATABASE shop RESET ALL")
        await self.admin.execute("ALTER ROLE app CONNECTION LIMIT -1")
        await self.admin.execute("ALTER DATABASE shop CONNECTION LIMIT -1")
        self.pool = self._pool()
        await self.pool


@asynccontextmanager
async def bench_at(server: Postgres, injector: Injector, **params: object) -> AsyncIterator[Bench]:
    """A bench for the laws; the environment has `CONTRACT_PASSWORD`."""
    admin = await asyncpg.connect(server.admin_dsn, server_settings={"application_name": "stranger"})
    application = Application(server, admin)
    try:
        await application.start()
        dsn = server.dsn.replace("app@", "app:${CONTRACT_PASSWORD}@")
        component = Component(name="database", dsn=Secret(dsn), admin=Secret(server.admin_dsn))
        yield Bench(
            injector=injector,
            fault=fault_of(injector, Target(component="database"), **params),
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
