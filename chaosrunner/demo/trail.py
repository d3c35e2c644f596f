"""The audit trail: who changed what, a line each, in a file of the replica's own; kept with care or carelessly."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

EVERY_S = 0.2
"""How often what is waiting is written: often enough for a reader, seldom enough for a disk; and soon enough again."""
MOST_WAITING = 5000
MOST_BYTES = 2 * 2**20
"""A trail that is longer becomes the old one, which the next old one replaces."""


class Trail(Protocol):
    """Takes lines, and counts those that are not in the file."""

    @property
    def waiting(self) -> int:
        """Lines that are not in the file yet."""

    @property
    def lost(self) -> int:
        """Lines that will never be there."""

    def note(self, user: str, did: str, agent: int) -> None:
        """`user` did something to an agent. May raise OSError where nobody thought of it."""


class HastyTrail:
    """Writes each line where it stands."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.waiting = 0
        self.lost = 0

    def note(self, user: str, did: str, agent: int) -> None:
        """Append a line; raises OSError when there is no room for it."""
        try:
            # defect: while the user waits, on everybody's event loop, and no line means no answer; it grows for ever
            with self._path.open("ab") as file:
                file.write(_line(user=user, did=did, agent=agent))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.lost += 1
            raise


class PatientTrail:
    """Keeps lines until the disk takes them: no request waits for it, and what is lost is counted in the trail.

    The price: a replica that is killed takes along what it noted within the last `EVERY_S`, or since the disk was full.

    Args:
        path: The file.
        most: How many lines wait at most; those that come after are lost.
    """

    def __init__(self, path: Path, *, most: int = MOST_WAITING) -> None:
        self._path = path
        self._most = most
        self._lines: deque[bytes] = deque()
        self._told = 0
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Lines that are not in the file yet."""
        return len(self._lines)

    def note(self, user: str, did: str, agent: int) -> None:
        """Remember a line, as long as there is room for it."""
        if len(self._lines) < self._most:
            self._lines.append(_line(user=user, did=did, agent=agent))
        else:
            self.lost += 1

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Write what is waiting, again and again while the body lasts and once more at its end."""
        over = asyncio.Event()
        writer = asyncio.create_task(self._write_until(over))
        try:
            yield
        finally:
            over.set()
            await writer
            if self._lines or self.lost > self._told:
                print(f"{self.waiting} lines of the audit trail never found room, {self.lost} lost", file=sys.stderr)

    async def _write_until(self, over: asyncio.Event) -> None:
        ended = False
        while not ended:  # and not until it is over, which may be amid a write that knows nothing of the latest lines
            try:
                ended = await asyncio.wait_for(over.wait(), EVERY_S)
            except TimeoutError:
                pass
            await self.write()

    async def write(self) -> None:
        """Try once to write what is waiting."""
        count, lost = len(self._lines), self.lost
        batch = b"".join(self._lines)
        if lost > self._told:
            batch += _line(lost=lost - self._told)  # where they would have been: what waited came before them
        if not batch:
            return
        written = await asyncio.to_thread(_append, self._path, batch)
        if written:
            self._told = lost
            for _ in range(count):
                self._lines.popleft()


def _append(path: Path, batch: bytes) -> bool:
    """Append all of it, or nothing: half a line would be no evidence. Says which."""
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                if file.write(batch) < len(batch):
                    raise OSError("no room for all of it")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                return False
    except OSError:
        return False
    if before + len(batch) > MOST_BYTES:
        with suppress(OSError):  # it grows on, and is not written twice
            path.replace(path.with_suffix(".old"))
    return True


def _line(**facts: object) -> bytes:
    return json.dumps({"at": round(time.time(), 3), **facts}).encode() + b"\n"
