"""A boundary from the shares of requests that broke a tolerance, in looks too brief to be right each time."""

from __future__ import annotations

import math
from random import Random

import pytest

from chaosrunner.logic.search.boundary import Asked, Ladder, found, next_level
from chaosrunner.logic.search.crossing import REACH, below, evidence, point
from chaosrunner.model.search import Boundary, Known, Trial
from chaosrunner.model.verdict import Outcome


def brief(level: float, share: float, outcome: Outcome | None = None) -> Trial:
    """A look at a thousand requests."""
    seen = outcome or (Outcome.HELD if share <= 0.05 else Outcome.BROKEN)
    return Trial(level=level, outcome=seen, beyond=share, allowed=0.05, offered=100.0, seconds=10.0)


def logistic(height: float) -> float:
    return 1 / (1 + math.exp(-height))


def seek(ladder: Ladder, scatter: float, seed: int, *, slope: float = 30.0) -> tuple[Boundary, list[Trial]]:
    """A search before a target whose mean share is what is allowed at a level of 150."""
    chance, trials = Random(seed), list[Trial]()
    begin = math.log(0.05 / 0.95) + below(0.05, scatter)
    while (level := next_level(ladder, trials)) is not None:
        height = begin + slope * math.log(level / 150.0) + scatter * chance.gauss(0.0, 1.0)
        trials.append(brief(level, logistic(max(-30.0, min(30.0, height)))))
    answer = found(ladder, trials)
    assert answer is not None
    return answer, trials


@pytest.mark.parametrize("scatter", [0.2, 1.0, 2.5])
def test_the_mean_of_what_scatters_is_what_is_allowed(scatter: float) -> None:
    """Shares whose median lies so far below have the mean that is allowed."""
    chance, middle = Random(1), math.log(0.05 / 0.95) + below(0.05, scatter)
    many = [logistic(middle + scatter * chance.gauss(0.0, 1.0)) for _ in range(20_000)]
    assert math.fsum(many) / len(many) == pytest.approx(0.05, rel=0.06)


def test_a_share_far_off_is_only_known_to_be_so() -> None:
    """None, all, and shares beyond the reach of the line are cut; without a share there is no point."""
    assert point(brief(10.0, 0.0)) == (math.log(10.0), -REACH, -1)
    assert point(brief(10.0, 0.9)) == (math.log(10.0), REACH, 1)
    near = point(brief(10.0, 0.05))
    assert near is not None
    assert abs(near[1]) < 0.02
    assert near[2] == 0
    assert point(brief(10.0, 0.05, Outcome.UNKNOWN)) is None
    assert point(Trial(level=10.0, outcome=Outcome.HELD)) is None


@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_the_likeliest_boundary_is_where_the_line_crosses(turn: float) -> None:
    """Upwards and downwards, and also where all points are cut."""
    places = [nth / 100 for nth in range(-10, 11)]
    line = [(nth / 100, turn * 30 * nth / 100 - 0.1, 0) for nth in range(-6, 7)]
    seen = evidence(line, places, 0.05, turn)
    assert abs(places[seen.index(max(seen))]) <= 0.011
    sharp = [
        (nth / 100, math.copysign(REACH, turn * nth), round(math.copysign(1, turn * nth))) for nth in (-3, -1, 1, 3)
    ]
    seen = evidence(sharp, places, 0.05, turn)
    assert abs(places[seen.index(max(seen))]) <= 0.011


def test_brief_looks_give_an_interval_that_holds_the_truth() -> None:
    """Where two looks in three hold at the boundary itself, it is within the interval all the same, and 5 % near."""
    for seed in range(6):
        seen, trials = seek(Ladder.between(40.0, 800.0), 1.5, seed)
        assert seen.holds is not None
        assert seen.breaks is not None
        assert seen.best is not None
        assert seen.holds <= 150.0 <= seen.breaks
        assert seen.best == pytest.approx(150.0, rel=0.05)
        assert seen.known is Known.BETWEEN or len(trials) == 40


def test_looks_that_were_too_few_say_how_far_they_came() -> None:
    """A search that is given up names the interval of its line, not the highest level that happened to hold."""
    seen, trials = seek(Ladder.between(40.0, 800.0, Asked(most=18)), 2.0, 0)
    assert (seen.known, len(trials)) == (Known.UNDECIDED, 18)
    assert (seen.holds or 0) <= 150.0 <= (seen.breaks or math.inf)


def test_a_sharp_limit_stays_as_sharp_as_before() -> None:
    """Where none of the requests or all of them break what was asked, few trials are enough."""
    seen, trials = seek(Ladder.between(40.0, 800.0), 0.01, 1, slope=5_000.0)
    assert seen.known is Known.BETWEEN
    assert seen.holds is not None
    assert seen.breaks is not None
    assert seen.holds <= 150.0 <= seen.breaks
    assert len(trials) < 20
