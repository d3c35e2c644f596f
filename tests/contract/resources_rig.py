"""File systems and cgroups of our own, small enough to use up."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def may_mount() -> bool:
    """Whether this process may mount a file system: it is root, and has CAP_SYS_ADMIN."""
    effective = next(
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:")
    )
    return os.geteuid() == 0 and bool(int(effective, 16) >> 21 & 1)


def mount(folder: Path) -> None:
    """A new file system of 48 MB and 2,000 inodes, in memory."""
    options = "size=48m,nr_inodes=2000"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "chaosrunner-test", str(folder)], check=True)


def umount(folder: Path) -> None:
    """Take it away; a holder may keep what it has of it."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A small file system, mounted on a folder for as long as the context lasts."""
    mount(folder)
    try:
        yield folder
    finally:
        umount(folder)


def cgroup_root(controller: str) -> Path | None:
    """Where cgroups of a controller (v1) can be made; None when there is no such hierarchy or we may not."""
    root = Path("/sys/fs/cgroup") / controller
    return root if root.is_dir() and os.access(root, os.W_OK) else None


@contextmanager
def cgroup(root: Path, settings: dict[str, str]) -> Iterator[Path]:
    """A cgroup with these settings; it has to be empty at the end."""
    folder = root / f"chaosrunner-test-{os.getpid()}"
    folder.mkdir()
    try:
        for name, value in settings.items():
            (folder / name).write_text(value)
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a cgroup, once the last of its dead has been buried."""
    for _ in range(100):
        try:
            return folder.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.05)
    return folder.rmdir()
