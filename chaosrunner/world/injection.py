"""One fault's way there. The order is the promise: its way back is on disk, and somebody is watching, before any harm.

prepare → lock the claims, prepare again → write the recipe, durably → write that the inject is called, durably → inject
→ look for evidence until there is some, or until the fault is wanted back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from chaosrunner.errors import ChaosrunnerError, InjectorError, JournalBroken
from chaosrunner.model.events import Injected, InjectFailed, Injecting, Prepared, Verified, VerifiedAgain
from chaosrunner.model.fault import Evidence, recipe_from_json, recipe_to_json
from chaosrunner.model.units import NANOS
from chaosrunner.world import claims
from chaosrunner.world.aiming import prepared

if TYPE_CHECKING:
    from pathlib import Path

    from chaosrunner.logic.fault_state import FaultState
    from chaosrunner.model.experiment import Experiment
    from chaosrunner.model.fault import Context, Fault, Injector, Recipe, Tools
    from chaosrunner.world.clock import Clock
    from chaosrunner.world.journal import Journal
    from chaosrunner.world.reservations import Reservation
    from chaosrunner.world.state_home import StateHome

GRACE_S = 10.0
"""The watchdog leaves a runner without a heartbeat this long after a fault should have ended."""
LOOK_EVERY_S = 0.25
LOOK_TAKES_S = 5.0
LAST_LOOK_S = 0.25
LOOK_AGAIN_S = 1.0
"""A fault that was proven lasts at most this much longer, so that its end can be seen."""
LOOK_FAR_S = 3.0
"""The same on another host, which takes one way by ssh, or two."""
DURABLE_S = 20.0
"""A recipe that is not on disk by then will not be: nothing is injected."""
BUDGET_S = 20.0
"""Undo is tried again for this long; then it is given up, and said so."""


class Guard(Protocol):
    """Whoever undoes in our place should we die; see `chaosrunner.world.watchdog`."""

    @property
    def lost(self) -> str:
        """Why nobody would; empty while somebody would."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoKit:
    """What injecting and healing need."""

    experiment: Experiment
    injectors: Mapping[str, Injector]
    tools: Tools
    clock: Clock
    home: StateHome
    run_dir: Path
    context: Callable[[Fault], Context]
    """A new context of the same seed for each look, so that both looks choose the same."""
    reservation: Reservation | None = None
    """None: there are no other runs, and no limit; for tests."""
    guard: Guard | None = None
    """None: nobody; only for experiments that have accepted it, and for tests."""
    budget_s: float = BUDGET_S
    grace_s: float = GRACE_S


class Injection:
    """A fault on its way there, and what is known of it in this process."""

    def __init__(self, kit: UndoKit, journal: Journal, fault: Fault) -> None:
        self._kit = kit
        self._journal = journal
        self._fault = fault
        self._injector = kit.injectors[fault.injector]
        self.index = fault.index
        self.recipe: Recipe | None = None
        self.called = False
        """The inject has been called: from here on it may land, whatever it answers."""
        self.answered = False
        """The inject has answered that it is done: it cannot land later."""
        self.held = claims.Held()
        self._wanted_back = False
        self._evidence = Evidence(ok=None, says="not looked for yet")
        self._proven = False

    def want_back(self) -> None:
        """From now on it will not be injected, if it has not been called yet."""
        self._wanted_back = True

    async def go(self) -> None:
        """Inject, and write down Prepared, Injecting and Injected, or InjectFailed."""
        try:
            await self._there()
        except Exception as error:  # a stranger's injector may raise anything; it is a fact, not a crash of ours
            why = str(error) or type(error).__name__
            self._journal.write(InjectFailed(fault=self._fault.index, why=why, touched=self.called))

    async def look(self) -> None:
        """Look for evidence until there is some; write Verified then. Nothing to see yet is no evidence."""
        while not self._proven:
            await self._look_once(LOOK_TAKES_S)
            if not self._proven:
                await self._kit.clock.sleep_until(self._kit.clock.now() + int(LOOK_EVERY_S * NANOS))

    async def look_last(self) -> None:
        """Look once more before the fault is undone; what was never seen, but seen not to be, is written down."""
        if self._proven or not self.answered:
            return
        await self._look_once(LAST_LOOK_S)
        if not self._proven and self._evidence.ok is False:
            self._write_verified()

    async def look_again(self) -> None:
        """See whether what was proven is still in effect, just before it is undone, and write VerifiedAgain.

        A fault that is not there any more, though nobody has undone it, has not lasted as long as it says; unless what
        it hit has ended or was replaced: that is how a system may heal itself. Users who stay away from a fault leave
        nothing to be seen, but the fault is there.
        """
        if not self._proven or self.recipe is None or not self.recipe.reversible:
            return
        at_most_s = LOOK_FAR_S if "host" in self.recipe.data else LOOK_AGAIN_S
        try:
            async with asyncio.timeout(at_most_s):
                seen = _seen(await self._injector.verify(self.recipe, self._kit.tools))
                ok = None if seen.ended else seen.ok
                if seen.ok is None and (await self._injector.absent(self.recipe, self._kit.tools)).ok:
                    ok = False
            says = seen.says
        except TimeoutError:
            ok, says = None, f"it could not be looked at within {at_most_s:g} s"
        except Exception as error:  # a look that fails shows nothing, neither way
            ok, says = None, f"it could not be looked at: {str(error) or type(error).__name__}"
        self._journal.write(VerifiedAgain(fault=self.index, ok=ok, says=says, at_ns=self._kit.clock.now()))

    async def _there(self) -> None:
        index = self._fault.index
        recipe = await self._prepared()
        deadline_ns = self._kit.clock.now() + int((max(recipe.lasts_s, self._fault.for_s) + self._kit.grace_s) * NANOS)
        n = self._journal.write(Prepared(fault=index, recipe=recipe_to_json(recipe), deadline_ns=deadline_ns))
        self.recipe = recipe
        await self._durably(n)
        self._go_on()
        await self._durably(self._journal.write(Injecting(fault=index, called_ns=self._kit.clock.now())))
        self._go_on()
        called_ns = self._kit.clock.now()
        self.called = True
        await self._injector.inject(recipe, self._kit.tools)
        self.answered = True
        self._journal.write(Injected(fault=index, called_ns=called_ns, answered_ns=self._kit.clock.now()))

    async def _durably(self, n: int) -> None:
        """Wait for the disk, but not for ever: a disk that hangs is a disk that fails."""
        try:
            async with asyncio.timeout(DURABLE_S):
                await self._journal.durable(n)
        except TimeoutError:
            raise JournalBroken(f"the journal was not on disk after {DURABLE_S:g} s") from None

    async def _prepared(self) -> Recipe:
        """What will be hit, claimed, and looked at again once nobody else may change it."""
        fault, kit = self._fault, self._kit
        first = await prepared(self._injector, fault, kit.context(fault))
        self._go_on()
        self.held = claims.hold(kit.home, first.claims, kit.run_dir)
        again = await prepared(self._injector, fault, kit.context(fault))
        if again.claims != first.claims:
            raise InjectorError(
                f"the target changed while it was claimed: {', '.join(first.claims)} became {', '.join(again.claims)}"
            )
        if kit.reservation is not None:
            await kit.reservation.also([*self._in_place(again), (fault, again)])
        self.held.remember(again)
        # What is injected is what was written, bit by bit: what JSON would change, it has changed here.
        return recipe_from_json(json.loads(json.dumps(recipe_to_json(again))))

    def _in_place(self, newest: Recipe) -> list[tuple[Fault, Recipe]]:
        """What this run has under faults now, as far as the journal and what `newest` has counted can say."""
        found = []
        for index, seen in self._journal.state.faults.items():
            if seen.recipe is None:
                continue
            fault, recipe = self._kit.experiment.faults[index], recipe_from_json(seen.recipe)
            if seen.debt or (not seen.reversible and self._counts(fault, recipe, newest, seen)):
                found.append((fault, recipe))
        return found

    def _counts(self, kill: Fault, struck: Recipe, newest: Recipe, seen: FaultState) -> bool:
        """Whether what a kill has struck still counts: for as long as it should last, and until its like are back.

        Back means that as many live as when it struck, by the count of a fault that looks for the same; so a kill with
        a short `for` is no way round a limit.
        """
        if seen.over:
            return False  # it has failed
        ends_ns = (seen.inject_answered_ns or self._kit.clock.now()) + int(kill.for_s * NANOS)
        alike = self._kit.injectors[kill.injector].needs == self._injector.needs
        same = kill.target and self._fault.target and kill.target.component == self._fault.target.component
        missing = bool(alike and same and 0 < newest.live < struck.live)
        return missing or ends_ns > self._kit.clock.now()

    def _go_on(self) -> None:
        if self._wanted_back:
            raise ChaosrunnerError("wanted back before it was injected")
        if self._kit.guard is not None and self._kit.guard.lost:
            raise ChaosrunnerError(f"nobody would undo it in our place: {self._kit.guard.lost}")

    async def _look_once(self, at_most_s: float) -> None:
        assert self.recipe is not None
        try:
            async with asyncio.timeout(at_most_s):
                self._evidence = _seen(await self._injector.verify(self.recipe, self._kit.tools))
        except Exception as error:  # a look that fails shows nothing, neither way
            self._evidence = Evidence(ok=None, says=str(error) or type(error).__name__)
        if self._evidence.ok:
            self._proven = True
            self._write_verified()

    def _write_verified(self) -> None:
        seen, now = self._evidence, self._kit.clock.now()
        self._journal.write(
            Verified(fault=self._fault.index, ok=bool(seen.ok), says=seen.says, at_ns=now, data=seen.data)
        )


def _seen(answer: object) -> Evidence:
    """A stranger's evidence, as it will be read back. Raises TypeError or ValueError when it is none."""
    if not isinstance(answer, Evidence):
        raise TypeError(f"its verify answered {answer!r}, which is no Evidence")
    data = json.loads(json.dumps(dict(answer.data)))
    return Evidence(ok=answer.ok, says=str(answer.says), data=data, ended=bool(answer.ended))
