"""How many CPUs the load may use: what this process is allowed, less what a target on this host needs."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

PROC = Path("/proc/self")


def processes_for_load(hosts: Iterable[str]) -> tuple[int, str]:
    """How many worker processes make good use of this host, and why.

    Args:
        hosts: names or addresses of the target; should one be this host, a core is left to it.
    """
    affinity, quota = len(os.sched_getaffinity(0)), quota_cpus()
    allowed = min(affinity, quota)
    here = next((host for host in hosts if is_here(host)), None)
    workers = max(1, math.floor(allowed) - (here is not None))
    cpus = f"{allowed:.3g} {'CPU' if allowed == 1 else 'CPUs'} allowed" + (" by quota" if quota < affinity else "")
    return workers, cpus if here is None else f"{cpus}, one left to the target on this host ({here})"


def is_here(host: str) -> bool:
    """Whether a name or an address is one of this host's."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_bindable(family, address) for family, _, _, _, address in found)


def _bindable(family: int, address: object) -> bool:
    """Only an address of this host can be bound to."""
    try:
        with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
            probe.bind(address)  # type: ignore[arg-type]
    except OSError:
        return False
    return True


def quota_cpus(proc: Path = PROC) -> float:
    """The CPUs that control groups allow, in whole CPUs' time; infinite without a quota.

    A group's quota holds for all below it, so the tightest from ours up to the mount counts: `cpu.max` of version 2,
    `cpu.cfs_quota_us` over `cpu.cfs_period_us` of version 1 (Linux: admin-guide/cgroup-v2, scheduler/sched-bwc).
    """
    return min((quota for group in _groups(proc) if (quota := _quota(group)) is not None), default=math.inf)


def _groups(proc: Path) -> Iterator[Path]:
    """Every directory whose CPU quota concerns us."""
    ours = dict(_memberships(proc))
    for line in _lines(proc / "mountinfo"):
        where, _, what = line.partition(" - ")
        root, mount = where.split()[3:5]
        kind, _, options = what.split(" ", 2)
        controller = "" if kind == "cgroup2" else "cpu" if kind == "cgroup" and "cpu" in options.split(",") else None
        if controller is None or controller not in ours:
            continue
        path = Path(mount)
        yield path
        # Under a mount of a group of its own, a container's view, the path is that of the host, and not to be found.
        inside = ours[controller].removeprefix(root.rstrip("/")).strip("/")
        for part in Path(inside).parts:
            path = path / part
            yield path


def _memberships(proc: Path) -> Iterator[tuple[str, str]]:
    """Controller → path of our group; version 2 has the empty controller."""
    for line in _lines(proc / "cgroup"):
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _quota(group: Path) -> float | None:
    """The quota of one group; None when it has none."""
    try:
        quota, period = (_lines(group / "cpu.max") or [" ".join(_version_1(group))])[0].split()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, IndexError, ZeroDivisionError):  # `max`, or no such files
        return None


def _version_1(group: Path) -> list[str]:
    return _lines(group / "cpu.cfs_quota_us") + _lines(group / "cpu.cfs_period_us")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
