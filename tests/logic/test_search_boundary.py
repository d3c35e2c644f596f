"""The boundary between what holds and what breaks, found by trials that may be wrong."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.logic.search.boundary import Asked, Ladder, believed, found, left, next_level, so_far
from chaosrunner.model.search import Boundary, Known, Trial
from chaosrunner.model.verdict import Outcome

QUICK = settings(deadline=None, max_examples=30)
SLOW = settings(deadline=None, max_examples=10)


def seek(ladder: Ladder, truth: float, *, wrong: float = 0.0, seed: int = 0) -> tuple[Boundary, list[Trial]]:
    """A search before a target that holds up to `truth`, of whose trials a share is wrong."""
    chance, trials, down = Random(seed), [], ladder.rungs[0] > ladder.rungs[-1]
    while (level := next_level(ladder, trials)) is not None:
        holds = (level >= truth if down else level <= truth) is not (chance.random() < wrong)
        trials.append(Trial(level=level, outcome=Outcome.HELD if holds else Outcome.BROKEN))
    answer = found(ladder, trials)
    assert answer is not None
    return answer, trials


def told(*outcomes: tuple[float, Outcome]) -> list[Trial]:
    """Trials of these levels and outcomes."""
    return [Trial(level=level, outcome=outcome, why="mute") for level, outcome in outcomes]


@SLOW
@given(truth=st.floats(11, 1_900))
def test_a_sharp_boundary_is_enclosed_as_narrowly_as_asked(truth: float) -> None:
    """Where trials are never wrong the interval holds the truth, and is no wider than the precision."""
    answer, trials = seek(Ladder.between(10, 2_000), truth)
    assert answer.known is Known.BETWEEN
    assert answer.holds is not None
    assert answer.breaks is not None
    assert answer.holds <= truth < answer.breaks
    assert answer.breaks <= answer.holds * 1.0501
    assert answer.confidence >= 0.95
    assert answer.against == 0
    assert answer.trials == len(trials) < 25


@SLOW
@given(truth=st.floats(11, 1_900), seed=st.integers(0, 99))
def test_no_trial_is_more_than_a_stride_beyond_what_has_held(truth: float, seed: int) -> None:
    """Escalation is safe: nothing is tried beyond twice the largest level that has held, whatever trials say."""
    _, trials = seek(Ladder.between(10, 2_000), truth, wrong=0.1, seed=seed)
    held = 0.0
    for trial in trials:
        assert trial.level <= max(10.0, 2 * held) * (1 + 1e-9)
        held = max(held, trial.level if trial.outcome is Outcome.HELD else 0.0)


@SLOW
@given(truth=st.floats(1.5, 900))
def test_a_harm_that_grows_downwards_is_searched_downwards(truth: float) -> None:
    """From a large harmless level to a small harmful one the interval holds the truth as well."""
    answer, trials = seek(Ladder.between(1_000, 1), truth)
    assert answer.holds is not None
    assert answer.breaks is not None
    assert answer.holds >= truth > answer.breaks
    assert trials[0].level == 1_000


def test_trials_that_are_wrong_now_and_then_are_outvoted() -> None:
    """With a tenth of all trials wrong, 95 % of the intervals hold the truth."""
    inside = 0
    for seed in range(30):
        truth = 20 * 50 ** Random(seed).random()
        answer, _ = seek(Ladder.between(10, 2_000, Asked(precision=0.1, most=100)), truth, wrong=0.1, seed=seed)
        inside += (answer.holds or 0) <= truth < (answer.breaks or math.inf)
    assert inside >= 27


def test_how_sure_it_is_is_said_of_the_interval_that_is_said() -> None:
    """The confidence is what is believed between both ends that are told, once they were narrowed, and no less than
    was asked.
    """
    ladder = Ladder.between(10, 2_000)
    for seed in range(3):
        seen, trials = seek(ladder, 300.0, wrong=0.1 * (seed > 0), seed=seed)
        assert seen.holds is not None
        assert seen.breaks is not None
        between = believed(ladder, trials)[ladder.rung(seen.holds) + 1 : ladder.rung(seen.breaks) + 1]
        assert seen.confidence == pytest.approx(sum(between))
        assert 0.95 <= seen.confidence <= 1


def test_where_trials_contradict_each_other_the_whole_zone_is_the_answer() -> None:
    """A level just below the interval that broke once, and one just above that held once, are within it."""
    ladder = Ladder.between(10, 1_000)
    sharp, trials = seek(ladder, 150.0)
    assert sharp.holds is not None
    assert sharp.breaks is not None
    below, above = ladder.rungs[ladder.rung(sharp.holds)], ladder.rungs[ladder.rung(sharp.breaks)]
    clear = told(*[(below, Outcome.HELD)] * 6, *[(above, Outcome.BROKEN)] * 6)
    seen = found(ladder, [*trials, *clear, *told((below, Outcome.BROKEN), (above, Outcome.HELD))])
    assert seen is not None
    assert seen.holds is not None
    assert seen.breaks is not None
    assert seen.holds < below
    assert seen.breaks > above
    assert seen.against == 2


def test_what_does_not_even_hold_at_first_is_said_so() -> None:
    """A boundary below the first level is found without trying another one."""
    answer, trials = seek(Ladder.between(10, 2_000), 5.0)
    assert answer.known is Known.BELOW
    assert answer.best is answer.holds is None
    assert {trial.level for trial in trials} == {10.0}


def test_what_still_holds_at_last_is_said_so() -> None:
    """A boundary beyond the last level is no number."""
    answer, trials = seek(Ladder.between(10, 100), 500.0)
    assert answer.known is Known.BEYOND
    assert answer.breaks is None
    assert answer.holds == answer.best == 100.0
    assert trials[-1].level == 100.0


def test_what_a_higher_level_told_is_no_ceiling() -> None:
    """Silence below a level that has answered is somebody else's doing, and may pass: the level is asked again."""
    ladder = Ladder.between(10, 100)
    trials = told((10.0, Outcome.HELD), (100.0, Outcome.BROKEN), *[(ladder.rungs[5], Outcome.UNKNOWN)] * 9)
    assert found(ladder, trials) is None


def test_below_levels_that_stay_silent_it_goes_on_until_it_is_near_them() -> None:
    """A generator that can offer no more than 200/s: what holds below is still found, and the reason is said."""
    ladder, trials = Ladder.between(10, 2_000), []
    while (level := next_level(ladder, trials)) is not None:
        outcome = Outcome.HELD if level <= 200 else Outcome.UNKNOWN
        trials.append(Trial(level=level, outcome=outcome, why="mute" if level > 200 else ""))
    seen = found(ladder, trials)
    assert seen is not None
    assert (seen.known, seen.why, seen.breaks) == (Known.LIMITED, "mute", None)
    assert max(trial.level for trial in trials if trial.outcome is Outcome.HELD) > 190
    assert seen.holds is not None
    assert 100 < seen.holds <= 200
    assert len(trials) < 20


def test_where_nothing_was_ever_said_nothing_holds() -> None:
    """Three silent trials at the first level end the search."""
    ladder = Ladder.between(10, 100)
    seen = found(ladder, told(*[(10.0, Outcome.UNKNOWN)] * 3))
    assert seen is not None
    assert (seen.known, seen.holds) == (Known.LIMITED, None)


def test_a_search_that_is_given_up_says_how_far_it_came() -> None:
    """After the trials allowed it ends, with an interval that may be wide."""
    answer, trials = seek(Ladder.between(10, 2_000, Asked(most=6)), 300.0)
    assert answer.known is Known.UNDECIDED
    assert len(trials) == 6
    assert answer.holds is not None
    assert answer.holds <= 300.0 <= (answer.breaks or math.inf)
    assert "6 trials" in answer.why


def test_a_search_that_is_given_up_names_no_level_beyond_those_that_were_tried() -> None:
    """Where only the prior speaks nothing is claimed: what held is named, and what broke, if anything did."""
    ladder = Ladder.between(20, 1_000, Asked(precision=0.3))
    trials = [Trial(level=level, outcome=Outcome.HELD) for level in [ladder.rungs[0], *[ladder.rungs[20]] * 3]]
    held = so_far(ladder, trials)
    assert (held.holds, held.best, held.breaks) == (ladder.rungs[20], ladder.rungs[20], None)
    broken = so_far(ladder, [*trials, *[Trial(level=ladder.rungs[28], outcome=Outcome.BROKEN)] * 3])
    assert (broken.holds, broken.breaks) == (ladder.rungs[20], ladder.rungs[28])
    assert broken.best is not None
    assert ladder.rungs[20] <= broken.best <= ladder.rungs[28]


def test_one_that_has_not_begun_knows_nothing() -> None:
    """Without a trial all is open."""
    seen = so_far(Ladder.between(10, 20), [])
    assert (seen.holds, seen.breaks, seen.best, seen.trials) == (None, None, None, 0)


def test_the_trials_left_are_those_that_come() -> None:
    """Before a sharp boundary the forecast is right to a few trials."""
    ladder, trials = Ladder.between(10, 2_000), []
    forecast = []
    while (level := next_level(ladder, trials)) is not None:
        forecast.append(left(ladder, trials))
        trials.append(Trial(level=level, outcome=Outcome.HELD if level <= 140 else Outcome.BROKEN))
    assert all(abs(said - (len(trials) - nth)) <= 8 for nth, said in enumerate(forecast))
    assert left(ladder, trials) == 0


@QUICK
@given(
    outcomes=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(list(Outcome))), max_size=12),
)
def test_a_belief_is_a_probability_and_does_not_depend_on_the_order(outcomes: list[tuple[int, Outcome]]) -> None:
    """The beliefs add up to 1, and the same trials in another order give the same."""
    ladder = Ladder.between(1, 10, whole=True)
    trials = told(*[(ladder.rungs[nth], outcome) for nth, outcome in outcomes])
    belief = believed(ladder, trials)
    assert sum(belief) == pytest.approx(1.0)
    assert believed(ladder, trials[::-1]) == pytest.approx(belief)
    assert len(belief) == len(ladder.rungs) + 1


def test_a_ladder_has_its_ends_and_rungs_near_enough() -> None:
    """Both ends are levels, and neighbours are closer than the precision."""
    rungs = Ladder.between(10, 2_000).rungs
    assert (rungs[0], rungs[-1]) == (10, 2_000)
    assert all(high / low < 1.05 for low, high in pairwise(rungs))
    assert Ladder.between(1, 6, whole=True).rungs == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(("ends", "why"), [((0, 5), "above zero"), ((5, 5), "the last one"), ((1e-9, 1e9), "too wide")])
def test_a_ladder_that_cannot_be_is_refused(ends: tuple[float, float], why: str) -> None:
    """Zero, one level only and millions of them are no ladder."""
    with pytest.raises(ValueError, match=why):
        Ladder.between(*ends, Asked(precision=0.01))
