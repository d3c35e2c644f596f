"""What lives in a Dask worker: it starts the very same worker process as a local load, and passes its lines on.

A Dask actor, so that Dask never runs it a second time when its worker is lost. Should it be made anew all the same
(another worker under the same address), its `attempt` is another one, and it does not do what is meant for the first.

The runner asks (`exchange`) twice a second. Each question carries what the worker process is to be told, and renews
its lease; each answer carries what it has said since. Both are numbered, so that a question that is asked again after
a broken connection neither repeats nor loses a line. Nothing here fires hits: a stalled Dask worker stalls none.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from chaosrunner import __version__
from chaosrunner.load.cluster.clock import here
from chaosrunner.load.lease import Lease
from chaosrunner.load.process import WorkerProcess

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
UNREAD_LINES = 1_000
"""More than the lease allows to pile up; a worker process that says more breaks its protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """From the runner."""

    attempt: str
    """Who is meant."""
    begin: int
    """Number of the first of `lines`."""
    lines: tuple[bytes, ...] = field(repr=False)
    """For the worker process's stdin. The first are its orders, with secrets: never in a log."""
    seen: int
    """How many of its lines have arrived."""
    lease_s: float
    """From now on it may go on for so long without being asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """To the runner."""

    attempt: str
    now_ns: int
    """CLOCK_BOOTTIME of this machine."""
    done: int = 0
    """How many lines the worker process was told."""
    lines: tuple[bytes, ...] = field(default=(), repr=False)
    """What it has said since those that were `seen`."""
    over: str = ""
    """How the worker process ended, if it has, and if `lines` are its last."""
    pid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a relay is."""

    attempt: str
    version: str
    """Of chaosrunner."""
    host: str
    """Boot id and pid namespace: pids mean the same wherever this is the same."""
    pid: int
    """Of the Dask worker."""


def host() -> str:
    """Boot id and pid namespace of this process."""
    return f"{BOOT_ID.read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"


class Relay:
    """One load worker of a cluster."""

    def __init__(self) -> None:
        self._attempt = secrets.token_hex(8)
        self._lease = Lease()
        self._turn = asyncio.Lock()
        self._worker: WorkerProcess | None = None
        self._done = 0
        self._lines: list[bytes] = []
        self._seen = 0
        self._hearing: asyncio.Task[None] | None = None
        self._over = ""

    async def place(self) -> Place:
        """Where it is."""
        return Place(attempt=self._attempt, version=__version__, host=host(), pid=os.getpid())

    async def now(self) -> int:
        """CLOCK_BOOTTIME of this machine, in nanoseconds."""
        return here()

    async def exchange(self, question: Question) -> Answer:
        """Tell the worker process, renew its lease, and hand out what it has said."""
        if question.attempt != self._attempt:
            return Answer(attempt=self._attempt, now_ns=here(), over="another one was meant")
        async with self._turn:
            if self._lease.over:
                await self._end("its lease ran out")
            if not self._over:
                self._lease.renew(question.lease_s)
                try:
                    await self._tell(question)
                except OSError as error:  # no process could be started
                    self._over = str(error)
            return self._answer(question.seen)

    async def halt(self) -> None:
        """End it now."""
        await self._end("it was ended")

    async def _tell(self, question: Question) -> None:
        for line in question.lines[max(0, self._done - question.begin) :]:
            if self._worker is None:
                self._worker = await WorkerProcess.spawn(0)
                self._hearing = asyncio.create_task(self._hear(self._worker))
            self._worker.write(line)
            self._done += 1
        if self._worker is not None:
            self._worker.write(json.dumps({"lease": self._lease.until_ns}).encode() + b"\n")

    async def _hear(self, worker: WorkerProcess) -> None:
        """Keep what it says until it says nothing more."""
        while line := await worker.line():
            if len(self._lines) > UNREAD_LINES:
                worker.kill()
            self._lines.append(line)
        self._over = self._over or await worker.last_words()
        await worker.reap()

    def _answer(self, seen: int) -> Answer:
        del self._lines[: max(0, seen - self._seen)]  # an older question may come late, on a line that broke
        self._seen = max(self._seen, seen)
        return Answer(
            attempt=self._attempt,
            now_ns=here(),
            done=self._done,
            lines=tuple(self._lines),
            over=self._over,
            pid=self._worker.process.pid if self._worker is not None and not self._over else 0,
        )

    async def _end(self, why: str) -> None:
        self._over = self._over or why
        if self._worker is not None:
            self._worker.kill()
        if self._hearing is not None:
            await self._hearing
