"""Fill a file system, use up its inodes, or keep its disk busy; never the one that our own state is on."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Bytes, BytesPerSecond, Share
from fault_injectors import resources_lease as lease
from fault_injectors.resources import Held
from fault_injectors.resources_measure import disk_free, written_bytes

MOST_FILES = 500_000
LEAST_INODES = 16
"""Left free, so that somebody can still repair something."""
_PATH = field(metadata={"help": "A directory on the file system; not the one of the state directory or the runs."})


class Disk(Held):
    """Fills a file system with a file that has no name: it is gone as soon as its holder is."""

    name: ClassVar[str] = "resources.disk"
    kind: ClassVar[str] = "disk"
    about: ClassVar[str] = "Fills a file system up to a floor that stays free, with a file that ends with its holder."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Which, and how full."""

        path: str = _PATH
        to: Share = field(default=Share(1.0), metadata={"help": "Share of the file system that is used then."})
        floor: Bytes = field(
            default=Bytes(50_000_000), metadata={"help": "Bytes that stay free to others; given back in time."}
        )
        most: Bytes | None = field(
            default=None, metadata={"help": "If more would have to be taken it is another disk than meant: refused."}
        )

        def __post_init__(self) -> None:
            """A share, and room for something."""
            if not 0 < self.to <= 1:
                raise ValueError("'to' is above 0 % and at most 100 %")
            if self.most is not None and self.most <= 0:
                raise ValueError("'most' is above 0B")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """See how much is there."""
        params = fault.params
        assert isinstance(params, Disk.Params)
        device = _device(params.path, context)
        stat, free = os.statvfs(params.path), disk_free(params.path)
        used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
        wanted = min(int(params.to * (used + free)) - used, free - params.floor)
        if wanted <= 0:
            raise InjectorError(f"{params.path} has {free / 1e6:,.0f} MB free; nothing can be taken above the floor")
        if params.most is not None and wanted > params.most:
            raise InjectorError(
                f"{wanted / 1e6:,.0f} MB would be taken at {params.path}, more than `most: {params.most / 1e6:,.0f}MB`"
            )
        return self.recipe(
            fault,
            context,
            says=f"{wanted / 1e6:,.0f} of {free / 1e6:,.0f} MB free on the file system of {params.path} taken",
            claim=f"{device}:space",
            data={"path": params.path, "bytes": wanted, "floor": params.floor, "free_then": free - wanted},
        )

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The holder is alive, and the file system has no more free than it should."""
        if not lease.holders(recipe):
            return Evidence(ok=False, says="no holder is alive")
        free, then = disk_free(str(recipe.data["path"])), int(str(recipe.data["free_then"]))
        # Others write and delete meanwhile; a tenth of what was taken is theirs to move.
        enough = free <= then + int(str(recipe.data["bytes"])) // 10
        says = f"{free / 1e6:,.1f} MB free on the file system of {recipe.data['path']}"
        return Evidence(ok=True if enough else None, says=says, data={"free": free})


class DiskIo(Held):
    """Writes and syncs, so that whoever else needs that disk waits."""

    name: ClassVar[str] = "resources.disk_io"
    kind: ClassVar[str] = "disk_io"
    about: ClassVar[str] = "Keeps a disk busy by writing and syncing small blocks to a file without a name."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Which, and how much."""

        path: str = _PATH
        rate: BytesPerSecond | None = field(default=None, metadata={"help": "No faster than this; none: all it can."})

        def __post_init__(self) -> None:
            """A rate above none."""
            if self.rate is not None and self.rate <= 0:
                raise ValueError("'rate' is above 0")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look whether there is a disk, and room."""
        params = fault.params
        assert isinstance(params, DiskIo.Params)
        device = _device(params.path, context)
        if not _has_disk(params.path):
            raise InjectorError(f"{params.path} is on a file system without a disk")
        if disk_free(params.path) < 2 * 64 * 2**20:
            raise InjectorError(f"{params.path} has less than 128 MiB free")
        pace = f"{params.rate / 1e6:g} MB/s" if params.rate else "as fast as it goes"
        return self.recipe(
            fault,
            context,
            says=f"written and synced at {params.path}, {pace}",
            claim=f"{device}:io",
            data={"path": params.path, "rate": params.rate or 0},
        )

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel's own count of what the holder has had written to the disk."""
        holder = lease.head(recipe)
        if holder is None:
            return Evidence(ok=False, says="no holder is alive")
        written = written_bytes(holder.pid)
        says = f"{written / 1e6:,.1f} MB written to the disk of {recipe.data['path']} by the holder"
        return Evidence(ok=True if written else None, says=says, data={"written": written})


class Inodes(Held):
    """Uses up a file system's inodes with empty files: there is room, and yet no file can be made."""

    name: ClassVar[str] = "resources.inodes"
    kind: ClassVar[str] = "inodes"
    about: ClassVar[str] = "Uses up a file system's inodes with empty files in a directory of ours, then removes it."
    guard: ClassVar[str] = "runner"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Which, and how many are left."""

        path: str = _PATH
        leave: int = field(default=LEAST_INODES, metadata={"help": f"Inodes left free, at least {LEAST_INODES}."})

        def __post_init__(self) -> None:
            """Some are left."""
            if self.leave < LEAST_INODES:
                raise ValueError(f"'leave' is at least {LEAST_INODES}")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """See how many there are."""
        params = fault.params
        assert isinstance(params, Inodes.Params)
        device = _device(params.path, context)
        free = os.statvfs(params.path).f_favail
        count = free - params.leave - 1  # the directory is one as well
        if count <= 0:
            raise InjectorError(f"the file system of {params.path} has {free} inodes free, or does not count them")
        if count > MOST_FILES:
            raise InjectorError(f"{count:,} files would be needed at {params.path}; at most {MOST_FILES:,} are made")
        folder = f"{params.path.rstrip('/')}/{context.tag(fault).replace('/', '-')}"
        return self.recipe(
            fault,
            context,
            says=f"{count:,} of {free:,} free inodes of {params.path} used by empty files in {folder}",
            claim=f"{device}:inodes",
            data={"path": params.path, "folder": folder, "count": count, "leave": params.leave},
        )

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The file system's own count of free inodes."""
        if not lease.holders(recipe):
            return Evidence(ok=False, says="no holder is alive")
        free = os.statvfs(str(recipe.data["path"])).f_favail
        enough = free <= int(str(recipe.data["leave"])) + int(str(recipe.data["count"])) // 10
        says = f"{free} inodes free on the file system of {recipe.data['path']}"
        return Evidence(ok=True if enough else None, says=says, data={"free": free})

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """End the holder, then remove its directory."""
        await asyncio.to_thread(lease.end, recipe)
        await asyncio.to_thread(shutil.rmtree, str(recipe.data["folder"]), ignore_errors=True)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Neither a holder nor the directory is left."""
        if _is_there(str(recipe.data["folder"])):
            return Evidence(ok=False, says=f"{recipe.data['folder']} is left")
        return lease.none_left(recipe)

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Nothing: a directory is found where its recipe says, not by looking through every file system."""
        return []


def _device(path: str, context: Context) -> str:
    """The claim of the file system of a directory.

    Raises:
        InjectorError: it is no directory that we may write to, or our own state or runs are on it.
    """
    if not Path(path).is_absolute() or not Path(path).is_dir() or not os.access(path, os.W_OK):
        raise InjectorError(f"{path} is no absolute path of a directory that can be written to")
    device = Path(path).stat().st_dev
    for kept in map(Path, context.keep):
        there = next(folder for folder in (kept, *kept.parents) if folder.exists())
        if there.stat().st_dev == device:
            raise InjectorError(f"{path} is on the file system of {kept}, where chaosrunner keeps its own state")
    return f"disk:{os.major(device)}:{os.minor(device)}"


def _is_there(path: str) -> bool:
    return Path(path).exists()


def _has_disk(path: str) -> bool:
    """Whether a file system is not one that lives in memory alone."""
    import psutil

    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    folder = Path(path).resolve()
    kind = next((mounts[str(one)] for one in (folder, *folder.parents) if str(one) in mounts), "")
    return kind not in ("tmpfs", "ramfs", "devtmpfs", "")
