"""Where load workers come from: local processes here, those of a cluster in `chaosrunner.load.cluster`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from chaosrunner.load.cpus import processes_for_load
from chaosrunner.load.process import WorkerProcess

if TYPE_CHECKING:
    from chaosrunner.model.load import LoadProfile


class Hand(Protocol):
    """One worker, wherever it is. Instants in what it is told are ours."""

    number: int
    """Its shard."""
    heard: int
    """Frames so far."""
    ended: bool
    """It has sent its last frame."""
    lost: bool

    @property
    def clock_error_ns(self) -> int:
        """By how much at most our instants and its own may differ, as far as is known by now."""
        ...

    @property
    def pids(self) -> frozenset[int]:
        """Its processes on this host that live."""
        ...

    async def get_ready(self, orders: bytes) -> None:
        """Hand over its orders and wait for its word. Raises LoadBroken with the worker's reason."""
        ...

    def tell(self, message: Mapping[str, object]) -> None:
        """Send a line; one that is gone is not told."""
        ...

    async def hear(self) -> dict[str, object] | None:
        """The next line it says; None at the end. Raises ValueError when it is no JSON object."""
        ...

    async def last_words(self) -> str:
        """How it ended."""
        ...

    def kill(self) -> None:
        """End it now, or give it up."""
        ...

    async def reap(self) -> None:
        """Leave nothing of it behind."""
        ...


@dataclass(frozen=True, slots=True)
class Size:
    """How many workers there may be."""

    workers: int
    why: str = ""


class Crew(Protocol):
    """What provides workers."""

    @property
    def lead_ns(self) -> int:
        """From the last worker's ready to the epoch: time for the word to arrive everywhere."""
        ...

    async def size(self, profile: LoadProfile) -> Size:
        """How many workers a load may have, and why."""
        ...

    async def spawn(self, number: int) -> Hand:
        """Start worker number n. Raises LoadBroken."""
        ...


class LocalCrew:
    """Processes on this host.

    Args:
        hosts: names or addresses of the target: `workers: auto` leaves a core to one that is on this host.
        start: starts worker number n.
    """

    lead_ns = 300_000_000

    def __init__(
        self, hosts: Iterable[str] = (), *, start: Callable[[int], Awaitable[WorkerProcess]] = WorkerProcess.spawn
    ) -> None:
        self._hosts = tuple(hosts)
        self._start = start

    async def size(self, profile: LoadProfile) -> Size:
        """As many as the file says; if that is `auto`, as many as there are CPUs free for the load."""
        if profile.workers is not None:
            return Size(profile.workers)
        return Size(*await asyncio.to_thread(processes_for_load, self._hosts))

    async def spawn(self, number: int) -> WorkerProcess:
        """Start one."""
        return await self._start(number)
