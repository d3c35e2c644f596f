"""Which processes are ours: no fault may ever touch them, for they are its own way back."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chaosrunner.model.system import System


LOOK_AGAIN_S = 5.0


def spare(system: System, started: Callable[[], Iterable[int]] = tuple) -> Callable[[], frozenset[int]]:
    """What an injector asks before it touches a process.

    Args:
        system: its fault proxy, when it runs on this host, is the way back of every `proxy.*` fault.
        started: what this run has started: watchdog and load workers. A system may be our child as well (the demo is),
            so children are not spared for being children.
    """
    return lambda: frozenset({*family(), *started(), *_fault_proxy(system)})


def family() -> frozenset[int]:
    """This process, its ancestors, and pid 1."""
    import psutil

    me = psutil.Process(os.getpid())
    return frozenset({1, me.pid, *(process.pid for process in me.parents())})


def targets_here(system: System) -> Callable[[], frozenset[int]]:
    """The pids that listen on the ports of a system's components on this host; looked up once a few seconds."""
    ports = frozenset(port for part in system.components.values() if part.processes for port in part.processes.ports)
    seen: list[tuple[float, frozenset[int]]] = []

    def pids() -> frozenset[int]:
        if not seen or time.monotonic() - seen[-1][0] > LOOK_AGAIN_S:
            seen[:] = [(time.monotonic(), _listening_on(ports))]
        return seen[-1][1]

    return pids


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
