"""The laws, run over every resource fault on this host, and on small file systems of our own."""

from __future__ import annotations

import os
import secrets
import signal
from typing import TYPE_CHECKING, Any

import pytest
from contract_rig import fault_of, system_of
from resources_rig import may_mount, mount, small_disk, umount

from chaosrunner.contract import Bench, InjectorContract
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


class Place:
    """This host as one run and one kind of fault see it, and a folder that may be a file system of its own."""

    def __init__(self, kind: str, disk: Path, run: str) -> None:
        self.kind, self.disk, self.run = kind, disk, run
        self.mounted = disk.is_mount()
        (disk / "theirs").write_text("not ours")

    def holders(self) -> list[processes.Process]:
        """Those of this run."""
        mine = [tag for tag in tags(self.kind) if self.run in tag]
        return [one for tag in mine for one in processes.running(["-m", HOLDER, tag, self.kind])]

    def there(self) -> list[str]:
        """What is in the folder."""
        return sorted(entry.name for entry in self.disk.iterdir())

    def seen(self) -> object:
        """Holders of this run; of a file system of its own, what is free."""
        space = os.statvfs(self.disk)
        return (space.f_bfree, space.f_ffree) if self.mounted else len(self.holders())

    def another(self) -> None:
        """Another file system in its place. Of a host there is but one: there all that was held is lost."""
        if self.mounted:
            umount(self.disk)
            mount(self.disk)
            (self.disk / "theirs").write_text("not ours")
            return
        while found := self.holders():
            for one in found:
                processes.send(one, signal.SIGKILL)


def bench_on(injector: Any, disk: Path, **params: object) -> Bench:
    """A bench whose target is this host, or a file system of it."""
    run = f"contract-{secrets.token_hex(4)}"
    place = Place(injector.kind, disk, run)

    async def observe() -> object:
        return place.there(), place.seen()

    async def created() -> list[str]:
        return [name for name in place.there() if name != "theirs"]

    async def bystanders() -> object:
        return (disk / "theirs").read_text()

    async def replace() -> None:
        place.another()

    return Bench(
        injector=injector,
        fault=fault_of(injector, None, **params),
        system=system_of(Component(name="api")),
        observe=observe,
        bystanders=bystanders,
        created=created,
        replace=replace,
        run=run,
    )


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
