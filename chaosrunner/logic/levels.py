"""A mean or a rate as a condition of recovery: no single hit is bad, so it is asked of stretches of slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaosrunner.logic import stats
from chaosrunner.logic.measure import holds
from chaosrunner.logic.trace import Watch
from chaosrunner.logic.traffic import SLOTS_A_SECOND
from chaosrunner.model.hypothesis import Tolerance
from chaosrunner.model.units import SLOT_NS

SLOT_US = SLOT_NS // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Running sums by slot: a mean is amount ÷ weight of hits, a rate amount of hits ÷ weight in seconds."""

    tolerance: Tolerance
    bound: float
    first: int
    """The first slot."""
    amount: Sequence[float]
    """Sum of everything before each slot; one entry more than there are slots."""
    weight: Sequence[float]
    hits: Sequence[int]

    def next_at(self, at_us: int, watch: Watch) -> int | None:
        """The first slot edge (or `at_us` itself) from which it holds over the hold time and over its first second."""
        at = at_us
        while at < watch.until_us:
            if self._holds(at, watch):
                return at
            at = (at // SLOT_US + 1) * SLOT_US
        return None

    def strays_at(self, at_us: int, watch: Watch) -> int | None:
        """The end of the first hold time, by steps of 1 s from `at_us` on, over which it does not hold; else None."""
        wide = watch.hold_us // SLOT_US
        for begin in range(-(-at_us // SLOT_US), watch.until_us // SLOT_US - wide + 1, SLOTS_A_SECOND):
            if not self._over(begin, begin + wide):
                return (begin + wide) * SLOT_US
        return None

    def doubt_before(self, at_us: int, begin_us: int) -> int | None:
        """The slot before an instant: a level is no finer than that."""
        return max(begin_us, at_us - SLOT_US) if at_us > begin_us else None

    def violated(self, begin_us: int, end_us: int) -> bool:
        """Whether it does not hold over [begin, end)."""
        return not self._over(-(-begin_us // SLOT_US), end_us // SLOT_US)

    def lacks(self, begin_us: int, end_us: int) -> int:
        """How many hits are missing in [begin, end) to judge it."""
        begin, end = -(-begin_us // SLOT_US), end_us // SLOT_US
        return max(0, stats.FEW - self.hits[self._at(end)] + self.hits[self._at(begin)])

    def _holds(self, at_us: int, watch: Watch) -> bool:
        begin = -(-at_us // SLOT_US)
        until = watch.until_us // SLOT_US
        end = begin + watch.hold_us // SLOT_US
        if end > until or not watch.whole:
            return self._over(begin, min(begin + SLOTS_A_SECOND, until))
        if self.lacks(at_us, end * SLOT_US):
            return False
        return self._over(begin, begin + SLOTS_A_SECOND) and self._over(begin, end)

    def _over(self, begin: int, end: int) -> bool:
        weight = self.weight[self._at(end)] - self.weight[self._at(begin)]
        if weight <= 0:
            return False
        return holds(
            (self.amount[self._at(end)] - self.amount[self._at(begin)]) / weight, self.tolerance.cmp, self.bound
        )

    def _at(self, slot: int) -> int:
        return min(max(0, slot - self.first), len(self.amount) - 1)
