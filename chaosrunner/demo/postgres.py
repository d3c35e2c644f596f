"""A real Postgres of our own: found, initialised, started, and surely ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.demo.binaries import find_binaries, reachable, server_uid
from chaosrunner.demo.leash import KEEP_USER, leashed
from chaosrunner.demo.options import HOST, DemoFailed
from chaosrunner.demo.processes import Child, Command
from chaosrunner.demo.scratch import scratch_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

APP_ROLE = "app"
ADMIN_ROLE = "postgres"
DATABASE = "shop"
RESERVED_SESSIONS = 3
"""Slots only a superuser gets: the way back when all others are taken."""
_START_S = 15.0
_FAST_SHUTDOWN = signal.SIGINT
_IMMEDIATE_SHUTDOWN = signal.SIGQUIT


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions:
    """How to start a Postgres.

    Attributes:
        port: Where it listens; a free port when 0.
        host: On which address. On any but loopback it trusts whoever can reach it: for a network of the demo's own.
        max_connections: Server slots in all, `RESERVED_SESSIONS` of them for superusers.
        binaries: Directory of `initdb` and `postgres`; looked for when None.
        log: Where its output goes; in its own directory when None.
    """

    port: int = 0
    host: str = HOST
    max_connections: int = 60
    binaries: Path | None = None
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server with the role `app` (no superuser), the superuser `postgres` and the database `shop`."""

    port: int
    child: Child
    source: str
    """Where its binaries were found: given, wheel or system."""

    @property
    def dsn(self) -> str:
        """How an application reaches it; no password, the server trusts loopback."""
        return f"postgresql://{APP_ROLE}@{HOST}:{self.port}/{DATABASE}"

    @property
    def admin_dsn(self) -> str:
        """How a superuser reaches it."""
        return f"postgresql://{ADMIN_ROLE}@{HOST}:{self.port}/{DATABASE}"

    @property
    def pid(self) -> int | None:
        """The postmaster's pid, None when it has ended."""
        return self.child.pid


@asynccontextmanager
async def launch_postgres(options: PostgresOptions | None = None) -> AsyncIterator[Postgres]:
    """Start a fresh Postgres on loopback and end it, data and all, on the way out.

    It runs as another user when we are root, and dies with this process however that ends.

    Args:
        options: How to start it; the defaults when None.

    Yields:
        The running server, accepting connections.

    Raises:
        DemoUnavailable: No Postgres was found, or its user cannot reach it.
        DemoFailed: It did not start; the message ends with its own words.
    """
    options = options or PostgresOptions()
    found = find_binaries(options.binaries)
    with scratch_directory() as scratch:
        directory = reachable(found, scratch)
        data = await _initialise(directory, scratch)
        if options.host != HOST:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all trust\n")
        port = options.port or _free_port()
        child = Child(
            Command(
                name="postgres",
                argv=(str(directory / "postgres"), "-D", str(data), *_settings(port, options)),
                log=options.log or scratch / "postgres.log",
                stop_signal=_FAST_SHUTDOWN,
                death_signal=_IMMEDIATE_SHUTDOWN,
                uid=server_uid(),
            )
        )
        server = Postgres(port, child, found.source)
        await child.start()
        try:
            await _make_database(server)
            yield server
        finally:
            await child.stop()


async def _initialise(directory: Path, scratch: Path) -> Path:
    """Make the data directory; about half a second."""
    uid = server_uid()
    data = scratch / "postgres"
    data.mkdir(mode=0o700)
    if uid != KEEP_USER:
        os.chown(data, uid, uid)
    command = [
        str(directory / "initdb"), "-D", str(data), "-U", ADMIN_ROLE,
        "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8", "--no-instructions",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *leashed(command, death_signal=signal.SIGKILL, uid=uid),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
        start_new_session=True,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        words = " | ".join(output.decode(errors="replace").strip().splitlines()[-3:])
        raise DemoFailed(f"initdb failed ({process.returncode}): {words}")
    return data


def _settings(port: int, options: PostgresOptions) -> list[str]:
    values = {
        "listen_addresses": options.host,
        "port": port,
        "unix_socket_directories": "",
        "max_connections": options.max_connections,
        "superuser_reserved_connections": RESERVED_SESSIONS,
        "shared_buffers": "16MB",
        # Nothing here must survive a power cut, and the disk is not what we test.
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "wal_level": "minimal",
        "max_wal_senders": 0,
        "jit": "off",
    }
    return [argument for name, value in values.items() for argument in ("-c", f"{name}={value}")]


async def _make_database(server: Postgres) -> None:
    import asyncpg

    admin = await _connect_when_up(server)
    try:
        await admin.execute(f"CREATE ROLE {APP_ROLE} LOGIN")
        await admin.execute(f"CREATE DATABASE {DATABASE} OWNER {APP_ROLE}")
    except asyncpg.PostgresError as error:
        raise DemoFailed(f"Postgres refused to make its database: {error}") from error
    finally:
        await admin.close()


async def _connect_when_up(server: Postgres):  # type: ignore[no-untyped-def]  # noqa: ANN202 - asyncpg is imported lazily
    import asyncpg

    deadline = asyncio.get_running_loop().time() + _START_S
    while True:
        try:
            return await asyncpg.connect(host=HOST, port=server.port, user=ADMIN_ROLE, database="template1", timeout=2)
        except (OSError, asyncpg.PostgresError) as error:
            if server.pid is None or asyncio.get_running_loop().time() > deadline:
                raise DemoFailed(f"Postgres did not start: {server.child.last_words() or error}") from error
        await asyncio.sleep(0.05)  # it is up within a tenth of a second; bounded by the deadline


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
