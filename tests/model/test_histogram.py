"""The histogram, against the reference implementation of its layout."""

from __future__ import annotations

from math import ceil, inf
from statistics import fmean

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.model.histogram import HOUR_US, TOP_CELL, Histogram, cell_of, highest_in, lowest_in

MICROS = st.one_of(st.integers(0, 5000), st.integers(0, HOUR_US))
VALUES = st.lists(MICROS, max_size=200)


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@settings(deadline=None)
@given(st.integers(1, HOUR_US))
def test_cells_are_those_of_hdr_histogram(value: int) -> None:
    """A cell begins and ends where HdrHistogram's does at three digits."""
    oracle = HdrHistogram(1, HOUR_US, 3)
    assert highest_in(cell_of(value)) == oracle.get_highest_equivalent_value(value)
    assert lowest_in(cell_of(value)) == oracle.get_lowest_equivalent_value(value)


@settings(deadline=None)
@given(st.lists(st.integers(1, HOUR_US), min_size=1, max_size=200))
def test_ranks_are_those_of_hdr_histogram(values: list[int]) -> None:
    """The k-th smallest value is what HdrHistogram says of the same percentile."""
    ours, oracle = filled(values), HdrHistogram(1, HOUR_US, 3)
    for value in values:
        oracle.record_value(value)
    for rank in range(1, len(values) + 1):
        assert ours.rank(rank) == oracle.get_value_at_percentile(100 * rank / len(values))


@settings(deadline=None)
@given(MICROS)
def test_a_cell_holds_its_value_within_a_thousandth(value: int) -> None:
    """Every value lies in its cell, and the cell is at most 0.1 % wide."""
    low, high = lowest_in(cell_of(value)), highest_in(cell_of(value))
    assert low <= value <= high
    assert high - low <= value / 1000
    assert cell_of(low) == cell_of(high) == cell_of(value)


@settings(deadline=None)
@given(st.lists(MICROS, min_size=1, max_size=200), st.floats(0, 1), st.integers(0, 50))
def test_a_quantile_is_the_nearest_rank_and_failures_are_infinite(
    values: list[int], share: float, failures: int
) -> None:
    """The quantile is the ⌈share · n⌉-th of values and failures together, never less than the true one."""
    count = len(values) + failures
    rank = min(count, max(1, ceil(share * count - 1e-9)))
    truth = ([*sorted(values)] + [inf] * failures)[rank - 1]
    seen = filled(values).quantile(share, failures)
    assert seen is not None
    assert truth <= seen <= (truth * 1.001 + 1)


@settings(deadline=None)
@given(VALUES, VALUES, VALUES)
def test_merging_is_associative_commutative_and_lossless(a: list[int], b: list[int], c: list[int]) -> None:
    """However histograms are merged, the result is that of recording everything in one."""

    def merged(*parts: Histogram) -> Histogram:
        whole = Histogram()
        for part in parts:
            whole.add(part)
        return whole

    everything = filled(a + b + c)
    left = merged(merged(filled(a), filled(b)), filled(c))
    right = merged(filled(c), merged(filled(b), filled(a)))
    assert left == right == everything
    assert left.total == len(a) + len(b) + len(c)


@settings(deadline=None)
@given(VALUES)
def test_the_wire_form_loses_nothing(values: list[int]) -> None:
    """Pairs and back is the same histogram, in ascending order."""
    histogram = filled(values)
    assert Histogram.of(histogram.pairs()) == histogram
    assert [list(pair) for pair in histogram] == histogram.pairs() == sorted(histogram.pairs())


@settings(deadline=None)
@given(st.lists(MICROS, min_size=1, max_size=50), MICROS)
def test_above_counts_what_is_surely_above(values: list[int], limit: int) -> None:
    """`above` never counts a value at or below the limit, and misses only those in the limit's own cell."""
    seen = filled(values).above(limit)
    assert sum(lowest_in(cell_of(v)) > limit for v in values) == seen <= sum(v > limit for v in values)


@settings(deadline=None)
@given(st.lists(MICROS, min_size=1, max_size=50))
def test_mean_and_max_are_right_to_a_thousandth(values: list[int]) -> None:
    """Mean and maximum are those of the values, within the width of a cell."""
    histogram = filled(values)
    assert histogram.mean() == pytest.approx(fmean(values), rel=1e-3, abs=0.5)
    assert max(values) <= histogram.max() <= max(values) * 1.001


def test_twenty_values_have_a_nineteenth() -> None:
    """p95 of twenty values is the nineteenth, though 0.95 · 20 is a little more than 19 in floats."""
    assert filled(list(range(1, 21))).quantile(0.95) == 19


def test_an_empty_histogram_has_no_numbers() -> None:
    """Without a value there is no quantile, no mean and no maximum: missing data is never a number."""
    empty = Histogram()
    assert (empty.quantile(0.5), empty.mean(), empty.max()) == (None, None, None)


def test_only_failures_are_infinitely_slow() -> None:
    """With nothing but failures every quantile is infinite."""
    assert Histogram().quantile(0.5, 3) == inf


def test_a_negative_time_counts_as_zero() -> None:
    """A clock's rounding below zero is zero."""
    assert filled([-3]).pairs() == [[0, 1]]


@pytest.mark.parametrize("rank", [0, 4])
def test_a_rank_outside_is_refused(rank: int) -> None:
    """There is no 0-th and no (n+1)-th value."""
    with pytest.raises(ValueError, match="rank"):
        filled([1, 2, 3]).rank(rank)


@settings(deadline=None)
@given(st.lists(st.integers(0, 1 << 80), max_size=50))
def test_memory_is_bounded_whatever_is_recorded(values: list[int]) -> None:
    """No value makes a cell beyond the last; what takes longer than an hour is counted there, and as such."""
    seen = filled(values)
    assert seen.total == len(values) == sum(count for _, count in seen)
    assert all(cell <= TOP_CELL == 23_220 for cell, _ in seen)
    assert seen.hour_or_more == sum(cell_of(min(value, HOUR_US)) == TOP_CELL for value in values)


def test_two_hours_are_an_hour_or_more() -> None:
    """A time out of range is never less than an hour, and is told apart from one within it."""
    seen = filled([1_000_000, 2 * HOUR_US])
    assert seen.hour_or_more == 1
    assert seen.quantile(1.0) == seen.max() >= HOUR_US
