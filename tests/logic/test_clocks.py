"""Clocks of two machines: what a few questions say of them, and what that does to a recovery's bounds."""

from __future__ import annotations

import pytest
from building import Script, away, errors, experiment, ns
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.logic.clocks import Compared, Ping, compared, error_now
from chaosrunner.logic.fold import fold
from chaosrunner.logic.recovery import recovery
from chaosrunner.model import events as e
from chaosrunner.model.hypothesis import Hypothesis

WAYS = st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)), min_size=1, max_size=30)
"""How long questions and answers are under way, ns."""


def pings(offset: int, ways: list[tuple[int, int]]) -> list[Ping]:
    """Questions to a clock that is ahead by an offset."""
    found, now = [], 10**12
    for there, back in ways:
        found.append(Ping(now, now + there + offset, now + there + back))
        now += there + back
    return found


@given(offset=st.integers(-(10**18), 10**18), ways=WAYS)
def test_the_offset_is_within_its_error(offset: int, ways: list[tuple[int, int]]) -> None:
    """However lopsided the ways, the true offset lies within the error, half of the quickest round trip."""
    seen = compared(pings(offset, ways))
    assert abs(seen.offset_ns - offset) <= seen.error_ns
    assert seen.error_ns == -(-min(there + back for there, back in ways) // 2)


@given(first=st.integers(-(10**15), 10**15), drift=st.integers(-(10**9), 10**9), ways=WAYS, later=WAYS)
def test_a_clock_that_strays_is_known_to(
    first: int, drift: int, ways: list[tuple[int, int]], later: list[tuple[int, int]]
) -> None:
    """After any drift the first offset is not further from the truth than later questions say."""
    then = compared(pings(first, ways))
    assert abs(first + drift - then.offset_ns) <= error_now(then, pings(first + drift, later))


def test_without_a_question_there_is_no_answer() -> None:
    """Nobody guesses."""
    with pytest.raises(ValueError, match="empty"):
        compared([])
    with pytest.raises(ValueError, match="empty"):
        error_now(Compared(0, 0), [])


def test_the_worst_clock_counts() -> None:
    """The state knows the largest error of any worker, and why there are so many workers."""
    events = [
        e.ClockCompared(worker=0, error_us=900),
        e.ClockCompared(worker=1, error_us=2_000),
        e.LoadStarted(epoch_ns=1, workers=2, why="there are two"),
        e.ClockCompared(worker=0, error_us=1_500),
    ]
    state = fold(e.Entry(n, 0, "", 0, event) for n, event in enumerate(events))
    assert (state.clock_error_us, state.workers_why) == (2_000, "there are two")
    assert [e.from_json(e.to_json(event)) for event in events] == events


def test_a_clock_error_widens_the_bounds_of_recovery() -> None:
    """What was measured stays; each bound moves out by the clocks' error, and never below nothing."""
    asked = experiment(hypothesis=Hypothesis(after=(errors(0.01),)))
    off = [(0.0, e.ClockCompared(worker=0, error_us=40_000))]
    for end in (30.003, 27.53):
        sure = recovery(asked, Script(answer=away(23.0, end)).state(), ns(1000.0))
        vague = recovery(asked, Script(answer=away(23.0, end), extra=off).state(), ns(1000.0))
        assert sure.low_s is not None and sure.high_s is not None  # noqa: PT018
        assert (vague.time_s, vague.at_ns) == (sure.time_s, sure.at_ns)
        assert vague.low_s == pytest.approx(max(0.0, sure.low_s - 0.04))
        assert vague.high_s == pytest.approx(sure.high_s + 0.04)
