"""Processes of this host: who they are, which of them make up a component, and signals that never hit a stranger.

A pid is reused, so a process is its pid, its start time and the boot it belongs to. Read from /proc directly:
Linux only, as pidfds are.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from chaosrunner.errors import InjectorError
from chaosrunner.model.system import Component, Processes

PROC = Path("/proc")
_LISTEN = "0A"
"""TCP_LISTEN as /proc/net/tcp spells it."""
_LOOKS = 10
_LOOK_AGAIN_S = 0.05
"""A process that ends has no open files any more a moment before its sockets are closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of one boot of this host."""

    pid: int
    start: int
    """Start time in clock ticks since boot, field 22 of /proc/<pid>/stat."""
    boot: str
    """The boot id: under another one this process is gone, whoever has its pid."""
    says: str
    """For people: `api-2 (pid 123, port 18082)`."""

    @property
    def claim(self) -> str:
        """The resource that a fault on it changes."""
        return f"process:{self.pid}:{self.start}"

    def to_json(self) -> dict[str, object]:
        """JSON values only."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What /proc/<pid>/stat says now."""

    state: str
    """One letter: R running, S sleeping, D in the kernel, T stopped, Z zombie …"""
    parent: int
    start: int


def from_json(raw: object) -> Process:
    """A process from its JSON."""
    assert isinstance(raw, Mapping)
    return Process(pid=int(raw["pid"]), start=int(raw["start"]), boot=str(raw["boot"]), says=str(raw["says"]))


def boot_id() -> str:
    """The id of this boot of the host."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def status(pid: int) -> Status | None:
    """The status of a pid now; None when nobody has it."""
    try:
        line = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = line.rpartition(")")[2].split()  # the name in parentheses may itself hold spaces and parentheses
    return Status(state=fields[0], parent=int(fields[1]), start=int(fields[19]))


def now(process: Process) -> Status | None:
    """Its status now; None when it is gone or its pid has another owner."""
    found = status(process.pid) if process.boot == boot_id() else None
    return found if found is not None and found.start == process.start else None


def alive(process: Process) -> bool:
    """Whether exactly this process still runs: neither gone, nor a zombie, nor replaced by another of its pid."""
    found = now(process)
    return found is not None and found.state not in "ZX"


def kill(targets: Iterable[Process], name: str) -> None:
    """Send a signal (`KILL`, `TERM` …) to each of these. Raises InjectorError: one was gone, or we may not."""
    number = signal.Signals[f"SIG{name}"]
    for target in targets:
        if not send(target, number):
            raise InjectorError(f"{target.says} was gone before it could be killed")


def send(process: Process, number: signal.Signals | int) -> bool:
    """Send a signal to exactly this process; number 0 only asks whether we may.

    Returns:
        False when it is gone or was replaced, and nothing was sent.

    Raises:
        InjectorError: we may not signal it.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The handle pins whoever has the pid now; only then is it worth looking at who that is.
        if now(process) is None:
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise InjectorError(f"not permitted to signal {process.says}; run as its user or as root") from None
    finally:
        os.close(handle)
    return True


def instances(component: Component, spared: frozenset[int] = frozenset()) -> list[Process]:
    """The component's live processes, in the order of the system file (by pid for a command).

    Args:
        component: where to look.
        spared: pids that a command never means; those named otherwise are returned, and to be refused.

    Raises:
        InjectorError: the system file names no processes, a port has several unrelated owners, or a command
            matches more than its limit.
    """
    where = component.processes
    if where is None:
        raise InjectorError(f"{component.name} has no 'processes' in the system file")
    if where.command:
        return _by_command(component.name, where, spared)
    return _live(_named(component.name, where))


def descendants(process: Process) -> list[Process]:
    """Its children, their children and so on, as of now."""
    below: dict[int, list[int]] = {}
    for pid in _pids():
        found = status(pid)
        if found is not None:
            below.setdefault(found.parent, []).append(pid)
    waiting, family = list(below.get(process.pid, [])), []
    while waiting:
        pid = waiting.pop(0)
        waiting.extend(below.get(pid, []))
        family.append((pid, f"child pid {pid} of {process.says}"))
    return _live(family)


def command_line(pid: int) -> list[str]:
    """Its arguments; empty for a kernel thread, a zombie, or nobody."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [part.decode(errors="replace") for part in raw.split(b"\0")[:-1]]


def running(arguments: Iterable[str]) -> list[Process]:
    """Live processes whose command line ends in exactly these arguments."""
    wanted = list(arguments)
    return _live((pid, f"pid {pid}") for pid in _pids() if command_line(pid)[-len(wanted) :] == wanted)


def _named(component: str, where: Processes) -> Iterator[tuple[int, str]]:
    """Pid and description of what is live among ports, pids or pidfiles."""
    if where.ports:
        owners = _listeners(where.ports)
        found = [(_owner(port, owners[port]), f"port {port}") for port in where.ports]
    elif where.pids:
        found = [(pid, "") for pid in where.pids]
    else:
        found = [(_from_file(path), path) for path in where.pidfiles]
    for number, (pid, place) in enumerate(found, start=1):
        if pid is not None and _alive(pid):
            name = f"{component}-{number}" if len(found) > 1 else component
            yield pid, f"{name} (pid {pid}{f', {place}' if place else ''})"


def _by_command(component: str, where: Processes, spared: frozenset[int]) -> list[Process]:
    pattern = re.compile(where.command)
    # Our own family's command lines may quote the pattern (`sh -c '… chaosrunner run …'`): they are no instances.
    family = _ancestors(os.getpid()) | spared
    pids = [
        pid
        for pid in _pids()
        if pid not in family and pattern.search(" ".join(command_line(pid))) and command_line(pid) and _alive(pid)
    ]
    if len(pids) > where.at_most:
        raise InjectorError(f"command '{where.command}' matches {len(pids)} processes, allowed are {where.at_most}")
    many = len(pids) > 1
    return _live(
        (pid, f"{component}{f'-{number}' if many else ''} (pid {pid})") for number, pid in enumerate(pids, start=1)
    )


def _live(named: Iterable[tuple[int, str]]) -> list[Process]:
    """Those of these pids, each with its description, that are alive; who ends while he is looked at is not."""
    boot, seen = boot_id(), ((pid, says, status(pid)) for pid, says in named)
    return [
        Process(pid=pid, start=found.start, boot=boot, says=says)
        for pid, says, found in seen
        if found is not None and found.state not in "ZX"
    ]


def _alive(pid: int) -> bool:
    found = status(pid)
    return found is not None and found.state not in "ZX"


def _ancestors(pid: int) -> set[int]:
    family = set()
    while pid > 0 and pid not in family:
        family.add(pid)
        found = status(pid)
        pid = found.parent if found is not None else 0
    return family


def _pids() -> list[int]:
    return sorted(int(entry) for entry in os.listdir(PROC) if entry.isdecimal())  # noqa: PTH208 - names are enough


def _from_file(path: str) -> int | None:
    try:
        return int(Path(path).read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None  # no file, or nothing in it: that instance is not live


def _owner(port: int, pids: set[int]) -> int | None:
    """The one process that owns a port: of a family that shares the socket, its head."""
    heads = [pid for pid in pids if not (_ancestors(pid) - {pid}) & pids]
    if len(heads) > 1:
        raise InjectorError(f"port {port} is held by {len(heads)} unrelated processes {sorted(heads)}; name their pids")
    return heads[0] if heads else None


def _listeners(ports: Sequence[int]) -> dict[int, set[int]]:
    """Port → pids that hold a listening socket of it."""
    for _ in range(_LOOKS):
        owners, unseen = _look(ports)
        if not unseen:
            return owners
        time.sleep(_LOOK_AGAIN_S)
    raise InjectorError(f"the owner of port {min(unseen)} cannot be seen; run as its user or as root")


def _look(ports: Sequence[int]) -> tuple[dict[int, set[int]], set[int]]:
    """Port → pids that hold a listening socket of it; and the ports with such a socket that nobody seems to hold."""
    owners: dict[int, set[int]] = {port: set() for port in ports}
    by_inode = {inode: port for port, inode in _listening() if port in owners}
    for pid in _pids():
        for inode in _socket_inodes(pid) & by_inode.keys():
            owners[by_inode[inode]].add(pid)
    return owners, set(by_inode.values()) - {port for port, pids in owners.items() if pids}


def _listening() -> Iterator[tuple[int, str]]:
    for table in (PROC / "net/tcp", PROC / "net/tcp6"):
        if not table.exists():  # a kernel without IPv6
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                yield int(fields[1].rpartition(":")[2], 16), fields[9]


def _socket_inodes(pid: int) -> set[str]:
    inodes = set()
    try:
        with os.scandir(PROC / str(pid) / "fd") as entries:
            for entry in entries:
                try:
                    link = os.readlink(entry.path)  # noqa: PTH115 - thousands of them
                except FileNotFoundError:
                    continue
                if link.startswith("socket:["):
                    inodes.add(link[8:-1])
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass  # ended, or not ours to see: its ports are then reported as unseen
    return inodes
