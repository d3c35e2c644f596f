"""Durations as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.model.units import human_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.00025, "250 µs"),
        (0.0123, "12.3 ms"),
        (0.012, "12 ms"),
        (0.3, "300 ms"),
        (11.3, "11.3 s"),
        (30.0, "30 s"),
        (60.0, "1 min"),
        (90.0, "90 s"),
        (120.0, "2 min"),
        (186.0, "3 min 06 s"),
        (3600.0, "1 h"),
        (3900.0, "1 h 05 min"),
        (-0.3, "-300 ms"),
    ],
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    """A duration is shown in the unit a person would choose."""
    assert human_duration(seconds) == text


@given(st.floats(0, 1e6, allow_nan=False))
def test_a_shown_duration_is_close_to_the_real_one(seconds: float) -> None:
    """What is shown differs from the duration by less than its last shown digit."""
    factors = {"µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
    found = re.findall(r"([0-9.]+) (µs|ms|s|min|h)", human_duration(seconds))
    shown = sum(float(number) * factors[unit] for number, unit in found)
    digit = 60.0 if seconds >= 3599 else 1.0 if seconds >= 119 else factors[found[-1][1]]
    assert abs(shown - seconds) <= digit
