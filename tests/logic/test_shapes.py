"""One stage or wave at a time: area and its inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.logic.shapes import area, reaches, value
from chaosrunner.model.load import Stage, Wave

FLAT_TROUGH = Wave(low=0, high=2, period_s=4, lasts_s=None)


@pytest.mark.parametrize("at", [0.0, 1e-9, 1.0, 2.0, 2.999, 3.0, 3.001, 4.0 - 1e-9, 4.0, 4001.5])
def test_a_wave_is_inverted_also_where_its_rate_is_zero(at: float) -> None:
    """The area until an instant is reached at that instant; around a rate of zero, as near as the area can tell."""
    found = reaches(FLAT_TROUGH, area(FLAT_TROUGH, at))
    assert found == pytest.approx(at, abs=1e-9 if value(FLAT_TROUGH, at) > 0.5 else 1e-4)
    assert area(FLAT_TROUGH, found) == pytest.approx(area(FLAT_TROUGH, at), abs=1e-12, rel=1e-12)


@given(st.floats(0, 4, exclude_max=True))
def test_the_search_ends_for_every_area(wanted: float) -> None:
    """Wherever in a period the area lies, the instant is found within the period."""
    assert 0 <= reaches(FLAT_TROUGH, wanted) <= 4


def test_what_a_shape_asks_for() -> None:
    """A ramp's value is in between, a level's everywhere the same, a wave's swings about its mean."""
    assert value(Stage(start=2, end=6, lasts_s=8), 2) == 3
    assert value(Stage(start=2, end=2, lasts_s=None), 1e9) == 2
    assert [value(FLAT_TROUGH, at) for at in (0, 1, 2, 3)] == pytest.approx([1, 2, 1, 0], abs=1e-12)
