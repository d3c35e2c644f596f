"""What resource faults refuse, what they leave to others, and that they end by themselves."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from contract_rig import fault_of, system_of
from resources_rig import cgroup, cgroup_root, may_mount, small_disk

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context
from chaosrunner.model.system import Component
from chaosrunner.model.units import Bytes
from chaosrunner.world.injectors import RealTools
from fault_injectors import resources_lease as lease
from fault_injectors.leased import GRACE_S
from fault_injectors.resources import Cpu, Memory, ProcessTable
from fault_injectors.resources_disk import Disk, DiskIo, Inodes
from fault_injectors.resources_holder import allocated

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = RealTools({})
MOUNTS = pytest.mark.skipif(not may_mount(), reason="needs root with CAP_SYS_ADMIN: a file system of our own is filled")
SYSTEM = system_of(Component(name="api"))


def context_of(keep: tuple[str, ...] = ()) -> Context:
    """What a run would give; each test is a run of its own."""
    return Context(
        run=f"resources{random.randrange(10**9)}", system=SYSTEM, tools=TOOLS, rng=random.Random(1), spare=frozenset,
        keep=keep,
    )  # fmt: skip


def free(disk: Path) -> int:
    """Bytes that can still be written."""
    return os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize


def make_files(disk: Path, count: int) -> None:
    """So many empty files."""
    for number in range(count):
        (disk / f"theirs-{number}").touch()


def can_fork_in(group: Path) -> bool:
    """Whether a process of this cgroup can have a child."""
    script = f"echo $$ > {group}/cgroup.procs && (true; true)"
    return subprocess.run(["sh", "-c", script], capture_output=True, check=False).returncode == 0


async def in_effect(injector: Any, **params: object) -> Any:
    """The recipe of a fault that is in effect, with its evidence."""
    recipe = await injector.prepare(fault_of(injector, None, **params), context_of())
    await injector.inject(recipe, TOOLS)
    async with asyncio.timeout(15):
        while not (evidence := await injector.verify(recipe, TOOLS)).ok:
            assert evidence.ok is None, evidence.says
            await asyncio.sleep(0.05)
    return recipe


@MOUNTS
async def test_a_full_disk_keeps_its_floor_and_gives_back_when_others_write(tmp_path: Path) -> None:
    """Others can write up to the floor; what they take of it is given back to them."""
    with small_disk(tmp_path) as disk:
        recipe = await in_effect(Disk(), path=str(disk), floor=4_000_000)
        try:
            assert 3_900_000 < free(disk) < 4_200_000
            (disk / "theirs").write_bytes(bytes(3_000_000))
            async with asyncio.timeout(10):
                while free(disk) < 3_900_000:  # noqa: ASYNC110 - a file system tells nobody
                    await asyncio.sleep(0.05)
            assert [entry.name for entry in disk.iterdir()] == ["theirs"]
        finally:
            await Disk().undo(recipe, TOOLS)


@MOUNTS
async def test_what_others_took_meanwhile_is_not_taken(tmp_path: Path) -> None:
    """Where less is free than was thought, a filler takes what there is; where nothing is, it says so."""
    with (
        small_disk(tmp_path) as disk,
        tempfile.TemporaryFile(dir=disk) as ours,
        tempfile.TemporaryFile(dir=disk) as late,
    ):
        thought = free(disk)
        (disk / "theirs").write_bytes(bytes(thought // 4))
        taken = allocated(ours.fileno(), 0, thought)
        assert thought // 4 < taken <= thought * 3 // 4
        while more := allocated(ours.fileno(), taken, thought):
            taken += more
        assert free(disk) == 0
        with pytest.raises(OSError, match="No space left"):
            allocated(late.fileno(), 0, thought)


@MOUNTS
async def test_without_inodes_no_file_can_be_made_though_there_is_room(tmp_path: Path) -> None:
    """Making files ends in ENOSPC with megabytes free, and works again after the undo."""
    with small_disk(tmp_path) as disk:
        recipe = await in_effect(Inodes(), path=str(disk))
        try:
            with pytest.raises(OSError, match="No space left"):
                make_files(disk, 100)
            assert os.statvfs(disk).f_bavail > 1000
        finally:
            await Inodes().undo(recipe, TOOLS)
        (disk / "again").touch()


@pytest.mark.parametrize("kind", [Disk, DiskIo, Inodes])
async def test_the_file_system_of_our_own_state_is_refused(kind: Any, tmp_path: Path) -> None:
    """No disk fault is aimed at the file system that the state directory is, or will be, on."""
    context = context_of(keep=(str(tmp_path / "not" / "made" / "yet"),))
    with pytest.raises(InjectorError, match="where chaosrunner keeps its own state"):
        await kind().prepare(fault_of(kind(), None, path=str(tmp_path)), context)


@MOUNTS
async def test_a_file_system_in_memory_has_no_disk_to_keep_busy(tmp_path: Path) -> None:
    """Disk I/O without a disk is refused."""
    with small_disk(tmp_path) as disk, pytest.raises(InjectorError, match="without a disk"):
        await DiskIo().prepare(fault_of(DiskIo(), None, path=str(disk)), context_of())


@MOUNTS
async def test_a_disk_that_is_larger_than_the_one_meant_is_refused(tmp_path: Path) -> None:
    """Who says how much may be taken at most has nothing taken where it would be more."""
    with small_disk(tmp_path) as disk:
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        with pytest.raises(InjectorError, match="more than `most: 1MB`"):
            await Disk().prepare(fault_of(Disk(), None, path=str(disk), floor=0, most=1_000_000), context_of())
        await Disk().prepare(fault_of(Disk(), None, path=str(disk), floor=0, most=free), context_of())
    with pytest.raises(ValueError, match="'most' is above 0B"):
        Disk.Params(path="/", most=Bytes(0))


async def test_memory_beyond_the_floor_is_refused() -> None:
    """What would leave others less than the floor is not begun."""
    with pytest.raises(InjectorError, match="less than the floor"):
        await Memory().prepare(fault_of(Memory(), None, to=1.0), context_of())


async def test_more_cpus_and_processes_than_there_are_are_refused() -> None:
    """Neither is capped in silence."""
    with pytest.raises(InjectorError, match="we may run on"):
        await Cpu().prepare(fault_of(Cpu(), None, cores=10_000), context_of())
    with pytest.raises(InjectorError, match="would not leave"):
        await ProcessTable().prepare(fault_of(ProcessTable(), None, count=10, leave=10**9), context_of())


async def test_a_holder_ends_by_itself() -> None:
    """If nobody undoes it, it and its children are gone at its deadline."""
    injector = ProcessTable()
    recipe = await injector.prepare(fault_of(injector, None, count=2), context_of())
    recipe = replace(recipe, lasts_s=1.0 - GRACE_S)
    await injector.inject(recipe, TOOLS)
    async with asyncio.timeout(15):
        while lease.holders(recipe):  # noqa: ASYNC110 - /proc tells nobody
            await asyncio.sleep(0.05)
    assert (await injector.absent(recipe, TOOLS)).ok


async def test_what_a_dead_run_still_holds_is_found_by_its_tag() -> None:
    """A scan finds the holder without its recipe, and its recipe ends it."""
    recipe = await in_effect(Memory(), size=20_000_000)
    try:
        [found] = [one for one in await Memory().scan(SYSTEM, TOOLS) if one.data["tag"] == recipe.data["tag"]]
        await Memory().undo(found, TOOLS)
        assert (await Memory().absent(recipe, TOOLS)).ok
    finally:
        await Memory().undo(recipe, TOOLS)


@pytest.mark.skipif(cgroup_root("memory") is None, reason="no writable cgroup v1 memory hierarchy here")
async def test_memory_of_a_cgroup_is_taken_up_to_its_share_and_nobody_is_killed() -> None:
    """The cgroup's own counter shows the share, its failure counter no out-of-memory kill."""
    root = cgroup_root("memory")
    assert root is not None
    with cgroup(root, {"memory.limit_in_bytes": "100000000"}) as group:
        recipe = await in_effect(Memory(), to=0.7, floor=10_000_000, cgroup=str(group))
        try:
            used = int((group / "memory.usage_in_bytes").read_text())
            assert 65_000_000 < used < 95_000_000
            assert "oom_kill 0" in (group / "memory.oom_control").read_text()
        finally:
            await Memory().undo(recipe, TOOLS)


@pytest.mark.skipif(cgroup_root("pids") is None, reason="no writable cgroup v1 pids hierarchy here")
async def test_in_a_cgroup_without_free_places_nobody_can_fork() -> None:
    """The kernel refuses a fork there, and allows it again after the undo."""
    root = cgroup_root("pids")
    assert root is not None
    with cgroup(root, {"pids.max": "12"}) as group:
        recipe = await in_effect(ProcessTable(), count=10, leave=0, cgroup=str(group))
        try:
            assert not can_fork_in(group)
        finally:
            await ProcessTable().undo(recipe, TOOLS)
        async with asyncio.timeout(10):
            while not can_fork_in(group):  # noqa: ASYNC110 - whoever inherited the dead has to bury them first
                await asyncio.sleep(0.05)
