"""When did it begin, and when did it turn? Change points in the share of bad hits, to a hit or a few.

Two classical tools, both on log-likelihood ratios between the share a tolerance allows (p) and that of an illness (q):

- The *cumulative sum* (Page 1954) finds whether there was anything that chance does not explain. A sum that starts at
  zero passes ln(1/a) by chance with a probability of at most a (Wald 1945), and there are no more starts than hits.
- The *maximum* of the running sum is the most likely moment of the turn, once it is known to lie in a narrow stretch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from chaosrunner.logic.trace import Trace, Watch

SURE = 0.01
"""Chance of taking noise within the allowed share for an episode, per tolerance and run."""

LIKELY = 3.0
"""Moments whose log-likelihood is less than this below the best one's are in the 95 % interval: −ln 5 %."""

LOCAL_US = 10_000_000
"""How far back, at most, the share of bad hits just before a turn is taken from."""


@dataclass(frozen=True, slots=True)
class _Bad:
    """A bad point: its place, its due time, its bad hits, and the good ones since the bad point before it."""

    nth: int
    due: int
    count: int
    good: int


@dataclass(frozen=True, slots=True)
class Turn:
    """The end of an illness. µs after the load's epoch."""

    low_us: int
    """A bad hit that, with 95 % confidence, was still part of the illness."""
    at_us: int
    """Right after the one that most likely was its last."""


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
    ill = episode(trace, watch.since_us, watch.until_us)
    return ill is None or ill[1] < watch.begin_us


def turn(trace: Trace, early_us: int, late_us: int, ill_since_us: int) -> Turn | None:
    """The most likely instant in [early, late] at which an illness ended; None if there was no illness before.

    Args:
        trace: the hits of one tolerance.
        early_us: what begins before this is worse than chance explains.
        late_us: from here on it certainly held.
        ill_since_us: when the effect that made it ill ended; nothing before it counts.
    """
    allowed, begin_us = trace.rule.allowed, max(ill_since_us, early_us - LOCAL_US)
    share = _share(trace, begin_us, early_us)
    bad = _forwards(trace, begin_us, late_us)
    if not bad or share <= allowed:
        return None
    if allowed <= 0:
        return Turn(bad[-1].due, trace.after_bad(bad[-1].nth))
    worse, better = _weights(allowed, share)
    totals = list(accumulate(point.count * worse - point.good * better for point in bad))
    last_ill = max((nth for nth, point in enumerate(bad) if point.due < early_us), default=0)
    best = max(range(last_ill, len(bad)), key=totals.__getitem__)
    low = next(nth for nth, total in enumerate(totals) if total >= totals[best] - LIKELY)
    return Turn(bad[low].due, max(early_us, trace.after_bad(bad[best].nth)))


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
        found.append(_Bad(nth, trace.due[point], count, trace.before[point + 1] - seen - count))
        seen = trace.before[point + 1]
    return found


def _backwards(trace: Trace, begin_us: int, end_us: int) -> Sequence[_Bad]:
    seen, found = trace.hits_before(end_us), []
    for nth in reversed(range(trace.first_bad(begin_us), trace.first_bad(end_us))):
        point, count = trace.bad[nth]
        found.append(_Bad(nth, trace.due[point], count, seen - trace.before[point] - count))
        seen = trace.before[point]
    return found
