"""Which processes are ours: no fault may ever touch them, for they are its own way back."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chaosrunner.world.boxes import Asking, Boxes, inside

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from chaosrunner.model.system import System


LOOK_AGAIN_S = 5.0

PORTS = {
    "http": 80,
    "https": 443,
    "ws": 80,
    "wss": 443,
    "postgres": 5432,
    "postgresql": 5432,
    "redis": 6379,
    "rediss": 6379,
}
"""Where a place is that does not say its port."""

OUR_PROCESSES = frozenset({"chaosrunner.world.watchdog", "chaosrunner.world.hand", "chaosrunner.load.worker"})
TO_BE_BROKEN = frozenset({"demo", "proxy"})
"""Verbs whose processes may be a target."""

FORWARDERS = frozenset({"docker-proxy", "rootlesskit", "slirp4netns", "gvproxy", "pasta", "kubectl", "ssh"})
"""Programs that listen for a target which is not theirs, in a container or far away."""


def spare(system: System, started: Callable[[], Iterable[int]] = tuple) -> Callable[[], frozenset[int]]:
    """What an injector asks before it touches a process.

    Args:
        system: its fault proxy, when it runs on this host, is the way back of every `proxy.*` fault.
        started: what this run has started: watchdog and load workers. A system may be our child as well (the demo is),
            so children are not spared for being children.
    """
    return lambda: frozenset({*family(), *started(), *_fault_proxy(system), *kin()})


def family() -> frozenset[int]:
    """This process, its ancestors, and pid 1."""
    import psutil

    me = psutil.Process(os.getpid())
    return frozenset({1, me.pid, *(process.pid for process in me.parents())})


def is_kin(line: Sequence[str]) -> bool:
    """Whether a command line is chaosrunner's own: any run's runner, watchdog or load worker, or what looks after them.

    The demo is there to be broken; a proxy is spared as the way back of those who use it.
    """
    for nth, word in enumerate(line[:4]):  # an interpreter and its options come first
        rest = line[nth + 1 :]
        if word == "-m" and rest and rest[0] in OUR_PROCESSES:
            return True
        if (word == "-m" and rest[:1] == ["chaosrunner"]) or _runs(line, nth):
            verb = next((one for one in rest if not one.startswith("-") and one != "chaosrunner"), "")
            return verb not in TO_BE_BROKEN
    return False


def _runs(line: Sequence[str], nth: int) -> bool:
    """Whether a word is our script, run by itself or by an interpreter."""
    return Path(line[nth]).name == "chaosrunner" and (nth == 0 or (nth == 1 and "python" in Path(line[0]).name))


def kin() -> Iterable[int]:
    """Pids of chaosrunner's own processes, of whichever run."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        if is_kin(process.info["cmdline"] or ()):
            yield process.pid


def targets_here(system: System, asking: Asking | None = None) -> Callable[[], frozenset[int]]:
    """The pids of a system on this host, looked up once a few seconds.

    Who listens where the load or a component's clients connect to, on the ports that processes are found by and on the
    fault proxy's; and, one by one, whoever on this host those are connected to: a gateway's replicas, their database.
    Of containers, those of the components and those that publish such a port, with all on a network with them.
    None at all where one of them only forwards, nobody knows to whom: half a target would make the other a stranger.

    Args:
        system: whose they are.
        asking: knows containers, or is about to learn of them; asks the engines of the system unless said.
    """
    ports = frozenset(_ports(system))
    boxes = asking or Asking(system)
    if any(part.containers and not part.host for part in system.components.values()):
        boxes.begin()
    seen: list[tuple[float, Boxes, frozenset[int]]] = []

    def pids() -> frozenset[int]:
        known = boxes.known
        if not seen or seen[-1][1] is not known or time.monotonic() - seen[-1][0] > LOOK_AGAIN_S:
            chain = _chain(ports, known.behind)
            if chain.forwards:
                boxes.begin()
            ids = known.meant.union(*(known.behind[port] for port in chain.published))
            found = frozenset() if chain.forwards else chain.pids | inside(ids)
            seen[:] = [(time.monotonic(), known, found | _named(system))]
        return seen[-1][2]

    return pids


def _ports(system: System) -> Iterable[int]:
    """Ports of this host that belong to the system."""
    for part in system.components.values():
        yield from part.processes.ports if part.processes else ()
    places = [system.entry, system.fault_proxy, *(at for part in system.components.values() for at in part.at)]
    dsns = [one.template for part in system.components.values() for one in (part.dsn, part.redis) if one]
    for place in (*places, *dsns):
        if (port := port_here(place)) is not None:
            yield port


def port_here(place: str) -> int | None:
    """The port of an URL or `host:port` on this host; None if it is elsewhere, unsaid or secret."""
    try:
        url = urlsplit(place if "//" in place else f"//{place}")
        port = url.port or PORTS.get(url.scheme)
    except ValueError:
        return None
    return port if url.hostname and _here(url.hostname) else None


def _here(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host in _addresses()


def _addresses() -> frozenset[str]:
    """Every address of this host, also as IPv6 spells those of IPv4."""
    import psutil

    found = {one.address for addresses in psutil.net_if_addrs().values() for one in addresses} | {"::1"}
    return frozenset({*found, *(f"::ffff:{address}" for address in found)})


def _named(system: System) -> frozenset[int]:
    """The processes that a system file names otherwise than by their ports."""
    import psutil

    ways = [part.processes for part in system.components.values() if part.processes]
    found = {pid for way in ways for pid in (*way.pids, *_pids_in(way.pidfiles))}
    patterns = [way.command for way in ways if way.command]
    for process in psutil.process_iter(["cmdline"]) if patterns else ():
        command = " ".join(process.info["cmdline"] or ())
        if any(re.search(pattern, command) for pattern in patterns):
            found.add(process.pid)
    return frozenset(found)


def _pids_in(files: Iterable[str]) -> Iterable[int]:
    for file in files:
        try:
            yield int(Path(file).read_text())
        except (OSError, ValueError):
            continue  # not there now; whoever needs it says so


@dataclass(frozen=True, slots=True)
class _Chain:
    """Who is connected to whom."""

    pids: frozenset[int]
    """Also who stands before a container and passes all on to it: it needs a CPU as well."""
    published: frozenset[int]
    """Ports that lead into containers."""
    forwards: bool
    """Whether one of them only forwards, and nobody knows to whom."""


def _chain(ports: frozenset[int], published: Container[int]) -> _Chain:
    """Who listens on these ports, and whoever those are connected to on this host, and so on, up to containers."""
    import psutil

    here = _addresses()
    listeners: dict[int, set[int]] = {}
    calls: dict[int, set[int]] = {}
    for one in psutil.net_connections("tcp") if ports else ():
        if one.status == psutil.CONN_LISTEN and one.laddr:
            listeners.setdefault(one.laddr.port, set()).add(one.pid or 0)
        elif one.raddr and (one.raddr.ip in here or one.raddr.ip.startswith("127.")):
            calls.setdefault(one.pid or 0, set()).add(one.raddr.port)
    found: set[int] = set()
    doors: set[int] = set()
    into: set[int] = set()
    todo = set(ports)
    while todo:
        port = todo.pop()
        fresh = listeners.pop(port, set()) - found - {0}
        if port in published:
            into.add(port)
            # Some who do that have other containers, strangers, for descendants.
            doors |= {pid for pid in fresh if _name(pid) == "docker-proxy"}
            continue
        found |= fresh
        todo.update(*(calls.get(pid, ()) for pid in fresh))
    forwards = any(_name(pid) in FORWARDERS for pid in found)
    return _Chain(frozenset(found | doors), frozenset(into), forwards)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _fault_proxy(system: System) -> frozenset[int]:
    port = urlsplit(system.fault_proxy).port if system.fault_proxy else None
    return _listening_on(frozenset({port}) if port else frozenset())


def _listening_on(ports: frozenset[int]) -> frozenset[int]:
    import psutil

    if not ports:
        return frozenset()
    found = set()
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port in ports:
            found.add(connection.pid or 0)
    return frozenset(found - {0})
