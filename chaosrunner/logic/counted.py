"""What load workers count beside their hits, by the slot that reported it, so that a phase named later is right.

AFTER begins in the past: what was counted while it was being proven was not known to belong to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from chaosrunner.model.experiment import Phase

ROOM = 20_000
"""So many sums are kept by slot; then the older half is settled by the phases known."""

PhaseOf = Callable[[int], Phase | None]
"""Slot number → the phase it belongs to; None = outside any."""


@dataclass(slots=True)
class Counted:
    """Sums by name, each in the slot that its frame ends in."""

    settled: dict[tuple[Phase | None, str], int] = field(default_factory=dict)
    recent: dict[tuple[int, str], int] = field(default_factory=dict)

    def add(self, number: int, name: str, n: int, phase_of: PhaseOf) -> None:
        """Something was counted by the end of slot `number`."""
        self.recent[number, name] = self.recent.get((number, name), 0) + n
        if len(self.recent) > ROOM:
            for key in sorted(self.recent)[: ROOM // 2]:
                self.outside(phase_of(key[0]), key[1], self.recent.pop(key))

    def outside(self, phase: Phase | None, name: str, n: int) -> None:
        """Something was counted that no slot can say more of."""
        self.settled[phase, name] = self.settled.get((phase, name), 0) + n

    def by_phase(self, phase_of: PhaseOf) -> dict[tuple[Phase | None, str], int]:
        """(phase, name) → how often, by the phases known now."""
        found = dict(self.settled)
        for (number, name), n in self.recent.items():
            key = phase_of(number), name
            found[key] = found.get(key, 0) + n
        return found
