"""A disk of the demo's own: small, seen by whoever knows the way, and gone with the last process that has it."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from chaosrunner.demo.options import DemoOptions, DemoUnavailable, free_base_port
from chaosrunner.demo.own_disk import BYTES, seen_from_outside
from chaosrunner.demo.running import running_demo

HOLD = """
import ctypes, os, sys
from pathlib import Path
from chaosrunner.demo.own_disk import own_disk

if (user := int(sys.argv[2])) != os.geteuid():
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, which the kernel takes from whoever changes users
with own_disk(Path(sys.argv[1])):
    print(flush=True)
    sys.stdin.read()
"""
ANYBODY = 64123
"""A user that nobody is."""


def can(*words):
    return not subprocess.run(["unshare", *words, "true"], capture_output=True, check=False).returncode


def may_mount(user):
    if shutil.which("unshare") is None:
        return False
    if user == os.geteuid():
        return can("--mount") if user == 0 else can("--user", "--mount")
    return os.geteuid() == 0 and can("--user", "--mount")


def run_as(user, *words):
    change = {} if user == os.geteuid() else {"user": user, "group": user, "extra_groups": []}
    subprocess.run(words, check=True, **change)


@contextmanager
def holding(user):
    """A process of a user that has such a disk, and where that is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # where any user can enter
        place = Path(folder).resolve() / "disk"
        place.parent.chmod(0o755)
        place.mkdir()
        if user != os.geteuid():
            os.chown(place, user, user)
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(place), str(user)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout.readline() == b"\n"
            yield process, place
        finally:
            process.communicate()
        assert process.returncode == 0


USERS = [
    pytest.param(user, marks=pytest.mark.skipif(not may_mount(user), reason=f"user {user} cannot be, or may not mount"))
    for user in dict.fromkeys((os.geteuid(), ANYBODY))
]


@pytest.mark.parametrize("user", USERS)
def test_the_disk_is_small_and_nobody_elses(user):
    """Root mounts it, anybody else in a user namespace of his own: who is the same user gets there, and only so."""
    with holding(user) as (process, place):
        disk = seen_from_outside(process.pid, place)
        stat = os.statvfs(disk)
        assert stat.f_blocks * stat.f_frsize == BYTES
        assert disk.stat().st_dev != place.stat().st_dev == place.parent.stat().st_dev
        assert disk.stat().st_uid == user
        assert str(place) not in Path("/proc/self/mounts").read_text()
        run_as(user, "touch", disk / "mine")
        assert [entry.name for entry in disk.iterdir()] == ["mine"]
        assert list(place.iterdir()) == []


async def test_one_namespace_at_a_time():
    """A network namespace that is made inside another mount namespace is seen only there, so both are refused."""
    with pytest.raises(DemoUnavailable, match="either the disk or the network"):
        async with running_demo(DemoOptions(base_port=free_base_port(), own_disk=True, isolated=True)):
            pass


@pytest.mark.postgres
@pytest.mark.skipif(not may_mount(os.geteuid()), reason="may not mount")
async def test_the_demo_keeps_its_trails_there(tmp_path):
    """The replicas have the disk, and it goes with them."""
    async with running_demo(DemoOptions(base_port=free_base_port(), own_disk=True)) as demo:
        async with aiohttp.ClientSession(demo.entry) as client:
            async with client.post("/login", json={"user": "user01", "password": "pass01"}) as response:
                token = (await response.json())["token"]
            headers = {"Authorization": f"Bearer {token}"}
            async with client.post("/agents", json={"name": "probe"}, headers=headers) as response:
                agent = (await response.json())["id"]
        assert os.statvfs(demo.disk).f_blocks * os.statvfs(demo.disk).f_frsize == BYTES
        async with asyncio.timeout(10):
            while not (said := "".join(path.read_text() for path in demo.disk.glob("*.jsonl"))):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert f'"did": "created", "agent": {agent}}}' in said
        directory = demo.directory
    assert not directory.exists()
