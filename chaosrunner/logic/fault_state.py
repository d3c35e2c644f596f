"""What a journal says of one fault: where it stands, what it owes, and what was seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class FaultStatus(StrEnum):
    """Where a fault stands."""

    PLANNED = "planned"
    PREPARED = "prepared"
    INJECTING = "injecting"
    ACTIVE = "active"
    FAILED = "failed"
    """Prepare or inject failed; if something was touched, it is still a debt."""
    UNDOING = "undoing"
    PAID = "paid"
    STUCK = "stuck"
    """Every undo retry was used up."""


@dataclass(slots=True)
class FaultState:
    """What the journal says of one fault."""

    status: FaultStatus = FaultStatus.PLANNED
    recipe: Mapping[str, object] | None = None
    deadline_ns: int = 0
    inject_called_ns: int | None = None
    inject_answered_ns: int | None = None
    proven: bool | None = None
    evidence: str = ""
    evidence_ns: int | None = None
    evidence_n: int = 0
    undo_called_ns: int | None = None
    """The call of the first undo."""
    undone_called_ns: int | None = None
    undone_answered_ns: int | None = None
    attempts: int = 0
    why: str = ""

    @property
    def reversible(self) -> bool:
        """Whether its recipe can be undone; a fault without a recipe has nothing to undo."""
        return self.recipe is not None and bool(self.recipe.get("reversible", True))

    @property
    def debt(self) -> bool:
        """Prepared, reversible, and not yet paid: harm may be in place."""
        return self.reversible and self.status is not FaultStatus.PAID

    @property
    def over(self) -> bool:
        """Nothing more will be done about it."""
        return self.status in (FaultStatus.PAID, FaultStatus.STUCK) or (
            self.status is FaultStatus.FAILED and not self.debt
        )

    def at_its_end(self, ok: bool | None, says: str) -> None:
        """Take in the last look before it was undone: what was not there any more has not lasted as it should."""
        if ok is None:
            self.evidence = f"{self.evidence}; at its end: {says}"
        elif not ok:
            self.proven, self.evidence = False, f"not to its end: {says} (at first: {self.evidence})"
