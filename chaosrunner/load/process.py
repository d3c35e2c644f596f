"""A worker process, as its parent knows it: told by lines on its stdin, heard by lines on its stdout."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import orjson

from chaosrunner.errors import LoadBroken

PROGRAM = ("-P", "-m", "chaosrunner.load.worker")
"""Without the working directory on the module path: a stranger's `json.py` there must not end up in a worker."""

LINE_BYTES = 1 << 28
READ_AHEAD_BYTES = 1 << 20
"""What has been said beyond that stays with the worker until it is heard: after a runner got no CPU for half a minute,
all of it at once would be tens of megabytes."""
STDERR_BYTES = 4_000
REAP_S = 5.0


@dataclass(slots=True)
class WorkerProcess:
    """One worker."""

    number: int
    process: asyncio.subprocess.Process
    stderr: asyncio.Task[str]
    heard: int = 0
    """Frames so far."""
    ended: bool = False
    """It has sent its last frame."""
    lost: bool = False

    @classmethod
    async def spawn(
        cls, number: int, program: Sequence[str] = ("-P", "-m", "chaosrunner.load.worker")
    ) -> WorkerProcess:
        """Start one: in a session of its own, so a terminal's Ctrl-C does not reach it, and without our descriptors.

        Args:
            number: its shard.
            program: what this Python is to run; it must speak a worker's protocol.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *program),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=READ_AHEAD_BYTES,
        )
        assert process.stderr is not None
        return cls(number, process, asyncio.create_task(_tail(process.stderr)))

    clock_error_ns: ClassVar[int] = 0
    """Its clock is ours."""

    @property
    def running(self) -> bool:
        """Whether there is a process to speak of."""
        return self.process.returncode is None

    @property
    def pids(self) -> frozenset[int]:
        """Itself, while it lives."""
        return frozenset({self.process.pid}) if self.running else frozenset()

    async def get_ready(self, orders: bytes) -> None:
        """Hand over its orders and wait for its word. Raises LoadBroken with the worker's reason."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(orders)
            await self.process.stdin.drain()
            word = await self.hear()
        except (OSError, ValueError) as error:
            raise LoadBroken(f"load worker {self.number}: {error}") from error
        if word is None:
            raise LoadBroken(f"load worker {self.number}: {await self.last_words()}")
        if "ready" not in word:
            raise LoadBroken(str(word.get("broken", f"load worker {self.number} said {word!r}")))

    def tell(self, message: Mapping[str, object]) -> None:
        """Send a line; one that is gone is not told."""
        self.write(json.dumps(message).encode() + b"\n")

    def write(self, line: bytes) -> None:
        """Send a line that is one already."""
        assert self.process.stdin is not None
        if not self.process.stdin.is_closing():
            self.process.stdin.write(line)

    async def hear(self) -> dict[str, object] | None:
        """The next line it says; None at the end. Raises ValueError when it is no JSON object."""
        line = await self.line()
        if not line:
            return None
        message = orjson.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"no object: {line[:80]!r}")
        return message

    async def line(self) -> bytes:
        """The same as it was written; empty at the end. Raises ValueError where it has no end."""
        assert self.process.stdout is not None
        parts: list[bytes] = []
        while sum(map(len, parts)) < LINE_BYTES:
            try:
                return b"".join([*parts, await self.process.stdout.readuntil(b"\n")])
            except asyncio.LimitOverrunError as long:
                parts.append(await self.process.stdout.readexactly(long.consumed))
            except asyncio.IncompleteReadError:
                return b""  # nothing, or half a frame of a worker that was killed
        raise ValueError(f"a line of more than {LINE_BYTES} bytes")

    async def last_words(self) -> str:
        """How it ended, and the last line it complained with."""
        code = await self.process.wait()
        said = (await self.stderr).strip().splitlines()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        return f"{how}: {said[-1]}" if said else how

    def kill(self) -> None:
        """End it now."""
        if self.running:
            try:
                self.process.kill()
            except ProcessLookupError:
                pass  # it was faster

    async def reap(self) -> None:
        """Wait until it is gone; one that has said its last goes by itself, any other is killed."""
        # Popen's kill reaps what is dead already, and the loop's own watcher then complains about an unknown child.
        if not (self.ended and await self._gone()):
            self.kill()
            await self._gone()  # else it is uninterruptible in the kernel; SIGKILL is pending
        self.stderr.cancel()
        transport = getattr(self.process, "_transport", None)
        if transport is not None:
            transport.close()  # else its pipes stay open until the collector finds them

    async def _gone(self) -> bool:
        try:
            await asyncio.wait_for(self.process.wait(), REAP_S)
        except TimeoutError:
            return False
        return True


async def _tail(stream: asyncio.StreamReader) -> str:
    """The end of what comes, read to the end so that the writer never blocks."""
    kept = b""
    while chunk := await stream.read(STDERR_BYTES):
        kept = (kept + chunk)[-STDERR_BYTES:]
    return kept.decode(errors="replace")
