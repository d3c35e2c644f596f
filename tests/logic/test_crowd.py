"""Users over time: how many, which, and when they come."""

from __future__ import annotations

from math import floor, inf

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from chaosrunner.logic.crowd import GOLDEN, Crowd
from chaosrunner.model.load import Closed, Shape, Stage, Wave

NUMBERS = st.integers(0, 40).map(float)
ENDED = st.lists(
    st.builds(Stage, start=NUMBERS, end=NUMBERS, lasts_s=st.integers(1, 20).map(float)), min_size=1, max_size=4
)
HOLDS = NUMBERS.map(lambda number: Stage(start=number, end=number, lasts_s=None))
STAGES = ENDED | st.tuples(ENDED, HOLDS).map(lambda parts: [*parts[0], parts[1]]) | HOLDS.map(lambda stage: [stage])
STEERINGS = st.lists(st.tuples(st.integers(0, 60).map(float), st.sampled_from([0.0, 0.5, 1.0, 2.0])), max_size=3).map(
    sorted
)
RAMP = [Stage(start=10, end=20, lasts_s=10), Stage(start=20, end=20, lasts_s=None)]


def crowd(stages: list[Stage], steerings: list[tuple[float, float]] = [], every_s: float | None = None) -> Crowd:  # noqa: B006
    made = Crowd.of(stages, Closed(every_s=every_s))
    for at, factor in steerings:
        made = made.steered(at, factor)
    return made


@given(STAGES, STEERINGS, st.floats(0, 90))
def test_as_many_users_as_asked_for(stages: list[Stage], steerings: list[tuple[float, float]], at: float) -> None:
    """At any instant the users wanted are the lowest numbers, as many as the stages and the steering say, rounded."""
    made = crowd(stages, steerings)
    wanted = [user for user in range(made.most() + 3) if made.wants(user, at)]
    assert wanted == list(range(len(wanted)))
    assert abs(len(wanted) - made.number(at)) <= 0.5 + 1e-6
    assert len(wanted) <= made.most()


@given(STAGES, STEERINGS, st.integers(0, 60), st.floats(0, 70))
@example([Stage(start=0.0, end=1.0, lasts_s=1.0)], [(0.0, 0.5)], 0, 0.0)
def test_a_user_comes_when_it_is_first_wanted(
    stages: list[Stage], steerings: list[tuple[float, float]], user: int, since: float
) -> None:
    """Nobody is wanted before the moment that is given, give or take the delay that spreads users over a second."""
    made = crowd(stages, steerings)
    first = made.enters(user, since) - made.spread_s * ((user + 1) * GOLDEN % 1.0)
    last = min(first, 90.0) - 1e-6
    for nth in range(200):
        at = since + (last - since) * nth / 199
        if since <= at <= last:
            assert not made.wants(user, at)
    if first < inf:
        assert made.wants(user, first + 1e-7) or made.wants(user, first)


@given(STAGES, STEERINGS, st.integers(0, 40), st.floats(0, 70))
def test_nobody_leaves_before_it_was_said(
    stages: list[Stage], steerings: list[tuple[float, float]], user: int, at: float
) -> None:
    """Who is wanted at an instant is wanted until the one that is given for it."""
    made = crowd(stages, steerings)
    assume(made.wants(user, at))
    until = min(made.keeps_until(at), 200.0)
    assert until >= at
    for nth in range(50):
        assert made.wants(user, at + (until - at) * nth / 50)


@given(STAGES, st.integers(1, 5))
def test_shards_partition_the_crowd(stages: list[Stage], of: int) -> None:
    """Users are dealt to workers by their number: everybody is some worker's, and no worker has many more."""
    most = crowd(stages).most()
    shares = [list(range(shard, most, of)) for shard in range(of)]
    assert sorted(user for share in shares for user in share) == list(range(most))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_ramp_of_users() -> None:
    """From 10 to 20 users in 10 s: one more each second, who begins within the second after."""
    made = crowd(RAMP)
    assert [made.number(at) for at in (-1, 0, 2.5, 10, 99)] == [0, 10, 12.5, 20, 20]
    entries = [made.enters(user, 0.0) for user in range(20)]
    assert all(0 < entry < 1 for entry in entries[:10])
    assert all(nth + 0.5 < entry < nth + 1.5 for nth, entry in enumerate(entries[10:]))
    assert made.enters(20, 0.0) == inf
    assert len({floor(entry * 10) for entry in entries[:10]}) >= 8
    assert made.keeps_until(3.0) == 10.0
    assert made.keeps_until(10.0) == inf


def test_users_with_pacing_are_spread_over_it() -> None:
    """With a journey every 30 s a hundred users begin evenly over the first 30 s, not together."""
    made = crowd([Stage(start=100, end=100, lasts_s=None)], every_s=30.0)
    entries = sorted(made.enters(user, 0.0) for user in range(100))
    assert all(abs(entry - 0.3 * nth) < 0.9 for nth, entry in enumerate(entries))


def test_who_goes_may_come_back() -> None:
    """When users get fewer the highest numbers go; when there are more again they are wanted again."""
    stages = [
        Stage(start=10, end=2, lasts_s=8),
        Stage(start=2, end=2, lasts_s=2),
        Stage(start=10, end=10, lasts_s=None),
    ]
    made = crowd(stages)
    assert made.keeps_until(1.0) == 1.0
    assert [made.wants(9, at) for at in (0.4, 0.6, 9.0, 10.0)] == [True, False, False, True]
    assert 10.0 < made.enters(9, 1.0) < 11.0


def test_after_the_end_nobody_is_wanted() -> None:
    """A load that ends wants nobody from then on."""
    made = crowd([Stage(start=5, end=5, lasts_s=10)])
    assert (made.wants(0, 9.9), made.wants(0, 10.0), made.enters(0, 10.0)) == (True, False, inf)
    assert made.keeps_until(10.0) == 10.0
    assert made.keeps_until(9.0) == 10.0


def test_steering_scales_users() -> None:
    """Twice the users, none, and as planned again."""
    made = crowd(RAMP, [(20.0, 2.0), (30.0, 0.0), (40.0, 1.0)])
    assert [made.number(at) for at in (19.9, 20.0, 30.0, 40.0)] == [20, 40, 0, 20]
    assert made.most() == 41
    assert 20.0 < made.enters(39, 0.0) < 21.0
    assert 40.0 < made.enters(0, 30.0) < 41.0


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param([], id="no stage"),
        pytest.param([Wave(low=1, high=2, period_s=1, lasts_s=None)], id="a wave"),
        pytest.param([Stage(start=1, end=1, lasts_s=None), Stage(start=1, end=1, lasts_s=1)], id="open end inside"),
        pytest.param([Stage(start=1, end=2, lasts_s=None)], id="open end that is not flat"),
    ],
)
def test_stages_that_are_no_crowd(stages: list[Shape]) -> None:
    """Stages without a meaning for users are refused."""
    with pytest.raises(ValueError, match=r"stage|open"):
        Crowd.of(stages, Closed())


@pytest.mark.parametrize("factor", [-1.0, inf, float("nan")])
def test_a_factor_that_is_none(factor: float) -> None:
    """The factor of a steering is a finite number from 0 up."""
    with pytest.raises(ValueError, match="factor"):
        crowd(RAMP).steered(0, factor)
