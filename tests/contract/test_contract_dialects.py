"""The laws, run over the faults of single requests and statements: through the embedded proxy, on real servers."""

from __future__ import annotations

import asyncio
import io
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from aiohttp import web
from contract_rig import fault_of, system_of
from proxy_bench import ProxyBench

from chaosrunner.contract import Bench, InjectorContract
from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres
from chaosrunner.model.fault import Injector, Target
from chaosrunner.model.system import Component
from chaosrunner.proxy import FaultProxy
from chaosrunner.proxy.audit import audit_to
from fault_injectors import http, postgres_statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

HTTP_CASES: dict[str, tuple[type[Injector], dict[str, object]]] = {
    "status": (http.HttpStatus, {"path": "/agents/*"}),
    "latency": (http.HttpLatency, {"add": 0.01, "method": "GET"}),
    "truncate": (http.HttpTruncate, {"after": 2}),
    "malformed": (http.HttpMalformed, {"kind": "header"}),
}
STATEMENT_CASES: dict[str, tuple[type[Injector], dict[str, object]]] = {
    "slow": (postgres_statements.SlowQuery, {"add": 0.01, "query": "select"}),
    "fail": (postgres_statements.FailQuery, {"query": "select", "sqlstate": "40001"}),
}


@asynccontextmanager
async def benched(
    case: tuple[type[Injector], dict[str, object]], upstream: str, protocol: str, use: Callable[[int], Awaitable[None]]
) -> AsyncIterator[Bench]:
    """A fault proxy that understands `protocol`, in front of a server that is in use; `use` takes the proxy's port."""
    injector, params = case[0](), case[1]
    async with FaultProxy("127.0.0.1", 0, audit=audit_to(io.StringIO())) as proxy:
        rig = ProxyBench(proxy, upstream, protocol)
        await rig.add("db")
        await rig.add("other")
        await rig.call("POST", "/proxies/other/toxics", {"type": "latency", "name": "not-ours"})
        yield Bench(
            injector=injector,
            fault=fault_of(injector, Target(component="target"), **params),
            system=system_of(Component(name="target", proxies=("db",)), fault_proxy=proxy.url),
            observe=rig.observe,
            bystanders=rig.bystanders,
            created=rig.created,
            replace=rig.replace,
            use=lambda: use(rig.user.port),
        )


class TestHttpFaults(InjectorContract):
    """Every fault of requests keeps every law."""

    @pytest.fixture(params=HTTP_CASES.values(), ids=HTTP_CASES.keys())
    async def bench(self, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
        """A web server and a client that keeps its connections."""

        async def agent(_request: web.Request) -> web.Response:
            return web.json_response({"id": 1})

        app = web.Application()
        app.router.add_get("/agents/{id}", agent)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:

            async def ask(port: int) -> None:
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"http://127.0.0.1:{port}/agents/7") as answer:
                        await answer.read()

            host, port = runner.addresses[0][:2]
            async with benched(request.param, f"{host}:{port}", "http", ask) as bench:
                yield bench
        await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Postgres]:
    """One Postgres for all."""
    async with launch_postgres(PostgresOptions()) as server:
        yield server


@pytest.mark.postgres
class TestStatementFaults(InjectorContract):
    """Every fault of statements keeps every law."""

    @pytest.fixture(params=STATEMENT_CASES.values(), ids=STATEMENT_CASES.keys())
    async def bench(self, request: pytest.FixtureRequest, server: Postgres) -> AsyncIterator[Bench]:
        """A Postgres and an application with one session that it keeps, and prepared statements in it."""
        kept: list[asyncpg.Connection[asyncpg.Record]] = []

        async def ask(port: int) -> None:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with asyncio.timeout(2):
                    if not kept or kept[0].is_closed():
                        way = {"host": "127.0.0.1", "port": port, "ssl": False}
                        kept[:] = [await asyncpg.connect(dsn=server.dsn, **way)]
                    await kept[0].fetchval("SELECT 1")

        async with benched(request.param, f"127.0.0.1:{server.port}", "postgres", ask) as bench:
            yield bench
        for session in kept:
            session.terminate()
