"""Where the limits of a process's control group stand, in either version of control groups.

Pure: texts of /proc in, paths and values out. Version 1 has a hierarchy for each controller, version 2 one for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

UNLIMITED_V2 = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A directory of control files."""

    path: Path
    version: int
    """1 or 2."""


def group_of(groups: str, mounts: str, controller: str) -> Group | None:
    """The control group of a process for one controller.

    Args:
        groups: its /proc/<pid>/cgroup.
        mounts: our /proc/self/mountinfo.
        controller: `cpu` or `memory`.

    Returns:
        None where that hierarchy is not mounted here.
    """
    unified = None
    for line in groups.splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            found = _mounted(mounts, path, controller)
            if found is not None:
                return Group(path=found, version=1)
        if not names:
            unified = _mounted(mounts, path, "")
    return None if unified is None else Group(path=unified, version=2)


def _mounted(mounts: str, path: str, controller: str) -> Path | None:
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind != ("cgroup" if controller else "cgroup2") or (controller and controller not in _words(options)):
            continue
        root, place = fields.split(" ")[3:5]
        below = PurePosixPath(path)
        if below.is_relative_to(root):
            return Path(place) / below.relative_to(root)
    return None


def _words(options: str) -> list[str]:
    return options.replace(" ", ",").split(",")


def cpu_file(version: int) -> str:
    """The file that holds the CPU quota."""
    return "cpu.cfs_quota_us" if version == 1 else "cpu.max"


def memory_file(version: int) -> str:
    """The file that holds the memory limit."""
    return "memory.limit_in_bytes" if version == 1 else "memory.max"


def cpu_value(version: int, cores: float, period_us: int) -> str:
    """What to write for so many cores: microseconds of CPU time in a period, of all cores together."""
    quota = max(1000, round(cores * period_us))
    return str(quota) if version == 1 else f"{quota} {period_us}"


def throttled(stat: str) -> int:
    """How many periods ended with the group waiting for the next, out of its cpu.stat."""
    return _counts(stat).get("nr_throttled", 0)


def working_set(usage: int, stat: str) -> int:
    """Memory that cannot be had back by dropping files from the cache, as `docker stats` counts it, in bytes."""
    counts = _counts(stat)
    return usage - min(usage, counts.get("total_inactive_file", counts.get("inactive_file", 0)))


def _counts(stat: str) -> dict[str, int]:
    pairs = (line.split() for line in stat.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
