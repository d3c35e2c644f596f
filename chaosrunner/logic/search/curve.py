"""The curve of a search over load: where more load stops being worth its waiting, and where it yields less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import median

from chaosrunner.logic.search.boundary import Ladder
from chaosrunner.logic.search.scaling import Law, fitted
from chaosrunner.model.search import Boundary, Trial
from chaosrunner.model.verdict import Outcome

SHARES = (0.25, 0.4, 0.55, 0.7, 0.85, 1.15, 1.4, 2.0)
"""Where the curve is looked at beside the search, in shares of the capacity."""

NEAR = 1.1
"""A level measured so near counts as that place."""

FALLEN = 0.9
"""Goodput below this share of its best, at this level and all above it, is a collapse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A level, with its measured neighbours: it is known no better than that."""

    level: float
    below: float | None
    above: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What the levels of a search say together."""

    levels: tuple[Trial, ...]
    """One a level, figures being medians of its trials; ascending."""
    best: Trial | None
    """The level with the highest goodput."""
    knee: Place | None
    """Where goodput per waiting is highest: Kleinrock's power, throughput ÷ response time (ICC 1979); beyond it waiting
    grows faster than goodput. None if that was not seen."""
    collapse: Place | None
    """The lowest level from which on goodput is below 90 % of its best; None if that was not seen."""
    law: Law | None


def next_point(ladder: Ladder, trials: Sequence[Trial], boundary: Boundary) -> float | None:
    """Another level worth measuring once the capacity is known; None when the curve is whole."""
    if boundary.best is None:
        return None
    measured = [trial.level for trial in trials]
    highest = max((trial.level for trial in trials if trial.outcome is Outcome.HELD), default=0.0)
    for share in SHARES:
        wanted = boundary.best * share
        level = min(ladder.rungs, key=lambda rung: abs(rung - wanted))
        allowed = level <= highest * ladder.asked.stride
        if allowed and ladder.ratio(level, wanted) <= NEAR and all(ladder.ratio(level, one) > NEAR for one in measured):
            return level
    return None


def points_left(ladder: Ladder, trials: Sequence[Trial], boundary: Boundary) -> int:
    """How many levels are still worth measuring for the curve, should the capacity be where it now seems to be."""
    ahead = list(trials)
    while (level := next_point(ladder, ahead, boundary)) is not None:
        ahead.append(Trial(level=level, outcome=Outcome.UNKNOWN))
    return len(ahead) - len(trials)


def curve_of(trials: Sequence[Trial]) -> Curve:
    """The curve through all trials that measured anything; those that say nothing of the target are left out."""
    levels = tuple(_levels([one for one in trials if one.outcome is not Outcome.UNKNOWN and one.seconds]))
    best = max(levels, key=lambda one: one.goodput, default=None)
    return Curve(
        levels=levels,
        best=best,
        knee=_knee(levels),
        collapse=_collapse(levels, best),
        law=fitted([(one.inside, one.goodput) for one in levels]),
    )


def _levels(trials: Sequence[Trial]) -> list[Trial]:
    found = []
    for level in sorted({trial.level for trial in trials}):
        same = [trial for trial in trials if trial.level == level]
        held = sum(one.outcome is Outcome.HELD for one in same) * 2 >= len(same)

        def middle(of: Callable[[Trial], float | None], same: list[Trial] = same) -> float:
            return median(value for value in map(of, same) if value is not None)

        found.append(
            Trial(
                level=level,
                outcome=Outcome.HELD if held else Outcome.BROKEN,
                seconds=sum(one.seconds for one in same),
                offered=middle(lambda one: one.offered),
                goodput=middle(lambda one: one.goodput),
                errors=middle(lambda one: one.errors),
                p50=middle(lambda one: one.p50),
                p95=middle(lambda one: one.p95),
                p99=middle(lambda one: one.p99),
                inside=middle(lambda one: one.inside),
            )
        )
    return found


def _knee(levels: Sequence[Trial]) -> Place | None:
    """Where the power is highest; None unless it was seen to fall from there on."""
    powers = [_power(one) for one in levels]
    best = max(powers, default=0.0)
    return _place(levels, powers.index(best)) if len(levels) >= 3 and powers[-1] < FALLEN * best else None


def _power(one: Trial) -> float:
    """Goodput · offered ÷ inside: goodput over the mean response, which is inside ÷ offered.

    Zero where more than a tenth fails: a failure is infinitely slow, however quickly it is said.
    """
    return one.goodput * one.offered / one.inside if one.inside and one.goodput >= FALLEN * one.offered else 0.0


def _collapse(levels: Sequence[Trial], best: Trial | None) -> Place | None:
    if best is None:
        return None
    above = [nth for nth, one in enumerate(levels) if one.level > best.level]
    fallen = [*takewhile(lambda nth: levels[nth].goodput < FALLEN * best.goodput, reversed(above))]
    return _place(levels, fallen[-1]) if fallen else None


def _place(levels: Sequence[Trial], nth: int) -> Place:
    return Place(
        level=levels[nth].level,
        below=levels[nth - 1].level if nth else None,
        above=levels[nth + 1].level if nth + 1 < len(levels) else None,
    )
