"""Chance as a pure function: what was drawn is a function of the seed and of what it was drawn for, in any order.

Draws are uniform numbers from a counter put through SplitMix64's finalizer (Steele, Lea and Flood: "Fast splittable
pseudorandom number generators", 2014). On them rest think times, and the unit-rate Poisson process.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import cos, exp, expm1, log, pi, sqrt

from chaosrunner.model.journey import Think

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
"""2⁶⁴ ÷ the golden ratio, odd: counters that are multiples of it never meet."""

ARRIVALS, PAUSES, CHOICES, RECONNECTS, RETRIES, ROWS, FAULTS = range(7)
"""The first key of a draw says what it is for, so that no two uses ever share one."""

ROOT_2 = 0.41421356237309515
"""√2 without its whole part."""

LEAF_BITS = 4
ROOT_BITS = 48
"""The process is laid out for 2⁴⁸ arrivals (89 years at 100,000 a second), in leaves of 16."""


def uniform(seed: int, *keys: int) -> float:
    """A number in (0, 1), uniformly distributed, the same for the same seed and keys (whole numbers from 0)."""
    state = _mixed((seed + 1) * GOLDEN)
    for key in keys:
        state = _mixed(state + (key + 1) * GOLDEN)
    return ((state >> 11) + 0.5) * 2.0**-53


def pause_s(think: Think, seed: int, *keys: int) -> float:
    """A think time in seconds, drawn for `keys`; a lognormal one is at · exp(sigma · z), z normal by Box and Muller."""
    if think.to_s is not None:
        return think.at_s + (think.to_s - think.at_s) * uniform(seed, PAUSES, *keys)
    return think.at_s * exp(think.sigma * _normal(seed, PAUSES, *keys)) if think.sigma else think.at_s


def pick(weights: Sequence[float], n: int, seed: int | None = None) -> int:
    """Which of several things by weight the n-th (from 0) gets; an index into `weights`.

    With a seed it is drawn. Without, shares are kept as evenly as can be: multiples of an irrational number, without
    their whole part, fill [0, 1) evenly (Weyl), so of any m in a row each gets its share of m to within a few.
    """
    if len(weights) == 1:
        return 0
    at = ((n + 0.5) * ROOT_2 % 1.0 if seed is None else uniform(seed, CHOICES, n)) * sum(weights)
    # The last one needs no comparison: rounding must not leave a gap behind it.
    return bisect_right(list(accumulate(weights[:-1])), at)


def arrival(seed: int, n: int) -> float:
    """When the n-th arrival (from 0) of a Poisson process of rate 1 comes; its gaps are exponential with mean 1.

    Not by adding up n gaps, but by halving: 2⁴⁸ gaps last Gamma(2⁴⁸) in all, and of the length of 2m gaps the first m
    take a share that is Beta(m, m), independent of that length and of every other share. So any arrival is found in
    48 steps, and neighbours share nearly all of them.
    """
    return _leaf(seed, n >> LEAF_BITS)[n & ((1 << LEAF_BITS) - 1)]


@lru_cache(maxsize=16)
def _leaf(seed: int, leaf: int) -> tuple[float, ...]:
    """The arrivals of 16 gaps: their length in all, shared out like independent exponentials (Dirichlet)."""
    begin, length = _node(seed, LEAF_BITS, leaf)
    gaps = [-log(uniform(seed, ARRIVALS, LEAF_BITS, leaf, nth)) for nth in range(1 << LEAF_BITS)]
    scale, at, arrivals = length / sum(gaps), 0.0, []
    for gap in gaps:
        at += gap
        arrivals.append(begin + at * scale)
    return tuple(arrivals)


@lru_cache(maxsize=256)
def _node(seed: int, bits: int, index: int) -> tuple[float, float]:
    """(begin, length) of the gaps from index · 2^bits on, 2^bits of them."""
    if bits == ROOT_BITS:
        # Gamma(2⁴⁸) is normal as far as a float can tell: its skewness is 1e-7.
        return 0.0, 2.0**bits + 2.0 ** (bits / 2) * _normal(seed, ARRIVALS, bits, index)
    begin, length = _node(seed, bits + 1, index >> 1)
    first = length * _half(2.0**bits, seed, ARRIVALS, bits + 1, index >> 1)
    return (begin + first, length - first) if index & 1 else (begin, first)


def _half(m: float, seed: int, *keys: int) -> float:
    """A draw from Beta(m, m), by Ulrich's polar method (Devroye: "Non-Uniform Random Variate Generation", IX.4)."""
    spread = sqrt(-expm1(log(uniform(seed, *keys, 0)) * 2.0 / (2.0 * m - 1.0)))  # 1 − u^(2 ÷ (2m − 1))
    return 0.5 + 0.5 * spread * cos(2.0 * pi * uniform(seed, *keys, 1))


def _normal(seed: int, *keys: int) -> float:
    return sqrt(-2.0 * log(uniform(seed, *keys, 0))) * cos(2.0 * pi * uniform(seed, *keys, 1))


def _mixed(word: int) -> int:
    word &= MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)
