"""Public fakes that do what the real things do, without waiting, a disk or a network.

`FakeClock` jumps, `MemoryJournal` keeps its entries in a list. `FakeTarget`, `FakeInjector` and `FakeLoad` are a whole
world to play an experiment in (`chaosrunner.fake_target`).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from chaosrunner.contract import Bench, InjectorContract, none_created, nothing
from chaosrunner.fake_target import FakeInjector, FakeKill, FakeLoad, FakeTarget
from chaosrunner.logic.fold import State
from chaosrunner.model.units import NANOS
from chaosrunner.world.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaosrunner.model.events import Entry
    from chaosrunner.world.clock import Clock

__all__ = [
    "Bench",
    "FakeClock",
    "FakeInjector",
    "FakeKill",
    "FakeLoad",
    "FakeTarget",
    "InjectorContract",
    "MemoryJournal",
    "MemoryPaper",
    "none_created",
    "nothing",
]
_TURNS = 25
"""How often everything else gets a turn before the clock takes all for asleep and jumps."""


class FakeClock:
    """A clock that jumps to the next instant somebody waits for as soon as everybody waits."""

    def __init__(self, now_ns: int = 1_000 * NANOS, boot: str = "fake-boot") -> None:
        self.now_ns = now_ns
        self._boot = boot
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._jumper: asyncio.Task[None] | None = None

    def now(self) -> int:
        """The fake instant in nanoseconds."""
        return self.now_ns

    def wall(self) -> str:
        """New Year's Day of 2026, and as much later as the clock has come."""
        return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now_ns / NANOS)).isoformat()

    def boot(self) -> str:
        """The boot id it was given."""
        return self._boot

    def advance(self, seconds: float) -> None:
        """Let time pass; whoever waits for less is woken."""
        self.now_ns += int(seconds * NANOS)
        while self._sleepers and self._sleepers[0][0] <= self.now_ns:
            self._wake()

    async def sleep_until(self, ns: int) -> None:
        """Return once the clock has come to `ns`, which it does when everybody waits."""
        if ns <= self.now_ns:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (ns, next(self._order), woken))
        if self._jumper is None or self._jumper.done():
            self._jumper = asyncio.create_task(self._jump())
        await woken

    async def _jump(self) -> None:
        while self._sleepers:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            while self._sleepers and self._sleepers[0][2].done():  # cancelled meanwhile
                heapq.heappop(self._sleepers)
            if self._sleepers:
                self.now_ns = max(self.now_ns, self._sleepers[0][0])
                self._wake()

    def _wake(self) -> None:
        _, _, woken = heapq.heappop(self._sleepers)
        if not woken.done():
            woken.set_result(None)


@dataclass(slots=True)
class MemoryPaper:
    """Keeps entries in a list; can be told to break."""

    entries: list[Entry] = field(default_factory=list)
    why: str = ""
    """Why syncs fail from now on; empty = they succeed."""
    mute: bool = False
    """From now on nobody who asks for a sync is answered."""

    def put(self, entry: Entry) -> None:
        """Keep an entry."""
        self.entries.append(entry)

    def sync(self, done: Callable[[str], object]) -> None:
        """Answer at once."""
        if not self.mute:
            done(self.why)

    def close(self, done: Callable[[str], object]) -> None:
        """Answer at once."""
        done(self.why)


class MemoryJournal(Journal):
    """A journal without a disk. Made inside the running event loop."""

    def __init__(self, clock: Clock | None = None, state: State | None = None) -> None:
        self.paper = MemoryPaper()
        super().__init__(lambda _: self.paper, clock or FakeClock(), state or State())

    @property
    def entries(self) -> list[Entry]:
        """All that was written, in order."""
        return self.paper.entries
