"""Temporary directories that another user may enter, and that the next start removes if we died too fast to."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.demo.binaries import can_enter, server_uid
from chaosrunner.demo.leash import KEEP_USER
from chaosrunner.demo.options import DemoUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "chaosrunner-demo-"
_LOCK = "in-use"
_YOUNG_S = 60.0
"""A directory younger than this may not have its lock yet."""


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory (mode 0755) that the server's user can reach, removed at the end with all that is in it.

    Raises:
        DemoUnavailable: No temporary directory can be reached by that user.
    """
    root = _root()
    _remove_abandoned(root)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
    directory.chmod(0o755)  # mkdtemp makes 0700, which would keep the server's user out
    lock = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held as long as this process lives: the kernel lets go when it dies
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _root() -> Path:
    uid = server_uid()
    for root in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 - mkdtemp below them
        if root.is_dir() and (uid == KEEP_USER or can_enter(root, uid)):
            return root
    raise DemoUnavailable(
        f"user {uid} can enter no temporary directory, and Postgres cannot run as root; set TMPDIR to one it can"
    )


def _remove_abandoned(root: Path) -> None:
    """Remove what demos left that were ended by SIGKILL: old enough, ours, and nobody holds the lock."""
    for directory in root.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = directory.stat()
            if status.st_uid == os.geteuid() and time.time() - status.st_mtime > _YOUNG_S:
                _remove_if_unlocked(directory)


def _remove_if_unlocked(directory: Path) -> None:
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)
