"""A world that is made up: a target that is well until something harms it, injectors that do, and users who notice.

Public through `chaosrunner.testing`. Nothing here waits by itself: all time is a clock's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from chaosrunner.model.events import LoadEnded, LoadLost, LoadStarted, SlotsArrived
from chaosrunner.model.fault import Availability, Evidence, Recipe
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.model.units import NANOS, SLOT_NS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chaosrunner.model.events import Event
    from chaosrunner.model.fault import Context, Fault, Tools
    from chaosrunner.world.clock import Clock

Answer = tuple[Outcome, float]
"""What a user saw: the outcome, and seconds from due to done."""
WELL: Answer = (Outcome.OK, 0.005)
REFUSED: Answer = (Outcome.REFUSED, 0.001)


@dataclass(slots=True)
class FakeTarget:
    """A system that is well until something harms it, and for `lingers_s` after the last harm was taken away."""

    clock: Clock
    well: Answer = WELL
    harmed: Answer | None = REFUSED
    """What users see while it is harmed; None: no answer at all."""
    lingers_s: float = 0.0
    """Users go on to suffer for this long after the harm is gone."""
    in_place: set[str] = field(default_factory=set)
    """What harms it now."""
    _spans: list[tuple[str, int, int | None]] = field(default_factory=list)

    def harm(self, by: str) -> None:
        """From now on it is harmed by something of this name; once or many times."""
        if by not in self.in_place:
            self.in_place.add(by)
            self._spans.append((by, self.clock.now(), None))

    def mend(self, by: str) -> None:
        """From now on it is not harmed by that any more; harmless when it was not."""
        if by in self.in_place:
            self.in_place.discard(by)
            self._spans = [
                (name, begin, self.clock.now() if name == by and end is None else end)
                for name, begin, end in self._spans
            ]

    def answer(self, due_ns: int) -> Answer | None:
        """What somebody sees whose request was due at an instant that is not in the future."""
        lingers_ns = int(self.lingers_s * NANOS)
        bad = any(begin <= due_ns and (end is None or due_ns < end + lingers_ns) for _, begin, end in self._spans)
        return self.harmed if bad else self.well


@dataclass(frozen=True, slots=True, kw_only=True)
class _NoParams:
    """Nothing to say."""


async def _go_on(_fault: int) -> None:
    """Nothing happens before a call."""


class FakeInjector:
    """Harms a `FakeTarget` and mends it, as the laws ask.

    Args:
        target: what it harms.
        before: what happens before a method does its work, given the fault's index: it may wait, raise or look.
        proves: what its evidence says while the harm is in place.
        settle_s: of its recipes.
    """

    name: ClassVar[str] = "fake.harm"
    about: ClassVar[str] = "Harms a fake target; undo mends it."
    needs: ClassVar[tuple[str, ...]] = ()
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    Params: ClassVar[type] = _NoParams

    def __init__(
        self,
        target: FakeTarget,
        *,
        before: dict[str, Callable[[int], Awaitable[None]]] | None = None,
        proves: bool | None = True,
        settle_s: float = 0.0,
    ) -> None:
        self.target = target
        self.before = before or {}
        self.proves = proves
        self.settle_s = settle_s
        self.calls: list[tuple[str, int]] = []
        """(method, fault) of every call so far."""

    def available(self) -> Availability:
        """Everywhere."""
        return Availability(ok=True)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Claim something of this fault's own."""
        await self._called("prepare", fault.index)
        tag = context.tag(fault)
        return Recipe(
            injector=self.name,
            says=f"harms the target as {tag}",
            data={"tag": tag, "fault": fault.index},
            claims=(f"fake:{tag}",),
            reversible=self.reversible,
            settle_s=self.settle_s,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Harm the target."""
        await self._called("inject", _fault_of(recipe))
        self.target.harm(str(recipe.data["tag"]))

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """What it was told to prove, while it is in place."""
        await self._called("verify", _fault_of(recipe))
        return Evidence(ok=self.proves if self._in_place(recipe) else None, says="a look at the target")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Mend the target."""
        await self._called("undo", _fault_of(recipe))
        self.target.mend(str(recipe.data["tag"]))

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Whether it is mended."""
        await self._called("absent", _fault_of(recipe))
        return Evidence(ok=not self._in_place(recipe), says="a look at the target")

    def _in_place(self, recipe: Recipe) -> bool:
        return recipe.data["tag"] in self.target.in_place

    async def _called(self, method: str, fault: int) -> None:
        self.calls.append((method, fault))
        await self.before.get(method, _go_on)(fault)


class FakeKill(FakeInjector):
    """Harms a `FakeTarget` for good: nothing is owed, and whether it comes back is the target's own business."""

    name: ClassVar[str] = "fake.kill"
    about: ClassVar[str] = "Harms a fake target; it has to come back by itself."
    reversible: ClassVar[bool] = False

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """There is no way back."""
        await self._called("undo", _fault_of(recipe))

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Nothing is owed."""
        await self._called("absent", _fault_of(recipe))
        return Evidence(ok=True, says="nothing is owed")


def _fault_of(recipe: Recipe) -> int:
    return int(str(recipe.data["fault"]))


class FakeLoad:
    """Sends a `FakeTarget` evenly spaced requests of one name and reports frames, as a `LoadDriver` does.

    Args:
        target: who is asked.
        clock: says when.
        a_slot: requests due in each slot of 100 ms.
    """

    FRAME_SLOTS: ClassVar[int] = 5
    LEAD_NS: ClassVar[int] = 300_000_000

    def __init__(self, target: FakeTarget, *, clock: Clock, a_slot: int = 10) -> None:
        self._target = target
        self._clock = clock
        self._a_slot = a_slot
        self._stopped = asyncio.Event()
        self._ends: Exception | str | None = None
        self._slot = 0
        self._seq = 0
        self._open: list[tuple[int, Hit]] = []

    async def run(self, report: Callable[[Event], object]) -> None:
        """Report LoadStarted, a frame every half second, and LoadEnded; return when stopped or lost."""
        epoch_ns = self._clock.now() + self.LEAD_NS
        report(LoadStarted(epoch_ns=epoch_ns, workers=1))
        while not self._stopped.is_set():
            await self._until(epoch_ns + (self._slot + self.FRAME_SLOTS) * SLOT_NS)
            if self._ends is None:
                report(SlotsArrived(frame=self._frame(epoch_ns)))
        if isinstance(self._ends, Exception):
            raise self._ends
        if self._ends is not None:
            report(LoadLost(worker=0, why=self._ends))
        report(LoadEnded(at_ns=self._clock.now()))

    def steer(self, factor: float) -> None:
        """From the next slot on, as many times the requests as planned.

        Raises:
            ValueError: the factor is negative or infinite.
        """
        if not 0 <= factor < float("inf"):
            raise ValueError(f"the factor must be a number from 0 up, not {factor}")
        self._a_slot = round(self._a_slot * factor)

    def stop(self) -> None:
        """End the load; `run` returns soon."""
        self._stopped.set()

    def lose(self, why: str) -> None:
        """Its only worker dies now."""
        self._ends = why
        self._stopped.set()

    def crash(self, error: Exception) -> None:
        """`run` raises this now."""
        self._ends = error
        self._stopped.set()

    def pids(self) -> frozenset[int]:
        """It has no process."""
        return frozenset()

    async def _until(self, ns: int) -> None:
        waits = [asyncio.ensure_future(self._clock.sleep_until(ns)), asyncio.ensure_future(self._stopped.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _frame(self, epoch_ns: int) -> Frame:
        """All that was due in the slots that are over; the last one also ends what is still open."""
        until = max(self._slot, (self._clock.now() - epoch_ns) // SLOT_NS)
        slots: dict[tuple[int, int], Slot] = {}
        hits: list[Hit] = []
        for number in range(self._slot, until):
            slot = slots[number, 0] = Slot(due=self._a_slot)
            for nth in range(self._a_slot):
                due_us = number * SLOT_NS // 1000 + nth * (SLOT_NS // 1000 // self._a_slot)
                answer = self._target.answer(epoch_ns + due_us * 1000)
                if answer is None:
                    self._open.append((number, Hit(due_us, 0, Outcome.UNFINISHED, 0, 0)))
                else:
                    hits.append(_finish(slot, Hit(due_us, 0, answer[0], round(answer[1] * 1e6), 0)))
        self._slot = until
        if self._stopped.is_set():
            for number, hit in self._open:
                age = until * SLOT_NS // 1000 - hit.due_us
                slot = slots.setdefault((number, 0), Slot())
                hits.append(_finish(slot, Hit(hit.due_us, 0, hit.outcome, age, 0)))
        seq, self._seq = self._seq, self._seq + 1
        return Frame(
            worker=0,
            seq=seq,
            until_us=until * SLOT_NS // 1000,
            slots=slots,
            hits=tuple(hits),
            last=self._stopped.is_set(),
        )


def _finish(slot: Slot, hit: Hit) -> Hit:
    slot.done[hit.outcome] = slot.done.get(hit.outcome, 0) + 1
    for histogram in (slot.ok, slot.adjusted) if hit.outcome is Outcome.OK else (slot.failed,):
        histogram.record(hit.response_us)
    for histogram in (slot.lag, slot.wait):
        histogram.record(0)
    return hit
