"""What a journal is written on: a thread appends lines and frames, and syncs off the event loop.

When the disk is full or a sync fails, the paper is broken for good: `sync` says so from then on, frames are dropped and
a ballast file makes room for the last facts, which are still written as well as they can be.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import zlib
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from chaosrunner.model.events import Entry, SlotsArrived, to_json
from chaosrunner.world import segments
from chaosrunner.world.compaction import Compactor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVENTS = "events.jsonl"
BALLAST = "ballast"
BALLAST_BYTES = 256 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Disk:
    """The two calls that may fail. Tests give one that fails, or that kills the process at a chosen call."""

    def write(self, fd: int, data: memoryview) -> int:
        """Write some of the data; how much."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Return when all written so far survives a power cut."""
        os.fsync(fd)


class Paper(Protocol):
    """Where entries go. None of these waits."""

    def put(self, entry: Entry) -> None:
        """Append an entry."""
        ...

    def sync(self, done: Callable[[str], object]) -> None:
        """Call `done` once every entry put so far is durable, or with the reason why it is not."""
        ...

    def close(self, done: Callable[[str], object]) -> None:
        """Sync, close, and call `done`; what is put afterwards is forgotten."""
        ...


@dataclass(frozen=True, slots=True)
class _Sync:
    done: Callable[[str], object]
    last: bool = False


class FilePaper:
    """A run directory: `events.jsonl`, `slots/` and, until it is needed, `ballast`."""

    def __init__(self, run_dir: Path, *, disk: Disk, broke: Callable[[str], object], fresh: bool) -> None:
        """Open the files.

        Args:
            run_dir: the directory, which exists.
            disk: how to write and sync.
            broke: told once, from the writing thread, why the paper cannot be trusted any more.
            fresh: a new run; otherwise the file is there already, and may end in half a line.

        Raises:
            OSError: a file cannot be made; FileExistsError when a fresh one is there already.
        """
        self._run_dir = run_dir
        self._disk = disk
        self._broke = broke
        self._why = ""
        self._torn = not fresh
        self._segment_name = ""
        self._compactor = Compactor()
        self._segment = -1
        how = os.O_EXCL | os.O_CREAT if fresh else 0
        self._events = os.open(run_dir / EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | how, 0o644)
        self._ballast = run_dir / BALLAST
        if fresh:
            (run_dir / segments.FOLDER).mkdir(exist_ok=True)
            _fill(self._ballast)
            sync_folder(run_dir)
        self._orders: SimpleQueue[Entry | _Sync] = SimpleQueue()
        threading.Thread(target=self._work, name="journal", daemon=True).start()

    def put(self, entry: Entry) -> None:
        """Append an entry."""
        self._orders.put(entry)

    def sync(self, done: Callable[[str], object]) -> None:
        """Call `done` once every entry put so far is durable, or with the reason why it is not."""
        self._orders.put(_Sync(done))

    def close(self, done: Callable[[str], object]) -> None:
        """Sync, close, and call `done`; what is put afterwards is forgotten."""
        self._orders.put(_Sync(done, last=True))

    def _work(self) -> None:
        """Write in order; one sync answers all who asked for one in the meantime."""
        closing = False
        while not closing:
            waiting = []
            for order in self._batch():
                if isinstance(order, Entry):
                    self._write(order)
                else:
                    waiting.append(order.done)
                    closing |= order.last
            if waiting:
                self._attempt(lambda: self._disk.fsync(self._events))
            if closing:
                self._close()
            for done in waiting:
                done(self._why)

    def _batch(self) -> list[Entry | _Sync]:
        orders = [self._orders.get()]
        try:
            while True:
                orders.append(self._orders.get_nowait())
        except Empty:
            return orders

    def _write(self, entry: Entry) -> None:
        if isinstance(entry.event, SlotsArrived):
            self._compactor.note(entry)
            if not self._why:  # frames are what fills a disk: once it is full there is room for small facts only
                self._attempt(lambda: self._write_frame(entry))
            return
        self._compactor.note(entry)
        if not self._attempt(lambda: self._append(line(entry))):
            self._attempt(lambda: self._append(line(entry)))

    def _attempt(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except Exception as error:  # whatever it is, the thread goes on: somebody may be waiting for an answer
            self._fail(error)
            return False
        return True

    def _fail(self, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in _FULL:
            self._ballast.unlink(missing_ok=True)
        if not self._why:
            self._why = str(error) or type(error).__name__
            self._broke(self._why)

    def _append(self, data: bytes) -> None:
        """Append a line; after half a line, a newline ends the half first."""
        if self._torn:
            data = b"\n" + data
        self._torn = True
        self._write_all(self._events, data)
        self._torn = False

    def _write_frame(self, entry: Entry) -> None:
        name, closed = segments.segment_of(entry.at_ns), self._segment_name
        if name != self._segment_name:
            if self._segment >= 0:
                self._close_segment()
                self._compactor.closed(self._run_dir / segments.FOLDER / closed)
            path = self._run_dir / segments.FOLDER / name
            self._segment = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._segment_name = name
        self._write_all(self._segment, segments.encode([entry]))

    def _write_all(self, fd: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._disk.write(fd, rest) :]

    def _close_segment(self) -> None:
        if self._segment >= 0:
            os.close(self._segment)
            self._segment, self._segment_name = -1, ""

    def _close(self) -> None:
        if self._segment >= 0:
            self._attempt(lambda: self._disk.fsync(self._segment))
            self._close_segment()
        self._compactor.finish()
        os.close(self._events)
        self._ballast.unlink(missing_ok=True)


class NoPaper:
    """Nothing is kept: for debts that no journal knows of."""

    def put(self, entry: Entry) -> None:
        """Forget it."""

    def sync(self, done: Callable[[str], object]) -> None:
        """Answer at once."""
        done("")

    def close(self, done: Callable[[str], object]) -> None:
        """Answer at once."""
        done("")


def line(entry: Entry) -> bytes:
    """An entry as a line: JSON whose first member is the CRC-32 of the rest, so that a flipped bit is seen.

    Raises:
        TypeError, ValueError: the event holds something that is not JSON.
    """
    told = {"n": entry.n, "at_ns": entry.at_ns, "wall": entry.wall, "epoch": entry.epoch}
    body = json.dumps({**told, "event": to_json(entry.event)}, ensure_ascii=False).encode()
    return b'{"crc": "%08x", %s\n' % (zlib.crc32(body), body[1:])


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fill(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, BALLAST_BYTES)
    finally:
        os.close(fd)
