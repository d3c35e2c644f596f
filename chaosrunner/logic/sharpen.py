"""Between which two requests did slowness end at once? Told by how slow each was, where counting says only "too slow".

A change point in the share of bad hits knows of each request whether it took too long, not by how much. One that was a
little too slow by chance, right after the end, is taken for a part of the illness. So where responses became as usual
from one request to the next, the level shortly before and that shortly after are laid beside each request in between,
and the split that is likeliest under Student's t (three degrees of freedom: heavy tails, so that one odd response
decides nothing) is taken.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from statistics import median

NEAR = 15
"""Requests on either side whose median is the level there: near, for a level that falls slowly is no step."""

LEAST = 6
APART = 3.0
"""Levels less than this many scatters apart are no step that single requests could tell."""

FREEDOM = 3.0


def split(hits: Sequence[tuple[int, float]], low_us: int, high_us: int) -> tuple[int, int] | None:
    """The last slow request and the first one as usual.

    Args:
        hits: (due in µs, logarithm of the response) of what succeeded, by time.
        low_us: due time of a request that was too slow, so that the end lies after it, or shortly before if that was
            chance.
        high_us: it was over by then.

    Returns:
        Their due times in µs; None where levels are too near, or too few requests tell them.
    """
    first, last = bisect_right(hits, (low_us, math.inf)) - NEAR, bisect_left(hits, (high_us, -math.inf))
    before, after = hits[max(0, first - NEAR) : max(0, first)], hits[last : last + NEAR]
    if min(len(before), len(after)) < LEAST:
        return None
    ill, usual = median(y for _, y in before), median(y for _, y in after)
    rest = [abs(y - ill) for _, y in before] + [abs(y - usual) for _, y in after]
    scatter = max(1e-3, 1.4826 * median(rest))
    if ill - usual < APART * scatter:
        return None
    best, gain, total = first, 0.0, 0.0
    for nth in range(first, last):
        y = hits[nth][1]
        total += _density((y - ill) / scatter) - _density((y - usual) / scatter)
        if total > gain:
            best, gain = nth + 1, total
    return hits[best - 1][0], hits[best][0]


def _density(z: float) -> float:
    """Logarithm of Student's density, but for a constant."""
    return -(FREEDOM + 1) / 2 * math.log1p(z * z / FREEDOM)
