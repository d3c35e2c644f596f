"""How throughput scales with what is inside the system at once: the Universal Scalability Law, fitted.

X(N) = λN / (1 + σ(N − 1) + κN(N − 1)): Gunther, Guerrilla Capacity Planning, 2007. σ is contention, κ the cost of
keeping parts consistent; with κ > 0 throughput has a peak at N* = √((1 − σ)/κ), after which more load yields less.
In an open model N is measured, by Little's law, not chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

Point = tuple[float, float]
"""(N, X): requests inside at once, and goodput in requests per second."""

FEWEST = 5
"""Points below which three numbers are not fitted."""

WIDE = 2.0
"""The largest N must be so many times the smallest: otherwise nothing is seen of the curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """A fitted law, and what it is worth."""

    rate: float
    """λ: requests per second and request inside, as long as they do not hinder each other."""
    contention: float
    """σ"""
    coherence: float
    """κ"""
    error: float
    """Root mean square of the relative errors of the throughputs it was fitted to."""
    points: int
    reached: float
    """The largest N that was measured."""
    peaks: tuple[float, float] | None = None
    """The lowest and the highest peak throughput when any one point is left out; None if not every fit has one."""

    @property
    def peak_at(self) -> float | None:
        """N*; None without a peak."""
        if not self.coherence or self.contention >= 1:
            return None
        return math.sqrt((1 - self.contention) / self.coherence)

    @property
    def peak(self) -> float | None:
        """The highest throughput; without a peak the limit λ/σ, and None if there is no limit either."""
        if self.peak_at is not None:
            return self.at(self.peak_at)
        return self.rate / self.contention if self.contention and not self.coherence else None

    @property
    def seen(self) -> bool:
        """Whether the peak lies within what was measured; beyond it is an extrapolation."""
        return self.peak_at is not None and self.peak_at <= self.reached

    def at(self, inside: float) -> float:
        """X(N)."""
        n = inside
        return self.rate * n / (1 + self.contention * (n - 1) + self.coherence * n * (n - 1))


def fitted(points: Sequence[Point]) -> Law | None:
    """The law with the least squares of relative errors of 1/X, λ > 0, σ ≥ 0, κ ≥ 0; None if there is too little.

    N/X = 1/λ + (σ/λ)(N − 1) + (κ/λ)N(N − 1) is linear in its coefficients; of all ways to hold some of them at zero the
    best feasible one is the constrained optimum (Lawson and Hanson, Solving Least Squares Problems, 1974, ch. 23).
    """
    usable = sorted((n, x) for n, x in points if n > 0 and x > 0)
    if len(usable) < FEWEST or usable[-1][0] < WIDE * usable[0][0]:
        return None
    law = _law(usable)
    without = [_law(usable[:nth] + usable[nth + 1 :]).peak for nth in range(len(usable))]
    peaks = [peak for peak in without if peak is not None]
    return law if len(peaks) < len(without) else replace(law, peaks=(min(peaks), max(peaks)))


def _law(points: Sequence[Point]) -> Law:
    choices = []
    for on in product((True, False), repeat=2):
        columns = [0, *(nth for nth, used in enumerate(on, 1) if used)]
        solved = _least_squares(points, columns)
        if solved is not None and solved[0] > 0 and min(solved) >= 0:
            choices.append((_squares(points, solved), solved))
    _, (a, b, c) = min(choices)  # with neither there always is one: a mean of N/X is above zero
    law = Law(rate=1 / a, contention=b / a, coherence=c / a, error=0.0, points=len(points), reached=points[-1][0])
    return replace(law, error=math.sqrt(sum((law.at(n) / x - 1) ** 2 for n, x in points) / len(points)))


def _terms(n: float) -> tuple[float, float, float]:
    return 1.0, n - 1, n * (n - 1)


def _squares(points: Sequence[Point], solved: Sequence[float]) -> float:
    return sum((sum(k * t for k, t in zip(solved, _terms(n), strict=True)) * x / n - 1) ** 2 for n, x in points)


def _least_squares(points: Sequence[Point], columns: list[int]) -> tuple[float, float, float] | None:
    """Coefficients of the used columns by the normal equations, 0 elsewhere; None if they are not determined."""
    rows = [[_terms(n)[column] * x / n for column in columns] for n, x in points]
    size = len(columns)
    matrix = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)] + [sum(row[i] for row in rows)] for i in range(size)
    ]
    for pivot in range(size):
        best = max(range(pivot, size), key=lambda nth: abs(matrix[nth][pivot]))
        matrix[pivot], matrix[best] = matrix[best], matrix[pivot]
        if abs(matrix[pivot][pivot]) < 1e-12:
            return None
        for other in range(size):
            if other != pivot:
                factor = matrix[other][pivot] / matrix[pivot][pivot]
                matrix[other] = [one - factor * two for one, two in zip(matrix[other], matrix[pivot], strict=True)]
    found = [0.0, 0.0, 0.0]
    for nth, column in enumerate(columns):
        found[column] = matrix[nth][size] / matrix[nth][nth]
    return found[0], found[1], found[2]
