"""How long the detail of 100 ms is worth its room: until when slots are merged, ten seconds at a time.

Memory (`chaosrunner.logic.fold`) and disk (`chaosrunner.world.compaction`) ask the same rule, so that judging a journal
again gives what was judged live. It counts hits, which merging does not change: from the merged slots of a segment it
comes to the same answer as from the fine ones. A merged slot stands where its ten seconds or its phase begin.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from chaosrunner.model import events as e
from chaosrunner.model.slots import Frame
from chaosrunner.model.units import SLOT_NS

GROUP = 100
"""Slots merged into one: ten seconds."""

KEEP_SLOTS = 600
"""A minute is never merged: an inject may come at any moment, and recovery is measured from before it."""

FINE_SLOTS = 18_000
"""Half an hour: slots older than that are merged, however few hits they hold."""

CALM_HITS = 2_000_000
"""Hits in fine slots before the first inject; beyond it the oldest are merged. At 10,000/s, 200 s."""

FAULT_HITS = 20_000_000
"""The same from the first inject on, when detail matters. At 10,000/s, 33 minutes."""


@dataclass(slots=True)
class Detail:
    """Follows a journal, and says what of it is merged by now."""

    until: int = 0
    """Slots below this number are merged."""
    phases: tuple[int, ...] = ()
    """Slot numbers at which phases begin, ascending."""
    _epoch_ns: int | None = None
    _workers: int = 0
    _covered_us: dict[int, int] = field(default_factory=dict)
    _due: dict[int, int] = field(default_factory=dict)
    """Ten seconds that are not merged → hits due in them."""
    _hits: int = 0
    _most: int = CALM_HITS

    def note(self, event: e.Event) -> None:
        """Take in a fact."""
        match event:
            case e.LoadStarted(epoch_ns=epoch_ns, workers=workers):
                self._epoch_ns, self._workers = epoch_ns, workers
            case e.PhaseEntered(at_ns=at_ns) if self._epoch_ns is not None:
                self.phases = tuple(sorted([*self.phases, -(-(at_ns - self._epoch_ns) // SLOT_NS)]))
            case e.Injecting():
                self._most = FAULT_HITS
            case _:
                pass

    def place(self, number: int) -> int:
        """The number under which what is due in a slot is kept by now."""
        return representative(number, self.phases) if number < self.until else number

    def frame(self, frame: Frame) -> None:
        """Take in a frame."""
        for (number, _), delta in frame.slots.items():
            if number >= self.until:
                self._due[number // GROUP] = self._due.get(number // GROUP, 0) + delta.due
                self._hits += delta.due
        self._covered_us[frame.worker] = max(frame.until_us, self._covered_us.get(frame.worker, 0))
        covered = self.covered()
        while self._due and (oldest := min(self._due)) < (covered - KEEP_SLOTS) // GROUP:
            if self._hits <= self._most and oldest >= (covered - FINE_SLOTS) // GROUP:
                break
            self._hits -= self._due.pop(oldest)
            self.until = (oldest + 1) * GROUP

    def covered(self) -> int:
        """The slot up to which every worker has reported; 0 before all have."""
        if len(self._covered_us) < self._workers:
            return 0
        return min(self._covered_us.values(), default=0) * 1000 // SLOT_NS


def representative(number: int, phases: tuple[int, ...]) -> int:
    """The slot that stands for all of its ten seconds and its phase: the first of them."""
    begun = bisect_right(phases, number)
    return max(number // GROUP * GROUP, phases[begun - 1] if begun else 0)
