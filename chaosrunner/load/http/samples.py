"""Why replies did not pass: counted by status, and for the journal a few samples of each step in words."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from chaosrunner.load.ledger import Ledger

MOST = 5
"""Of each step and worker."""


class Samples:
    """What was noted so far."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._noted: Counter[str] = Counter()

    def add(self, step: str, outcome: Outcome, status: int, why: str) -> None:
        """A reply did not pass; `why` is empty when its status says it all."""
        if outcome is Outcome.STATUS:
            self._ledger.count(f"{step}.status.{status}")
        if why and self._noted[step] < MOST:
            self._noted[step] += 1
            self._ledger.note("reply", step=step, outcome=outcome.value, status=status, why=why)
