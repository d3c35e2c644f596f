"""The laws, run over every resource fault on this host, and on small file systems of our own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from contract_rig import fault_of, system_of
from resources_rig import may_mount, mount, small_disk

from chaosrunner.contract import Bench, InjectorContract, none_created
from chaosrunner.model.system import Component
from fault_injectors import processes
from fault_injectors.resources import Cpu, Memory, ProcessTable
from fault_injectors.resources_disk import Disk, DiskIo, Inodes
from fault_injectors.resources_lease import HOLDER, tags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MOUNTS = pytest.mark.skipif(not may_mount(), reason="needs root with CAP_SYS_ADMIN: a file system of our own is filled")
WHOLE_HOST = [
    pytest.param(Cpu, {"load": 0.2, "cores": 1}, id="cpu"),
    pytest.param(Memory, {"size": 40_000_000}, id="memory"),
    pytest.param(ProcessTable, {"count": 20}, id="processes"),
    pytest.param(DiskIo, {"rate": 2_000_000.0}, id="disk_io"),
]


def bench_on(injector: Any, disk: Path, **params: object) -> Bench:
    """A bench whose target is this host, or a file system of it."""

    def mine() -> list[processes.Process]:
        return [
            one
            for tag in tags(injector.kind)
            if bench.run in tag
            for one in processes.running(["-m", HOLDER, tag, injector.kind])
        ]

    def there() -> list[str]:
        return sorted(entry.name for entry in disk.iterdir())

    async def observe() -> object:
        """Holders of this run; on a file system of its own, what is there and what is free."""
        if not disk.is_mount():
            return len(mine()), there()
        space = os.statvfs(disk)
        return there(), space.f_bfree, space.f_ffree

    async def created() -> list[str]:
        return [name for name in there() if name != "theirs"]

    async def bystanders() -> object:
        return (disk / "theirs").read_text()

    async def replace() -> None:
        """Of a file system: another one in its place. Of a host there is but one: all that was held is lost."""
        if disk.is_mount():
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
            mount(disk)
            (disk / "theirs").write_text("not ours")
        for one in mine() if not disk.is_mount() else ():
            processes.send(one, signal.SIGKILL)
        while not disk.is_mount() and mine():
            await asyncio.sleep(0.01)

    (disk / "theirs").write_text("not ours")
    bench = Bench(
        injector=injector,
        fault=fault_of(injector, None, **params),
        system=system_of(Component(name="api")),
        observe=observe,
        bystanders=bystanders,
        created=created if injector.kind == "inodes" else none_created,
        replace=replace,
    )
    return bench


@pytest.mark.parametrize(("kind", "params"), WHOLE_HOST)
class TestWholeHost(InjectorContract):
    """Taking from the whole host keeps every law."""

    @pytest.fixture
    async def bench(self, kind: Any, params: dict[str, object], tmp_path: Path) -> Bench:
        """This host."""
        where = {"path": str(tmp_path)} if kind is DiskIo else {}
        return bench_on(kind(), tmp_path, **params, **where)


@MOUNTS
@pytest.mark.parametrize(("kind", "params"), [(Disk, {"floor": 2_000_000}), (Inodes, {})], ids=["disk", "inodes"])
class TestSmallDisk(InjectorContract):
    """Filling a file system, by bytes or by inodes, keeps every law."""

    @pytest.fixture
    async def bench(self, kind: Any, params: dict[str, object], tmp_path: Path) -> AsyncIterator[Bench]:
        """A file system of 48 MB and 2,000 inodes."""
        with small_disk(tmp_path) as disk:
            yield bench_on(kind(), disk, path=str(disk), **params)
