"""A tolerance as a question to each hit: was this one bad, and how large a share may be?

`errors < 2%` allows 2 % failures; `p95 <= 400ms` allows 5 % that failed or took longer. So the moment of recovery
can be told by single hits. Where raw hits were thinned (above 2,000/s) each 100 ms slot is one point instead.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from chaosrunner.logic import stats
from chaosrunner.logic.measure import enough, holds
from chaosrunner.model.hypothesis import Stat, Tolerance

OTHER = 50
"""Hits of the other side of an illness that help to tell what is usual on one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """From when to when a recovery is looked for. µs after the load's epoch."""

    begin_us: int
    """When the effect of the faults ended."""
    until_us: int
    """Every hit due before this has its outcome."""
    hold_us: int
    strict: bool = True
    """Whether a bad hit among the very first ones counts against a beginning (see `stats.stray_limit`)."""
    since_us: int = 0
    """When it began."""
    whole: bool = True
    """Whether the hold time as a whole must hold, or only not stray."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What makes a hit bad for one tolerance, and how many may be."""

    tolerance: Tolerance
    bound: float
    names: frozenset[int] | None = None
    """Indices of the names it is about; None = all hits."""

    @property
    def limit_us(self) -> float:
        """Slower than this is bad; without a latency bound nothing is too slow."""
        return math.inf if self.tolerance.metric.stat is Stat.ERRORS else self.bound * 1e6

    @property
    def allowed(self) -> float:
        """The share that may be bad."""
        match self.tolerance.metric.stat:
            case Stat.QUANTILE:
                return 1.0 - self.tolerance.metric.quantile
            case Stat.ERRORS:
                return min(1.0, max(0.0, self.bound))
            case _:
                return 0.0

    @property
    def needed(self) -> int:
        """Hits (of a probe: answers) it takes to judge the rule as a whole."""
        return 1 if self.tolerance.metric.stat is Stat.PROBE else enough(self.tolerance, self.bound)

    def holds(self, bad: int, hits: int) -> bool:
        """Whether it holds as a whole."""
        if self.tolerance.metric.stat is Stat.ERRORS:
            return holds(bad / hits if hits else 0.0, self.tolerance.cmp, self.bound)
        return bad <= hits - stats.rank_of(1.0 - self.allowed, hits) if hits else True


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The hits of a rule in order of their due time: points, each of one hit or of one slot."""

    rule: Rule
    due: Sequence[int]
    """µs after the load's epoch."""
    before: Sequence[int]
    """Hits before each point; one entry more than there are points."""
    bad: Sequence[tuple[int, int]]
    """(point, how many of its hits were bad), in order."""
    width_us: int = 0
    """Length of a point: 0 for a hit, 100 ms for a slot."""
    failed_due: Sequence[int] = ()
    """When hits that failed, of any name, were due."""
    longest_gap_us: float = math.inf
    """A silence longer than this is an absence of data: an earlier step of the journeys was in the way."""
    paced: bool = False
    """Answers come at a pace, so a silence anywhere in a hold time leaves it unproven."""
    kindly: bool = False
    """What was not said would have been good."""
    bad_points: list[int] = field(init=False)
    bad_before: list[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bad_points", [point for point, _ in self.bad])
        object.__setattr__(self, "bad_before", list(accumulate((count for _, count in self.bad), initial=0)))

    def next_at(self, at_us: int, watch: Watch) -> int | None:
        """The first instant from `at_us` on from which the rule holds, as far as it was watched; None if there is none.

        It holds from an instant when the whole hold time after it does, on enough hits, and no stretch that begins
        there has more bad hits than chance explains (`stats.stray_limit`); see `Watch` for what may be left out.
        """
        at: int | None = at_us
        while at is not None and at < watch.until_us:
            at, tried = self._try(at, watch), at
            if at == tried:
                return at
        return None

    def silent_at(self, at_us: int) -> bool:
        """Whether no hit came for too long around an instant."""
        return self._silence(at_us) is not None

    def ill_at(self, at_us: int) -> bool:
        """Whether the last answer before an instant was bad, of what comes at a pace: so it is until the next one."""
        nth = self.first_bad(at_us) - 1
        return self.paced and nth >= 0 and self.bad_points[nth] == bisect_left(self.due, at_us) - 1

    def heard_after(self, begin_us: int, since_us: int) -> int:
        """Until when nothing was known, of what comes at a pace, at `begin_us`; that itself if it was asked since."""
        nth = bisect_left(self.due, begin_us)
        if not self.paced or self.kindly or bisect_left(self.due, since_us) < nth or nth == len(self.due):
            return begin_us
        return self.due[nth]

    def strays_at(self, at_us: int, watch: Watch) -> int | None:
        """Due time of the hit at which traffic from `at_us` on proves to be ill; None if it was not seen to be."""
        return self._strays(at_us, watch.until_us, strict=watch.strict)

    def counts(self, begin_us: int, end_us: int) -> tuple[int, int]:
        """(bad, hits) due in [begin, end)."""
        first, last = bisect_left(self.due, begin_us), bisect_left(self.due, end_us)
        lowest, highest = self.first_bad(begin_us), self.first_bad(end_us)
        return self.bad_before[highest] - self.bad_before[lowest], self.before[last] - self.before[first]

    def usual(self, watch: Watch) -> float:
        """The share of bad hits of a system that is well: before the effect or in the last half of the hold time.

        Each of the two is told as if `OTHER` hits more had been seen, with the share of the other one: of few hits one
        bad one more or less would say too much. The higher of them counts; never 0 (half a bad hit is added), and never
        above what is allowed. Both together as one would be wrong: a system may well be worse than it was, within what
        is allowed, and what is usual then would be taken for what is left of an illness.
        """
        late = max(watch.begin_us, watch.until_us - watch.hold_us // 2)
        counted = [self.counts(*stretch) for stretch in ((0, watch.since_us), (late, watch.until_us))]
        counted = [(bad, hits) for bad, hits in counted if hits >= stats.FEW]
        pairs = zip(counted, reversed(counted), strict=True)
        shares = [(bad + 0.5 + OTHER * more / of) / (hits + 1 + OTHER) for (bad, hits), (more, of) in pairs]
        return min(self.rule.allowed, max(shares, default=self.rule.allowed))

    def first_bad(self, at_us: int) -> int:
        """Position in `bad` of the first bad point due at or after an instant."""
        return bisect_left(self.bad_points, bisect_left(self.due, at_us))

    def hits_before(self, at_us: int) -> int:
        """Hits due before an instant."""
        return self.before[bisect_left(self.due, at_us)]

    def after_bad(self, nth: int) -> int:
        """The next hit after the `nth` bad point, or, if that is long in coming, the moment after it.

        Hits that were due at the very same moment are not after it: what begins with them begins with the bad one.
        """
        due = self.due[self.bad_points[nth]]
        following = self._after(bisect_right(self.due, due))
        if following is None or following - due > self.longest_gap_us:
            return due + 1
        return following

    def violated(self, begin_us: int, end_us: int) -> bool:
        """Whether the rule does not hold over [begin, end), whatever the hits it may lack had been."""
        bad, hits = self.counts(begin_us, end_us)
        return not self.rule.holds(bad, max(hits, self.rule.needed))

    def by_chance(self, begin_us: int, end_us: int) -> bool:
        """Whether what was bad in [begin, end) is no more than chance makes of the share that is allowed."""
        bad, hits = self.counts(begin_us, end_us)
        return stats.by_chance(bad, hits, self.rule.allowed) > stats.UNLIKELY

    def excess(self, begin_us: int, end_us: int) -> bool:
        """Whether more was bad in [begin, end) than chance makes of what is allowed, however many there were."""
        bad, hits = self.counts(begin_us, end_us)
        return bad > stats.chance_limit(hits, self.rule.allowed)

    def lacks(self, begin_us: int, end_us: int) -> int:
        """How many hits are missing in [begin, end) to judge it."""
        return max(0, self.rule.needed - self.counts(begin_us, end_us)[1])

    def doubt_before(self, at_us: int, begin_us: int) -> int | None:
        """The latest instant in [begin, at) at which the rule still was not kept, or nothing was known of it."""
        silence = self._silence(at_us)
        nth = self.first_bad(at_us) - 1
        known = [self.due[self.bad_points[nth]]] if nth >= 0 else []
        if self.width_us:  # bad hits are in most slots of busy traffic: the slot before is as far as they tell
            known = [at_us - self.width_us]
        if silence is not None:
            last = bisect_left(self.failed_due, at_us) - 1
            known.append(max(silence[0], self.failed_due[last] if last >= 0 else 0))
        return max((due for due in known if due >= begin_us), default=None)

    def _try(self, at_us: int, watch: Watch) -> int | None:
        """`at_us` if the rule holds from there, else the next instant worth trying."""
        after_silence = self._after_silence(at_us)
        if after_silence != at_us:
            return after_silence
        end_us = min(at_us + watch.hold_us, watch.until_us)
        full = watch.whole and at_us + watch.hold_us <= watch.until_us
        bad, hits = self.counts(at_us, end_us)
        ill = full and not self.rule.holds(bad, hits)
        if ill or self._strays(at_us, end_us, strict=watch.strict) is not None:
            return self._after_next_bad(at_us)
        if full and not self.kindly and hits < self.rule.needed:
            return self._after(bisect_right(self.due, at_us))
        if full and self.paced and (silence := self._unheard(at_us, end_us)) is not None:
            return self._after(bisect_right(self.due, silence))
        return at_us

    def _unheard(self, begin_us: int, end_us: int) -> int | None:
        """When the last silence began that is too long for a stretch of time; None if there is none."""
        heard = [begin_us, *self.due[bisect_left(self.due, begin_us) : bisect_left(self.due, end_us)], end_us]
        long = (one for one, after in pairwise(heard) if after - one > self.longest_gap_us)
        return None if self.kindly else max(long, default=None)

    def _strays(self, at_us: int, end_us: int, *, strict: bool) -> int | None:
        first, nth = bisect_left(self.due, at_us), self.first_bad(at_us)
        limit = stats.stray_limit if strict else stats.chance_limit
        for at in range(nth, len(self.bad)):
            point = self.bad_points[at]
            if self.due[point] >= end_us:
                return None
            seen = self.bad_before[at + 1] - self.bad_before[nth]
            if seen > limit(self.before[point + 1] - self.before[first], self.rule.allowed):
                return self.due[point]
        return None

    def _after(self, point: int) -> int | None:
        return self.due[point] if point < len(self.due) else None

    def _after_next_bad(self, at_us: int) -> int | None:
        """The next good hit after the first bad one from `at_us` on: to drop good hits before it would not help."""
        nth = self.first_bad(at_us)
        if nth == len(self.bad):
            return None
        while (
            nth + 1 < len(self.bad) and self._all_bad(nth + 1) and self.bad_points[nth + 1] == self.bad_points[nth] + 1
        ):
            nth += 1  # what begins with a bad hit never holds
        return self.after_bad(nth)

    def _all_bad(self, nth: int) -> bool:
        point, count = self.bad[nth]
        return count == self.before[point + 1] - self.before[point]

    def _silence(self, at_us: int) -> tuple[int, int | None] | None:
        """(last hit before, first hit from `at_us` on) if no hit came for too long around an instant."""
        point = bisect_left(self.due, at_us)
        if math.isinf(self.longest_gap_us) or self.kindly:
            return None
        previous = self.due[point - 1] if point else 0
        following = self._after(point)
        if following is not None and following - previous <= self.longest_gap_us:
            return None
        return previous, following

    def _after_silence(self, at_us: int) -> int | None:
        """Where a silence ends: after the last failure of any request in it, which explains it; else the next hit."""
        silence = self._silence(at_us)
        if silence is None:
            return at_us
        previous, following = silence
        last = (len(self.failed_due) if following is None else bisect_left(self.failed_due, following)) - 1
        if last < 0 or self.failed_due[last] <= previous:
            return following
        return max(at_us, self.failed_due[last] + 1)
