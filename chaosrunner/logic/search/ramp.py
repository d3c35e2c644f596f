"""A ramp up and down laid over itself: what goodput was at the same load before and after the overload.

A system without memory answers the same load alike on both ways. Where it answers worse on the way down it has kept
something of the overload (hysteresis); where it does not come back at all the failure sustains itself (metastable:
Bronson et al., HotOS 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from chaosrunner.logic.search.vary import lead_s
from chaosrunner.logic.stats import wilson
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Sample, Span, Traffic
from chaosrunner.model.experiment import Phase

STRIPS = 10
"""Pieces that each ramp is cut in."""

GAP = 0.05
"""A difference of success below this is not called hysteresis, however sure it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What users saw on one way."""

    offered: float
    """Requests per second that became due."""
    goodput: float
    """Requests per second that succeeded."""
    success: float
    """Share of the requests that succeeded, 0..1, and its 95 % interval."""
    low: float
    high: float
    p95: float | None
    """Seconds, failures infinitely slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One stretch of load, on the way up and on the way down."""

    level: float
    """Journeys per second in its middle."""
    up: Side
    down: Side

    @property
    def gap(self) -> float:
        """By how much success is lower on the way down, as far as that is sure: from interval to interval; 0 if not."""
        return max(0.0, self.up.low - self.down.high)


@dataclass(frozen=True, slots=True)
class Ramps:
    """Both ways together."""

    strips: tuple[Strip, ...]

    @property
    def widest(self) -> Strip | None:
        """Where the two ways differ most for sure; None where they do not, by more than `GAP`."""
        strip = max(self.strips, key=lambda one: one.gap, default=None)
        return strip if strip is not None and strip.gap > GAP else None

    @property
    def lost(self) -> float:
        """The share of the requests succeeding on the way up that did not on the way down; below 0 if more did.

        Both ways are weighed by what came on the way up: that fewer came on the way down is no loss.
        """
        up = sum(strip.up.goodput for strip in self.strips)
        return 1 - sum(strip.up.offered * strip.down.success for strip in self.strips) / up if up else 0.0


def ramps_of(traffic: Traffic, levels: tuple[float, float], seconds: float) -> Ramps:
    """Both ramps of a run of `vary.overload`, strip by strip; strips without traffic are left out.

    Args:
        traffic: of the run.
        levels: where the ramp began and where it turned.
        seconds: how long each ramp took.
    """
    low, high = levels
    begin = round(lead_s(traffic.experiment) * SLOTS_A_SECOND)
    whole = round(seconds * SLOTS_A_SECOND)
    strips = []
    edges = [round(whole * nth / STRIPS) for nth in range(STRIPS + 1)]
    for nth, (first, last) in enumerate(pairwise(edges)):
        up = _sample(traffic, begin + first, begin + last)
        down = _sample(traffic, begin + 2 * whole - last, begin + 2 * whole - first)
        if up.hits and down.hits:
            level = low + (high - low) * (nth + 0.5) / STRIPS
            strips.append(Strip(level=level, up=_side(up), down=_side(down)))
    return Ramps(tuple(strips))


def _sample(traffic: Traffic, first: int, last: int) -> Sample:
    return traffic.sample(Span(Phase.FAULT, first, last))


def _side(sample: Sample) -> Side:
    low, high = wilson(sample.oks, sample.hits)
    return Side(
        offered=sample.slot.due / sample.seconds,
        goodput=sample.rate,
        success=sample.oks / sample.hits,
        low=low,
        high=high,
        p95=sample.quantile(0.95),
    )
