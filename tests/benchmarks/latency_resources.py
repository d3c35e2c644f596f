"""Latencies of the resources family, on this host and a small file system, beside stress-ng and plain commands."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from contract_rig import system_of
from latency_ways import OURS, Faults, Kept, Way, nothing, ours, program
from resources_rig import small_disk

from chaosrunner.model.system import Component
from fault_injectors.resources import Cpu, Memory, ProcessTable
from fault_injectors.resources_disk import LEAST_INODES, Disk, DiskIo, Inodes

PREFIX = "chaosrunner-latency-"
FLOOR = 4_000_000
MEMORY = 40_000_000
PROCESSES = 20


@asynccontextmanager
async def resources_faults() -> AsyncIterator[Faults]:
    """Faults of this host, small ones, and of a file system of 48 MB and 2,000 inodes."""
    with ExitStack() as stack:
        place, folder = (stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX)) for _ in range(2))
        disk = stack.enter_context(small_disk(Path(folder)))
        system, room = system_of(Component(name="target")), os.statvfs(disk)
        file, many = str(disk / "by-hand"), str(disk / "many")
        fill = program("fallocate", "-l", str(room.f_bavail * room.f_frsize - FLOOR), file)
        count = room.f_favail - LEAST_INODES - 1
        touch = program("sh", "-c", f"mkdir {many} && cd {many} && seq {count} | xargs touch")
        each = 'sleep 20 >/dev/null 2>&1 & pids="$pids $!"'
        sleep = f"for n in $(seq {PROCESSES}); do {each}; done; echo begun; read end; kill $pids; wait"
        sleepers = Kept("sh", "-c", sleep, says="begun")
        yield {
            "resources.cpu": [ours(OURS, Cpu(), system, load=0.2, cores=1), _stress("--cpu 1 --cpu-load 20")],
            "resources.memory": [
                ours(OURS, Memory(), system, size=MEMORY),
                _stress(f"--vm 1 --vm-bytes {MEMORY} --vm-keep"),
            ],
            "resources.processes": [
                ours(OURS, ProcessTable(), system, count=PROCESSES),
                Way("sh", sleepers.begin, sleepers.end, nothing),
            ],
            "resources.disk": [
                ours(OURS, Disk(), system, path=str(disk), floor=FLOOR),
                Way("fallocate", fill, program("rm", file), nothing),
            ],
            "resources.disk_io": [
                ours(OURS, DiskIo(), system, path=place, rate=2_000_000.0),
                _stress(f"--hdd 1 --hdd-bytes 64M --hdd-opts fdatasync --temp-path {place}"),
            ],
            "resources.inodes": [
                ours(OURS, Inodes(), system, path=str(disk)),
                Way("touch", touch, program("rm", "-r", many), nothing),
            ],
        }


def _stress(hogs: str) -> Way:
    """A stress-ng, which says that it dispatches its workers, and ends with them when it is interrupted."""
    kept = Kept("stress-ng", *hogs.split(), "--timeout", "20", says="dispatching hogs")

    async def end() -> None:
        await kept.end(signal.SIGINT)

    return Way("stress-ng", kept.begin, end, nothing)
