"""When a quantile crossed its bound while responses came back little by little: on laws that are known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from chaosrunner.logic.comeback import Comeback, comeback

BOUND = math.log(0.02 * 1.5) + 0.3 * 1.645
"""1.5 × the true p95 of lognormal responses around 20 ms."""


def hits(
    level: Callable[[float], float], *, until: float = 25.0, rate: float = 100.0, sigma: float = 0.3, seed: int = 1
) -> list[tuple[float, float]]:
    chance = random.Random(seed)
    dues = [nth / rate for nth in range(int(until * rate))]
    return [(t, math.log(0.02 * level(t)) + sigma * chance.gauss(0, 1)) for t in dues]


def line(t: float) -> float:
    return 1 + 3 * max(0.0, 1 - t / 12)


def exponential(t: float) -> float:
    return 1 + 3 * math.exp(-t / 4)


@pytest.mark.parametrize(("level", "truth"), [(line, 10.0), (exponential, 4 * math.log(6))])
def test_a_law_is_found(level: Callable[[float], float], truth: float) -> None:
    """A line and an exponential are timed to half a second in 30 % noise, inside their interval in 18 of 20."""
    inside = 0
    for seed in range(20):
        found = comeback(hits(level, seed=seed), BOUND, 0.95)
        assert found is not None
        assert found.at_s == pytest.approx(truth, abs=0.6)
        inside += found.low_s <= truth <= found.high_s
    assert inside >= 18


def test_it_counts_from_the_first_hit_that_succeeded() -> None:
    """What is refused at first comes back from the moment it answers, and instants are the given ones."""
    late = [(t + 100.0, y) for t, y in hits(line)]
    found = comeback(late, BOUND, 0.95)
    plain = comeback(hits(line), BOUND, 0.95)
    assert found is not None
    assert plain is not None
    assert found.at_s == pytest.approx(plain.at_s + 100.0)
    assert (found.low_s, found.high_s) == (pytest.approx(plain.low_s + 100.0), pytest.approx(plain.high_s + 100.0))


@pytest.mark.parametrize(
    "seen",
    [
        hits(line, until=0.4),
        [(nth / 100, math.log(0.02)) for nth in range(1000)],
        hits(lambda t: 3.0 if t < 7 else 1.0),
        hits(lambda t: 1 + 3 * math.exp(-t / 6) * math.cos(math.pi * t / 2) ** 2, rate=300.0),
    ],
    ids=["too few", "no scatter", "a step", "swings"],
)
def test_what_is_no_law(seen: list[tuple[float, float]]) -> None:
    """Too few hits, none that scatter, a step and swings are left to the change point."""
    assert comeback(seen, BOUND, 0.95) is None


@pytest.mark.parametrize("factor", [0.2, 5.0], ids=["never within", "always within"])
def test_a_bound_that_is_not_crossed(factor: float) -> None:
    """A bound below the usual response or above the slowest is not crossed."""
    assert comeback(hits(line), BOUND + math.log(factor), 0.95) is None


def test_the_interval_does_not_begin_before_the_first_hit() -> None:
    """However wide it is."""
    seen = hits(lambda t: 1 + 0.62 * math.exp(-t / 3), seed=3)
    found = comeback(seen, BOUND, 0.95)
    assert found is None or isinstance(found, Comeback)
    assert found is None or found.low_s >= 0
