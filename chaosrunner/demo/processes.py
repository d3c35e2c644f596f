"""One child process: started on a leash, stopped politely and then surely."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaosrunner.demo.leash import KEEP_USER, leashed

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run and how to end it.

    Attributes:
        name: Short name for people and for the log file.
        argv: Program and arguments.
        log: File that its output is appended to.
        environment: Variables added to ours; secrets travel here, because command lines are public.
        stop_signal: The polite request to end.
        death_signal: What it gets from the kernel when we end.
        uid: User to run as; ours when `KEEP_USER`.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL
    uid: int = KEEP_USER


class Child:
    """A process made from a `Command`; may be started again after it ended."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The pid while it runs, else None."""
        if self._process is None or self._process.returncode is not None:
            return None
        return self._process.pid

    async def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches us alone and we end it in order."""
        with self.command.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *leashed(list(self.command.argv), death_signal=self.command.death_signal, uid=self.command.uid),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self.command.environment,
                cwd="/" if self.command.uid != KEEP_USER else None,
                start_new_session=True,
            )

    async def ended(self) -> int:
        """Wait until it ends.

        Returns:
            Its return code; negative is the signal that ended it.
        """
        assert self._process is not None, "start it first"
        return await self._process.wait()

    async def stop(self, *, grace_s: float = 3.0) -> None:
        """End it: the polite signal, `grace_s` of patience, then SIGKILL. Harmless when it has ended."""
        if self._process is None:
            return
        self._send(self.command.stop_signal)
        self._send(signal.SIGCONT)  # a paused process would not hear the request
        try:
            await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            self._send(signal.SIGKILL)
            await self._process.wait()

    def last_words(self, *, lines: int = 3) -> str:
        """The end of its log on one line, for an error message."""
        try:
            text = self.command.log.read_text(errors="replace")
        except OSError:
            return ""
        return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip())

    def _send(self, number: int) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            try:
                process.send_signal(number)
            except ProcessLookupError:
                pass  # it ended in this very moment
