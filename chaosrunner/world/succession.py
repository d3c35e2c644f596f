"""Taking over a run whose owner is gone: own its journal, pay its debts, end it. Watchdog, guard, `recover`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaosrunner.model.events import Ended
from chaosrunner.world import claims
from chaosrunner.world.journal import Journal
from chaosrunner.world.orphans import debts
from chaosrunner.world.payment import Payer

if TYPE_CHECKING:
    from pathlib import Path

    from chaosrunner.model.fault import Injector, Tools
    from chaosrunner.world.clock import Clock
    from chaosrunner.world.orphans import Debt
    from chaosrunner.world.state_home import StateHome


@dataclass(frozen=True, slots=True)
class Payment:
    """What became of one debt."""

    run_dir: Path | None
    """None: found at the target by its tag, without a journal."""
    fault: int
    says: str
    """What was broken and how it is put back, as its recipe says."""
    paid: bool
    why: str
    """What was seen; or why it may still be in place."""
    theirs: bool = False
    """Somebody else's fault that goes on and ends by itself: left alone, no debt of ours, and told as paid."""

    def __str__(self) -> str:
        if self.theirs:
            return f"{self.says}: left alone: {self.why}"
        return f"{self.says}: " + ("put back" if self.paid else f"MAY STILL BE IN PLACE: {self.why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heir:
    """Who takes over, and with what."""

    who: str
    """`watchdog`, `guard` or `recover`, as the journal will say."""
    clock: Clock
    tools: Tools
    home: StateHome
    injector: Callable[[str], Injector]
    budget_s: float
    pending: Callable[[int], bool] = field(default=lambda _: False)
    """Whether a fault's inject may still be called by its owner: until it is not, no undo of it is final."""


async def succeed(run_dir: Path, heir: Heir) -> list[Payment]:
    """Take a run over, pay what it owes, newest first, and sign it off if nothing is left.

    Returns:
        One payment a debt; empty when it owed nothing.

    Raises:
        Busy: the run has an owner. It was not touched.
        JournalBroken: there is no journal, or it cannot be taken over.
    """
    journal = Journal.take_over(run_dir, heir.clock, heir.who)
    try:
        payments = await _settle(journal, run_dir, heir)
        if not journal.state.ended:
            why = f"failed: its owner died; the {heir.who} looked after what it owed"
            journal.write(Ended(why=why, at_ns=heir.clock.now()))
    finally:
        await journal.close()
    if not journal.state.debts():
        _sign_off(heir.home, run_dir)
    return payments


async def _settle(journal: Journal, run_dir: Path, heir: Heir) -> list[Payment]:
    def paid(debt: Debt) -> None:
        claims.forget(heir.home, debt.recipe.claims, run_dir)

    owed = debts(journal.state)
    payer = Payer(
        journal=journal,
        clock=heir.clock,
        tools=heir.tools,
        injector=heir.injector,
        pending=heir.pending,
        on_paid=paid,
    )
    await payer.pay(owed, budget_s=heir.budget_s)
    left = set(journal.state.debts())
    return [
        Payment(run_dir, debt.fault, debt.recipe.says, debt.fault not in left, journal.state.fault(debt.fault).why)
        for debt in owed
    ]


def _sign_off(home: StateHome, run_dir: Path) -> None:
    for run in home.runs():
        if os.path.realpath(run.run_dir) == os.path.realpath(run_dir):
            home.sign_off(run)
