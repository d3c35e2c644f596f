"""When a quantile crossed its bound while responses came back little by little: on laws that are known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import fmean

import pytest

from chaosrunner.logic.comeback import comeback
from chaosrunner.logic.crossing import Comeback

BOUND = math.log(0.02 * 1.5) + 0.3 * 1.645
"""1.5 × the true p95 of lognormal responses around 20 ms."""

Timed = list[tuple[float, float, int]]


def hits(
    level: Callable[[float], float], *, until: float = 25.0, rate: float = 100.0, sigma: float = 0.3, seed: int = 1
) -> Timed:
    chance = random.Random(seed)
    dues = [nth / rate for nth in range(int(until * rate))]
    return [(t, math.log(0.02 * level(t)) + sigma * chance.gauss(0, 1), 0) for t in dues]


def always(_t: float) -> float:
    return 1.0


def line(t: float) -> float:
    return 1 + 3 * max(0.0, 1 - t / 12)


def exponential(t: float) -> float:
    return 1 + 3 * math.exp(-t / 4)


def swings(t: float) -> float:
    """Of two seconds; the last one above the bound ends at 6.29 s."""
    return 1 + 3 * math.exp(-t / 4) * math.cos(math.pi * t / 2) ** 2


def found(seen: Timed, before: Timed | None = None, bound: float = BOUND) -> Comeback:
    """What must be there."""
    one = comeback(seen, before or [], bound, 0.95)
    assert one is not None
    return one


@pytest.mark.parametrize(
    ("level", "truth", "off"), [(line, 10.0, 0.6), (exponential, 4 * math.log(6), 1.0), (swings, 6.29, 0.2)]
)
def test_a_law_is_found(level: Callable[[float], float], truth: float, off: float) -> None:
    """A line, an exponential and swings are timed in 30 % noise, inside their interval in 18 of 20."""
    inside = 0
    for seed in range(20):
        one = found(hits(level, seed=seed))
        assert one.at_s == pytest.approx(truth, abs=off)
        inside += one.low_s <= truth <= one.high_s
    assert inside >= 18


def test_a_swing_that_may_reach_the_bound_is_in_the_interval() -> None:
    """Where scatter hides whether the last swing was beyond the bound, the interval holds both answers."""
    one = found(hits(swings, rate=30.0, seed=2), bound=BOUND - 0.06)
    assert one.high_s - one.low_s > 1.5


def test_what_was_usual_before_makes_it_sharper() -> None:
    """Intervals of returns that were watched for 9 s are narrower with ten seconds from before, and hold the truth."""
    before = [hits(always, until=10.0, seed=100 + seed) for seed in range(10)]
    after = [hits(exponential, until=9.0, seed=seed) for seed in range(10)]
    told = [found(*both) for both in zip(after, before, strict=True)]
    alone = [one for seen in after if (one := comeback(seen, [], BOUND, 0.95)) is not None]
    assert fmean(one.high_s - one.low_s for one in told) < 0.9 * fmean(one.high_s - one.low_s for one in alone)
    assert sum(one.low_s <= 4 * math.log(6) <= one.high_s for one in told) >= 9


def test_a_return_to_another_level_is_not_bent() -> None:
    """What was twice as fast before does not draw the end of the return towards it."""
    before = [(t, y - math.log(2), kind) for t, y, kind in hits(always, until=10.0, seed=7)]
    assert found(hits(line), before).at_s == pytest.approx(found(hits(line), []).at_s)


def test_a_spread_that_is_another_is_not_the_usual_one() -> None:
    """Responses that scattered less before the effect do not count for the quantile after it."""
    seen, before = hits(line), hits(always, until=10.0, sigma=0.03, seed=7)
    assert found(seen, before).at_s == pytest.approx(10.0, abs=0.6)


def test_slow_and_fast_kinds_do_not_scatter() -> None:
    """Every third request is of a kind ten times as slow: what was usual of each kind makes the interval narrow."""

    def mixed(seen: Timed) -> Timed:
        return [(t, y + math.log(10) * (nth % 3 == 0), int(nth % 3 == 0)) for nth, (t, y, _) in enumerate(seen)]

    seen, before = mixed(hits(line)), mixed(hits(always, until=20.0, seed=7))
    bound = BOUND + math.log(10) - 0.3 * 1.645 + 0.3 * 1.036  # p95 of all is p85 of the slow
    one = found(seen, before, bound)
    assert one.low_s <= 10.0 <= one.high_s
    assert one.high_s - one.low_s < 2.0


def test_a_kind_that_is_new_is_taken_as_any() -> None:
    """A kind of request that was not seen before is compared with all that were."""
    seen = [(t, y, int(t > 20.0)) for t, y, _ in hits(line)]
    assert found(seen, hits(always, until=10.0, seed=7)).at_s == pytest.approx(10.0, abs=0.6)


def test_a_handful_before_tells_nothing() -> None:
    """Fewer hits than a stretch has are not what is usual."""
    assert found(hits(line), hits(always, until=0.07)).at_s == pytest.approx(found(hits(line)).at_s, abs=0.2)


def test_spikes_are_left_out() -> None:
    """One response in fifty that takes a hundred times as long hardly moves the moment."""
    seen = hits(line)
    spiked = [(t, y + math.log(100) * (nth % 50 == 0), kind) for nth, (t, y, kind) in enumerate(seen)]
    before = hits(always, until=10.0, seed=7)
    spiked_before = [(t, y + math.log(100) * (nth % 50 == 0), kind) for nth, (t, y, kind) in enumerate(before)]
    bound = BOUND + 0.3 * (1.881 - 1.645)  # the p97 of the others
    assert found(spiked, spiked_before, bound).at_s == pytest.approx(10.0, abs=0.6)


def test_it_counts_from_the_first_hit_that_succeeded() -> None:
    """What is refused at first comes back from the moment it answers, and instants are the given ones."""
    late, plain = found([(t + 100.0, y, kind) for t, y, kind in hits(line)]), found(hits(line))
    assert late.at_s == pytest.approx(plain.at_s + 100.0)
    assert [late.low_s, late.high_s] == pytest.approx([plain.low_s + 100.0, plain.high_s + 100.0])


@pytest.mark.parametrize(
    "seen",
    [
        hits(line, until=0.4),
        [(nth / 100, math.log(0.02), 0) for nth in range(1000)],
        hits(lambda t: 3.0 if t < 7 else 1.0),
        hits(lambda t: 3.0 if t % 5 < 2 else 1.0, rate=300.0),
        hits(always),
    ],
    ids=["too few", "no scatter", "a step", "on and off", "nothing"],
)
def test_what_is_no_law(seen: Timed) -> None:
    """Too few hits, none that scatter, a step, a square wave and a healthy target are left to the change point."""
    assert comeback(seen, [], BOUND, 0.95) is None


def test_too_few_hits_for_swings() -> None:
    """A dozen stretches that neither fall nor step are not enough to tell swings."""
    seen = hits(lambda t: 1 + 3 * math.cos(math.pi * t / 0.5) ** 2, until=1.0, sigma=0.02)
    assert comeback(seen, [], BOUND, 0.95) is None


@pytest.mark.parametrize("factor", [0.2, 5.0], ids=["never within", "always within"])
def test_a_bound_that_is_not_crossed(factor: float) -> None:
    """A bound below the usual response or above the slowest is not crossed."""
    assert comeback(hits(line), [], BOUND + math.log(factor), 0.95) is None
