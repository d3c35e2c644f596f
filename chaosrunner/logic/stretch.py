"""Two stretches of traffic cut into short pieces, so that what neighbouring requests share is seen and counted.

Requests of one moment are alike: they meet the same queue, the same garbage collection, the same noisy neighbour. An
interval that takes them as independent is too narrow. So each stretch is cut into about twenty pieces, and the spread
between the pieces, and between each and the next, says how much less the requests tell than their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

from chaosrunner.logic.traffic import SLOTS_A_SECOND, Sample, Traffic
from chaosrunner.model.slots import Slot

PIECES = 20
"""The shorter of two stretches is cut into about so many: the means of larger pieces are nearly independent, that of
fewer would leave hardly any degrees of freedom."""

FEWEST = 8
"""Pieces that it takes to say anything about the spread between them."""

MOST_ALIKE = 0.8
"""No lag-1 correlation above this is believed: what wanders so slowly is drift, not noise."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The hits of some names, due in a stretch of time, piece by piece. All pieces have the same length."""

    pieces: tuple[Slot, ...]
    whole: Sample

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.whole.seconds


def stretch(traffic: Traffic, slots: range, name: str, size: int) -> Stretch:
    """Cut slots into pieces of `size` slots; what is left over at the beginning is left out.

    Args:
        traffic: the experiment and what is known of its run.
        slots: numbers of slots.
        name: of requests, a scenario, a tag or a series; empty = all requests.
        size: slots in a piece.
    """
    names = traffic.experiment.load.called(name)
    first = slots.start + len(slots) % size
    whole, pieces = Slot(), []
    for begin in range(first, slots.stop, size):
        piece = Slot()
        for number in range(begin, begin + size):
            for part in traffic.state.named(number, names):
                _add(piece, part)
        _add(whole, piece)
        pieces.append(piece)
    return Stretch(tuple(pieces), Sample(whole, (slots.stop - first) / SLOTS_A_SECOND))


def _add(slot: Slot, part: Slot) -> None:
    """Merge what is compared: how many were due, what became of them, and how long those that succeeded took."""
    slot.due += part.due
    for outcome, count in part.done.items():
        slot.done[outcome] = slot.done.get(outcome, 0) + count
    slot.ok.add(part.ok)


def size_of_piece(*stretches: range) -> int:
    """Slots in a piece, so that the shortest of some stretches has about `PIECES`."""
    return max(1, min(len(slots) for slots in stretches) // PIECES)


def alike(*residuals: Sequence[float]) -> float:
    """The lag-1 autocorrelation that some series share, 0 to `MOST_ALIKE`; negative counts as none.

    Each estimate is freed of its bias, −(1 + 4φ)/n (Marriott & Pope 1954), and weighs as much as it is long.
    """
    total = weight = 0.0
    for series in residuals:
        squares = math.fsum(one * one for one in series)
        count = len(series)
        if squares > 0 and count > FEWEST:
            raw = math.fsum(one * following for one, following in pairwise(series)) / squares
            total += (raw * count + 1.0) / (count - 4.0) * count
            weight += count
    return min(MOST_ALIKE, max(0.0, total / weight)) if weight else 0.0


def without_trend(series: Sequence[float]) -> list[float]:
    """What is left of a series when a straight line (least squares) is taken off."""
    middle = (len(series) - 1) / 2
    mean = math.fsum(series) / len(series)
    slope = math.fsum((nth - middle) * one for nth, one in enumerate(series))
    slope /= math.fsum((nth - middle) ** 2 for nth in range(len(series)))
    return [one - mean - slope * (nth - middle) for nth, one in enumerate(series)]


def variance_of_sum(residuals: Sequence[float], correlation: float) -> float:
    """The variance of the sum of residuals that follow each other as an AR(1) process.

    n/(n − 1) · Σ r² · (1 + φ)/(1 − φ): the variance of a ratio estimated from clusters (Cochran, Sampling Techniques,
    §6.3) times what autocorrelation adds in the long run.
    """
    count = len(residuals)
    squares = math.fsum(one * one for one in residuals)
    return count / (count - 1) * squares * (1 + correlation) / (1 - correlation)


def student(share: float, freedom: int) -> float:
    """A quantile of Student's t (Abramowitz & Stegun 26.7.5; to three digits from five degrees of freedom on)."""
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(freedom) ** power for power, term in enumerate(terms, 1))
