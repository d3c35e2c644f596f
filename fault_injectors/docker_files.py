"""The file system of a container, reached through its main process, without following any link that it has laid.

`/proc/<pid>/root` is the container's root, but an absolute link below it would lead to the host's. So a path is walked
one directory at a time, and a link on the way is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from chaosrunner.errors import InjectorError
from fault_injectors import processes
from fault_injectors.docker_engine import Json
from fault_injectors.processes import Process


@contextmanager
def directory(member: Process, path: str) -> Iterator[int | None]:
    """A handle of a directory in a container; None when the container's process is gone.

    Raises:
        InjectorError: there is no such directory, a link is on the way to it, or we may not look.
    """
    try:
        handle = os.open(processes.PROC / str(member.pid) / "root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    except PermissionError:
        raise InjectorError(f"not permitted to see the files of {member.says}; run as root") from None
    try:
        if processes.now(member) is None:  # looked at after it was opened: it cannot have been another's before
            yield None
            return
        for part in PurePosixPath(path).parts[1:]:
            below = _step(handle, part, path, member)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def free(handle: int) -> int:
    """Bytes that an ordinary user may still write to the file system of a directory."""
    seen = os.fstatvfs(handle)
    return seen.f_bavail * seen.f_frsize


def size(handle: int, name: str) -> int | None:
    """Bytes of a file in a directory; None when there is none of that name."""
    try:
        return os.stat(name, dir_fd=handle, follow_symlinks=False).st_size
    except FileNotFoundError:
        return None


def names(handle: int, begin: str) -> list[str]:
    """Names of the files in a directory that begin so."""
    return sorted(name for name in os.listdir(handle) if name.startswith(begin))


def write(handle: int, name: str, length: int) -> None:
    """Take `length` bytes of the file system for a new file; nothing is left of it if there are not so many.

    Raises:
        OSError: there are not so many, or a file of that name is there.
    """
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=handle)
    try:
        os.posix_fallocate(file, 0, length)
    except OSError:
        remove(handle, name)
        raise
    finally:
        os.close(file)


def remove(handle: int, name: str) -> None:
    """Remove a file, if it is there."""
    try:
        os.unlink(name, dir_fd=handle)
    except FileNotFoundError:
        return


def lives_longer(found: Json, path: str) -> str:
    """The volume or directory of the host that a path of a container is on; empty when it ends with the container."""
    places = [str(mount["Destination"]) for mount in found["Mounts"] if mount["Type"] != "tmpfs"]
    tmpfs = [str(mount["Destination"]) for mount in found["Mounts"] if mount["Type"] == "tmpfs"]
    around = [place for place in (*places, *tmpfs, *(found["HostConfig"].get("Tmpfs") or {})) if _is_below(path, place)]
    nearest = max(around, key=len, default="")
    return nearest if nearest in places else ""


def _is_below(path: str, place: str) -> bool:
    return PurePosixPath(path).is_relative_to(place)


def _step(handle: int, part: str, path: str, member: Process) -> int:
    try:
        return os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
    except FileNotFoundError:
        raise InjectorError(f"{member.says} has no directory {path}") from None
    except NotADirectoryError:
        raise InjectorError(
            f"{path} of {member.says}: '{part}' is a link or no directory; say where it leads"
        ) from None
    except OSError as error:
        raise InjectorError(f"{path} of {member.says}: {error.strerror}") from None
