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

from chaosrunner.logic.trace import Trace, Watch

SURE = 0.01
"""Chance of taking noise within the allowed share for an episode, per tolerance and run."""

LINGERS = 0.05
"""Chance of taking noise right after the effect, or after an outage, for what is left of it."""

LIKELY = 4.0
"""Moments whose log-likelihood is less than this below the best one's are in the 95 % interval.

A turn that lies further off has a chance of e⁻⁴ on either side, 3.7 % in all: hits are discrete, so the χ² rule for
smooth likelihoods does not apply.
"""

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
    if trace.silent_at(at_us) or episode(trace, watch.begin_us, watch.until_us) is not None:
        return False
    known = _lasting(trace, _shortly_before(watch), watch.until_us, trace.usual(watch))
    if known is not None and trace.due[known[0][known[1].best].point] >= watch.begin_us:
        return False
    ill = episode(trace, watch.since_us, watch.until_us)
    return ill is None or ill[1] < watch.begin_us


def hidden(trace: Trace, watch: Watch) -> int:
    """Until when an illness as it was seen before the end of the effect may have gone on, though nothing shows it."""
    bad, usual = _forwards(trace, _shortly_before(watch), watch.until_us), trace.usual(watch)
    found = _best(bad, usual) if bad and trace.rule.allowed > 0 else None
    if found is None or found.share <= trace.rule.allowed:
        return watch.begin_us
    return _still_likely(trace, bad[found.best].nth, usual, found.share)


def _shortly_before(watch: Watch) -> int:
    return max(watch.since_us, watch.begin_us - LOCAL_US)


def turn(trace: Trace, early_us: int, late_us: int, watch: Watch) -> Turn | None:
    """The most likely instant from `early_us` on at which an illness ended; None if there was no illness before.

    The share of bad hits before the turn is the one that makes them most likely (profile likelihood), that after it
    is the usual one. What still lingers behind a turn, a brown-out after an outage, is looked for in the same way.

    Args:
        trace: the hits of one tolerance.
        early_us: what begins before this is worse than chance explains.
        late_us: from here on it certainly held.
        watch: what was seen in it; its end is that of what held.
    """
    begin_us = max(watch.since_us, early_us - LOCAL_US)
    bad = _forwards(trace, begin_us, late_us)
    if not bad:
        return None
    bad = [replace(bad[0], good=0), *bad[1:]]  # it began no earlier than it showed
    if trace.rule.allowed <= 0:
        return Turn(bad[-1].due, bad[-1].due, trace.after_bad(bad[-1].nth), trace.after_bad(bad[-1].nth))
    usual = trace.usual(watch)
    last_ill = max((nth for nth, point in enumerate(bad) if point.due < early_us), default=0)
    found = _best(bad, usual, last_ill)
    if found is None or found.share <= trace.rule.allowed:
        return None
    while further := _lasting(trace, trace.due[bad[found.best].point] + 1, watch.until_us, usual):
        bad, found = further
    best, after = bad[found.best], trace.after_bad(bad[found.best].nth)
    at = max(early_us, after)
    return Turn(
        max(watch.begin_us, bad[found.low].due),
        best.due if at == after else at,
        at,
        max(at, _still_likely(trace, best.nth, usual, found.share)),
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


def _lasting(trace: Trace, begin_us: int, end_us: int, usual: float) -> tuple[Sequence[_Bad], _Prefix] | None:
    """An illness that was there at `begin_us` and lasted for a while; None if chance explains what was bad."""
    bad = _forwards(trace, begin_us, end_us)
    found = _best(bad, usual) if bad else None
    if found is None or found.share <= trace.rule.allowed or found.gain < math.log((1 + len(bad)) / LINGERS):
        return None
    return bad, found


def _still_likely(trace: Trace, nth: int, usual: float, share: float) -> int:
    """Until when the illness may have gone on after the bad point with which it most likely ended."""
    worse, better = _weights(usual, share)
    left, seen = LIKELY, trace.before[trace.bad_points[nth] + 1]
    for point, count in trace.bad[nth + 1 :]:
        good = trace.before[point + 1] - count - seen
        if good * better > left:
            break
        left, seen = min(LIKELY, left - good * better + count * worse), trace.before[point + 1]
    point = bisect_left(trace.before, seen + int(left / better))
    return trace.due[min(point, len(trace.due) - 1)]


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
