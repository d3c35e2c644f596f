"""Our fault proxy as a process of its own, with its audit in a file that nobody has to read along."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY_S = 20.0


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """A proxy process that is ready.

    Attributes:
        url: The address of its control API.
        pid: Its process id.
        audit: Where its audit goes, a JSON line for each entry.
    """

    url: str
    pid: int
    audit: Path

    def said(self, event: str) -> list[dict[str, Any]]:
        """The audit's entries of that event so far."""
        lines = [json.loads(line) for line in self.audit.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


@contextmanager
def own_process(audit: Path, *arguments: str, descriptors: int | None = None) -> Iterator[OwnProcess]:
    """A proxy process of ours, killed at the end; with `descriptors` it can have so many open at most."""
    command = [sys.executable, "-m", "chaosrunner.proxy", "-port", "0", "--log-format", "json", *arguments]
    if descriptors is not None:
        command = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(descriptors), *command]
    with audit.open("w") as lines:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=lines, text=True)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        assert ready[:1] == ["ready"], audit.read_text()
        yield OwnProcess(ready[1], process.pid, audit)
    finally:
        process.kill()
        process.communicate(timeout=READY_S)
