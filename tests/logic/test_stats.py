"""The statistics behind a verdict, against definitions and against chance itself."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.logic import stats


@pytest.mark.parametrize(("share", "hits"), [(0.5, 10), (0.9, 50), (0.95, 100), (0.99, 500), (0.999, 5000)])
def test_enough_for_a_quantile(share: float, hits: int) -> None:
    """A quantile needs five hits expected beyond it."""
    assert stats.enough_for_quantile(share) == hits


@pytest.mark.parametrize(("share", "hits"), [(0.5, 30), (0.02, 50), (0.005, 200), (0.0001, 1000), (0.0, 30), (1.0, 30)])
def test_enough_for_a_share(share: float, hits: int) -> None:
    """A share needs room for one allowed error, never less than 30 and never more than 1,000 hits."""
    assert stats.enough_for_share(share) == hits


@given(st.integers(1, 10_000), st.floats(0.01, 0.999))
def test_a_rank_is_the_smallest_that_covers_the_share(hits: int, share: float) -> None:
    """At least the share of hits is at or below the rank, and less than the share is below it."""
    rank = stats.rank_of(share, hits)
    assert 1 <= rank <= hits
    assert rank >= share * hits - 1e-6 or rank == hits
    assert rank == 1 or rank - 1 < share * hits


def test_rank_of_an_exact_share() -> None:
    """Rounding of floats does not move a rank."""
    assert [stats.rank_of(0.95, hits) for hits in (20, 40, 60, 100, 1000)] == [19, 38, 57, 95, 950]


@given(st.integers(1, 100_000), st.floats(0.01, 0.999))
def test_the_interval_of_a_quantile_holds_its_rank(hits: int, share: float) -> None:
    """The rank interval encloses the nearest rank and stays within the sample and its two ends."""
    low, high = stats.rank_interval(share, hits)
    assert 0 <= low <= stats.rank_of(share, hits) <= high <= hits + 1


@pytest.mark.parametrize(("share", "hits"), [(0.5, 50), (0.95, 200), (0.99, 1000)])
def test_the_interval_of_a_quantile_covers_the_truth(share: float, hits: int) -> None:
    """Of 500 samples at least 92 % have an interval that holds the true quantile."""
    chance = random.Random(7)
    covered = 0
    low, high = stats.rank_interval(share, hits)
    for _ in range(500):
        below = sum(chance.random() < share for _ in range(hits))
        covered += low <= below < high
    assert covered >= 0.92 * 500


@given(st.integers(1, 5000), st.data())
def test_wilson_holds_the_share(hits: int, data: st.DataObject) -> None:
    """The interval of a share lies in 0..1, holds the share, and narrows as hits grow."""
    count = data.draw(st.integers(0, hits))
    low, high = stats.wilson(count, hits)
    assert 0.0 <= low <= count / hits <= high <= 1.0
    wider = stats.wilson(count * 4, hits * 4)
    assert wider[1] - wider[0] < high - low


def test_wilson_of_known_counts() -> None:
    """Ten of a hundred is 5.5 % to 17.4 % (Wilson 1927, as tabled by Newcombe 1998)."""
    low, high = stats.wilson(10, 100)
    assert (round(low, 4), round(high, 4)) == (0.0552, 0.1744)


@given(st.integers(1, 100_000), st.floats(0.001, 0.5))
def test_stray_limits_are_ordered(hits: int, allowed: float) -> None:
    """What may be bad after an outage is less than what chance allows, and more is allowed of more hits."""
    assert stats.stray_limit(hits, allowed) <= stats.chance_limit(hits, allowed)
    assert stats.stray_limit(hits, allowed) < stats.stray_limit(hits + 1, allowed)
    assert stats.chance_limit(hits, allowed) > allowed * hits


@given(st.floats(0.0, 0.99))
def test_nothing_holds_that_begins_with_a_bad_hit(allowed: float) -> None:
    """The first hit after an outage must be good."""
    assert stats.stray_limit(1, allowed) < 1


@pytest.mark.parametrize(
    ("bad", "hits", "share", "chance"),
    [(0, 10, 0.3, 1.0), (1, 2, 0.5, 0.75), (3, 300, 0.01, 0.5779), (7, 300, 0.01, 0.0324)],
)
def test_chance_of_so_many(bad: int, hits: int, share: float, chance: float) -> None:
    """The chance of at least so many bad ones is the tail of the binomial distribution."""
    assert stats.by_chance(bad, hits, share) == pytest.approx(chance, abs=1e-3)


@pytest.mark.parametrize(("share", "hits", "few"), [(0.01, 499, True), (0.01, 500, False), (0.0, 10, False)])
def test_few_that_may_be_bad(share: float, hits: int, few: bool) -> None:
    """Few means fewer than five that may be bad, and at least a chance of one."""
    assert stats.is_few(share, hits) is few


def test_an_outage_is_no_chance_and_soon_told() -> None:
    """However many were bad, it takes no more steps than chance would explain."""
    assert stats.by_chance(10**7, 10**7, 1e-7) <= stats.UNLIKELY
