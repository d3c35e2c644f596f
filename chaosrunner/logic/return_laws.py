"""How responses can come back little by little, as laws, and how one is fitted to stretches of them.

A law says by how much the logarithm of a response is above the usual one: ln(1 + A·g(t)), g at most 1 and falling to 0.

- a line: g = 1 − t/T, until it is 0
- exponentially: g = e^(−t/T)
- in swings: g = e^(−t/T)·cos²(πt/P + φ), each of them down to the usual response

A, T and P are fitted by their logarithms, so none becomes negative. The usual response itself is what is left on
average, so it is no number of a law. Least squares by damped steps (Levenberg 1944, Marquardt 1963).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import mul

FAR_S = 1e9
"""An instant at which every law is over: what was usual before is laid there."""

STEPS = 40
"""At most so many steps of a fit."""

STUCK = 1e8
"""Damping at which no step is left."""

ENOUGH = 1e-3
"""A fit ends when a step gains less than this share of the misfit of one stretch: 3 % of a standard deviation."""

NUDGE = 1e-4
"""By how much a number is moved to see what it does."""

Numbers = tuple[float, ...]
"""ln A, ln T, and for swings ln P, φ."""

Law = Callable[[Sequence[float], Numbers], list[float]]
"""(instants, numbers) → by how much the logarithm is above the usual one at each."""


def line(instants: Sequence[float], numbers: Numbers) -> list[float]:
    """Back in a straight line."""
    extra, lasts = math.exp(numbers[0]), math.exp(numbers[1])
    return [math.log1p(extra * (1.0 - t / lasts)) if t < lasts else 0.0 for t in instants]


def exponential(instants: Sequence[float], numbers: Numbers) -> list[float]:
    """Back exponentially."""
    extra, rate = math.exp(numbers[0]), -math.exp(-numbers[1])
    return [math.log1p(extra * math.exp(rate * t)) for t in instants]


def swings(instants: Sequence[float], numbers: Numbers) -> list[float]:
    """Back in swings that become smaller exponentially."""
    extra, rate, turn, phase = math.exp(numbers[0]), -math.exp(-numbers[1]), math.pi * math.exp(-numbers[2]), numbers[3]
    return [math.log1p(extra * math.exp(rate * t) * math.cos(turn * t + phase) ** 2) for t in instants]


@dataclass(frozen=True, slots=True)
class Stretches:
    """Hits in short stretches, side by side.

    A law is averaged over a stretch at two instants, one spread off its middle: right to the third power of its length.
    """

    early: Sequence[float]
    late: Sequence[float]
    means: Sequence[float]
    """Of the logarithms of the responses."""
    hits: Sequence[int]

    def with_usual(self, mean: float, hits: int) -> Stretches:
        """The same and what is known of the usual response."""
        far = (FAR_S,)
        return Stretches((*self.early, *far), (*self.late, *far), (*self.means, mean), (*self.hits, hits))

    def levels(self, law: Law, numbers: Numbers) -> list[float]:
        """The law's mean in each stretch."""
        both = zip(law(self.early, numbers), law(self.late, numbers), strict=True)
        return [0.5 * (early + late) for early, late in both]

    def mean(self, values: Sequence[float]) -> float:
        """Of one value each, weighted by hits."""
        return math.fsum(map(mul, values, self.hits)) / sum(self.hits)


def cut(instants: Sequence[float], values: Sequence[float], size: int) -> Stretches:
    """Stretches of so many hits each; what is left over at the end is left out."""
    early, late, means = [], [], []
    for at in range(0, len(values) - size + 1, size):
        own = instants[at : at + size]
        middle = sum(own) / size
        spread = math.sqrt(sum((t - middle) ** 2 for t in own) / size)
        early.append(middle - spread)
        late.append(middle + spread)
        means.append(sum(values[at : at + size]) / size)
    return Stretches(early, late, means, [size] * len(means))


@dataclass(frozen=True, slots=True)
class Fit:
    """A law and the numbers that fit best."""

    law: Law
    numbers: Numbers
    usual: float
    """Logarithm of the response in the end."""
    misfit: float
    """Weighted sum of squares."""
    curvature: tuple[tuple[float, ...], ...] = ()
    """Of half the misfit in the numbers: its inverse times the scatter² of a hit is their covariance."""

    @property
    def unknowns(self) -> int:
        """How many numbers were fitted, the usual response included."""
        return len(self.numbers) + 1

    def slopes(self, instants: Sequence[float]) -> list[list[float]]:
        """What moving each number does to the law at some instants."""
        there = self.law(instants, self.numbers)
        return [_difference(self.law(instants, numbers), there) for numbers in _nudged(self.numbers)]

    def covariance(self) -> list[list[float]]:
        """Of the numbers, per scatter² of a hit."""
        size = len(self.numbers)
        return [solved(self.curvature, [float(row == column) for column in range(size)]) for row in range(size)]


def tried(law: Law, seen: Stretches, numbers: Numbers) -> Fit:
    """How a law with some numbers fits."""
    left = [mean - level for mean, level in zip(seen.means, seen.levels(law, numbers), strict=True)]
    usual = seen.mean(left)
    misfit = sum(hits * (one - usual) ** 2 for hits, one in zip(seen.hits, left, strict=True))
    return Fit(law, numbers, usual, misfit)


def fitted(law: Law, seen: Stretches, start: Numbers) -> Fit:
    """The best fit near some numbers."""
    best, damping = tried(law, seen, start), 1e-3
    for _ in range(STEPS):
        slopes, left = _slopes(best, seen)
        curvature = tuple(tuple(_product(a, b, seen.hits) for b in slopes) for a in slopes)
        pull = [_product(slope, left, seen.hits) for slope in slopes]
        better, damping = _step(Fit(law, best.numbers, best.usual, best.misfit, curvature), pull, seen, damping)
        gained, best = best.misfit - better.misfit, better
        if gained < ENOUGH * best.misfit / len(left):
            break
    return best


def solved(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Solve matrix·x = right by Gauss' elimination, for a matrix of products; 0 for what nothing is known of."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for at in range(size):
        if rows[at][at] <= 1e-12:
            rows[at] = [float(column == at) for column in range(size)] + [0.0]
        for below in range(at + 1, size):
            part = rows[below][at] / rows[at][at]
            rows[below] = [b - part * a for a, b in zip(rows[at], rows[below], strict=True)]
    found = [0.0] * size
    for at in reversed(range(size)):
        found[at] = (rows[at][-1] - sum(rows[at][k] * found[k] for k in range(at + 1, size))) / rows[at][at]
    return found


def _step(best: Fit, pull: Sequence[float], seen: Stretches, damping: float) -> tuple[Fit, float]:
    """One step down, as long as it can be, and the damping to begin the next one with; `best` itself if there is none.

    The curvature stays that of where the step began.
    """
    while damping < STUCK:
        damped = [
            [value * (1.0 + damping * (row == column)) for column, value in enumerate(values)]
            for row, values in enumerate(best.curvature)
        ]
        moves = (min(1.0, max(-1.0, move)) for move in solved(damped, pull))
        found = tried(best.law, seen, tuple(map(sum, zip(best.numbers, moves, strict=True))))
        if found.misfit < best.misfit:
            return Fit(best.law, found.numbers, found.usual, found.misfit, best.curvature), damping / 10
        damping *= 10
    return best, damping


def _slopes(fit: Fit, seen: Stretches) -> tuple[list[list[float]], list[float]]:
    """What moving each number does to the stretches when the usual response follows; and what is left to explain."""
    levels = seen.levels(fit.law, fit.numbers)
    slopes = []
    for numbers in _nudged(fit.numbers):
        slope = _difference(seen.levels(fit.law, numbers), levels)
        middle = seen.mean(slope)
        slopes.append([one - middle for one in slope])
    return slopes, [mean - level - fit.usual for mean, level in zip(seen.means, levels, strict=True)]


def _nudged(numbers: Numbers) -> Iterator[Numbers]:
    for nth in range(len(numbers)):
        yield tuple(number + NUDGE * (nth == at) for at, number in enumerate(numbers))


def _difference(moved: Sequence[float], there: Sequence[float]) -> list[float]:
    return [(after - before) / NUDGE for after, before in zip(moved, there, strict=True)]


def _product(one: Sequence[float], other: Sequence[float], weights: Sequence[int]) -> float:
    return sum(w * a * b for w, a, b in zip(weights, one, other, strict=True))
