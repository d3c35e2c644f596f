"""How many processes make good use of a host."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from dask_rig import EXPERIMENT, Desk
from load_rig import OK, Target, always

from chaosrunner.load.cpus import is_here, processes_for_load, quota_cpus

V2 = "31 23 0:28 {root} {mount} rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
V1 = "32 31 0:29 {root} {mount} rw,relatime - cgroup cgroup rw,cpu,cpuacct\n33 1 0:3 / /other rw - tmpfs tmpfs rw\n"


class Host:
    """The files that say what control groups allow."""

    def __init__(self, where: Path, cgroup: str, mountinfo: str, *, root: str = "/") -> None:
        self.proc, self.mount = where / "proc", where / "cgroup"
        self.proc.mkdir()
        (self.proc / "cgroup").write_text(cgroup)
        (self.proc / "mountinfo").write_text(mountinfo.format(root=root, mount=self.mount))

    def write(self, group: str, **files: str) -> None:
        """Files of a group; two underscores are a dot."""
        (self.mount / group).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.mount / group / name.replace("__", ".")).write_text(text + "\n")

    def quota(self) -> float:
        return quota_cpus(self.proc)


def test_the_tightest_quota_above_us_counts(tmp_path: Path) -> None:
    """Version 2: of our group and all above it the smallest quota counts; one beside it and `max` do not."""
    host = Host(tmp_path, "0::/user/ours\n", V2)
    host.write("user/ours", cpu__max="max 100000")
    host.write("user/theirs", cpu__max="1000 100000")
    assert host.quota() == math.inf
    host.write("user", cpu__max="250000 100000")
    assert host.quota() == 2.5
    host.write("user/ours", cpu__max="75000 50000")
    assert host.quota() == 1.5


def test_the_quota_of_version_1(tmp_path: Path) -> None:
    """Version 1: quota over period of the hierarchy that has the cpu controller; −1 is none."""
    host = Host(tmp_path, "7:memory:/mem\n3:cpu,cpuacct:/ours\n0::/unified\n", V1)
    host.write("", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert host.quota() == math.inf
    host.write("ours", cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000")
    assert host.quota() == 3.0


@pytest.mark.parametrize("root", ["/docker/4711", "/"])
def test_a_container_sees_its_group_at_the_mount(tmp_path: Path, root: str) -> None:
    """In a container the mount is its own group, whatever path the host knows it by."""
    host = Host(tmp_path, "0::/docker/4711\n", V2, root=root)
    host.write("", cpu__max="50000 100000")
    assert host.quota() == 0.5


def test_a_host_without_control_groups(tmp_path: Path) -> None:
    """Where there is nothing to read there is no quota, and real files of this host are read without complaint."""
    assert quota_cpus(tmp_path) == math.inf
    assert quota_cpus() > 0


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("localhost", True),
        ("192.0.2.1", False),  # reserved for documentation: nobody's
        ("no-such-host.invalid", False),
        ("x" * 70, False),
    ],
)
def test_what_is_this_host(host: str, here: bool) -> None:
    """An address is here if it can be bound to; a name is where its addresses are."""
    assert is_here(host) is here


def test_a_core_is_left_to_a_target_on_this_host() -> None:
    """As many processes as there are CPUs allowed, less one for a target that is here, never none; and it says so."""
    allowed = min(len(os.sched_getaffinity(0)), quota_cpus())
    workers, why = processes_for_load(["192.0.2.1"])
    assert workers == max(1, math.floor(allowed))
    assert why.startswith(f"{allowed:.3g} CPU")
    assert "left" not in why
    beside, why = processes_for_load(["192.0.2.1", "127.0.0.1"])
    assert beside == max(1, math.floor(allowed) - 1)
    assert why.endswith("one left to the target on this host (127.0.0.1)")


def test_affinity_is_respected() -> None:
    """A process that may use one CPU starts one worker."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert processes_for_load([]) == (1, "1 CPU allowed")
    finally:
        os.sched_setaffinity(0, before)


async def test_auto_is_told(tmp_path: Path) -> None:
    """With `workers: auto` plan, journal and report say how many processes send and why."""
    desk = Desk(tmp_path)
    workers, why = processes_for_load(["127.0.0.1"])
    async with Target(always(OK)) as target:
        desk.write(target.url, experiment=EXPERIMENT.replace("  warmup:", "  workers: auto\n  warmup:"))
        code, out, err = await desk.run("plan", "own.yaml")
        assert code == 0, out + err
        told = " ".join(out.split())
        assert f"from {workers} process" in told
        assert f"(auto: {why})" in told
        assert target.requests == []
        code, out, err = await desk.run("run", "own.yaml")
        assert code == 0, out + err
    (started,) = [event for event in desk.events() if event["kind"] == "LoadStarted"]
    assert (started["workers"], started["why"]) == (workers, why)
    (page,) = (desk.home / "runs").glob("*/report.html")
    assert f"{workers}: {why}" in page.read_text()
