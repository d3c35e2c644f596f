"""A real Redis with an application that uses it, a stranger beside it, and all that a fault may change there."""

from __future__ import annotations

import asyncio
import copy
import os
import shutil
import socket
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from contract_rig import fault_of, system_of
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from chaosrunner.contract import Bench
from chaosrunner.model.fault import Target
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from chaosrunner.model.fault import Injector

PASSWORD = "wholly-secret"
PROGRAM = shutil.which(os.environ.get("CHAOSRUNNER_REDIS", "redis-server"))
"""Of this machine, unless `make redis` tries one of another release."""
SETTINGS = ("maxmemory", "maxmemory-policy", "maxclients", "min-replicas-to-write", "timeout")
START_S = 10.0
PAGES = 2000
PAGE_BYTES = 2000


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port


class RedisServer:
    """A redis-server of our own, with nothing on disk but its log, that can be started again on its port.

    Args:
        folder: where its log is.
        settings: as on its command line.
        secure: options of a URL with which whoever injects speaks TLS, at a port of its own; empty: no TLS.
    """

    def __init__(self, folder: Path, *settings: str, secure: str = "") -> None:
        self.port = free_port()
        self.secure = secure
        if secure:
            self.tls_port = free_port()
            settings += ("--tls-port", str(self.tls_port))
        self.words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
        self.words += ["--dir", str(folder), "--logfile", "redis.log", *settings]
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        if PROGRAM is None:
            pytest.skip("redis-server is not installed; 'make packages' installs it as root on Debian and Ubuntu")
        # Not an asyncio child: every test has a loop of its own.
        self.process = await asyncio.to_thread(subprocess.Popen, [PROGRAM, *self.words])
        async with asyncio.timeout(START_S):
            while not await self._answers():  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End it, whatever it does."""
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)

    def client(self, name: str = "") -> Redis:
        """A client with one connection that gives up quickly."""
        return Redis(
            port=self.port,
            password=PASSWORD,
            client_name=name or None,
            protocol=2,
            decode_responses=True,
            socket_timeout=0.5,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
            max_connections=1,
        )

    @property
    def template(self) -> str:
        """The URL as a system file says it."""
        if self.secure:
            return f"rediss://:${{CONTRACT_PASSWORD}}@127.0.0.1:{self.tls_port}/0?{self.secure}"
        return f"redis://:${{CONTRACT_PASSWORD}}@127.0.0.1:{self.port}/0"

    def secured(self, options: str) -> RedisServer:
        """The same server, through TLS with other options."""
        other = copy.copy(self)
        other.secure = options
        return other

    async def _answers(self) -> bool:
        client = self.client()
        try:
            return bool(await client.ping())
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()


@asynccontextmanager
async def launch_redis(folder: Path, *settings: str, secure: str = "") -> AsyncIterator[RedisServer]:
    """A Redis on a free port of the loopback, which ends with the block."""
    server = RedisServer(folder, *settings, secure=secure)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


class Stranger:
    """A connection that nobody may touch, and that does nothing by itself: no client reconnects it unseen."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    async def start(self) -> None:
        """Log in under a name."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self.writer.write(f"AUTH {PASSWORD}\r\nCLIENT SETNAME stranger\r\n".encode())
        assert [await self.reader.readline(), await self.reader.readline()] == [b"+OK\r\n"] * 2

    @property
    def connected(self) -> bool:
        """Whether nobody has ended it."""
        return not self.reader.at_eof()


class Application:
    """Three connections that read and write, and add what a cache adds."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.stranger = Stranger(server)
        self.looker = server.client("looker")
        self.clients = [server.client("shop") for _ in range(3)]
        self.asking: set[asyncio.Task[bool]] = set()
        self.pages = 0

    async def start(self) -> None:
        """Connect, and have something to read."""
        await self.stranger.start()
        await self.looker.set("theirs", "untouched")
        await asyncio.gather(*(self._ask(client) for client in self.clients))

    async def stop(self) -> None:
        """Ask no more."""
        await asyncio.gather(*self.asking)
        self.stranger.writer.close()
        for client in (*self.clients, self.looker):
            await client.aclose()

    async def use(self) -> None:
        """One more turn of each client; waits for none of them for long, because users do not wait either."""
        if not self.asking:
            for client in self.clients:
                task = asyncio.create_task(self._ask(client))
                self.asking.add(task)
                task.add_done_callback(self.asking.discard)
        await asyncio.wait(self.asking, timeout=0.1)

    async def _ask(self, client: Redis) -> bool:
        try:
            self.pages = (self.pages + 1) % PAGES
            await client.set(f"page:{self.pages}", "x" * PAGE_BYTES)
            return await client.get("theirs") in ("untouched", None)
        except (RedisError, OSError):
            return False

    async def observe(self) -> tuple[object, ...]:
        """Whether the application gets through, what of ours is there, and every setting a fault may change."""
        works = await asyncio.gather(*(self._ask(client) for client in self.clients))
        try:
            return works, await self.created(), await self.looker.config_get(*SETTINGS)
        except RedisError as error:
            return works, str(error)

    async def bystanders(self) -> object:
        """A connection that is nobody's business."""
        return self.stranger.connected

    async def created(self) -> list[str]:
        """Names of clients and users that are ours; a silent server says none."""
        try:
            names = {one["name"] for one in await self.looker.client_list()} | set(await self.looker.acl_users())
        except RedisError:
            return []
        return sorted(name for name in names if name.startswith("chaosrunner/"))

    async def replace(self) -> None:
        """Another server on the same port, with the settings it begins with."""
        await asyncio.gather(*self.asking)
        await self.server.stop()
        await self.server.start()
        for client in (*self.clients, self.looker):
            await client.connection_pool.disconnect()
        await self.looker.set("theirs", "untouched")


@asynccontextmanager
async def bench_at(server: RedisServer, injector: Injector, **params: object) -> AsyncIterator[Bench]:
    """A bench for the laws; the environment has `CONTRACT_PASSWORD`."""
    application = Application(server)
    try:
        await application.start()
        component = Component(name="cache", redis=Secret(server.template))
        yield Bench(
            injector=injector,
            fault=fault_of(injector, Target(component="cache"), **params),
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
