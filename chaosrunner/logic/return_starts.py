"""Where the fit of a law of return begins: a misfit has many valleys, and only the deepest is of use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

from chaosrunner.logic.return_laws import Fit, Law, Stretches, fitted, solved, swings, tried

SANE = 20.0
"""A logarithm is at most so much above the usual one: e²⁰ times as slow."""

LITTLE = 0.01
"""A: it was at least so much slower at first."""

SHORTEST = 4
"""Stretches to a swing; what swings faster cannot be told from scatter."""

Waves = tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]
"""Cosine, sine, cosine², and cosine·sine of an angle at some instants."""


def falling(law: Law, seen: Stretches, usual: float) -> Fit:
    """The best fit of a law that only falls: begun at the best of some durations.

    Args:
        law: of two numbers, ln A and ln T.
        seen: since the end of the effect.
        usual: about the logarithm of the response in the end.
    """
    extra = math.log(max(LITTLE, math.expm1(min(SANE, seen.means[0] - usual))))
    span_s = seen.late[-1]
    starts = ((extra, math.log(span_s * 2.0**-nth)) for nth in range(-1, 8))
    return fitted(law, seen, min((tried(law, seen, one) for one in starts), key=lambda one: one.misfit).numbers)


def swinging(seen: Stretches, usual: float) -> Fit:
    """The best fit of swings: begun at the best of some durations and periods.

    1 + A·e^(−t/T)·cos²(πt/P + φ) is 1 + e^(−t/T)·(m + c·cos(2πt/P) + s·sin(2πt/P)), and when T and P are given, m, c
    and s are a linear regression's, in which they need not be such that each swing ends at the usual response.
    """
    span_s = seen.late[-1]
    middles = [(early + late) / 2 for early, late in zip(seen.early, seen.late, strict=True)]
    above = [math.expm1(min(SANE, mean - usual)) for mean in seen.means]
    # Scatter is that of logarithms, so a level scatters by as much as it is high.
    weights = [hits / max(0.25, (1.0 + one) ** 2) for hits, one in zip(seen.hits, above, strict=True)]
    fades = [(math.log(span_s / part), [math.exp(-t * part / span_s) for t in middles]) for part in (1, 2, 4, 8, 16)]
    decays = [
        (lasts, list(map(mul, weights, map(mul, fade, fade))), list(map(mul, weights, map(mul, fade, above))))
        for lasts, fade in fades
    ]
    starts = []
    for nth in range(2, 2 * len(middles) // SHORTEST):
        period = 2 * span_s / nth
        waves = _waves(middles, 2 * math.pi / period)
        for lasts, heavy, pull in decays:
            gain, (middle, cosine, sine) = _regressed(heavy, pull, waves)
            extra = max(LITTLE, middle + math.hypot(cosine, sine))
            starts.append((gain, (math.log(extra), lasts, math.log(period), math.atan2(-sine, cosine) / 2)))
    return fitted(swings, seen, max(starts)[1])


def _waves(instants: Sequence[float], turn: float) -> Waves:
    cosines, sines = [math.cos(turn * t) for t in instants], [math.sin(turn * t) for t in instants]
    return cosines, sines, list(map(mul, cosines, cosines)), list(map(mul, cosines, sines))


def _regressed(heavy: Sequence[float], pull: Sequence[float], waves: Waves) -> tuple[float, list[float]]:
    """By how much m, c and s lessen the misfit, and these."""
    whole = sum(heavy)
    cosine, sine, square, product = (sum(map(mul, heavy, wave)) for wave in waves)
    matrix = ((whole, cosine, sine), (cosine, square, product), (sine, product, whole - square))
    right = (sum(pull), sum(map(mul, pull, waves[0])), sum(map(mul, pull, waves[1])))
    found = solved(matrix, right)
    return sum(map(mul, found, right)), found
