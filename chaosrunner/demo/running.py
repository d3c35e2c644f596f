"""Run a demo from Python: a supervisor process that ends with the block, or with us."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosrunner.demo.options import DSN_VARIABLE, HOST, DemoFailed, DemoOptions, DemoUnavailable, Ports
from chaosrunner.demo.own_disk import seen_from_outside
from chaosrunner.demo.scratch import scratch_directory
from chaosrunner.demo.supervisor import DISK, PROCESSES_FILE, READY_WITHIN_S, SYSTEM_FILE
from chaosrunner.errors import Exit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_STOP_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that runs: where it is and what it is made of."""

    options: DemoOptions
    directory: Path
    supervisor_pid: int

    @property
    def ports(self) -> Ports:
        """Who listens where."""
        return Ports(self.options.base_port)

    @property
    def entry(self) -> str:
        """URL of the gateway."""
        return f"http://{HOST}:{self.ports.gateway}"

    @property
    def fault_proxy(self) -> str:
        """URL of the fault proxy's API."""
        return f"http://{HOST}:{self.ports.fault_proxy}"

    @property
    def system_file(self) -> Path:
        """The system file of this very demo."""
        return self.directory / SYSTEM_FILE

    @property
    def users_file(self) -> Path:
        """The seed users: `user,password`, one line each."""
        return self.directory / "users.csv"

    @property
    def disk(self) -> Path:
        """The way to its own disk, where it has one."""
        return seen_from_outside(self.supervisor_pid, self.directory / DISK)

    def pid_of(self, part: str) -> int | None:
        """The pid of api-1, api-2, api-3, gateway, model, proxy, postgres or cache; None while it is dead.

        Raises:
            KeyError: There is no such part.
        """
        pids: dict[str, int | None] = json.loads((self.directory / PROCESSES_FILE).read_text())
        return pids[part]


@asynccontextmanager
async def running_demo(options: DemoOptions | None = None) -> AsyncIterator[Demo]:
    """Start a demo and end it on the way out.

    Args:
        options: What to run; the defaults when None.

    Yields:
        The demo, once every part answers.

    Raises:
        DemoUnavailable: A port is taken, or no Postgres (or, if asked for, no Redis) is found.
        DemoFailed: A part did not start.
    """
    options = options or DemoOptions()
    async with AsyncExitStack() as stack:
        directory = options.directory or stack.enter_context(scratch_directory())
        process = await asyncio.create_subprocess_exec(
            *_command(options, directory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=os.environ if options.dsn is None else os.environ | {DSN_VARIABLE: options.dsn},
        )
        stack.push_async_callback(_stop, process)
        await _until_ready(process)
        assert process.stderr is not None
        drain = asyncio.create_task(process.stderr.read())  # a full pipe would stop the supervisor
        stack.callback(drain.cancel)
        yield Demo(options, directory, process.pid)


def _command(options: DemoOptions, directory: Path) -> list[str]:
    command = [sys.executable, "-m", "chaosrunner.demo", "--until-eof"]
    command += ["--base-port", str(options.base_port), "--dir", str(directory)]
    if options.fragile:
        command.append("--fragile")
    if options.isolated:
        command.append("--isolated")
    if options.own_disk:
        command.append("--own-disk")
    if options.cache:
        command.append("--cache")
    if options.pg_bin is not None:
        command += ["--pg-bin", str(options.pg_bin)]
    if options.system_file is not None:
        command += ["--system-out", str(options.system_file)]
    return command


async def _until_ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(READY_WITHIN_S + 10):
            line = await process.stdout.readline()
            if line.startswith(b"ready "):
                return
            complaint = (await process.stderr.read()).decode(errors="replace").strip()
            code = await process.wait()
    except TimeoutError as error:
        raise DemoFailed("the demo did not say that it is ready") from error
    kind = DemoUnavailable if code == Exit.MISTAKE else DemoFailed
    raise kind(complaint or f"the demo ended ({code})")


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Close its standard input, which tells it to end; kill it when it does not, and its parts die with it."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), _STOP_WITHIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()
