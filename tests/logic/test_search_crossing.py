"""The interval of a search from the shares of bad requests, in looks too brief to be right each time."""

from __future__ import annotations

import math
from random import Random

import pytest

from chaosrunner.logic.search.boundary import Asked, Ladder, found, next_level, so_far
from chaosrunner.logic.search.crossing import MOST, crossing, look, told
from chaosrunner.model.search import Boundary, Known, Trial
from chaosrunner.model.verdict import Outcome

TRUTH = 150.0
LADDER = Ladder.between(40.0, 800.0)


def brief(level: float, share: float, outcome: Outcome | None = None) -> Trial:
    """A look in which this share of the requests was bad, where a twentieth may be."""
    seen = outcome or (Outcome.HELD if share <= 0.05 else Outcome.BROKEN)
    return Trial(level=level, outcome=seen, beyond=share, allowed=0.05)


def seek(slope: float, scatter: float, seed: int, ladder: Ladder = LADDER) -> tuple[Boundary, Boundary, list[Trial]]:
    """A search before a target whose mean share is what is allowed at TRUTH: by outcomes, and as it is told.

    Scatter is the standard deviation of the share beside its mean; most looks see less than the mean, some far more.
    """
    chance, trials = Random(seed), list[Trial]()
    while (level := next_level(ladder, trials)) is not None:
        mean = 1 / (1 + 19 * math.exp(min(slope * math.log(TRUTH / level), 700.0)))
        luck = chance.gammavariate(scatter**-2, scatter**2)
        trials.append(brief(level, min(1.0, mean * luck) if mean < 0.5 else 1 - (1 - mean) * min(luck, 2.0) / 2))
    plain = found(ladder, trials)
    assert plain is not None
    return plain, told(ladder, trials, plain), trials


def holds_it(seen: Boundary) -> bool:
    """Whether the truth is within the interval."""
    return (seen.holds or 0.0) <= TRUTH <= (seen.breaks or math.inf)


def test_brief_looks_give_an_interval_that_holds_the_truth() -> None:
    """Where two looks in three hold at the boundary itself, outcomes miss it often, and the line does not."""
    many = [seek(30.0, 1.3, seed) for seed in range(10)]
    assert sum(holds_it(seen) for _, seen, _ in many) >= 9
    assert sum(holds_it(plain) for plain, _, _ in many) <= 7
    lines = [(plain, seen) for plain, seen, _ in many if seen.by.startswith("a line")]
    assert len(lines) > 7
    for plain, seen in lines:
        assert seen.known is plain.known
        assert seen.why == plain.why
        assert seen.confidence >= 0.95
        assert seen.best is not None
        assert (seen.holds or 0.0) <= seen.best <= (seen.breaks or math.inf)


def test_what_is_wider_than_asked_says_so() -> None:
    """An interval wider than the precision names the cure; one that is not says what it rests on, and no more."""
    wide = seek(30.0, 1.3, 2)[1]
    assert (
        wide.by
        == "a line through the shares of bad requests, which scatter too much for 5 %: look longer at each level"
    )
    steady = [brief(level, 0.05 * (level / TRUTH) ** 30) for level in LADDER.rungs if 135 < level < 165] * 3
    seen = told(LADDER, steady, so_far(LADDER, steady))
    assert seen.by == "a line through the shares of bad requests"
    assert seen.holds is not None
    assert seen.breaks is not None
    assert seen.breaks < seen.holds * 1.05
    assert holds_it(seen)


def test_a_share_that_leaps_is_no_line() -> None:
    """A limit beyond which three requests in ten fail is told by outcomes, which are never wrong about it."""
    trials = list[Trial]()
    while (level := next_level(LADDER, trials)) is not None:
        trials.append(brief(level, 0.004 if level <= TRUTH else 0.3))
    plain = found(LADDER, trials)
    assert plain is not None
    seen = told(LADDER, trials, plain)
    assert seen.by == "which trials held and which broke; the share of bad requests leaps, and is no line"
    assert (seen.holds, seen.breaks, seen.best, seen.confidence) == (
        plain.holds, plain.breaks, plain.best, plain.confidence,
    )  # fmt: skip


def test_where_shares_say_nothing_outcomes_do() -> None:
    """None or all of the requests bad, or one level only, are no line, and the interval says which it is."""
    plain, seen, _ = seek(5_000.0, 0.01, 1)
    assert seen.by.endswith("in too few of them the share of bad requests was near what is allowed")
    assert (seen.holds, seen.breaks) == (plain.holds, plain.breaks)
    assert holds_it(seen)
    for trials in (
        [brief(level, 0.01) for level in LADDER.rungs[:9]],
        [brief(LADDER.rungs[nth % 2], 0.02 + 0.01 * nth) for nth in range(9)],
    ):
        assert told(LADDER, trials, so_far(LADDER, trials)).by.endswith("there are too few levels for a line")


def test_a_search_without_shares_is_told_as_it_is() -> None:
    """A dose, and what is below, beyond or limited, rests on outcomes alone, as it always did."""
    trials = [Trial(level=LADDER.rungs[nth], outcome=Outcome.HELD if nth < 50 else Outcome.BROKEN) for nth in (1, 60)]
    plain = so_far(LADDER, trials)
    assert told(LADDER, trials, plain) is plain
    low = [brief(LADDER.rungs[0], 0.5)] * 3
    below = found(LADDER, low)
    assert below is not None
    assert below.known is Known.BELOW
    assert told(LADDER, low, below) is below


def test_a_search_that_is_given_up_is_told_by_its_line() -> None:
    """After the trials allowed the line names its interval, and why it ended stays."""
    ladder = Ladder.between(40.0, 800.0, Asked(most=14))
    plain, seen, trials = seek(30.0, 1.3, 0, ladder)
    assert len(trials) == 14
    assert seen.known is plain.known is Known.UNDECIDED
    assert seen.by.startswith("a line")
    assert "14 trials" in seen.why
    assert holds_it(seen)


def test_the_line_s_interval_may_be_open() -> None:
    """Where the first level is within the scatter nothing is told to hold, and of the last one nothing to break."""
    rungs = Ladder.between(140.0, 160.0, Asked(confidence=0.99))
    trials = [brief(level, share) for level in rungs.rungs for share in (0.01, 0.05, 0.09)]
    seen = told(rungs, trials, so_far(rungs, trials))
    assert (seen.holds, seen.breaks) == (None, None)
    assert "look longer" in seen.by
    belief = crossing(rungs, tuple(trials))
    assert isinstance(belief, list)
    assert sum(belief) == pytest.approx(1.0)


def test_a_look_is_cut_where_the_line_ends() -> None:
    """None and all bad requests lie at its ends; what says nothing of shares is no look."""
    none, near, all_of_them = (look(brief(10.0, share)) for share in (0.0, 0.06, 1.0))
    assert none is not None
    assert near is not None
    assert all_of_them is not None
    assert none.share == pytest.approx(0.0043, abs=0.0001)
    assert not none.tells(none.mean(-99.0))
    assert none.tells(none.mean(0.0))
    assert near.share == 0.06
    assert near.off(near.height) == pytest.approx(0.0)
    assert near.strays(near.mean(0.0)) == pytest.approx(0.01 / 0.05 / 0.95)
    assert near.tells(near.mean(-99.0))
    assert all_of_them.share == MOST
    assert not all_of_them.tells(all_of_them.mean(99.0))
    assert look(brief(10.0, 0.1, Outcome.UNKNOWN)) is None
    assert look(Trial(level=10.0, outcome=Outcome.HELD)) is None
    assert look(Trial(level=10.0, outcome=Outcome.HELD, beyond=0.1, allowed=0.99)) is None
