"""Which processes are ours: no fault may ever touch them, for they are its own way back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chaosrunner.model.system import System


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


def _fault_proxy(system: System) -> frozenset[int]:
    import psutil

    port = urlsplit(system.fault_proxy).port if system.fault_proxy else None
    if port is None:
        return frozenset()
    listening = (c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port)
    return frozenset(connection.pid for connection in listening if connection.pid)
