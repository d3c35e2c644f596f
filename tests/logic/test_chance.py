"""Chance: draws are pure, and distributed as they say."""

from __future__ import annotations

from itertools import pairwise
from math import exp, log, sqrt
from statistics import fmean, median, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.logic.chance import arrival, pause_s, pick, uniform
from chaosrunner.model.journey import Think

MANY = 20_000
SEEDS = (0, 1, 7, 2**63 - 1)


def distance(values: list[float], share_below: object) -> float:
    """The statistic of Kolmogorov and Smirnov times √n: above 1.95 once in a thousand by chance."""
    ordered = sorted(values)
    expected = [share_below(value) for value in ordered]  # type: ignore[operator]
    n = len(ordered)
    return max(max((i + 1) / n - share, share - i / n) for i, share in enumerate(expected)) * sqrt(n)


@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_numbers_are_uniform(seed: int) -> None:
    """Numbers drawn for neighbouring keys are uniform in (0, 1), and not related to each other."""
    values = [uniform(seed, nth) for nth in range(MANY)]
    assert distance(values, lambda value: value) < 1.95
    mean = fmean(values)
    related = fmean((a - mean) * (b - mean) for a, b in pairwise(values)) * 12
    assert abs(related) < 4 / sqrt(MANY)
    assert all(0 < value < 1 for value in values)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**40), st.integers(0, 2**20))
def test_a_draw_is_a_function_of_seed_and_keys(seed: int, one: int, other: int) -> None:
    """The same seed and keys give the same number; another seed, key or order of keys gives another."""
    assert uniform(seed, one, other) == uniform(seed, one, other)
    assert len({uniform(seed, one), uniform(seed + 1, one), uniform(seed, one + 1), uniform(seed, one, 0)}) == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_gaps_of_arrivals_are_exponential(seed: int) -> None:
    """The gaps of the process are exponential with mean 1, and no gap tells anything of the next one."""
    times = [0.0, *(arrival(seed, n) for n in range(MANY))]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert distance(gaps, lambda gap: 1 - exp(-gap)) < 1.95
    assert abs(fmean(gaps) - 1) < 4 / sqrt(MANY)
    related = fmean((a - 1) * (b - 1) for a, b in pairwise(gaps))
    assert abs(related) < 4 / sqrt(MANY)


def test_counts_of_arrivals_are_poisson() -> None:
    """In windows of any length the number of arrivals varies as much as it amounts to."""
    for width in (1.0, 10.0, 100.0):
        times = [arrival(3, n) for n in range(MANY)]
        counts = [0] * int(times[-1] / width)
        for at in times:
            if at < len(counts) * width:
                counts[int(at / width)] += 1
        assert pstdev(counts) ** 2 / fmean(counts) == pytest.approx(1, abs=5 * sqrt(2 / len(counts)))


def test_blocks_of_arrivals_are_as_long_as_chance_says() -> None:
    """Over many seeds the length of n gaps has mean and variance n, where n is a block of the tree and where not."""
    for n in (16, 100, 4096):
        lengths = [arrival(seed, n - 1) for seed in range(800)]
        assert fmean(lengths) == pytest.approx(n, abs=4 * sqrt(n / 800))
        assert pstdev(lengths) ** 2 / n == pytest.approx(1, abs=4 * sqrt(2 / 800))


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**36))
def test_an_arrival_is_found_without_the_ones_before(seed: int, n: int) -> None:
    """Far out the n-th arrival is where it must be, after the one before, whatever was asked first."""
    later = arrival(seed, n + 1)
    at = arrival(seed, n)
    assert 0 < at < later
    assert abs(at - n) < 8 * sqrt(n + 16)


def test_pauses_are_distributed_as_they_say() -> None:
    """A range is even, `about` is lognormal about its median, a constant is itself."""
    even = [pause_s(Think(1.0, to_s=3.0), 5, n) for n in range(MANY)]
    assert distance(even, lambda pause: (pause - 1) / 2) < 1.95
    about = [pause_s(Think(2.0, sigma=0.5), 5, n, 1) for n in range(MANY)]
    assert median(about) == pytest.approx(2, rel=0.03)
    logs = [log(pause) for pause in about]
    assert (fmean(logs), pstdev(logs)) == pytest.approx((log(2), 0.5), abs=0.02)
    assert {pause_s(Think(0.25), seed, 1) for seed in SEEDS} == {0.25}
    assert [Think(1.0).constant, Think(1.0, to_s=3.0).constant, Think(1.0, sigma=1.0).constant] == [True, False, False]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 10_000))
def test_shares_of_a_mix_are_kept(weights: list[int], first: int) -> None:
    """Without a seed any hundred in a row get their shares to within a few; of a single thing there is no choice."""
    chosen = [pick(weights, n) for n in range(first, first + 100)]
    for index, weight in enumerate(weights):
        assert abs(chosen.count(index) - 100 * weight / sum(weights)) <= 4


def test_a_mix_is_drawn_by_its_seed() -> None:
    """With a seed each is drawn by itself, in the shares of the weights."""
    chosen = [pick((3.0, 1.0), n, 7) for n in range(MANY)]
    assert chosen.count(0) / MANY == pytest.approx(0.75, abs=4 * sqrt(0.1875 / MANY))
    assert chosen == [pick((3.0, 1.0), n, 7) for n in range(MANY)] != [pick((3.0, 1.0), n, 8) for n in range(MANY)]
    again = sum(chosen[n] == chosen[n + 1] for n in range(MANY - 1)) / MANY
    assert again == pytest.approx(0.75**2 + 0.25**2, abs=5 * sqrt(0.25 / MANY))
