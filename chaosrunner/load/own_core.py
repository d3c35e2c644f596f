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
from urllib.parse import urlsplit

from chaosrunner.alarm import Awake, alarm
from chaosrunner.load.cpus import is_here, quota_cpus

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from chaosrunner.alarm import Alarm
    from chaosrunner.load.ledger import Ledger
    from chaosrunner.load.orders import Orders

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


def target_here(orders: Orders) -> str:
    """The first of the target's hosts that is this one; empty if none is."""
    paths = [path for step in orders.profile.steps if "//" in (path := getattr(step, "path", ""))]
    hosts = [urlsplit(place).hostname for place in (orders.entry, *paths, *orders.places.values())]
    return next(filter(is_here, filter(None, hosts)), "")


def why_asleep(workers: int, here: str, cores: Cores) -> str:
    """Why the workers of this host must sleep while they wait; empty if they need not.

    Args:
        workers: how many there are.
        here: a host of the target that is this one; empty if none is.
        cores: of each worker.
    """
    if cores.quota < cores.online:
        return f"a quota of {cores.quota:.3g} CPUs"
    need = workers + bool(cores.ours & cores.leads)
    what = f"{workers} {'worker' if workers == 1 else 'workers'}"
    if cores.ours & cores.leads:
        what += ", the process that leads"
    own = len(cores.ours) < cores.online and not cores.ours & cores.leads
    if here and not own:
        need, what = need + 2, f"{what}, a target on this host ({here})"
    free = len(cores.ours)
    return "" if need <= free else f"{what} on {free} {'core' if free == 1 else 'cores'}"


class Waiting:
    """How one worker waits: asleep, or awake, which is a note in the journal; so is it should that change."""

    def __init__(self, ledger: Ledger, why_asleep: str) -> None:
        self._ledger = ledger
        self._awake = not why_asleep
        self._alarm: Awake | None = None
        self._told_ns = 0
        if self._awake:
            ledger.note("waiting", awake=True, why="a core is free for it")

    def alarm(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> Alarm:
        """The alarm of the firing loop."""
        if not self._awake:
            return alarm(loop, ring)
        self._alarm = Awake(loop, ring)
        return self._alarm

    def spun_ns(self) -> int:
        """CPU time spent on waiting awake since this was last asked."""
        spun_ns = self._alarm.spun_ns if self._alarm else 0
        told_ns, self._told_ns = self._told_ns, spun_ns
        return spun_ns - told_ns

    def look(self, watch: Mapping[str, float]) -> None:
        """Leave the core to others if this worker had to wait for it; `watch` is its account of itself."""
        waited_us, span_us = watch.get("wait_us", 0.0), watch.get("span_us", 0.0)
        if self._alarm and self._awake and waited_us > WANTED * span_us > 0:
            self._awake = False
            self._alarm.doze()
            why = f"others wanted its core: it waited for it {waited_us / span_us:.0%} of the time"
            self._ledger.note("waiting", awake=False, why=why)
