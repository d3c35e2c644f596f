"""The process that holds what a fault needs held: `python -m fault_injectors.resources_holder TAG KIND`.

Orders come as JSON on stdin. It outlives whoever started it, but never its deadline, which the kernel keeps for it and
for each of its children (SIGALRM). What it takes is given back by its end, however it ends: memory, CPU time, processes
and files without a name; only `inodes` has names, and those its undo removes. It says one line of JSON, `{"began":
true}` or `{"error": …}`, and is silent from then on.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from fault_injectors.resources_measure import disk_free, memory_free

Orders = Mapping[str, Any]
CHUNK = 16 * 2**20
PERIOD_S = 0.05
"""A burner is busy for its share of this, then sleeps: short enough that 100 ms of anybody's time is hit evenly."""
LOOK_EVERY_S = 0.1
BLOCK = 256 * 1024
MOST_IO_BYTES = 64 * 2**20
"""Disk I/O goes round and round in a file of this size."""


def burn_cpu(orders: Orders) -> Iterator[None]:
    """One child a CPU, each busy for its share of the time."""
    for cpu in orders["cpus"]:
        if _child(orders):
            os.sched_setaffinity(0, {cpu})
            _burn(orders["load"])
    yield
    _wait()


def hold_memory(orders: Orders) -> Iterator[None]:
    """Touch every page of so many bytes, and give back as soon as less than the floor is free for the others."""
    held: list[mmap.mmap] = []
    for left in range(orders["bytes"], 0, -CHUNK):
        if memory_free(orders["cgroup"]) - CHUNK < orders["floor"]:
            break
        held.append(_touched(min(CHUNK, left)))
    yield
    while True:
        while held and memory_free(orders["cgroup"]) < orders["floor"]:
            held.pop().close()
        time.sleep(LOOK_EVERY_S)


def hold_processes(orders: Orders) -> Iterator[None]:
    """So many children that sleep."""
    for _ in range(orders["count"]):
        if _child(orders):
            _wait()
    yield
    _wait()


def hold_disk(orders: Orders) -> Iterator[None]:
    """A file without a name takes so many bytes, and gives back when others need the floor."""
    with tempfile.TemporaryFile(dir=orders["path"]) as file:
        size = 0
        while size < orders["bytes"]:
            step = min(4 * CHUNK, orders["bytes"] - size, disk_free(orders["path"]) - orders["floor"])
            taken = allocated(file.fileno(), size, step)
            if not taken:
                break
            size += taken
        yield
        while True:
            missing = orders["floor"] - disk_free(orders["path"])
            if missing > 0 and size:
                size = max(0, size - missing)
                file.truncate(size)
            time.sleep(LOOK_EVERY_S)


def write_disk(orders: Orders) -> Iterator[None]:
    """Write and sync blocks, no faster than asked, round and round in a file without a name."""
    block = os.urandom(BLOCK)
    with tempfile.TemporaryFile(dir=orders["path"], buffering=0) as file:
        yield
        begun = time.monotonic()
        for done in count():
            os.pwrite(file.fileno(), block, done * BLOCK % MOST_IO_BYTES)
            os.fdatasync(file.fileno())
            if orders["rate"]:
                time.sleep(max(0.0, begun + (done + 1) * BLOCK / orders["rate"] - time.monotonic()))


def hold_inodes(orders: Orders) -> Iterator[None]:
    """So many empty files in a directory of ours."""
    folder, until = Path(orders["folder"]), time.monotonic() + orders["seconds"] - 1.0
    folder.mkdir(mode=0o700)
    try:
        for number in range(orders["count"]):
            (folder / str(number)).touch()
        yield
        time.sleep(max(0.0, until - time.monotonic()))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answer_dns(orders: Orders) -> Iterator[None]:
    """One child a network namespace, each in the place of its resolvers."""
    from fault_injectors import network_dns_responder as responder

    for space in orders["namespaces"]:
        doors = responder.listen(space, orders["resolvers"])
        if _child(orders):
            responder.serve(doors, orders)
    yield
    _wait()


HOLD: dict[str, Callable[[Orders], Iterator[None]]] = {
    "cpu": burn_cpu,
    "memory": hold_memory,
    "processes": hold_processes,
    "disk": hold_disk,
    "disk_io": write_disk,
    "inodes": hold_inodes,
    "dns": answer_dns,
}


def _child(orders: Orders) -> bool:
    """Fork; True in the child, which keeps its own deadline: alarms are not inherited."""
    if os.fork():
        return False
    signal.alarm(int(orders["seconds"]))
    _hush()  # whoever waits for the holder's word waits until nobody can say any more
    return True


def _burn(load: float) -> None:
    while True:
        begun = time.monotonic()
        used = time.process_time() + load * PERIOD_S
        # By its own CPU time: where it has to share the CPU it is busy for longer, not less.
        while time.process_time() < used and time.monotonic() < begun + PERIOD_S:
            pass
        time.sleep(max(0.0, begun + PERIOD_S - time.monotonic()))


def _wait() -> None:
    while True:
        signal.pause()


def _touched(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size)
    for page in range(0, size, mmap.PAGESIZE):
        memory[page] = 1
    return memory


def allocated(file: int, begin: int, step: int) -> int:
    """Bytes taken, `step` or less: others write as well, and what was free a moment ago need not be free now."""
    while step > 0:
        try:
            os.posix_fallocate(file, begin, step)
        except OSError as error:
            if error.errno != errno.ENOSPC or (step == 1 and not begin):
                raise
            step //= 2
        else:
            return step
    return 0


def _say(answer: Mapping[str, object]) -> None:
    try:
        print(json.dumps(answer), flush=True)
    except OSError:
        pass  # whoever asked is gone; the deadline stays
    _hush()


def _hush() -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.close(quiet)


def _leave_family(orders: Orders) -> None:
    """Become nobody's child, with a deadline, first in line for the kernel's OOM killer, and in the cgroup if asked."""
    if os.fork():
        os._exit(0)  # so that nobody has to wait for us: init does
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.alarm(int(orders["seconds"]))
    Path("/proc/self/oom_score_adj").write_text("1000")
    if orders["cgroup"]:
        (Path(orders["cgroup"]) / "cgroup.procs").write_text(str(os.getpid()))


def main() -> None:
    """Read the orders, leave the family of whoever gave them, and hold."""
    try:
        orders = json.loads(sys.stdin.read())
        hold = HOLD[orders["kind"]]
    except (ValueError, TypeError, KeyError):
        _say({"error": "the orders did not arrive whole"})
        return
    try:
        _leave_family(orders)
        holding = hold(orders)
        next(holding)
    except (OSError, MemoryError) as error:
        _say({"error": str(error)})
        os.killpg(0, signal.SIGKILL)
    _say({"began": True})
    next(holding, None)


if __name__ == "__main__":
    main()
