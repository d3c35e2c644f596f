"""Where the limits of a control group stand, in both versions, from texts as kernels write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fault_injectors import docker_cgroups as cgroups
from fault_injectors.docker_cgroups import Group, group_of

V1 = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"
V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "36 31 0:33 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)
V2 = "0::/system.slice/docker-abc.scope\n"
V2_MOUNTS = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "controller", "found"),
    [
        (V1, V1_MOUNTS, "cpu", Group(path=Path("/sys/fs/cgroup/cpu,cpuacct/docker/abc"), version=1)),
        (V1, V1_MOUNTS, "memory", Group(path=Path("/sys/fs/cgroup/memory/docker/abc"), version=1)),
        (V2, V2_MOUNTS, "cpu", Group(path=Path("/sys/fs/cgroup/system.slice/docker-abc.scope"), version=2)),
        (V2, V2_MOUNTS.replace(" / /sys", " /system.slice /sys"), "cpu",
         Group(path=Path("/sys/fs/cgroup/docker-abc.scope"), version=2)),
        (V2, V2_MOUNTS.replace(" / /sys", " /elsewhere /sys"), "memory", None),
        (V2, "", "memory", None),
    ],
)  # fmt: skip
def test_a_group_is_where_its_hierarchy_is_mounted(
    groups: str, mounts: str, controller: str, found: Group | None
) -> None:
    """Version 1 has a mount for each controller, version 2 one for all; a group outside of them is nowhere."""
    assert group_of(groups, mounts, controller) == found


def test_each_version_writes_its_values_in_its_own_way() -> None:
    """Half a core is half of the period, and never less than the kernel's millisecond."""
    assert (cgroups.cpu_file(1), cgroups.cpu_value(1, 0.5, 100_000)) == ("cpu.cfs_quota_us", "50000")
    assert (cgroups.cpu_file(2), cgroups.cpu_value(2, 2, 50_000)) == ("cpu.max", "100000 50000")
    assert cgroups.cpu_value(1, 0.001, 100_000) == "1000"
    assert (cgroups.memory_file(1), cgroups.memory_file(2)) == ("memory.limit_in_bytes", "memory.max")


def test_counters_are_read_from_either_version() -> None:
    """Throttled periods, and memory without what the cache could give back."""
    assert cgroups.throttled("nr_periods 9\nnr_throttled 4\nthrottled_time 12\n") == 4
    assert cgroups.throttled("") == 0
    assert cgroups.working_set(1000, "total_inactive_file 300\ninactive_file 1\n") == 700
    assert cgroups.working_set(1000, "inactive_file 5000\n") == 0
