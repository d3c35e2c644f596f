"""A real Dask scheduler and real Dask workers on this host, and the program beside them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

STARTS_S = 60.0
ROWS = 3_000

EXPERIMENT = """\
question: Does it hold?
system: here
load:
  each_user: [{get: {GET: /<n>}}]
  data: rows.csv
  arrivals: 100 users/s
  warmup: 500ms
baseline: 1500ms
hypothesis: {before: [errors < 1%]}
"""


async def until(look: Callable[[], object], what: str, at_most_s: float = STARTS_S) -> None:
    """Look until it is so: what other processes do is no event of ours."""
    try:
        async with asyncio.timeout(at_most_s):
            while not look():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {at_most_s:g} s: {what}") from None


def alive(process: psutil.Process) -> bool:
    """Whether it is there and can do anything."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Cluster:
    """A scheduler and its workers."""

    where: Path
    url: str = ""
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def below(self) -> list[psutil.Process]:
        """Everything that Dask or we have started in it and that lives."""
        found = []
        for one in self.processes:
            with suppress(psutil.NoSuchProcess):
                top = psutil.Process(one.pid)
                found += [top, *top.children(recursive=True)]
        return [one for one in found if alive(one)]

    @property
    def loads(self) -> dict[psutil.Process, psutil.Process]:
        """Dask worker → the load worker in it, of all that live."""
        found = {}
        for one in self.below:
            with suppress(psutil.NoSuchProcess):
                if "chaosrunner.load.worker" in one.cmdline():
                    found[one.parent()] = one
        return found

    @property
    def log(self) -> str:
        """What scheduler and workers said."""
        return (self.where / "log").read_text(errors="replace")

    def joined(self) -> int:
        """How many workers have joined, ever."""
        return self.log.count("Register worker addr")


@asynccontextmanager
async def dask(
    where: Path, *, workers: int = 3, nanny: bool = False, options: Sequence[str] = ()
) -> AsyncIterator[Cluster]:
    """A scheduler and its workers, one thread each, until the body is over.

    Args:
        where: a directory of their own.
        workers: how many.
        nanny: whether a worker that died is started anew.
        options: for all of them, such as TLS files.
    """
    cluster, spot = Cluster(where), where / "scheduler.json"
    common = ["--scheduler-file", str(spot), "--host", "127.0.0.1", "--no-dashboard", *options]
    own = ["--nthreads", "1", "--nanny" if nanny else "--no-nanny", "--local-directory", str(where)]
    with (where / "log").open("wb") as log:

        async def start(*arguments: str) -> None:
            program = (sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:])
            # In sessions of their own: a Ctrl-C at the tests is for the tests.
            process = await asyncio.create_subprocess_exec(*program, stdout=log, stderr=log, start_new_session=True)
            cluster.processes.append(process)

        try:
            await start("scheduler", *common, "--port", "0")
            await until(lambda: spot.exists() and spot.read_text().strip().endswith("}"), "a scheduler")
            cluster.url = json.loads(spot.read_text())["address"]
            await asyncio.gather(*(start("worker", *common, *own) for _ in range(workers)))
            await until(lambda: cluster.joined() == workers, "workers that have joined")
            yield cluster
        finally:
            for one in cluster.below:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            await asyncio.gather(*(process.wait() for process in cluster.processes))


@dataclass
class Desk:
    """A user's files."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def write(self, url: str, *, experiment: str = EXPERIMENT) -> None:
        """An experiment on the system at a URL, whose every request has a path of its own."""
        (self.home / "systems").mkdir(exist_ok=True)
        (self.home / "systems/here.yaml").write_text(f"environment: test\nentry: {url}\n")
        (self.home / "rows.csv").write_text("n\n" + "".join(f"{n}\n" for n in range(ROWS)))
        (self.home / "own.yaml").write_text(experiment)

    async def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> asyncio.subprocess.Process:
        """The program, started."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chaosrunner", *arguments),
            cwd=self.home,
            env={**os.environ, "CHAOSRUNNER_STATE": str(self.home / "state"), "COLUMNS": "100", **(env or {})},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[int | None, str, str]:
        """Its exit code, and what it said on stdout and stderr."""
        return await said(await self.start(*arguments, env=env))

    def events(self) -> list[dict[str, object]]:
        """The journal of the latest run."""
        latest = max((self.home / "runs").glob("*/events.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(line)["event"] for line in latest.read_text().splitlines()]


async def said(program: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    """A program's exit code, and what it said on stdout and stderr; killed when it takes too long."""
    try:
        async with asyncio.timeout(STARTS_S):
            out, err = await program.communicate()
    finally:
        if program.returncode is None:
            program.send_signal(signal.SIGKILL)
            await program.wait()
    return program.returncode, out.decode(), err.decode()
