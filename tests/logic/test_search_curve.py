"""The curve of a search over load, and the law of scaling."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.logic.search.boundary import Ladder, so_far
from chaosrunner.logic.search.curve import curve_of, next_point, points_left
from chaosrunner.logic.search.scaling import Law, fitted
from chaosrunner.model.search import Trial
from chaosrunner.model.verdict import Outcome

QUICK = settings(deadline=None, max_examples=30)


def law(rate: float, contention: float, coherence: float) -> Law:
    """A law that was fitted to nothing."""
    return Law(rate=rate, contention=contention, coherence=coherence, error=0.0, points=0, reached=0.0)


def trial(level: float, goodput: float, inside: float, outcome: Outcome = Outcome.HELD) -> Trial:
    """A trial that measured."""
    return Trial(
        level=level, outcome=outcome, seconds=10.0, offered=level, goodput=goodput, p50=0.1, p95=0.2, p99=0.3,
        inside=inside,
    )  # fmt: skip


@QUICK
@given(
    rate=st.floats(1, 1_000),
    contention=st.floats(0.001, 0.5),
    coherence=st.floats(1e-5, 0.01),
)
def test_a_law_is_found_again_in_its_own_points(rate: float, contention: float, coherence: float) -> None:
    """λ, σ and κ come out as they went in."""
    true = law(rate, contention, coherence)
    seen = fitted([(n, true.at(n)) for n in (1.0, 2.0, 5.0, 12.0, 30.0, 80.0)])
    assert seen is not None
    assert seen.rate == pytest.approx(rate, rel=1e-3)
    assert seen.contention == pytest.approx(contention, rel=1e-2, abs=1e-4)
    assert seen.coherence == pytest.approx(coherence, rel=1e-2, abs=1e-6)
    assert seen.error < 1e-6
    assert seen.peak_at == pytest.approx(math.sqrt((1 - contention) / coherence), rel=1e-2)
    assert seen.seen is (seen.peak_at <= 80.0)
    assert seen.peaks is not None


def test_a_line_has_no_limit_and_contention_one_without_a_peak() -> None:
    """Without σ and κ there is no limit; with σ alone it is λ/σ."""
    straight = fitted([(n, 7.0 * n) for n in (1.0, 2.0, 4.0, 8.0, 16.0)])
    assert straight is not None
    assert straight.peak is None or straight.peak > 1e6
    assert straight.peaks is None or straight.peaks[0] > 1e6
    bent = law(10.0, 0.1, 0.0)
    assert (bent.peak_at, bent.peak, bent.seen) == (None, 100.0, False)
    assert law(10.0, 0.0, 0.0).peak is None
    assert law(10.0, 1.2, 0.1).peak_at is law(10.0, 1.2, 0.1).peak is None


def test_points_that_bend_the_wrong_way_give_no_negative_coefficient() -> None:
    """Where throughput grows faster than what is inside, σ and κ are held at zero."""
    seen = fitted([(n, n**1.3) for n in (1.0, 2.0, 4.0, 8.0, 16.0)])
    assert seen is not None
    assert seen.contention >= 0
    assert seen.coherence >= 0


@pytest.mark.parametrize(
    "points",
    [[(1.0, 1.0)] * 4, [(n / 10 + 1, 5.0) for n in range(8)], [(0.0, 5.0)] * 9],
    ids=["few", "all alike", "nothing inside"],
)
def test_too_little_is_not_fitted(points: list[tuple[float, float]]) -> None:
    """Few points, a narrow range and nothing at all are no curve."""
    assert fitted(points) is None


def test_points_of_two_values_of_n_determine_no_three_numbers() -> None:
    """Columns that depend on each other are left out instead of dividing by nothing."""
    seen = fitted([(1.0, 10.0), (1.0, 10.0), (1.0, 10.0), (4.0, 20.0), (4.0, 20.0)])
    assert seen is not None
    assert seen.at(4.0) == pytest.approx(20.0, rel=0.01)


def test_knee_best_and_collapse_are_places_on_the_curve() -> None:
    """The knee has the most goodput for its waiting; the collapse is the first of the levels that all yield less."""
    curve = curve_of(
        [
            trial(100, 100, 10), trial(200, 200, 22), trial(300, 300, 60), trial(400, 330, 300, Outcome.BROKEN),
            trial(500, 200, 900, Outcome.BROKEN), trial(600, 150, 900, Outcome.BROKEN),
        ]
    )  # fmt: skip
    assert curve.best is not None
    assert curve.best.level == 400
    assert curve.knee is not None
    assert (curve.knee.level, curve.knee.below, curve.knee.above) == (200, 100, 300)
    assert curve.collapse is not None
    assert (curve.collapse.level, curve.collapse.below, curve.collapse.above) == (500, 400, 600)


def test_what_says_nothing_is_not_on_the_curve() -> None:
    """UNKNOWN trials and trials without data are left out; without any level there is no place."""
    silent = Trial(level=5, outcome=Outcome.HELD)
    curve = curve_of([silent, trial(7, 7, 1, Outcome.UNKNOWN)])
    assert (curve.levels, curve.best, curve.knee, curve.collapse, curve.law) == ((), None, None, None, None)


def test_several_trials_of_a_level_are_one_point() -> None:
    """Figures are medians, and the outcome is that of the half."""
    curve = curve_of([trial(10, 9, 1), trial(10, 10, 0), trial(10, 11, 2, Outcome.BROKEN), trial(20, 20, 0)])
    assert [(one.level, one.goodput, one.outcome) for one in curve.levels] == [
        (10, 10, Outcome.HELD),
        (20, 20, Outcome.HELD),
    ]
    assert curve.collapse is None


def test_a_level_where_nobody_waited_is_no_knee() -> None:
    """Nothing inside means that nothing was seen of the waiting."""
    curve = curve_of([trial(10, 10, 0), trial(20, 20, 2), trial(30, 30, 9)])
    assert curve.knee is not None
    assert curve.knee.level == 20
    first = curve_of([trial(10, 10, 1), trial(20, 20, 9), trial(30, 30, 99)]).knee
    assert first is not None
    assert (first.below, first.above) == (None, 20)


def test_a_knee_is_seen_only_where_it_gets_worse_beyond() -> None:
    """The highest level measured is no knee, nor is one where most is refused quickly: a failure is not fast."""
    rising = [trial(10, 10, 2), trial(20, 20, 3), trial(30, 30, 4)]
    assert curve_of(rising).knee is None
    refusing = curve_of([*rising, trial(60, 30, 1, Outcome.BROKEN)]).knee
    assert refusing is not None
    assert (refusing.level, refusing.above) == (30, 60)
    assert curve_of([trial(nth, 0, 1, Outcome.BROKEN) for nth in (10, 20, 30)]).knee is None


def test_the_curve_is_looked_at_on_both_sides_and_never_far_beyond_what_held() -> None:
    """Points are asked for until the shares of the capacity are measured; none is twice what held."""
    ladder = Ladder.between(10, 2_000)
    near = min(ladder.rungs, key=lambda rung: abs(rung - 400))
    trials = [trial(near, near, 5)]
    boundary = so_far(ladder, [Trial(level=near, outcome=Outcome.HELD), Trial(level=2_000, outcome=Outcome.BROKEN)])
    asked, foretold = [], points_left(ladder, trials, boundary)
    while (level := next_point(ladder, trials, boundary)) is not None:
        assert level <= 2 * near
        asked.append(level)
        trials.append(trial(level, level, 5, Outcome.BROKEN))
    assert asked == sorted(asked)
    assert len(asked) >= 4
    assert foretold == len(asked)


def test_without_a_capacity_there_is_no_curve_to_look_at() -> None:
    """Where not even the first level holds no more is asked."""
    ladder = Ladder.between(10, 20)
    below = so_far(ladder, [Trial(level=10.0, outcome=Outcome.BROKEN)] * 4)
    assert below.best is None
    assert next_point(ladder, [], below) is None
