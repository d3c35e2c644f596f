"""How did responses come back: in a straight line, or exponentially? And when did a quantile cross its bound?

A change point says when a share of slow responses turned, as if at once. Where responses become faster little by
little, that is early or late by seconds. So two laws are fitted to the logarithms of the responses (a level that
multiplies the usual response: 1 + A·g(t), g falling from 1 to 0), by least squares on winsorised means of short
stretches: g = 1 − t/T (a line), and g = e^(−t/T). Whichever is better is used, if it is much better than a step
(Schwarz 1978) and leaves no more than the scatter within the stretches explains (lack of fit, Fisher 1922).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

STRETCHES = 100
"""At most so many stretches, each of at least `LEAST` hits."""

LEAST = 8
MUCH_BETTER = 6.0
"""Difference of Schwarz' criterion: odds of e³, 20 to 1."""

SIGMAS = 2.5
"""Half-width of the interval: 95 % where estimates are normal, and a little more: the law is chosen by the data."""

Law = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Comeback:
    """When a quantile crossed its bound, on the clock of the hits, with its 95 % interval; seconds."""

    at_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True)
class _Stretch:
    at_s: float
    mean: float
    hits: int


@dataclass(frozen=True, slots=True)
class _Fit:
    law: Law
    usual: float
    """Logarithm of the response in the end."""
    extra: float
    """A: how much slower it was at first."""
    lasts_s: float
    """T."""
    misfit: float
    """Weighted sum of squares."""

    def at(self, t: float) -> float:
        return self.usual + math.log1p(self.extra * self.law(t, self.lasts_s))


def _line(t: float, lasts_s: float) -> float:
    return max(0.0, 1.0 - t / lasts_s)


def _exponential(t: float, lasts_s: float) -> float:
    return math.exp(-t / lasts_s)


def comeback(hits: Sequence[tuple[float, float]], bound: float, share: float) -> Comeback | None:
    """When the quantile crossed the bound for good, if responses came back little by little.

    Args:
        hits: (seconds, logarithm of the response) of what succeeded, by time; from the end of the effect until it held.
        bound: logarithm of the bound.
        share: which quantile of these, 0..1.

    Returns:
        None if they came back at once, or in no way that is known, or never were beyond the bound.
    """
    size = max(LEAST, math.ceil(len(hits) / STRETCHES))
    if len(hits) < 6 * size:
        return None
    begin = hits[0][0]
    timed = [(at - begin, y) for at, y in hits]
    stretches, scatter = _stretches(timed, size)
    fit = min((_fitted(law, stretches) for law in (_line, _exponential)), key=lambda one: one.misfit)
    free = len(stretches) - 3
    if scatter <= 0 or fit.misfit / scatter**2 > free + 4 * math.sqrt(2 * free):
        return None
    if (_step_misfit(stretches) - fit.misfit) / scatter**2 < MUCH_BETTER:
        return None
    found = _crossing(fit, timed, (bound, share), scatter)
    return found and Comeback(begin + found.at_s, begin + found.low_s, begin + found.high_s)


def _stretches(hits: Sequence[tuple[float, float]], size: int) -> tuple[list[_Stretch], float]:
    """Stretches of about equal size, and the scatter of single hits within them (by their median deviation)."""
    cuts = [hits[at : at + size] for at in range(0, len(hits) - size + 1, size)]
    middles = [median(y for _, y in cut) for cut in cuts]
    scatter = 1.4826 * median(abs(y - middle) for cut, middle in zip(cuts, middles, strict=True) for _, y in cut)
    scatter *= size / (size - 1)  # the median of a stretch is one of its own hits
    found = []
    for cut, middle in zip(cuts, middles, strict=True):
        tame = [min(middle + 3 * scatter, max(middle - 3 * scatter, y)) for _, y in cut]
        found.append(_Stretch(sum(t for t, _ in cut) / len(cut), sum(tame) / len(tame), len(cut)))
    return found, scatter


def _fitted(law: Law, stretches: Sequence[_Stretch]) -> _Fit:
    """The best fit of a law: a grid over how long it lasts, then golden sections."""
    span = stretches[-1].at_s
    grid = [span * 2.0**-nth for nth in range(8, -2, -1)]
    fits = [_given(law, stretches, lasts) for lasts in grid]
    best = min(range(len(grid)), key=lambda nth: fits[nth].misfit)
    low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]
    for _ in range(30):
        inner = low + 0.382 * (high - low), high - 0.382 * (high - low)
        left, right = (_given(law, stretches, lasts) for lasts in inner)
        low, high = (low, inner[1]) if left.misfit < right.misfit else (inner[0], high)
    return min(fits[best], _given(law, stretches, (low + high) / 2), key=lambda one: one.misfit)


def _given(law: Law, stretches: Sequence[_Stretch], lasts_s: float) -> _Fit:
    """The usual level and the extra that fit best when T is given: Gauss and Newton, begun at the two ends."""
    shape = [law(one.at_s, lasts_s) for one in stretches]
    usual = stretches[-1].mean
    extra = max(0.01, math.expm1(stretches[0].mean - usual))
    weights = sum(one.hits for one in stretches)
    for _ in range(6):
        slopes = [g / (1 + extra * g) for g in shape]
        rest = [one.mean - usual - math.log1p(extra * g) for one, g in zip(stretches, shape, strict=True)]
        slope = sum(one.hits * s for one, s in zip(stretches, slopes, strict=True)) / weights
        off = sum(one.hits * r for one, r in zip(stretches, rest, strict=True)) / weights
        square = sum(one.hits * (s - slope) ** 2 for one, s in zip(stretches, slopes, strict=True))
        product = sum(one.hits * (s - slope) * r for one, s, r in zip(stretches, slopes, rest, strict=True))
        more = product / square if square > 0 else 0.0
        fresh = max(0.3 * extra, extra + more)
        usual += off - slope * (fresh - extra)
        extra = fresh
    misfit = sum(
        one.hits * (one.mean - usual - math.log1p(extra * g)) ** 2 for one, g in zip(stretches, shape, strict=True)
    )
    return _Fit(law, usual, extra, lasts_s, misfit)


def _step_misfit(stretches: Sequence[_Stretch]) -> float:
    """The least sum of squares of two levels, one after the other; the stretch of the step itself may be anywhere."""
    hits = list(accumulate((one.hits for one in stretches), initial=0))
    sums = list(accumulate((one.hits * one.mean for one in stretches), initial=0.0))
    squares = list(accumulate((one.hits * one.mean**2 for one in stretches), initial=0.0))

    def around(first: int, last: int) -> float:
        return squares[last] - squares[first] - (sums[last] - sums[first]) ** 2 / (hits[last] - hits[first])

    return min(around(0, at) + around(at + 1, len(stretches)) for at in range(1, len(stretches) - 1))


def _crossing(
    fit: _Fit, hits: Sequence[tuple[float, float]], asked: tuple[float, float], scatter: float
) -> Comeback | None:
    bound, share = asked
    rest = sorted(y - fit.at(t) for t, y in hits)
    spread = math.sqrt(len(rest) * share * (1 - share))
    ranks = (share * len(rest) + spread * side for side in (-1, 0, 1))
    low, middle, high = (rest[min(len(rest) - 1, max(0, math.ceil(rank) - 1))] for rank in ranks)
    level = bound - middle
    at = _reaches(fit, level)
    if at is None:
        return None
    slope = max(1e-9, (fit.at(at) - fit.at(at + 1e-3)) / 1e-3)
    local = bisect_left(hits, (at,)) or 1
    # The level near the crossing is known about as well as by the hits of its own third of the way.
    blur = math.hypot((high - low) / 2, scatter * math.sqrt(3.0 / local))
    half = SIGMAS * blur / slope
    return Comeback(at, max(0.0, at - half), at + half)


def _reaches(fit: _Fit, level: float) -> float | None:
    """When a falling law reaches a level; None if it begins below, or ends above."""
    left = math.expm1(level - fit.usual) / fit.extra
    if not 0 < left < 1:
        return None
    return fit.lasts_s * (1 - left) if fit.law is _line else -fit.lasts_s * math.log(left)
