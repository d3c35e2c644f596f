"""Harm carries its way back with it: `undoing` injects and heals as tasks, and no way out of it leaves harm behind.

Both start at once and answer with facts in the journal. A heal waits for its inject: what has been called may still
land, so it is awaited, never abandoned.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaosrunner.model.events import Crashed, UndoFailed
from chaosrunner.model.units import NANOS
from chaosrunner.world.injection import LOOK_FAR_S, Injection, UndoKit
from chaosrunner.world.orphans import Debt
from chaosrunner.world.payment import Payer
from chaosrunner.world.shield import unshakable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from chaosrunner.world.journal import Journal

__all__ = ["Undo", "UndoKit", "undoing"]

INJECT_ANSWERS_S = 30.0
"""A heal waits this long for its inject; then it undoes, again and again, what has not even been answered."""
IN_ORDER_S = 5.0
"""A heal waits this long for the first attempt at newer faults that are being healed as well."""
STOP_LOOKING_S = 1.0


@dataclass(slots=True)
class _Course:
    """One fault, there and back."""

    injection: Injection
    inject: asyncio.Task[None]
    look: asyncio.Task[None] | None = None
    heal: asyncio.Task[None] | None = None
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    """The first attempt to undo it is over."""


@asynccontextmanager
async def undoing(kit: UndoKit, journal: Journal) -> AsyncIterator[Undo]:
    """Inject and heal in the body; on every way out of it all that was begun is awaited and undone.

    No number of cancels can end that early: one is delivered afterwards.
    """
    undo = Undo(kit, journal)
    try:
        yield undo
    finally:
        await unshakable(undo.heal_all())


class Undo:
    """Starts injects and heals. Both return at once; what came of them is written in the journal."""

    def __init__(self, kit: UndoKit, journal: Journal) -> None:
        self._kit = kit
        self._journal = journal
        self._courses: dict[int, _Course] = {}
        self._hurry = asyncio.Event()
        self._payer = Payer(
            journal=journal,
            clock=kit.clock,
            tools=kit.tools,
            injector=kit.injectors.__getitem__,
            pending=lambda index: not self._courses[index].inject.done(),
            on_paid=lambda debt: self._courses[debt.fault].injection.held.release(),
        )

    def inject(self, fault_index: int) -> None:
        """Start to inject a fault, once. Prepared, Injecting, Injected and Verified follow, or InjectFailed."""
        if fault_index in self._courses:
            return
        fault = self._kit.experiment.faults[fault_index]
        for index in fault.after:
            self._let_go(index)
        injection = Injection(self._kit, self._journal, fault)
        self._courses[fault_index] = _Course(injection, self._task("inject", fault_index, self._there(fault_index)))

    def hurry(self) -> None:
        """The run is given up, or over: from now on nobody stops to look at what is to be undone."""
        self._hurry.set()

    def heal(self, fault_index: int) -> None:
        """Start to undo a fault, once. Undone follows, or UndoFailed; nothing when it owes nothing."""
        course = self._courses.get(fault_index)
        if course is None or course.heal is not None:
            return
        course.injection.want_back()
        course.heal = self._task("heal", fault_index, self._back(course, self._newer(course)))

    async def heal_all(self) -> None:
        """Heal everything that was begun, newest first, and return when nothing can be done any more."""
        self.hurry()
        for index in reversed(self._courses):
            self.heal(index)
        await asyncio.gather(*(course.heal for course in self._courses.values() if course.heal is not None))

    def _let_go(self, index: int) -> None:
        """Give back what a fault without a way back has claimed: it is over for whoever waits for it."""
        course = self._courses.get(index)
        if course is not None and course.injection.recipe is not None and not course.injection.recipe.reversible:
            course.injection.held.release()

    async def _there(self, index: int) -> None:
        course = self._courses[index]
        await course.injection.go()
        if course.injection.answered and course.heal is None:
            course.look = self._task("verify", index, course.injection.look())

    async def _back(self, course: _Course, newer: list[_Course]) -> None:
        injection = course.injection
        try:
            await self._at_most(course.inject, INJECT_ANSWERS_S)
            await self._stop_looking(course)
            await self._see_its_end(course)
            await self._in_order(newer)
            recipe = injection.recipe
            if recipe is None or not recipe.reversible:
                injection.held.release()
                return
            owed = Debt(injection.index, recipe, answered=injection.answered or not injection.called)
            await self._payer.pay([owed], budget_s=self._kit.budget_s, tried=course.tried.set)
        except Exception as error:
            # A bug of ours. Whoever waits for this debt must hear that it is not paid.
            self._journal.write(UndoFailed(fault=injection.index, why=f"{type(error).__name__}: {error}"))
            raise
        finally:
            course.tried.set()

    async def _stop_looking(self, course: _Course) -> None:
        if course.look is not None:
            course.look.cancel()
            await self._at_most(course.look, STOP_LOOKING_S)
        await course.injection.look_last()

    async def _see_its_end(self, course: _Course) -> None:
        """Have a look whether it was in effect to its end, unless somebody is in a hurry. Bounded, whoever looks."""
        if self._hurry.is_set():
            return
        look, hurry = asyncio.ensure_future(course.injection.look_again()), asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({look, hurry}, timeout=LOOK_FAR_S + STOP_LOOKING_S, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        look.cancel()

    def _newer(self, course: _Course) -> list[_Course]:
        """Faults begun after this one that are being healed already: theirs is the first attempt.

        One that is wanted back before its inject was called will never be called: nobody need wait for its `prepare`.
        """
        begun = list(self._courses.values())
        return [one for one in begun[begun.index(course) + 1 :] if one.heal is not None and one.injection.called]

    async def _in_order(self, newer: list[_Course]) -> None:
        for other in newer:
            tried = asyncio.ensure_future(other.tried.wait())
            await self._at_most(tried, IN_ORDER_S)
            tried.cancel()

    async def _at_most(self, work: asyncio.Future[Any], seconds: float) -> None:
        """Wait until work is done, but not longer than this; neither its result nor its failure matters here."""
        if work.done():
            return
        over = asyncio.ensure_future(self._kit.clock.sleep_until(self._kit.clock.now() + int(seconds * NANOS)))
        await asyncio.wait({work, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()

    def _task(self, what: str, index: int, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def as_fact() -> None:
            try:
                await work
            except Exception as error:  # a bug of ours must not stop the others from being healed
                self._journal.write(Crashed(where=f"{what} {index}", why=f"{type(error).__name__}: {error}"))

        return asyncio.create_task(as_fact(), name=f"{what} {index}")
