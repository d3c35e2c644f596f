"""How much of a resource is there and is free: of this host, of a cgroup (v1 and v2), of a file system."""

from __future__ import annotations

import os
from pathlib import Path

from chaosrunner.errors import InjectorError

UNLIMITED = 2**60
"""cgroup v1 says 'no limit' by a number near 2^63."""


def memory_total(cgroup: str) -> int:
    """Bytes of memory of the host, or that a cgroup may use.

    Raises:
        InjectorError: the cgroup has no limit, or none can be read.
    """
    import psutil

    whole: int = psutil.virtual_memory().total
    return min(whole, _of(cgroup, "memory.max", "memory.limit_in_bytes")) if cgroup else whole


def memory_free(cgroup: str) -> int:
    """Bytes that can still be used without swapping (MemAvailable), and within the cgroup's limit."""
    import psutil

    free: int = psutil.virtual_memory().available
    if not cgroup:
        return free
    used = _of(cgroup, "memory.current", "memory.usage_in_bytes")
    return min(free, _of(cgroup, "memory.max", "memory.limit_in_bytes") - used)


def pids_free(cgroup: str) -> int:
    """How many more processes and threads there can be on the host, or in a cgroup."""
    if cgroup:
        return _of(cgroup, "pids.max", "pids.max") - _of(cgroup, "pids.current", "pids.current")
    most = min(int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("pid_max", "threads-max"))
    # Fourth field of /proc/loadavg: runnable/all scheduling entities, proc_loadavg(5).
    return most - int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def disk_free(path: str) -> int:
    """Bytes that an ordinary user may still write to the file system of a path."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def in_cgroup(pid: int, cgroup: str) -> bool:
    """Whether the kernel counts a process to a cgroup."""
    return str(pid) in (Path(cgroup) / "cgroup.procs").read_text().split()


def busy_ticks(cpus: list[int]) -> tuple[int, int]:
    """Clock ticks that these CPUs were busy, and all ticks that passed on them; /proc/stat, proc_stat(5)."""
    busy = whole = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name.removeprefix("cpu").isdecimal() and int(name[3:]) in cpus:
            ticks = [int(number) for number in numbers[:8]]  # guest time, from field 9, is counted in user as well
            whole += sum(ticks)
            busy += sum(ticks) - ticks[3] - ticks[4]
    return busy, whole


def written_bytes(pid: int) -> int:
    """Bytes that the kernel has had to write to a disk for a process, proc_pid_io(5); 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def _of(cgroup: str, name: str, name_v1: str) -> int:
    for candidate in (name, name_v1):
        file = Path(cgroup) / candidate
        try:
            text = file.read_text().strip()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InjectorError(f"{file} cannot be read: {error.strerror}") from None
        if text == "max" or int(text) > UNLIMITED:
            raise InjectorError(f"{cgroup} has no limit: {candidate} is {text}")
        return int(text)
    raise InjectorError(f"{cgroup} is no cgroup directory with {name} or {name_v1}")
