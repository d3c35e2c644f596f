"""The last slow request and the first one as usual, by how slow each was."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.logic.sharpen import split

STEP = 10_000
"""µs between requests."""


def hits(slow: int, usual: int, factor: float = 3.0, sigma: float = 0.0, seed: int = 0) -> list[tuple[int, float]]:
    """So many requests that are slower by a factor, and then so many as usual."""
    chance = random.Random(seed)
    levels = [math.log(factor)] * slow + [0.0] * usual
    return [(nth * STEP, level + chance.gauss(0.0, sigma)) for nth, level in enumerate(levels)]


@settings(max_examples=30, deadline=None)
@given(slow=st.integers(20, 60), seed=st.integers(0, 10_000))
def test_a_step_in_noise_is_told_to_a_request_or_two(slow: int, seed: int) -> None:
    """Where each request says how slow it was, noise of 20 % moves the end by hardly a request."""
    found = split(hits(40 + slow, 40, sigma=0.2, seed=seed), (30 + slow) * STEP, (50 + slow) * STEP)
    assert found is not None
    assert abs(found[0] - (39 + slow) * STEP) <= 2 * STEP
    assert found[1] == found[0] + STEP


def test_one_odd_response_decides_nothing() -> None:
    """A request that is slow by chance after the end is not taken for a part of the illness."""
    seen = hits(30, 40, sigma=0.05)
    seen[33] = (33 * STEP, math.log(5.0))
    assert split(seen, 33 * STEP, 38 * STEP) == (29 * STEP, 30 * STEP)


@pytest.mark.parametrize(
    ("seen", "low", "high"),
    [(hits(30, 40, factor=1.2, sigma=0.3), 25, 35), (hits(12, 40), 11, 20), (hits(30, 12), 25, 38)],
    ids=["levels too near", "too few before", "too few after"],
)
def test_what_no_single_request_tells(seen: list[tuple[int, float]], low: int, high: int) -> None:
    """Levels that noise hides, or that too few requests tell, leave the moment to the share of bad requests."""
    assert split(seen, low * STEP, high * STEP) is None
