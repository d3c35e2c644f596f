"""The few statistics a verdict rests on: how much data is enough, and how far a figure may be trusted.

Hits are taken as independent here. Intervals are 95 % (`Z`).
"""

from __future__ import annotations

import math

Z = 1.959964
"""The 97.5 % point of the normal distribution: two-sided 95 %."""

SIGMAS = 4.0
"""How far above its allowed share a stretch may stray before it no longer counts as chance. Every stretch that begins
at a moment is asked, and small counts are skewed, so three are passed too often."""

FEW = 30
"""No share, mean or rate is judged on fewer hits."""

MANY = 1000
"""No share needs more hits than this to be judged."""

BEYOND = 5
"""A quantile is judged once this many hits are expected beyond it."""

UNLIKELY = 0.05
"""A share that is above its bound proves nothing where chance does as much with this probability."""

EPSILON = 1e-9
"""Half a bit of rounding: 0.95 * 20 is 19.000000000000004 in floats, and must stay 19."""


def enough_for_quantile(share: float) -> int:
    """Hits needed to judge a quantile: n·(1 − q) ≥ 5, so 100 for p95, 500 for p99, 10 for p50."""
    return math.ceil(BEYOND / max(1.0 - share, EPSILON) - EPSILON)


def enough_for_share(share: float) -> int:
    """Hits needed to judge `errors < share`: 1/share, one allowed error, but from 30 to 1,000."""
    return min(MANY, max(FEW, math.ceil(1.0 / share - EPSILON))) if share > 0 else FEW


def is_few(share: float, hits: int) -> bool:
    """Whether fewer than five of `hits` may be bad where a share is allowed: then a handful says little."""
    return 0 < share * hits < BEYOND


def by_chance(bad: int, hits: int, share: float) -> float:
    """P(at least `bad` of `hits` are bad) where each is with the chance `share`: the binomial tail, summed upwards.

    Below `UNLIKELY` it is not told exactly. Only for few that may be bad (`is_few`): 0 for more, and where none may be.
    """
    if not is_few(share, hits):
        return 0.0
    term = math.exp(hits * math.log1p(-share))
    below = 0.0
    for nth in range(bad):
        below += term
        if 1.0 - below <= UNLIKELY:
            break  # in an outage all are bad, and there are many
        term *= (hits - nth) / (nth + 1) * share / (1.0 - share)
    return max(0.0, 1.0 - below)


def rank_of(share: float, hits: int) -> int:
    """The nearest rank of a quantile, 1-based."""
    return min(hits, max(1, math.ceil(share * hits - EPSILON)))


def rank_interval(share: float, hits: int) -> tuple[int, int]:
    """Ranks whose values enclose the quantile with 95 % confidence; 0 = below all, hits + 1 = above all.

    The number of hits below the true quantile is binomial(n, q), so the order statistics of ranks
    nq ± z·√(nq(1 − q)) enclose it, whatever the distribution (Conover, Practical Nonparametric Statistics, §3.2).
    """
    middle, half = share * hits, Z * math.sqrt(hits * share * (1.0 - share))
    return max(0, math.floor(middle - half)), min(hits + 1, math.ceil(middle + half) + 1)


def wilson(count: float, hits: float, z: float = Z) -> tuple[float, float]:
    """The 95 % interval (unless `z` says otherwise) of a share by Wilson (1927): right also for none and for all.

    Needs hits > 0; they need not be whole, where they are worth less than their number.
    """
    share, z2 = count / hits, z * z
    middle = (share + z2 / (2 * hits)) / (1 + z2 / hits)
    half = z / (1 + z2 / hits) * math.sqrt(share * (1 - share) / hits + z2 / (4 * hits * hits))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def chance_limit(hits: int, allowed: float) -> float:
    """How many of `hits` may be bad by chance where a share is allowed: p·n + 4·√(p(1 − p)n)."""
    return allowed * hits + SIGMAS * math.sqrt(allowed * (1.0 - allowed) * hits)


def stray_limit(hits: int, allowed: float) -> float:
    """How many of the first `hits` after an outage may be bad if the outage is really over.

    min(√p·n, p·n + 4·√(p(1 − p)n)) for an allowed share p. The first term refuses a bad hit among the very first
    (1 in 5 at p = 5 %, 1 in 15 at 0.5 %), where the second would call it chance; the second refuses a brown-out.
    """
    return min(math.sqrt(allowed) * hits, chance_limit(hits, allowed))
