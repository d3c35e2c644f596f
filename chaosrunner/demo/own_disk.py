"""A small disk that only the demo has: a tmpfs in a mount namespace, so that it can be filled and nobody else notices.

Whoever starts as root needs no more; anybody else becomes the owner of a user namespace first, where he may mount and
keeps his user. Nothing has to be put back: the kernel ends mount and namespace with the last process inside.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.demo.options import DemoUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES = 32 * 2**20
"""Room for both demos' trails for an hour, and little enough to be filled in a blink; memory only where written."""
# Linux, sched.h and mount.h
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 1 << 18
_MNT_DETACH = 2


def seen_from_outside(pid: int, directory: Path) -> Path:
    """The way to a directory as process `pid` sees it, for whoever shares its user but not its namespace."""
    # Without links: the absolute ones on the way would lead back to what the reader sees.
    return Path(f"/proc/{pid}/root") / directory.resolve().relative_to("/")


@contextmanager
def own_disk(directory: Path) -> Iterator[None]:
    """Mount it at `directory`, for this process and what it starts from now on. Call it before there are threads.

    Raises:
        DemoUnavailable: this kernel does not let us; nothing has changed.
    """
    _enter_namespaces()
    _call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    directory.mkdir(exist_ok=True)
    room = f"size={BYTES},mode=0700".encode()
    _call("mount", b"demo", bytes(directory), b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, room)
    try:
        yield
    finally:
        _call("umount2", bytes(directory), _MNT_DETACH)  # nobody could remove the directory below it


def _enter_namespaces() -> None:
    if os.geteuid() == 0:
        _call("unshare", _CLONE_NEWNS)
        return
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWUSER)
    # Everybody stays who he is: Postgres, for one, would not run as root, not even as the root of a namespace.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _call(name: str, *arguments: object) -> None:
    """A system call of the C library, which has them all since before any kernel that has user namespaces."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        why = os.strerror(ctypes.get_errno())
        raise DemoUnavailable(f"a disk of its own needs root, or a kernel that lets users mount: {name} says: {why}")
