"""nft and tc inside the network namespace of a process of this host, which is pinned before it is entered.

What is run here is this host's own nft and tc: the container needs no program for it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import subprocess
from collections.abc import Sequence

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability
from fault_injectors import processes
from fault_injectors.processes import Process

TAKES_S = 10.0
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Ended(InjectorError):
    """The process is gone, and what its namespace held is nothing of ours to care for any more."""


async def inside(process: Process, command: Sequence[str], text: str = "") -> str:
    """The output of a command run in the network namespace of a process.

    Args:
        process: whose namespace; never one that has its pid now.
        command: program and arguments.
        text: its standard input.

    Raises:
        Ended: the process is gone.
        InjectorError: the namespace cannot be entered, or the command failed; says what it said.
    """
    return await asyncio.to_thread(_inside, process, command, text)


def number(process: Process) -> int:
    """The inode number of a process's network namespace. Raises Ended, InjectorError."""
    handle = _opened(process)
    try:
        return os.fstat(handle).st_ino
    finally:
        os.close(handle)


def own_numbers() -> frozenset[int]:
    """The inode numbers of the namespaces that no fault may enter: the host's and our own."""
    found = set()
    for pid in ("1", "self"):
        try:
            found.add((processes.PROC / pid / "ns/net").stat().st_ino)
        except OSError:  # pid 1 is not always ours to look at
            continue
    return frozenset(found)


def interfaces(process: Process) -> list[str]:
    """Names of the interfaces in its namespace, apart from loopback. Raises Ended."""
    try:
        lines = (processes.PROC / str(process.pid) / "net/dev").read_text().splitlines()[2:]
    except OSError:
        raise Ended(f"{process.says} has ended") from None
    if processes.now(process) is None:
        raise Ended(f"{process.says} has ended")
    return sorted(name for line in lines if (name := line.partition(":")[0].strip()) != "lo")


@functools.cache
def can(program: str, arguments: tuple[str, ...], text: str = "") -> Availability:
    """Whether a command works in a network namespace that exists for this question only.

    Args:
        program: `nft` or `tc`.
        arguments: what to try.
        text: its standard input.
    """
    missing = [name for name in ("nsenter", "unshare", program) if shutil.which(name, path=PATH) is None]
    if missing:
        return Availability(ok=False, why=f"{' and '.join(missing)} not found; install nftables, iproute2, util-linux")
    if os.geteuid() != 0:
        return Availability(ok=False, why="entering the network namespace of a container needs root")
    done = _run(["unshare", "--net", program, *arguments], text)
    if done.returncode != 0:
        return Availability(ok=False, why=f"this kernel does not take it: {_complaint(done)}")
    return Availability(ok=True)


def _inside(process: Process, command: Sequence[str], text: str) -> str:
    handle = _opened(process)
    try:
        done = _run(["nsenter", f"--net=/proc/self/fd/{handle}", *command], text, handle)
    finally:
        os.close(handle)
    if done.returncode != 0:
        raise InjectorError(f"'{' '.join(command)}' in {process.says}: {_complaint(done)}")
    return done.stdout


def _opened(process: Process) -> int:
    """A handle of the namespace: whoever gets the pid later, it stays that of our process."""
    try:
        handle = os.open(processes.PROC / str(process.pid) / "ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Ended(f"{process.says} has ended") from None
    except PermissionError:
        raise InjectorError(f"not permitted to enter the network namespace of {process.says}; run as root") from None
    if processes.now(process) is None:  # looked at after it was opened: it cannot have been another's before
        os.close(handle)
        raise Ended(f"{process.says} has ended")
    return handle


def _run(command: Sequence[str], text: str, *handles: int) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            list(command),
            input=text,
            capture_output=True,
            text=True,
            timeout=TAKES_S,
            check=False,
            pass_fds=handles,
            env={**os.environ, "PATH": PATH, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InjectorError(f"'{command[0]}' could not be run: {error}") from None


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[0] if lines else f"exit {done.returncode}"
