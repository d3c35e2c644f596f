"""Who keeps which connection, since when, and by which way through the program; and what of that does not add up.

Three books are compared: the client's (who keeps a line), the pool's (what is open, busy, idle) and the server's
(which sessions carry our name, and what each does). A leak shows as a line that somebody keeps for too long, or as a
session at the server that nobody here has.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, FrameType

DEEPEST = 12
"""Frames of a stack that are kept."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A line that somebody keeps."""

    line: int
    """Its number: the last part of its session's application_name."""
    pid: int
    """Of the server's process."""
    by: str
    """The step that took it."""
    since_ns: int
    frames: tuple[tuple[CodeType, int], ...]

    def stack(self) -> list[str]:
        """The way to where it was taken, innermost last: `file.py:12 in function`."""
        return [
            f"{'/'.join(PurePath(code.co_filename).parts[-3:])}:{line} in {code.co_qualname}"
            for code, line in reversed(self.frames)
        ]

    def told(self, now_ns: int) -> dict[str, object]:
        """It in words for the journal."""
        age_s = round((now_ns - self.since_ns) / 1e9, 3)
        return {"step": self.by, "session": self.line, "pid": self.pid, "age_s": age_s, "stack": self.stack()}


@dataclass(frozen=True, slots=True)
class Session:
    """What the server says of a session of ours."""

    pid: int
    number: str
    """The last part of its application_name."""
    state: str
    """`idle`, `active`, `idle in transaction`, …"""
    for_s: float
    """How long it has been in that state."""


class Leases:
    """The client's book."""

    def __init__(self, longest_ns: int) -> None:
        self._longest_ns = longest_ns
        self._open: dict[int, Lease] = {}
        self._named: set[int] = set()
        self.leaked = 0
        """How many were kept too long so far."""

    def taken(self, line: int, pid: int, by: str, now_ns: int) -> None:
        """Somebody keeps a line from now on."""
        self._open[line] = Lease(line, pid, by, now_ns, _frames())

    def ended(self, line: int) -> None:
        """It was given back, or is gone."""
        self._open.pop(line, None)
        self._named.discard(line)

    def overdue(self, now_ns: int) -> list[Lease]:
        """Those that are kept too long and were not named before, oldest first."""
        found = [
            lease
            for lease in self._open.values()
            if now_ns - lease.since_ns >= self._longest_ns and lease.line not in self._named
        ]
        self._named.update(lease.line for lease in found)
        self.leaked += len(found)
        return found

    def all(self) -> list[Lease]:
        """All that are kept now, oldest first."""
        return list(self._open.values())


def strangers(sessions: Iterable[Session], pids: Iterable[int]) -> list[Session]:
    """Sessions that carry our name and that nobody here has."""
    known = frozenset(pids)
    return [session for session in sessions if session.pid not in known]


def _frames() -> tuple[tuple[CodeType, int], ...]:
    """Where the caller's caller stands; code and lines only, so that no frame is kept alive."""
    found: list[tuple[CodeType, int]] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and len(found) < DEEPEST:
        found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)
