"""Do two groups of runs differ? The run is the unit: requests of one run are no independent witnesses.

Tests are permutation tests: exact where there are few ways to deal the runs to two groups, else by a fixed number of
random ones, counted so that the p-value is never too small (Phipson and Smyth, 2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, combinations
from statistics import median
from typing import TypeVar

from chaosrunner.logic import chance

T = TypeVar("T")

EXACT = 20_000
"""Ways to deal the runs up to which all of them are tried."""

DEALS = 1_999
"""Random ones, beyond that."""

SURE = 0.05
"""The p-value from which on nothing is claimed."""


def p_value(
    one: Sequence[T], other: Sequence[T], statistic: Callable[[Sequence[T], Sequence[T]], float], *, seed: int = 0
) -> float:
    """The two-sided p-value: how often a deal at random is at least as extreme.

    Args:
        one: values of the first group.
        other: of the second.
        statistic: of two groups; zero when they are alike.
        seed: of random deals.
    """
    both = [*one, *other]
    seen = abs(statistic(one, other)) - 1e-12
    ways = math.comb(len(both), len(one))
    deals = _all(both, len(one)) if ways <= EXACT else _some(both, len(one), seed)
    extreme = total = 0
    for first, second in deals:
        total += 1
        extreme += abs(statistic(first, second)) >= seen
    return extreme / total if ways <= EXACT else (extreme + 1) / (total + 1)


def smallest_p(one: int, other: int) -> float:
    """The smallest p-value that groups of these sizes can ever give, two-sided."""
    return min(1.0, 2 / math.comb(one + other, one))


def shift(one: Sequence[float], other: Sequence[float]) -> float:
    """By how much `other` lies above `one`: the median of all differences (Hodges and Lehmann, 1963)."""
    return median(b - a for a in one for b in other)


def shift_interval(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the shift: the differences that a Mann-Whitney test at 5 % would not refuse.

    Exact by counting how many deals give each U; infinite where the groups are too small for 95 %.
    """
    m, n = len(one), len(other)
    differences = sorted(b - a for a in one for b in other)
    total = math.comb(m + n, m)
    # So many of the extreme differences on each side are outside the interval.
    refused = sum(below / total <= SURE / 2 for below in accumulate(_mann_whitney(m, n)))
    if not refused:
        return -math.inf, math.inf
    return differences[refused - 1], differences[m * n - refused]


def mean_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """The statistic for values without censoring."""
    return sum(other) / len(other) - sum(one) / len(one)


def noise_floor(groups: Sequence[Sequence[float]], *, seed: int = 0) -> float | None:
    """What difference two groups show though nothing differs: the 95 % point of |shift| between halves of one group.

    Args:
        groups: values of runs that were alike within their group; A/A runs, or the repeats of one version.
        seed: of random halves.

    Returns:
        None when no group has four runs: two against two is the least that has halves.
    """
    shifts: list[float] = []
    for group in groups:
        half = len(group) // 2
        if half >= 2:
            ways = math.comb(len(group), half)
            deals = _all(list(group), half) if ways <= EXACT // 20 else _some(list(group), half, seed, EXACT // 20)
            shifts += [abs(shift(first, second)) for first, second in deals]
    return sorted(shifts)[math.ceil(0.95 * len(shifts)) - 1] if shifts else None


def _all(both: Sequence[T], size: int) -> Iterator[tuple[list[T], list[T]]]:
    for chosen in combinations(range(len(both)), size):
        inside = set(chosen)
        yield [both[nth] for nth in chosen], [value for nth, value in enumerate(both) if nth not in inside]


def _some(both: Sequence[T], size: int, seed: int, deals: int = DEALS) -> Iterator[tuple[list[T], list[T]]]:
    for deal in range(deals):
        order = sorted(range(len(both)), key=lambda nth: chance.uniform(seed, deal, nth))
        yield [both[nth] for nth in order[:size]], [both[nth] for nth in order[size:]]


def _mann_whitney(m: int, n: int) -> list[int]:
    """How many deals of m + n runs give each U from 0 to m·n (Mann and Whitney, 1947): coefficients of the Gaussian
    binomial, by multiplying and dividing polynomials 1 − q^k.
    """
    counts = [1] + [0] * (m * n)
    for k in range(1, m + 1):
        for u in range(m * n, n + k - 1, -1):
            counts[u] -= counts[u - n - k]
        for u in range(k, m * n + 1):
            counts[u] += counts[u - k]
    return counts
