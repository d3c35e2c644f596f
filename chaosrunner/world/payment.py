"""Paying debts: undo, look whether the fault is gone, and repeat. Used by the runner, its watchdog and `recover` alike.

Debts are tried newest first, one attempt each, again and again with growing pauses until all are paid or the budget is
used up; a debt that cannot be paid delays no other. A fault whose inject has no recorded answer may land later than the
first undo: it is undone until its settle time has passed since the payer took over, and only then is it paid.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaosrunner.errors import InjectorError
from chaosrunner.model.events import UndoFailed, Undoing, Undone
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chaosrunner.model.fault import Injector, Tools
    from chaosrunner.world.clock import Clock
    from chaosrunner.world.journal import Journal
    from chaosrunner.world.orphans import Debt

CALL_S = 10.0
"""One undo, or one look, may take this long; then it is tried again."""
SETTLING_S = 0.05
"""Pause between attempts while all that is left is to see that nothing lands late."""
LONGEST_PAUSE_S = 2.0


@dataclass(slots=True)
class _Account:
    """How far one debt has come."""

    debt: Debt
    settled_ns: int
    """An undo called from this instant on is final if the fault is absent after it."""
    attempts: int
    absent: tuple[int, int] | None = None
    """(called, answered) of the first undo after which the fault was seen to be absent, and stayed so."""
    why: str = "not tried yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Pays debts and writes down what came of it. Never waits for the journal."""

    journal: Journal
    clock: Clock
    tools: Tools
    injector: Callable[[str], Injector]
    """An injector by name; may raise what it likes, the debt then stays unpaid."""
    pending: Callable[[int], bool] = field(default=lambda _: False)
    """Whether a fault's inject is still being called: until it is not, no undo of it is final."""
    on_paid: Callable[[Debt], None] = field(default=lambda _: None)

    async def pay(self, debts: Sequence[Debt], *, budget_s: float, tried: Callable[[], object] | None = None) -> bool:
        """Pay debts in the order given; whether all are paid.

        Those that are not are written down as failed when the budget is used up.

        Args:
            debts: newest first.
            budget_s: begin no further round after this long; settle times come on top.
            tried: called after the first round.
        """
        from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_exponential

        if not debts:
            return True
        began = self.clock.now()
        accounts = [_opened(debt, began) for debt in debts]
        until = max([began + int(budget_s * NANOS), *(account.settled_ns + NANOS for account in accounts)])
        growing = wait_exponential(multiplier=SETTLING_S, max=LONGEST_PAUSE_S)

        def pause(state: RetryCallState) -> float:
            settling = all(account.absent or account.debt.fault in self._paid() for account in accounts)
            return SETTLING_S if settling else float(growing(state))

        async def round_of_attempts() -> list[_Account]:
            for account in accounts:
                if account.debt.fault not in self._paid():
                    await self._attempt(account)
            if tried is not None:
                tried()
            return [account for account in accounts if account.debt.fault not in self._paid()]

        left: list[_Account] = await AsyncRetrying(
            retry=retry_if_result(bool),
            wait=pause,
            stop=lambda _: self.clock.now() >= until,
            sleep=self._sleep,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else accounts,
        )(round_of_attempts)
        for account in left:
            self.journal.write(UndoFailed(fault=account.debt.fault, why=account.why))
        return not left

    def _paid(self) -> set[int]:
        owed = set(self.journal.state.debts())
        return {index for index in self.journal.state.faults if index not in owed}

    async def _attempt(self, account: _Account) -> None:
        debt, called = account.debt, self.clock.now()
        final = called >= account.settled_ns and not self.pending(debt.fault)
        account.attempts += 1
        if account.absent is None:  # while it settles, more of the same would only fill the journal
            self.journal.write(Undoing(fault=debt.fault, attempt=account.attempts, called_ns=called))
        try:
            says = await self._undo(debt)
        except Exception as error:  # a stranger's injector may raise anything; the other debts must be paid
            account.absent = None
            account.why = str(error) or type(error).__name__
            return
        account.absent = account.absent or (called, self.clock.now())
        account.why = "it is absent, but may still land"
        if final:
            first, answered = account.absent
            self.journal.write(
                Undone(fault=debt.fault, called_ns=first, answered_ns=answered, attempts=account.attempts, says=says)
            )
            self.on_paid(debt)

    async def _undo(self, debt: Debt) -> str:
        """Undo and look. Returns what was seen; raises when the fault is not surely gone."""
        injector = self.injector(debt.recipe.injector)
        try:
            async with asyncio.timeout(CALL_S):
                await injector.undo(debt.recipe, self.tools)
        except TimeoutError as error:
            raise InjectorError(str(error) or f"undo has not answered within {CALL_S:g} s") from error
        try:
            async with asyncio.timeout(CALL_S):
                evidence = await injector.absent(debt.recipe, self.tools)
        except TimeoutError as error:
            raise InjectorError(str(error) or f"undone, but a look has not answered within {CALL_S:g} s") from error
        if evidence.ok is not True:
            raise InjectorError(f"undone, but not seen to be gone: {evidence.says}")
        return evidence.says

    async def _sleep(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.now() + int(seconds * NANOS))


def _opened(debt: Debt, now: int) -> _Account:
    settle_ns = 0 if debt.answered else int(debt.recipe.settle_s * NANOS)
    return _Account(debt, now + settle_ns, debt.attempts)
