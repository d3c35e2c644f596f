"""What is usual for a system that is well, from sequences written down by hand."""

from __future__ import annotations

import pytest
from building import errors

from chaosrunner.logic.trace import Rule, Trace, Watch

STEP = 10_000
"""Distance of hits in µs."""
SIDE = 1000
"""Hits before the effect, in it, and in the last half of the hold time."""
ALLOWED = 0.05
WATCH = Watch(begin_us=2 * SIDE * STEP, until_us=3 * SIDE * STEP, hold_us=2 * SIDE * STEP, since_us=SIDE * STEP)


def usual(before: int, during: int, after: int, watch: Watch = WATCH) -> float:
    """What is usual where so many hits of three times a thousand were bad."""
    bad = [nth * SIDE + one for nth, many in enumerate((before, during, after)) for one in range(many)]
    one = Trace(
        rule=Rule(errors(ALLOWED), ALLOWED),
        due=[nth * STEP for nth in range(3 * SIDE)],
        before=range(3 * SIDE + 1),
        bad=[(nth, 1) for nth in bad],
    )
    return one.usual(watch)


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2), (0, 20), (20, 0)])
def test_the_worse_side_is_usual_helped_by_the_other(before: int, after: int) -> None:
    """The side with more bad hits counts, as if fifty hits more had been seen there, with the share of the other."""
    worse, better = max(before, after), min(before, after)
    assert usual(before, 500, after) == pytest.approx((worse + 0.5 + 50 * better / SIDE) / (SIDE + 51))


def test_nothing_usual_is_above_what_is_allowed() -> None:
    """A system that is no longer well tells what is allowed, not what it does."""
    assert usual(0, 0, 500) == ALLOWED


def test_what_was_hardly_watched_tells_nothing() -> None:
    """Without enough hits on either side what is allowed is taken for usual."""
    assert usual(0, 500, 0, Watch(begin_us=10 * STEP, until_us=20 * STEP, hold_us=10 * STEP)) == ALLOWED


@pytest.mark.parametrize("bad_first", [True, False])
def test_two_requests_of_one_moment_are_no_way_out(bad_first: bool) -> None:
    """Nothing holds from a moment at which a bad hit is due, though a good one was due in the same microsecond."""
    due = [0, STEP, STEP, *(nth * STEP for nth in range(2, 1000))]
    ill = {0, 1 if bad_first else 2, *range(3, 500)}
    one = Trace(
        rule=Rule(errors(ALLOWED), ALLOWED),
        due=due,
        before=range(len(due) + 1),
        bad=[(nth, 1) for nth in sorted(ill)],
    )
    at = one.next_at(0, Watch(begin_us=0, until_us=1000 * STEP, hold_us=400 * STEP))
    assert at == due[500]
