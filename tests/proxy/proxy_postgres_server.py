"""Real Postgres servers of every version that is here, and the proxy in front of one."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
from proxy_rig import running_api

from chaosrunner.demo.binaries import find_binaries
from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from proxy_rig import Api

LOCKED_ROLE, LOCKED_PASSWORD = "locked", "open sesame"
NEVER_MS = 3_600_000


def installations() -> list[Path]:
    """The directories with `initdb` and `postgres`: the one the demo uses first, then those of other versions."""
    first = find_binaries().directory
    beside = first.parents[1].glob("pginstall*/bin")
    system = Path("/usr/lib/postgresql").glob("*/bin")
    others = {path.resolve() for path in (*beside, *system) if (path / "initdb").exists()} - {first}
    return [first, *sorted(others)]


def program(name: str) -> str:
    """A client program of Postgres, of the newest version that is here; None of it is an error."""
    for directory in installations():
        if (directory / name).exists():
            return str(directory / name)
    found = shutil.which(name)
    assert found, f"no {name}"
    return found


@contextmanager
def postgres_server(binaries: Path) -> Iterator[Postgres]:
    """A running server, for tests on any event loop, with one role that needs a password."""
    with asyncio.Runner() as runner:
        launching = launch_postgres(PostgresOptions(binaries=binaries))
        server = runner.run(launching.__aenter__())
        try:
            runner.run(_lock(server))
            yield server
        finally:
            runner.run(launching.__aexit__(None, None, None))


async def _lock(server: Postgres) -> None:
    admin = await asyncpg.connect(server.admin_dsn)
    await admin.execute("SET password_encryption = 'scram-sha-256'")  # the default from version 14 on
    await admin.execute(f"CREATE ROLE {LOCKED_ROLE} LOGIN PASSWORD '{LOCKED_PASSWORD}'")
    rules = await admin.fetchval("SHOW hba_file")
    lines = f"host all {LOCKED_ROLE} 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 trust"
    await admin.execute(f"COPY (VALUES ('{lines[0]}'), ('{lines[1]}')) TO '{rules}'")
    await admin.execute("SELECT pg_reload_conf()")
    await admin.close()


class Fronted:
    """A proxy in front of a server, seen from a test.

    Attributes:
        dsn: How the application role gets to the server by way of the proxy.
        direct: How it gets there past it.
    """

    def __init__(self, api: Api, server: Postgres, port: int) -> None:
        self.api = api
        self.port = port
        self.dsn = f"postgresql://app@127.0.0.1:{port}/shop"
        self.direct = server.dsn

    async def delay(self, stream: str = "downstream", **attributes: Any) -> str:
        """Add a delay; its name."""
        made = await self.api.toxic("postgres_delay", more={"stream": stream}, **attributes)
        return str(made["name"])

    async def fail(self, toxicity: float = 1, **attributes: Any) -> str:
        """Add a failure; its name."""
        made = await self.api.toxic("postgres_fail", more={"toxicity": toxicity}, **attributes)
        return str(made["name"])

    async def remove(self, name: str) -> None:
        """Remove a toxic."""
        await self.api.ok("DELETE", f"/proxies/p/toxics/{name}")

    async def counts(self) -> dict[str, Any]:
        """What the proxy counted of the protocol."""
        return dict((await self.api.stats())["postgres"])

    async def struck(self, name: str) -> tuple[int, int]:
        """How many statements a toxic was meant for and struck."""
        stats = (await self.api.stats())["toxics"][name]
        return stats["matched"], stats["struck"]

    async def rows(self, what: str) -> Any:
        """The first value that a query gives, asked past the proxy."""
        connection = await asyncpg.connect(self.direct)
        try:
            return await connection.fetchval(what)
        finally:
            await connection.close()


@asynccontextmanager
async def fronted(server: Postgres) -> AsyncIterator[Fronted]:
    """A proxy in front of a server that has an empty table `t (a int primary key)`."""
    connection = await asyncpg.connect(server.dsn)
    await connection.execute("DROP TABLE IF EXISTS t; CREATE TABLE t (a int PRIMARY KEY)")
    await connection.close()
    async with running_api() as api:
        yield Fronted(api, server, await api.proxy_to(server.port, protocol="postgres"))
