"""The runner as its watchdog sees it: a pidfd, so that no other process of the same number is ever meant."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path


def started_at(pid: int) -> int:
    """When a process started, in clock ticks since boot. Raises ProcessLookupError when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessLookupError(f"no process {pid}") from error
    # The name in parentheses may hold anything, even parentheses; fields are counted from the last one.
    return int(stat.rpartition(")")[2].split()[19])


class RunnerProcess:
    """A process that may be watched and killed, and is surely the one that was meant."""

    def __init__(self, pid: int, started: int) -> None:
        """Open it.

        Args:
            pid: its number.
            started: when it started, in clock ticks since boot; read by itself.

        Raises:
            ProcessLookupError: it is gone already.
        """
        self.pid = pid
        self.fd = os.pidfd_open(pid)
        # Checked after opening: from here on the descriptor means this one process, whatever becomes of its number.
        if started_at(pid) != started:
            os.close(self.fd)
            raise ProcessLookupError(f"process {pid} is another one now")

    def dead(self) -> bool:
        """Whether it has ended."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def kill(self) -> None:
        """End it, even when it is stopped; harmless when it is dead."""
        try:
            signal.pidfd_send_signal(self.fd, signal.SIGKILL)
        except ProcessLookupError:
            pass
