"""Start all parts, keep them alive (or, fragile, do not), and end all of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from chaosrunner.demo.cache_server import find_redis, pinged
from chaosrunner.demo.identity import users_csv
from chaosrunner.demo.isolation import Isolation, isolated
from chaosrunner.demo.options import (
    DISK_VARIABLE,
    HOST,
    DemoFailed,
    DemoOptions,
    DemoUnavailable,
    Ports,
    require_free,
)
from chaosrunner.demo.own_disk import own_disk, seen_from_outside
from chaosrunner.demo.parts import Blueprint
from chaosrunner.demo.postgres import PostgresOptions, launch_postgres
from chaosrunner.demo.processes import Child
from chaosrunner.demo.schema import create_schema, demo_schema
from chaosrunner.demo.scratch import scratch_directory
from chaosrunner.demo.system_file import address_of, at_port, own_dsn, system_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

READY_WITHIN_S = 30.0
RESTART_AFTER_S = 1.0
PROCESSES_FILE = "processes.json"
SYSTEM_FILE = "demo.yaml"
DISK = "disk"
"""Where in the demo's directory its own disk is, if it has one."""


class Supervisor:
    """Owns the child processes of one demo.

    Args:
        directory: Where `processes.json` (name → pid, null when dead) is kept up to date.
        restart: Whether a part that ends is started again, `RESTART_AFTER_S` later.
    """

    def __init__(self, directory: Path, *, restart: bool) -> None:
        self._file = directory / PROCESSES_FILE
        self._restart = restart
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._starting = True
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def failure(self) -> asyncio.Future[str]:
        """Done, with a sentence, when a part ended before all were ready."""
        return self._failure

    async def adopt(self, child: Child) -> None:
        """Look after a process that runs already."""
        self._children.append(child)
        self._keepers.append(asyncio.create_task(self._keep(child)))
        self._publish()

    async def start(self, child: Child) -> None:
        """Start a part and look after it."""
        await child.start()
        await self.adopt(child)

    def ready(self) -> None:
        """All parts are up: from now on an ending is an event, not a failure to start."""
        self._starting = False
        self._publish()

    async def stop(self) -> None:
        """End all parts at once; returns when none is left."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(child.stop() for child in self._children))
        self._publish()

    async def _keep(self, child: Child) -> None:
        while True:
            code = await child.ended()
            self._publish()
            if self._starting:
                if not self._failure.done():
                    self._failure.set_result(
                        f"{child.command.name} ended ({code}) while starting: {child.last_words()}"
                    )
                return
            _say("ended", part=child.command.name, code=code, restart=self._restart)
            if not self._restart:  # defect of the fragile system: the dead stay dead
                return
            await asyncio.sleep(RESTART_AFTER_S)
            await child.start()
            self._publish()

    def _publish(self) -> None:
        pids = {child.command.name: child.pid for child in self._children}
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(pids) + "\n")
        fresh.replace(self._file)  # a reader sees the old or the new one, never half


async def supervise(options: DemoOptions, *, until_eof: bool) -> None:
    """Run the demo until SIGTERM, SIGINT or, if asked, the end of standard input.

    Prints `ready <entry url>` on standard output when every part answers.

    Args:
        options: What to run.
        until_eof: Whether the end of standard input stops it.

    Raises:
        DemoUnavailable: A port is taken, or no Postgres (or, if asked for, no Redis) is found.
        DemoFailed: A part ended or did not answer while starting.
    """
    ports = Ports(options.base_port)
    require_free(ports, cached=options.cache)
    async with AsyncExitStack() as stack:
        directory = _directory(options, stack)
        stop = _stop_asked(until_eof=until_eof)
        supervisor = Supervisor(directory, restart=not options.fragile)
        blueprint = _blueprint(options, directory)
        _write_files(options, directory)
        try:
            if blueprint.isolation is not None:
                await stack.enter_async_context(isolated(blueprint.isolation))
            starting = asyncio.create_task(_start(options, blueprint, supervisor, stack))
            if await _came_first(starting, supervisor.failure, stop) is not stop:
                print(f"ready http://{HOST}:{ports.gateway}", flush=True)
                if options.own_disk:
                    print(f"{DISK_VARIABLE}={seen_from_outside(os.getpid(), directory / DISK)}", flush=True)
                await stop
        finally:
            await supervisor.stop()


async def _start(options: DemoOptions, blueprint: Blueprint, supervisor: Supervisor, stack: AsyncExitStack) -> None:
    # Interpreters boot while Postgres initialises: replicas wait for the database, so all start together.
    for command in blueprint.commands():
        await supervisor.start(Child(command))
    postgres = await stack.enter_async_context(_database(options, blueprint))
    if postgres is not None:
        await supervisor.adopt(postgres)
    async with asyncio.timeout(READY_WITHIN_S):
        await asyncio.gather(*(_answers(port, path) for port, path in blueprint.health_urls()))
        if options.cache:
            await pinged(blueprint.ports.cache)
    supervisor.ready()


@asynccontextmanager
async def _database(options: DemoOptions, blueprint: Blueprint) -> AsyncIterator[Child | None]:
    """The database with its tables; yields its process if it is ours."""
    if options.dsn is not None:
        async with demo_schema(options.dsn):
            yield None
        return
    wanted = PostgresOptions(port=blueprint.ports.database, binaries=options.pg_bin, log=blueprint.log("postgres"))
    async with launch_postgres(wanted) as server:
        await create_schema(server.dsn)  # never dropped: it goes with its server
        yield server.child


async def _came_first(starting: asyncio.Task[None], failure: asyncio.Future[str], stop: asyncio.Future[None]) -> object:
    """Wait for the start to end, well or badly, or for the request to stop; says which future it was."""
    try:
        any_of: set[asyncio.Future[Any]] = {starting, failure, stop}
        await asyncio.wait(any_of, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # A start that was overtaken must not go on while everything is being ended.
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    if stop.done():
        return stop
    if failure.done():
        raise DemoFailed(failure.result())
    try:
        starting.result()
    except TimeoutError as error:
        raise DemoFailed(f"not every part answered within {READY_WITHIN_S:.0f} s") from error
    return starting


async def _answers(port: int, path: str) -> None:
    """Wait until a part answers 200; bounded by the caller."""
    while not await _is_ok(port, path):  # noqa: ASYNC110 - another process changes it, there is nothing to wait on
        await asyncio.sleep(0.1)


async def _is_ok(port: int, path: str) -> bool:
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readline()).split()[1:2] == [b"200"]
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _stop_asked(*, until_eof: bool) -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def ask() -> None:
        if not stop.done():
            stop.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ask)
    if until_eof:
        # A thread, because standard input may be a file or a terminal, which no event loop watches reliably.
        threading.Thread(target=_read_to_end, args=(loop, ask), daemon=True).start()
    return stop


def _read_to_end(loop: asyncio.AbstractEventLoop, then: Callable[[], None]) -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass  # a closed standard input is at its end
    try:
        loop.call_soon_threadsafe(then)
    except RuntimeError:
        pass  # the loop has ended already, for another reason


def _blueprint(options: DemoOptions, directory: Path) -> Blueprint:
    ports = Ports(options.base_port)
    # Our own server has no TLS: not asking for it saves every connect a round trip.
    dsn = options.dsn or f"{own_dsn(ports)}?sslmode=disable"
    try:
        address, proxied = address_of(dsn), at_port(dsn, ports.proxied_database)
    except ValueError as error:
        raise DemoUnavailable(
            f"the given DSN is not a URL like postgresql://user@host:5432/database: {error}"
        ) from error
    return Blueprint(
        ports=ports,
        fragile=options.fragile,
        directory=directory,
        database=address,
        dsn=proxied,
        isolation=Isolation(options.base_port) if options.isolated else None,
        trail=directory / DISK if options.own_disk else None,
        redis=find_redis() if options.cache else None,
    )


def _directory(options: DemoOptions, stack: AsyncExitStack) -> Path:
    directory = options.directory or stack.enter_context(scratch_directory())
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    if options.own_disk:
        if options.isolated:
            raise DemoUnavailable(
                "either the disk or the network is the demo's own: a namespace made inside another is seen only there"
            )
        stack.enter_context(own_disk(directory / DISK))
    return directory


def _write_files(options: DemoOptions, directory: Path) -> None:
    namespace = Isolation(options.base_port).name if options.isolated else None
    text = system_file(Ports(options.base_port), dsn=options.dsn, namespace=namespace, cached=options.cache)
    (directory / "users.csv").write_text(users_csv())
    (directory / SYSTEM_FILE).write_text(text)
    if options.system_file is not None:
        options.system_file.parent.mkdir(parents=True, exist_ok=True)
        options.system_file.write_text(text)


def _say(event: str, **facts: object) -> None:
    import structlog  # imported late: a healthy demo has nothing to say, and starts sooner

    structlog.wrap_logger(structlog.PrintLogger(sys.stderr)).info(event, **facts)
