"""When did a quantile cross its bound, given the law by which responses came back? With an interval.

Responses without the law have one distribution, and the law moves its quantile along. So the moment is the last one at
which the law is higher than the bound lies above the quantile. What is doubtful are the numbers of the law, and the
quantile. The interval is of all moments at which a band of 95 % around the law (delta method) may be beyond for the
last time; where it reaches the bound with one swing more or less, so does the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from statistics import fmean

from chaosrunner.logic.return_laws import Fit

SIGMAS = 2.3
"""Half-width of the band: 95 % where estimates are normal, and a little more: the law is chosen by the data."""

ALIKE = 2.5
"""Standard deviations by which the share of slow responses may differ from that before the effect."""

SOME = 1000
"""At so many hits it is looked what a number does to all."""

INSTANTS = 400
"""At which it is looked whether a law is beyond the bound; between them it is a line."""


@dataclass(frozen=True, slots=True)
class Comeback:
    """When a quantile crossed its bound, on the clock of the hits, with its 95 % interval; seconds."""

    at_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A law that fits hits."""

    fit: Fit
    sigma: float
    """Scatter of a hit around it."""
    instants: Sequence[float]
    """Of the hits, seconds after the first."""
    rest: Sequence[float]
    """Logarithms of the responses without the law."""
    before: Sequence[float]
    """Logarithms of responses before the effect that ought to be alike; may be empty."""


def crossing(seen: Fitted, asked: tuple[float, float], begin: float) -> Comeback | None:
    """When the quantile was beyond the bound for the last time.

    Args:
        seen: the law and what it explains.
        asked: logarithm of the bound, and which quantile, 0..1.
        begin: when the first hit was due, in seconds.

    Returns:
        None if it never was, or still is at the end.
    """
    bound, share = asked
    usual = _usual(seen, share)
    quantile, blur = _quantile(usual, share)
    end = seen.instants[-1]
    instants = [end * nth / INSTANTS for nth in range(INSTANTS + 1)]
    above = [level - (bound - quantile) for level in seen.fit.law(instants, seen.fit.numbers)]
    at = _last_above(instants, above)
    if at is None:
        return None
    half = [SIGMAS * math.hypot(doubt, blur) for doubt in _doubts(seen, instants, len(usual))]
    low = _last_above(instants, [one - more for one, more in zip(above, half, strict=True)])
    high = _last_above(instants, [one + more for one, more in zip(above, half, strict=True)])
    return Comeback(begin + at, begin + (low or 0.0), begin + (end if high is None else high))


def _usual(seen: Fitted, share: float) -> Sequence[float]:
    """Responses without the law, and those before the effect if as many of them are beyond the quantile."""
    count, usual = len(seen.before), sorted((*seen.rest, *seen.before))
    quantile = usual[min(len(usual) - 1, math.floor(share * len(usual)))]
    beyond = sum(one > quantile for one in seen.before)
    deviation = math.sqrt(count * share * (1.0 - share) * len(seen.rest) / len(usual))
    return usual if abs(beyond - count * (1.0 - share)) <= ALIKE * deviation + 1 else seen.rest


def _quantile(values: Sequence[float], share: float) -> tuple[float, float]:
    """A quantile and its standard deviation: of the values between two standard deviations of its rank on each side."""
    ordered = sorted(values)
    middle, spread = share * len(ordered), 2.0 * math.sqrt(len(ordered) * share * (1.0 - share))
    near = ordered[max(0, math.ceil(middle - spread) - 1) : math.ceil(middle + spread)]
    return fmean(near), (near[-1] - near[0]) / 4.0


def _doubts(seen: Fitted, instants: Sequence[float], count: int) -> list[float]:
    """The law's standard deviation at some instants; the quantile is of so many responses.

    What a number does to the law on average it does to the quantile as well, the other way round.
    """
    some = seen.instants[:: math.ceil(len(seen.instants) / SOME)]
    shares = [fmean(own) * len(seen.rest) / count for own in seen.fit.slopes(some)]
    offs = [[one - share for one in own] for own, share in zip(seen.fit.slopes(instants), shares, strict=True)]
    covariance = seen.fit.covariance()
    doubts = []
    for off in zip(*offs, strict=True):
        moved = [sum(map(mul, row, off)) for row in covariance]
        doubts.append(seen.sigma * math.sqrt(max(0.0, sum(map(mul, moved, off)))))
    return doubts


def _last_above(instants: Sequence[float], heights: Sequence[float]) -> float | None:
    """When the last height above 0 has sunk to it; None if there is none, or no other after it."""
    last = next((nth for nth in reversed(range(len(heights))) if heights[nth] > 0), None)
    if last is None or last + 1 == len(heights):
        return None
    part = heights[last] / (heights[last] - heights[last + 1])
    return instants[last] + part * (instants[last + 1] - instants[last])
