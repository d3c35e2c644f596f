"""Whether a worker may wait awake for the next hit: only where a core is free for that.

Waking from sleep takes a process tens of microseconds, on a busy or virtual machine hundreds; a process that never
sleeps is late by a few. But it takes a core away from everybody else: beside a target on the same two cores it made
the target's response p99 four times worse. So there must be a core for each worker, one for the process that leads
them, and two for a target on this host, unless the workers were given cores of their own. Should somebody want the
core nevertheless, the worker notices by waiting for it, and sleeps from then on.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosrunner.load.cpus import is_here, quota_cpus

if TYPE_CHECKING:
    from collections.abc import Iterable

WANTED = 0.02
"""Share of its time a worker that waits awake may wait for its core before it leaves it to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """What a worker may run on."""

    ours: frozenset[int]
    """The worker's cores."""
    leads: frozenset[int]
    """Those of the process that leads it."""
    online: int
    """All of this host."""
    quota: float = math.inf
    """CPUs' worth of time that control groups allow."""

    @classmethod
    def here(cls) -> Cores:
        """This process's, and its parent's. A parent that is gone, or is none of our business, has none of them."""
        ours = frozenset(os.sched_getaffinity(0))
        try:
            leads = frozenset(os.sched_getaffinity(os.getppid()))
        except OSError:
            leads = frozenset()
        return cls(ours=ours, leads=leads, online=os.cpu_count() or 1, quota=quota_cpus())


def why_asleep(workers: int, hosts: Iterable[str], cores: Cores) -> str:
    """Why the workers of this host must sleep while they wait; empty if they need not.

    Args:
        workers: how many there are.
        hosts: names or addresses of the target.
        cores: of each of them.
    """
    if cores.quota < cores.online:
        return f"a quota of {cores.quota:.3g} CPUs"
    need = workers + bool(cores.ours & cores.leads)
    what = f"{workers} {'worker' if workers == 1 else 'workers'}"
    if cores.ours & cores.leads:
        what += ", the process that leads"
    own = len(cores.ours) < cores.online and not cores.ours & cores.leads
    if not own and (here := next(filter(is_here, hosts), None)) is not None:
        need, what = need + 2, f"{what}, a target on this host ({here})"
    free = len(cores.ours)
    return "" if need <= free else f"{what} on {free} {'core' if free == 1 else 'cores'}"
