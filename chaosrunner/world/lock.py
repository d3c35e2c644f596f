"""Locks that die with their holder: an exclusive flock on a file says who owns a run, or who claims a resource.

A forked child would inherit such a lock and keep it after its parent's death; everything we start is spawned, and the
descriptor is closed on exec.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

from chaosrunner.errors import Busy

if TYPE_CHECKING:
    from pathlib import Path

OWNER = "owner.lock"
_TRIES = 5
_BETWEEN_TRIES_S = 0.01


class FileLock:
    """An exclusive lock on a file, held until `release` or the death of this process."""

    def __init__(self, path: Path, fd: int, says: str) -> None:
        self.path = path
        self.says = says
        """What it was taken with, whether or not the disk had room for it."""
        self._fd = fd

    @classmethod
    def take(cls, path: Path, *, says: str = "") -> FileLock:
        """Take the lock and leave `says` in the file for whoever finds it held.

        Raises:
            Busy: somebody else holds it; the message is what the holder left.
            OSError: the file cannot be made.
        """
        for tried in range(_TRIES):
            if tried:  # somebody who only looks whether it is held, holds it for a moment
                time.sleep(_BETWEEN_TRIES_S)
            fd = _locked(path)
            if fd is not None:
                _write(fd, says)
                return cls(path, fd, says)
        raise Busy(f"{path} is held: {said(path) or 'the holder left no word'}")

    def say(self, text: str) -> None:
        """Leave another word in the file."""
        _write(self._fd, text)

    def add(self, line: str) -> None:
        """Put a line below what the file says; it is on disk when this returns, and what was there stays whole.

        Raises:
            OSError: it could not be written; the file is as it was.
        """
        text, size = f"\n{line}".encode(), os.fstat(self._fd).st_size
        try:
            if os.pwrite(self._fd, text, size) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def release(self, *, remove: bool = False) -> None:
        """Give it back, once or many times. With `remove` the file goes too: only its holder may do that."""
        if self._fd < 0:
            return
        if remove:
            try:
                self.path.unlink(missing_ok=True)
            except OSError:
                pass  # a file without a lock on it stops nobody
        os.close(self._fd)
        self._fd = -1


def held(path: Path) -> bool:
    """Whether somebody holds the lock now (this process included). A file that is not there is not held."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def said(path: Path) -> str:
    """What the last holder left in the file."""
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _locked(path: Path) -> int | None:
    """The locked descriptor of the file that has this name now; None if somebody else holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its previous holder may have removed the name while we waited: then we have locked a file nobody can find.
        if os.fstat(fd).st_ino == path.stat().st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def _write(fd: int, says: str) -> None:
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, says.encode(), 0)
    except OSError:
        pass  # a full disk must not stop whoever wants to undo; the words are only for people
