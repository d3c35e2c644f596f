"""Change points in the share of bad hits, on sequences written down by hand or drawn from a known chance."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from building import errors, p95
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.logic.change import Turn, calm, episode, hidden, outlived, turn
from chaosrunner.logic.trace import Rule, Trace, Watch

STEP = 10_000
"""Distance of hits in µs."""


def trace(bad: set[int], hits: int, *, allowed: float = 0.05) -> Trace:
    """A hit every 10 ms; these are bad."""
    return Trace(
        rule=Rule(errors(allowed), allowed),
        due=[nth * STEP for nth in range(hits)],
        before=range(hits + 1),
        bad=[(nth, 1) for nth in sorted(bad)],
    )


def whole(one: Trace) -> tuple[int, int] | None:
    return episode(one, 0, len(one.due) * STEP)


@given(st.integers(0, 500), st.integers(20, 300), st.integers(0, 500))
def test_an_outage_is_found_to_the_hit(before: int, lasts: int, after: int) -> None:
    """Without noise the first and the last bad hit are the episode."""
    one = trace(set(range(before, before + lasts)), before + lasts + after)
    assert whole(one) == (before * STEP, (before + lasts - 1) * STEP)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.04])
def test_noise_within_what_is_allowed_is_nothing(share: float) -> None:
    """Of 100 sequences of allowed noise at most two are taken for an episode."""
    found = 0
    for seed in range(100):
        chance = random.Random(seed)
        found += whole(trace({nth for nth in range(2000) if chance.random() < share}, 2000)) is not None
    assert found <= 2


def test_a_brown_out_is_found() -> None:
    """Three times what is allowed is seen in a few hundred hits, about where it is."""
    chance = random.Random(1)
    bad = {nth for nth in range(3000) if chance.random() < (0.2 if 1000 <= nth < 2000 else 0.02)}
    found = whole(trace(bad, 3000))
    assert found is not None
    assert found[0] == pytest.approx(1000 * STEP, abs=60 * STEP)
    assert found[1] == pytest.approx(2000 * STEP, abs=60 * STEP)


def test_two_outages_with_a_long_rest_are_one_episode() -> None:
    """What is striking at both ends stays found, even if all of it together is less than what is allowed."""
    assert whole(trace({*range(100), *range(2900, 3000)}, 3000, allowed=0.3)) == (0, 2999 * STEP)


@pytest.mark.parametrize(
    ("allowed", "bad", "found"),
    [
        (0.05, set(), None),
        (0.05, {5}, None),
        (0.0, {5, 9}, (5 * STEP, 9 * STEP)),
        (1.0, set(range(100)), None),
    ],
)
def test_the_ends_of_what_is_allowed(allowed: float, bad: set[int], found: tuple[int, int] | None) -> None:
    """Where nothing is allowed one bad hit is an episode, where all is allowed none is."""
    assert whole(trace(bad, 100, allowed=allowed)) == found


WATCH = Watch(since_us=0, begin_us=0, until_us=10**9, hold_us=400 * STEP)


@settings(max_examples=50)
@given(st.integers(20, 200), st.integers(0, 1000))
def test_the_most_likely_turn(lasts: int, seed: int) -> None:
    """The end of an outage in noise is the most likely turn to a few hits, and the lower bound is not after it."""
    chance = random.Random(seed)
    noise = {nth for nth in range(lasts, lasts + 500) if chance.random() < 0.02}
    seen = trace({*range(lasts), *noise}, lasts + 500)
    turned = turn(seen, lasts * STEP, (lasts + 100) * STEP, WATCH)
    assert turned is not None
    assert turned.low_us <= (lasts - 1) * STEP < turned.at_us <= (lasts + 20) * STEP
    assert turned.at_us <= turned.high_us


def test_turns_that_are_none() -> None:
    """Without an illness before there is no turn; where nothing is allowed it follows the last bad hit."""
    assert turn(trace(set(), 100), 10 * STEP, 50 * STEP, WATCH) is None
    assert turn(trace({3, 8}, 100, allowed=0.5), 10 * STEP, 50 * STEP, WATCH) is None
    assert turn(trace({3, 20}, 100, allowed=0.0), 10 * STEP, 50 * STEP, WATCH) == Turn(
        20 * STEP, 20 * STEP, 21 * STEP, 21 * STEP
    )


def test_what_lingers_behind_an_outage() -> None:
    """A brown-out that follows an outage is part of the illness; its end is known to a few of its bad hits."""
    ill = {*range(100), *range(100, 500, 10)}
    turned = turn(trace(ill, 1500, allowed=0.02), 101 * STEP, 150 * STEP, WATCH)
    assert turned is not None
    assert turned.at_us == 491 * STEP
    assert turned.low_us <= 500 * STEP <= turned.high_us <= 560 * STEP


@pytest.mark.parametrize(("near", "of_quantile"), [(range(110, 250, 20), 101), (range(104, 140, 9), 132)])
def test_what_lingers_by_a_quantile_is_proven(near: range, of_quantile: int) -> None:
    """A few slow hits behind an outage are left of it only if they are more than is allowed, a few failures may be."""
    watch = Watch(since_us=0, begin_us=0, until_us=3000 * STEP, hold_us=2000 * STEP)
    failures = trace({*range(100), *near}, 3000)
    slow = replace(failures, rule=Rule(p95(1.0), 1.0))
    ended = [turn(one, 101 * STEP, 101 * STEP, watch) for one in (failures, slow)]
    assert [one.at_us // STEP for one in ended if one] == [near[-1] + 1, of_quantile]


def test_a_bad_hit_beyond_does_not_end_what_is_likely() -> None:
    """Single bad hits after the most likely end stretch the upper bound, a long good stretch ends it."""
    near = turn(trace({*range(0, 200, 2), 205}, 1000), 199 * STEP, 200 * STEP, WATCH)
    far = turn(trace({*range(0, 200, 2), 300}, 1000), 199 * STEP, 200 * STEP, WATCH)
    assert near is not None
    assert far is not None
    assert near.high_us > far.high_us >= 200 * STEP


def test_what_may_be_hidden() -> None:
    """An illness of few bad hits may go on unseen for a while after the effect, an outage may not."""
    watch = Watch(since_us=0, begin_us=100 * STEP, until_us=1000 * STEP, hold_us=400 * STEP)
    few = hidden(trace(set(range(5, 100, 10)), 1000), watch)
    assert 110 * STEP < few < 200 * STEP
    assert hidden(trace(set(range(100)), 1000), watch) == 100 * STEP
    assert hidden(trace(set(), 1000), watch) == 100 * STEP
    assert hidden(trace({50}, 1000), watch) == 100 * STEP
    assert hidden(trace({50}, 1000, allowed=0.0), watch) == 100 * STEP


def test_an_illness_that_was_there_until_the_effect_ended() -> None:
    """What went on for sure until the effect ended goes on as long as is likely; what was over before does not."""
    watch = Watch(since_us=0, begin_us=200 * STEP, until_us=1000 * STEP, hold_us=400 * STEP)
    found = outlived(trace({*range(10, 100, 15), 230, 260}, 1000, allowed=0.02), watch)
    assert found is not None
    assert (found.low_us, found.last_us, found.at_us) == (200 * STEP, 260 * STEP, 261 * STEP)
    assert outlived(trace({*range(10, 60), 230, 260}, 1000, allowed=0.02), watch) is None
    assert outlived(trace({*range(10, 100, 15)}, 1000, allowed=0.02), watch) is None
    assert outlived(trace({50, 230}, 1000, allowed=0.02), watch) is None
    assert outlived(trace(set(), 1000, allowed=0.02), watch) is None
    assert outlived(trace({50, 230}, 1000, allowed=0.0), watch) is None


def test_a_bad_hit_at_the_very_beginning_is_no_illness_that_goes_on() -> None:
    """What is within the allowed share over all the time it would have lasted outlived nothing."""
    watch = Watch(since_us=0, begin_us=200 * STEP, until_us=6000 * STEP, hold_us=4000 * STEP)
    one = trace({0, *range(150, 1600, 160), *range(4100, 6000, 500)}, 6000, allowed=0.02)
    assert outlived(one, watch) is None


def test_what_is_left_of_an_outage_has_a_share_of_its_own() -> None:
    """An outage hides neither the brown-out that it left when the effect ended, nor that which came before that."""
    watch = Watch(since_us=0, begin_us=200 * STEP, until_us=2000 * STEP, hold_us=400 * STEP)
    tail = set(range(210, 500, 20))
    for ill in ({*range(10, 200), *tail}, {*range(10, 60), *range(90, 200, 20), *tail}):
        one = trace(ill, 2000, allowed=0.02)
        found = outlived(one, watch)
        assert found is not None
        assert found.low_us <= 490 * STEP == found.last_us < found.high_us < 700 * STEP
        assert not calm(one, 200 * STEP, watch)


def test_the_end_of_an_outage_is_its_own() -> None:
    """An outage that comes back ends with its own last bad hit, however much the health in between thins both out."""
    watch = Watch(since_us=0, begin_us=50 * STEP, until_us=2000 * STEP, hold_us=400 * STEP)
    one = trace({*range(100), *range(1200, 1300), 1325}, 2000, allowed=0.02)
    both = outlived(one, watch)
    assert both is not None
    assert both.last_us == 1325 * STEP
    last = turn(one, 1300 * STEP, 1327 * STEP, watch)
    assert last is not None
    assert last.last_us == 1299 * STEP


def test_the_end_of_a_brown_out_is_within_its_bounds() -> None:
    """Of a brown-out of 6 % that ends at some time after the effect the bounds hold the end in 19 of 20 runs."""
    inside = 0
    watch = Watch(since_us=500 * STEP, begin_us=1000 * STEP, until_us=4000 * STEP, hold_us=1000 * STEP)
    for seed in range(10_000, 10_100):
        chance = random.Random(seed)
        end = chance.randrange(1000, 2000)
        one = trace({nth for nth in range(500, end) if chance.random() < 0.06}, 4000, allowed=0.01)
        found = outlived(one, watch)
        low, high = (1000 * STEP, hidden(one, watch)) if found is None else (found.low_us, found.high_us)
        inside += low <= end * STEP <= high
    assert inside >= 95


def test_an_illness_that_goes_on_is_not_calm() -> None:
    """A brown-out that goes on after the effect is not calm, though no stretch of it is striking."""
    watch = Watch(since_us=0, begin_us=200 * STEP, until_us=1500 * STEP, hold_us=400 * STEP)
    assert not calm(trace(set(range(5, 400, 20)), 1500, allowed=0.02), 200 * STEP, watch)


def test_calm() -> None:
    """What was over before the effect ended is calm; what outlived it by a few hits, or came later, is not."""
    watch = Watch(since_us=0, begin_us=50 * STEP, until_us=400 * STEP, hold_us=100 * STEP)
    assert calm(trace(set(range(10, 49)), 400), 50 * STEP, watch)
    assert not calm(trace(set(range(10, 52)), 400), 50 * STEP, watch)
    assert not calm(trace(set(range(300, 350)), 400), 50 * STEP, watch)
