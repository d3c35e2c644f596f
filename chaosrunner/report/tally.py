"""Sums over slots: what a stretch of traffic looked like, by request name and overall."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from chaosrunner.logic.fold import State
from chaosrunner.model.experiment import Phase
from chaosrunner.model.histogram import Histogram
from chaosrunner.model.hypothesis import Metric, Stat
from chaosrunner.model.load import ERRORS, Outcome
from chaosrunner.model.slots import Slot
from chaosrunner.model.units import NANOS, SLOT_NS

SLOTS_PER_S = NANOS // SLOT_NS


@dataclass(slots=True)
class Tally:
    """Counts and response times of some hits, by the interval in which they were due."""

    due: int = 0
    done: dict[Outcome, int] = field(default_factory=dict)
    ok: Histogram = field(default_factory=Histogram)

    def add(self, other: Slot | Tally) -> None:
        """Count these as well."""
        self.due += other.due
        for outcome, count in other.done.items():
            self.done[outcome] = self.done.get(outcome, 0) + count
        self.ok.add(other.ok)

    @property
    def errors(self) -> int:
        """Finished hits that failed."""
        return sum(count for outcome, count in self.done.items() if outcome in ERRORS)

    @property
    def oks(self) -> int:
        """Hits that succeeded."""
        return self.done.get(Outcome.OK, 0)

    @property
    def open(self) -> int:
        """Hits without an outcome so far."""
        return self.due - sum(self.done.values())

    @property
    def error_share(self) -> float | None:
        """Failures among the hits with an outcome that says something of the target, 0..1; None without any."""
        judged = self.oks + self.errors
        return self.errors / judged if judged else None

    def quantile_s(self, share: float) -> float | None:
        """The quantile of response in seconds, failures infinitely slow; None without any finished hit."""
        micros = self.ok.quantile(share, infinite=self.errors)
        return None if micros is None else micros / 1e6

    def value(self, metric: Metric, seconds: float) -> float | None:
        """A load statistic in its unit (seconds, share, per second); None without data or for a probe."""
        match metric.stat:
            case Stat.QUANTILE:
                return self.quantile_s(metric.quantile)
            case Stat.MEAN:
                mean = self.ok.mean()
                return None if mean is None else mean / 1e6
            case Stat.MAX:
                return self.quantile_s(1.0)
            case Stat.ERRORS:
                return self.error_share
            case Stat.RATE:
                return self.oks / seconds if seconds > 0 else None
            case Stat.PROBE:
                return None


def of_slots(state: State, numbers: Iterable[int]) -> Tally:
    """The overall tally of some slots."""
    tally = Tally()
    for number in numbers:
        for slot in state.slots.get(number, {}).values():
            tally.add(slot)
    return tally


class PhaseTallies:
    """Tallies by phase and name that follow a growing state at the price of what is new.

    A slot that is covered and has nothing open never changes again: it is summed once. The few behind it are summed
    anew at each look. When a phase begins in the past (AFTER is found, not scheduled) the last two are summed again.
    """

    def __init__(self, patience_s: float) -> None:
        self._settled: dict[Phase, dict[int, Tally]] = {}
        self._next = 0
        self._phases = 0
        self._patience = int(patience_s * SLOTS_PER_S)
        """Slots this much older than the newest are taken as final, whatever is still open in them."""

    def look(self, state: State) -> dict[Phase, dict[int, Tally]]:
        """Phase → step index → tally, of everything due so far."""
        if state.load_epoch_ns is None:
            return {}
        self._notice_phases(state)
        covered = state.slot_number(max(state.covered_ns(), state.load_epoch_ns))
        self._next = max(self._next, state.coarse_until)
        while self._next < covered and self._final(state, covered):
            _add(self._settled, state, self._next)
            self._next += 1
        total = {phase: {name: _copy(one) for name, one in names.items()} for phase, names in self._settled.items()}
        for number in range(self._next, covered + 1):
            _add(total, state, number)
        return total

    def _final(self, state: State, covered: int) -> bool:
        names = state.slots.get(self._next, {})
        return self._next < covered - self._patience or all(slot.open <= 0 for slot in names.values())

    def _notice_phases(self, state: State) -> None:
        if len(state.phases) == self._phases:
            return
        self._phases = len(state.phases)
        for phase, begin in state.phases[-2:]:
            self._settled.pop(phase, None)
            self._next = max(0, min(self._next, state.slot_number(begin)))


def _add(into: dict[Phase, dict[int, Tally]], state: State, number: int) -> None:
    phase = state.phase_of_slot(number)
    if phase is None:
        return
    names = into.setdefault(phase, {})
    for kind in (state.slots, state.series):
        for name, slot in kind.get(number, {}).items():
            names.setdefault(name, Tally()).add(slot)


def _copy(tally: Tally) -> Tally:
    fresh = Tally()
    fresh.add(tally)
    return fresh
