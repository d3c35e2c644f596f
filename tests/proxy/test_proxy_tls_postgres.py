"""TLS on Postgres connections: the request for it on both legs, and statements that toxics see in plain."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import struct
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from proxy_rig import DEADLINE_S, Api, connected, eventually
from tls_rig import Authority, Pair

from chaosrunner.demo.binaries import server_uid
from chaosrunner.demo.leash import KEEP_USER
from chaosrunner.demo.options import DemoUnavailable
from chaosrunner.demo.postgres import Postgres, PostgresOptions, launch_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.postgres

SYSTEM_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
SSL_REQUEST, GSS_REQUEST = struct.pack(">ii", 8, 80877103), struct.pack(">ii", 8, 80877104)
STARTUP = struct.pack(">ii", 9 + len(b"user\0app\0"), 3 << 16) + b"user\0app\0\0"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificates."""
    return Authority(tmp_path / "authority")


@asynccontextmanager
async def plain_postgres() -> AsyncIterator[Postgres]:
    """A server without TLS, of any make."""
    try:
        async with launch_postgres() as server:
            yield server
    except DemoUnavailable as missing:
        pytest.skip(str(missing))


@asynccontextmanager
async def tls_postgres(pair: Pair) -> AsyncIterator[Postgres]:
    """A server with TLS and nothing else over TCP; the system's own, since the wheel's is built without."""
    if not SYSTEM_BINARIES:
        pytest.skip("no Postgres of the system, which has TLS, is installed")
    async with launch_postgres(PostgresOptions(binaries=SYSTEM_BINARIES[-1])) as server:
        admin = await asyncpg.connect(server.admin_dsn, ssl=False)
        data = await admin.fetchval("SHOW data_directory")
        lay_down(pair, Path(data))
        await admin.execute("ALTER SYSTEM SET ssl = on")
        await admin.execute(f"COPY (SELECT 'hostssl all all all trust') TO '{data}/pg_hba.conf'")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.close()
        await eventually(lambda: refuses_plain(server))
        yield server


def lay_down(pair: Pair, data: Path) -> None:
    """Put the files where a server looks for them, so that it alone can read them."""
    for path, name in ((pair.certificate, "server.crt"), (pair.key, "server.key")):
        copied = Path(shutil.copy(path, data / name))
        copied.chmod(0o600)
        if server_uid() != KEEP_USER:
            os.chown(copied, server_uid(), server_uid())


async def refuses_plain(server: Postgres) -> bool:
    """Whether the server lets nobody in without TLS."""
    try:
        await (await asyncpg.connect(server.dsn, ssl=False)).close()
    except asyncpg.InvalidAuthorizationSpecificationError:
        return True
    return False


def dsn_at(port: int) -> str:
    """The database through a proxy."""
    return f"postgresql://app@127.0.0.1:{port}/shop"


async def works(port: int, context: ssl.SSLContext | bool, **more: Any) -> bool:
    """Whether a session begins and a statement gets its answer."""
    connection = await asyncpg.connect(dsn_at(port), ssl=context, timeout=DEADLINE_S, **more)
    try:
        return await connection.fetchval("SELECT $1::int + 1", 41) == 42
    finally:
        await connection.close()


async def test_clients_may_have_tls_before_a_plain_server(api: Api, authority: Authority) -> None:
    """A client that asks for TLS gets it, one that does not is served plain, one that begins with TLS too."""
    context = authority.client_context()
    direct = authority.client_context(alpn=("postgresql",))
    async with plain_postgres() as server:
        port = await api.proxy_to(server.port, protocol="postgres", tls={"listen": authority.pair().as_json()})
        assert await works(port, context)
        assert await works(port, False)
        assert await works(port, direct, direct_tls=True)
        assert (await api.stats())["connections"]["tls_failed"] == 0
        connection = await asyncpg.connect(dsn_at(port), ssl=direct, direct_tls=True)
        transport = connection._transport
        assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == "postgresql"
        await connection.close()


async def test_tls_can_be_required_of_clients(api: Api, authority: Authority) -> None:
    """With `required` a client that does not ask is told so in Postgres' own words, and counted."""
    listen = {**authority.pair().as_json(), "required": True}
    async with plain_postgres() as server:
        port = await api.proxy_to(server.port, protocol="postgres", tls={"listen": listen})
        assert await works(port, authority.client_context())
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="this proxy requires TLS"):
            await works(port, False)
        assert (await api.stats())["connections"]["tls_failed"] == 1
        assert "it does not ask for TLS, which is required" in api.audit.getvalue()


async def test_the_server_is_asked_for_tls(api: Api, authority: Authority) -> None:
    """A server that serves nobody without TLS serves clients with and without, and what a client encrypts is ours."""
    async with tls_postgres(authority.pair()) as server:
        port = await api.proxy_to(server.port, protocol="postgres", tls={"upstream": authority.upstream()})
        assert await works(port, False)
        with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
            await works(port, authority.client_context())
        connection = await asyncpg.connect(dsn_at(port), ssl="prefer")
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        await connection.close()
        await api.ok(
            "PATCH",
            "/proxies/p",
            {"tls": {"listen": authority.pair().as_json(), "upstream": authority.upstream()}},
        )
        assert await works(port, authority.client_context())
        assert await works(port, False)
        assert (await api.stats())["connections"]["tls_failed"] == 1  # who would not go on without TLS


async def test_without_tls_set_a_sessions_own_tls_passes_through(api: Api, authority: Authority) -> None:
    """A client and a server that have TLS between them have it through a proxy that has none."""
    async with tls_postgres(authority.pair()) as server:
        for protocol in ("tcp", "postgres"):
            port = await api.proxy_to(server.port, protocol, protocol=protocol)
            assert await works(port, authority.client_context())


async def test_a_server_without_tls_is_never_spoken_to_in_plain(api: Api, authority: Authority) -> None:
    """If the server says N, the client is cut, not one byte of it is sent on, and the audit says why."""
    async with plain_postgres() as server:
        port = await api.proxy_to(server.port, protocol="postgres", tls={"upstream": authority.upstream()})
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await works(port, False)
        stats = await api.stats()
        assert stats["connections"]["tls_failed"] == 1
        assert stats["bytes"] == {"upstream": 0, "downstream": 0}
        assert "it speaks no TLS" in api.audit.getvalue()


async def test_other_encryption_is_declined(api: Api, authority: Authority) -> None:
    """A request for GSSAPI is answered with N, and the client may ask for TLS then, or go on in plain."""
    async with plain_postgres() as server:
        port = await api.proxy_to(server.port, protocol="postgres", tls={"listen": authority.pair().as_json()})
        async with connected(port) as client, asyncio.timeout(DEADLINE_S):
            client.writer.write(GSS_REQUEST)
            assert await client.reader.readexactly(1) == b"N"
            client.writer.write(STARTUP)
            assert await client.reader.readexactly(1) == b"R"
        async with connected(port) as client, asyncio.timeout(DEADLINE_S):
            client.writer.write(GSS_REQUEST)
            assert await client.reader.readexactly(1) == b"N"
            client.writer.write(SSL_REQUEST)
            assert await client.reader.readexactly(1) == b"S"
            await client.writer.start_tls(authority.client_context(), server_hostname="localhost")
            client.writer.write(STARTUP)
            assert await client.reader.readexactly(1) == b"R"


async def test_plain_bytes_cannot_be_slipped_in_front_of_tls(api: Api, authority: Authority) -> None:
    """A client that sends more before it has its S is cut: it may have been somebody in between."""
    port = await api.proxy_to(9, protocol="postgres", tls={"listen": authority.pair().as_json()})
    async with connected(port) as client:
        client.writer.write(SSL_REQUEST + STARTUP)
        assert await client.end() in {"fin", "reset"}
    assert "plain bytes came in place of TLS" in api.audit.getvalue()


async def test_toxics_see_statements_that_come_encrypted(api: Api, authority: Authority) -> None:
    """With TLS ended here, statements are counted and one that matches is failed, others not."""
    async with plain_postgres() as server:
        port = await api.proxy_to(server.port, protocol="postgres", tls={"listen": authority.pair().as_json()})
        connection = await asyncpg.connect(dsn_at(port), ssl=authority.client_context())
        before = (await api.stats())["postgres"]["statements"]
        await api.toxic("postgres_fail", query="pg_sleep", message="not tonight")
        with pytest.raises(asyncpg.PostgresError, match="not tonight"):
            await connection.execute("SELECT pg_sleep(0)")
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
        assert (await api.stats())["postgres"]["statements"] >= before + 2


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
async def test_psql_is_served_in_every_mode(api: Api, authority: Authority) -> None:
    """Postgres' own client gets its answer with each sslmode."""
    async with plain_postgres() as server:
        port = await api.proxy_to(server.port, protocol="postgres", tls={"listen": authority.pair().as_json()})
        for sslmode in ("disable", "prefer", "require", "verify-full"):
            process = await asyncio.create_subprocess_exec(
                *("psql", f"{dsn_at(port)}?sslmode={sslmode}&sslrootcert={authority.file}", "-Atc", "SELECT 42"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
            assert (process.returncode, out) == (0, b"42\n"), (sslmode, err)
