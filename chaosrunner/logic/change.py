"""When did it begin, and when did it turn? Change points in the share of bad hits, to a hit or a few.

Two classical tools, both on log-likelihood ratios between the share a tolerance allows (p) and that of an illness (q):

- The *cumulative sum* (Page 1954) finds whether there was anything that chance does not explain. A sum that starts at
  zero passes ln(1/a) by chance with a probability of at most a (Wald 1945), and there are no more starts than hits.
- The *maximum* of the running sum is the most likely moment of the turn, once it is known to lie in a narrow stretch.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from chaosrunner.logic import stats
from chaosrunner.logic.trace import Trace, Watch
from chaosrunner.model.hypothesis import Stat

SURE = 0.01
"""Chance of taking noise within the allowed share for an episode, per tolerance and run."""

LINGERS = 0.1
"""Chance of taking failures that are noise, right after the effect or after an outage, for what is left of it."""

LIKELY = 4.0
"""Moments whose log-likelihood is less than this below the best one's are in the 95 % interval.

A turn that lies further off has a chance of e⁻⁴ on either side, 3.7 % in all: hits are discrete, so the χ² rule for
smooth likelihoods does not apply.
"""

THIN = 0.2
"""The share of an illness below which its bad hits are so few that they do not tell it well."""

LOCAL_US = 10_000_000
"""How far back, at most, the share of bad hits just before a turn is taken from."""


@dataclass(frozen=True, slots=True)
class _Bad:
    """A bad point: its place among the bad ones and among all, when it was due, its bad hits, the good before it."""

    nth: int
    point: int
    due: int
    count: int
    good: int


@dataclass(frozen=True, slots=True)
class Turn:
    """The end of an illness. µs after the load's epoch."""

    low_us: int
    """A bad hit that, with 95 % confidence, was still part of the illness."""
    last_us: int
    """The one that most likely was its last."""
    at_us: int
    """Right after it."""
    high_us: int
    """With 95 % confidence it was over by then."""


def episode(trace: Trace, begin_us: int, end_us: int) -> tuple[int, int] | None:
    """Due times of the first and last bad hit of what cannot be chance in [begin, end); None if there is nothing.

    Looked for with two shares, that of an outage and that of a brown-out of three times what is allowed; then once
    more with the share found, which places the edges. Where nothing is allowed, one bad hit is enough.
    """
    ahead, back = _forwards(trace, begin_us, end_us), _backwards(trace, begin_us, end_us)
    if not ahead:
        return None
    allowed = trace.rule.allowed
    if allowed <= 0:
        return ahead[0].due, back[0].due
    if allowed >= 1:
        return None
    sure = math.log(max(2, trace.counts(begin_us, end_us)[1]) / SURE)
    outage = (1 + allowed) / 2
    shares = (outage, min(outage, 3 * allowed))
    begins = [due for share in shares if (due := _excursion(ahead, allowed, share, sure)) is not None]
    ends = [due for share in shares if (due := _excursion(back, allowed, share, sure)) is not None]
    if not begins or not ends:
        return None
    first, last = min(begins), max(ends)
    share = _share(trace, first, last + 1)
    sharper = _excursion(ahead, allowed, share, sure), _excursion(back, allowed, share, sure)
    first = first if sharper[0] is None else sharper[0]
    last = last if sharper[1] is None else sharper[1]
    return (first, last) if first <= last else (last, first)


def calm(trace: Trace, at_us: int, watch: Watch) -> bool:
    """Whether requests go on at `at_us`, and no illness outlived the end of the effect or came after it."""
    if (
        trace.silent_at(at_us)
        or trace.ill_at(watch.begin_us)
        or episode(trace, watch.begin_us, watch.until_us) is not None
    ):
        return False
    if outlived(trace, watch) is not None:
        return False
    ill = episode(trace, watch.since_us, watch.until_us)
    return ill is None or ill[1] < watch.begin_us


def outlived(trace: Trace, watch: Watch) -> Turn | None:
    """The end of an illness that was there when the effect ended, and most likely outlived it; or followed it at once.

    That it went on until then is known, as the fault did; so the likeliest end is looked for from there on. None if
    chance explains what was bad, or if it was over long before.
    """
    usual = trace.usual(watch)
    known = _there_at_the_end(trace, watch, usual)
    if known is None:
        return None
    if _sure(trace, known.bad, known.found) and (found := _outlived(trace, known, usual)) is not None:
        return found
    # An outage hides how it went on: what is left of it has a share of its own.
    left = _lasting(trace, watch.begin_us, watch.until_us, usual, SURE)
    if left is None:
        return None
    return _outlived(trace, _Known(*left, _ends(trace, watch.begin_us, watch.begin_us, watch.until_us)), usual)


def _outlived(trace: Trace, known: _Known, usual: float) -> Turn | None:
    gains = [one.gain(0, usual) for one in known.ends]
    best = max(range(len(gains)), key=gains.__getitem__)
    if best == 0 or gains[best] < known.found.gain - LIKELY or known.ends[best].share(0) <= trace.rule.allowed:
        return None
    low = next(nth for nth, gain in enumerate(gains) if gain >= gains[best] - LIKELY)
    after = trace.after_bad(trace.first_bad(known.ends[best].due))
    high = max(after, _still_likely(known.ends, usual, trace))
    return Turn(known.ends[low].due, known.ends[best].due, after, high)


def hidden(trace: Trace, watch: Watch) -> int:
    """Until when an illness that was there until the end of the effect may have gone on, though nothing shows it."""
    usual = trace.usual(watch)
    known = _there_at_the_end(trace, watch, usual)
    return watch.begin_us if known is None else _still_likely(known.ends, usual, trace, known.found.gain)


@dataclass(frozen=True, slots=True)
class _Known:
    """An illness that may have been there when the effect ended."""

    bad: Sequence[_Bad]
    found: _Prefix
    ends: Sequence[_End]
    """When it may have ended, from the end of the effect on."""


def _there_at_the_end(trace: Trace, watch: Watch, usual: float) -> _Known | None:
    """The illness of the end of the effect: those that were over before it are stepped over."""
    begin_us = _shortly_before(watch)
    while trace.rule.allowed > 0:
        bad = _forwards(trace, begin_us, watch.until_us)
        found = _best(bad, usual)
        if found is None:
            return None
        ends = _ends(trace, begin_us, watch.begin_us, watch.until_us)
        last_us = trace.due[bad[found.best].point]
        if last_us >= watch.begin_us or max(one.gain(0, usual) for one in ends) >= found.gain - LIKELY:
            return _Known(bad, found, ends)
        begin_us = last_us + 1
    return None


def _shortly_before(watch: Watch) -> int:
    return max(watch.since_us, watch.begin_us - LOCAL_US)


def turn(trace: Trace, early_us: int, late_us: int, watch: Watch) -> Turn | None:
    """The most likely instant from `early_us` on at which an illness ended; None if there was no illness before.

    The share of bad hits before the turn is the one that makes them most likely (profile likelihood), that after it
    is the usual one. What still lingers behind a turn, a brown-out after an outage, is looked for in the same way; and
    what is too little for that, but is more of what was there before the effect ended, is part of it (`outlived`).

    Args:
        trace: the hits of one tolerance.
        early_us: what begins before this is worse than chance explains.
        late_us: from here on it certainly held.
        watch: what was seen in it; its end is that of what held.
    """
    begin_us, usual = max(watch.since_us, early_us - LOCAL_US), trace.usual(watch)
    bad = _forwards(trace, begin_us, late_us)
    if bad and trace.rule.allowed <= 0:
        return Turn(bad[-1].due, bad[-1].due, trace.after_bad(bad[-1].nth), trace.after_bad(bad[-1].nth))
    bad = [*(replace(one, good=0) for one in bad[:1]), *bad[1:]]  # it began no earlier than it showed
    last_ill = max((nth for nth, point in enumerate(bad) if point.due < early_us), default=0)
    found, later = _best(bad, usual, last_ill), outlived(trace, watch)
    if found is None or found.share <= trace.rule.allowed:
        return later
    begun_us = bad[0].due
    while further := _lasting(trace, trace.due[bad[found.best].point] + 1, watch.until_us, usual):
        begun_us, (bad, found) = trace.due[bad[found.best].point] + 1, further
    best, after = bad[found.best], trace.after_bad(bad[found.best].nth)
    if later is not None and later.last_us > best.due:
        more = trace.counts(best.due + 1, later.last_us + 1)
        if _gain(*more, found.share, usual) > (-LIKELY if found.share < THIN else 0.0):
            return later
    at = max(early_us, after)
    return Turn(
        max(watch.begin_us, bad[found.low].due),
        best.due if at == after else at,
        at,
        max(at, _still_likely(_ends(trace, begun_us, best.due + 1, watch.until_us), usual, trace)),
    )


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A stretch that begins where it was looked from and ends with a bad point."""

    best: int
    """Position of the bad point with which it most likely ended."""
    low: int
    """The first one that is nearly as likely."""
    share: float
    gain: float
    """Log-likelihood over that of no illness."""


def _best(bad: Sequence[_Bad], usual: float, least: int = 0) -> _Prefix | None:
    """The most likely end of an illness that began before the first of the bad points."""
    if not bad:
        return None
    gains, shares = [], []
    count = hits = 0
    for point in bad:
        count, hits = count + point.count, hits + point.count + point.good
        shares.append((count + 0.5) / (hits + 1))
        gains.append(_gain(count, hits, shares[-1], usual))
    best = max(range(least, len(bad)), key=gains.__getitem__)
    if gains[best] <= 0:
        return None
    low = next(nth for nth, gain in enumerate(gains) if gain >= gains[best] - LIKELY)
    return _Prefix(best, low, shares[best], gains[best])


def _gain(count: int, hits: int, share: float, usual: float) -> float:
    if share <= usual:
        return 0.0
    worse, better = _weights(usual, share)
    return count * worse - (hits - count) * better


def _lasting(
    trace: Trace, begin_us: int, end_us: int, usual: float, error: float = LINGERS
) -> tuple[Sequence[_Bad], _Prefix] | None:
    """An illness that was there at `begin_us` and lasted for a while; None if chance explains what was bad."""
    bad = _forwards(trace, begin_us, end_us)
    found = _best(bad, usual)
    return None if found is None or not _sure(trace, bad, found, error) else (bad, found)


def _sure(trace: Trace, bad: Sequence[_Bad], found: _Prefix, error: float = LINGERS) -> bool:
    """Whether chance does not explain an illness.

    Slow responses come in clusters where all is well, too, and a quantile allows so many that a few seconds tell more.
    So of its rule much is asked: that chance hardly makes as many of what is usual, and of what is allowed rarely.
    """
    if trace.rule.tolerance.metric.stat is Stat.QUANTILE:
        error = min(error, SURE)
        ill = bad[: found.best + 1]
        count = sum(point.count for point in ill)
        if stats.wilson(count, count + sum(point.good for point in ill), z=1.0)[0] <= trace.rule.allowed:
            return False
    return found.share > trace.rule.allowed and found.gain >= math.log((1 + len(bad)) / error)


@dataclass(frozen=True, slots=True)
class _End:
    """An instant at which an illness may have ended: its hits until then, and the good ones that follow."""

    due: int
    """That of its last bad hit, or until when it lasted for sure."""
    count: int
    hits: int
    seen: int
    """Hits of the whole trace until then."""
    good: int

    def gain(self, good: int, usual: float) -> float:
        """Log-likelihood over that of no illness, if so many of the good hits belong to it as well."""
        return _gain(self.count, self.hits + good, self.share(good), usual)

    def share(self, good: int) -> float:
        """The share of bad hits then."""
        return (self.count + 0.5) / (self.hits + good + 1)

    def room(self, least: float, usual: float, allowed: float) -> int:
        """How many of the good hits may belong to it; −1 if it cannot have gone on until here."""

        def may(good: int) -> bool:
            return self.share(good) > allowed and self.gain(good, usual) >= least

        return bisect_left(range(self.good + 1), True, key=lambda good: not may(good)) - 1


def _ends(trace: Trace, begin_us: int, sure_us: int, until_us: int) -> Sequence[_End]:
    """An illness that began at `begin_us` ended at `sure_us`, or with a bad hit later."""
    count, hits = trace.counts(begin_us, sure_us)
    due, seen, found = sure_us, trace.hits_before(sure_us), []
    for one in _forwards(trace, sure_us, until_us):
        found.append(_End(due, count, hits, seen, one.good))
        due, count, hits = one.due, count + one.count, hits + one.count + one.good
        seen += one.count + one.good
    return [*found, _End(due, count, hits, seen, trace.hits_before(until_us) - seen)]


def _still_likely(ends: Sequence[_End], usual: float, trace: Trace, best: float = 0.0) -> int:
    """The last instant at which an illness may have ended, by the share that makes that instant likeliest.

    Args:
        ends: the first is that until which it lasted for sure.
        usual: the share of bad hits of a system that is well.
        trace: the hits of one tolerance.
        best: how likely the likeliest end is that is not among them.
    """
    least = max(best, *(one.gain(0, usual) for one in ends)) - LIKELY
    latest = ends[0].due
    for one in ends:
        if (room := one.room(least, usual, trace.rule.allowed)) >= 0:
            latest = max(latest, trace.due[min(bisect_left(trace.before, one.seen + room), len(trace.due) - 1)])
    return latest


def _share(trace: Trace, begin_us: int, end_us: int) -> float:
    """The share of bad hits in [begin, end), never quite 0 or 1 (Laplace)."""
    bad, hits = trace.counts(begin_us, end_us)
    return (bad + 1) / (hits + 2)


def _weights(usual: float, ill: float) -> tuple[float, float]:
    """What a bad hit speaks for the illness, and what a good one speaks against it."""
    return math.log(ill / usual), math.log((1 - usual) / (1 - ill))


def _excursion(bad: Iterable[_Bad], usual: float, ill: float, sure: float) -> int | None:
    """The bad hit with which the first excursion of the cumulative sum began that became sure."""
    if ill <= usual:
        return None
    worse, better = _weights(usual, ill)
    total, onset = 0.0, 0
    for point in bad:
        total = max(0.0, total - point.good * better)
        onset = point.due if total <= 0.0 else onset
        total += point.count * worse
        if total >= sure:
            return onset
    return None


def _forwards(trace: Trace, begin_us: int, end_us: int) -> Sequence[_Bad]:
    seen, found = trace.hits_before(begin_us), []
    for nth in range(trace.first_bad(begin_us), trace.first_bad(end_us)):
        point, count = trace.bad[nth]
        found.append(_Bad(nth, point, trace.due[point], count, trace.before[point + 1] - seen - count))
        seen = trace.before[point + 1]
    return found


def _backwards(trace: Trace, begin_us: int, end_us: int) -> Sequence[_Bad]:
    seen, found = trace.hits_before(end_us), []
    for nth in reversed(range(trace.first_bad(begin_us), trace.first_bad(end_us))):
        point, count = trace.bad[nth]
        found.append(_Bad(nth, point, trace.due[point], count, seen - trace.before[point] - count))
        seen = trace.before[point]
    return found
