"""The audit: one line to stderr for every change, never in the way of the bytes."""

import select
import sys
from typing import Protocol, TextIO

# A pipe that poll calls writable takes 4096 bytes (PIPE_BUF) without blocking; a character is at most 4 of them.
_LONGEST_LINE = 1000


class Audit(Protocol):
    """What the proxy needs of a structlog logger."""

    def info(self, event: str, **values: object) -> object:
        """Write down a change."""

    def error(self, event: str, **values: object) -> object:
        """Write down something that went wrong."""


class PatientLog:
    """Writes lines to a stream, or loses them rather than block or fail: the proxy outlives whoever reads its stderr.

    Attributes:
        lost_lines: Lines that could not be written when they came.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost_lines = 0

    def info(self, line: str) -> None:
        """Write one line if it can be written now."""
        try:
            if self._writable_now():
                self._stream.write(f"{line[:_LONGEST_LINE]}\n")
                self._stream.flush()
            else:
                self.lost_lines += 1
        except (OSError, ValueError):  # nobody reads any more, or the stream is closed
            self.lost_lines += 1

    error = info

    def _writable_now(self) -> bool:
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):
            return True  # in memory
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        return any(event & select.POLLOUT for _, event in poll.poll(0))


def audit_to(stream: TextIO | None = None, *, as_json: bool = False) -> Audit:
    """A logger of changes.

    Args:
        stream: Where the lines go; stderr if not given.
        as_json: JSON lines instead of the form for people.
    """
    import structlog

    stream = stream or sys.stderr
    for_people = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    logger: Audit = structlog.wrap_logger(
        PatientLog(stream),
        wrapper_class=structlog.BoundLogger,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer() if as_json else for_people,
        ],
    )
    return logger
