"""The one-line language of arrivals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parse_rig import read_changed, wrong_changed

from chaosrunner.logic.parse.arrivals import length_s, level_s, parse_arrivals, render, warmup_s
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.model.load import Stage


def stage(start: float, end: float, lasts_s: float | None) -> Stage:
    return Stage(start=start, end=end, lasts_s=lasts_s)


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("50 users/s", [stage(50, 50, None)]),
        ("1 user/s", [stage(1, 1, None)]),
        ("50 users/s over 1h", [stage(50, 50, 3600)]),
        ("10 to 200 users/s over 60s, then hold", [stage(10, 200, 60), stage(200, 200, None)]),
        ("60 to 120 users/min over 60s,then hold", [stage(1, 2, 60), stage(2, 2, None)]),
        ("0 to 6 users/min over 6s, then hold 10s", [stage(0, 0.1, 6), stage(0.1, 0.1, 10)]),
        (
            "5 to 50 users/s over 30s, then hold 60s, then to 100 users/s over 10s, then hold",
            [stage(5, 50, 30), stage(50, 50, 60), stage(50, 100, 10), stage(100, 100, None)],
        ),
    ],
)
def test_arrivals(text: str, stages: list[Stage]) -> None:
    """A line of arrivals is a sequence of ramps and levels, in journeys per second."""
    assert parse_arrivals(text) == tuple(stages)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("50", "expected '10 users/s' or '10 to 200 users/s over 60s' instead of '50'"),
        ("ten users/s", "instead of 'ten users/s'"),
        ("10 to 200 users/s", "a ramp needs its length; write '10 to 200 users/s over 60s'"),
        ("10 to 200 users/s over 60, then hold", "a duration needs a unit; write '60s' or '60min'"),
        ("50 users/s over 0s", "expected more than zero"),
        (
            "50 users/s over 10s, hold",
            "expected 'then hold', 'then hold 60s' or 'then to 100 over 10s' instead of 'hold'",
        ),
        ("50 users/s over 10s, then to 100", "instead of 'then to 100'"),
        ("50 users/s, then hold", "nothing can come after an open end; say how long before 'then hold'"),
        ("1 to 5 users/s over 1s, then hold, then to 9 over 1s", "nothing can come after an open end"),
        ("0 users/s", "no user ever arrives"),
        ("200000 users/s", "more than 100,000 users a second"),
        ("10 to 20 users/s over 60s", "the load is never level, so there is no baseline; end it with ', then hold'"),
        ("10 to 0 users/s over 60s, then hold", "a level of zero users measures nothing"),
    ],
)
def test_what_is_no_line_of_arrivals(text: str, said: str) -> None:
    """Each slip is answered with what was expected there."""
    with pytest.raises(ReadingError) as caught:
        parse_arrivals(text)
    assert said in str(caught.value)


def test_the_ramp_is_the_warmup() -> None:
    """Warm-up lasts until the first level; a load that begins level has three seconds of it."""
    assert warmup_s(parse_arrivals("1 to 5 users/s over 6s, then hold")) == 6.0
    assert warmup_s(parse_arrivals("1 to 5 users/s over 6s, then to 9 over 4s, then hold")) == 10.0
    assert warmup_s(parse_arrivals("5 users/s")) == 3.0
    assert read_changed(("5 to 25 users/s over 6s, then hold", "5 users/s")).load.warmup_s == 3.0
    assert read_changed(("  data:", "  warmup: 0s\n  data:")).load.warmup_s == 0.0


def test_lengths() -> None:
    """The whole load and its first plateau have lengths, or last as long as the run."""
    steps = parse_arrivals("1 to 5 users/s over 6s, then hold 10s, then to 9 over 1s, then hold 5s")
    assert (length_s(steps), level_s(steps)) == (22.0, 10.0)
    longer = parse_arrivals("5 users/s over 6s, then hold 10s")
    assert (length_s(longer), level_s(longer)) == (16.0, 16.0)
    endless = parse_arrivals("5 users/s over 6s, then hold")
    assert (length_s(endless), level_s(endless)) == (None, None)


def test_a_load_lasts_as_long_as_the_run() -> None:
    """A load that ends before the run could is a mistake, and so is a plateau that is too short for the baseline."""
    assert wrong_changed(("then hold", "then hold 30s")) == [
        "9:13: arrivals end after 36s, but the run may last 63s; end them with ', then hold'"
    ]
    assert read_changed(("then hold", "then hold 57s")).load.plateau == 25.0
    assert wrong_changed(("then hold", "then hold 10s, then to 30 over 5s, then hold")) == [
        "9:13: the first plateau lasts 10s, but warm-up and baseline on it need 15s"
    ]
    level = "5 users/s over 17s, then to 30 over 5s, then hold"
    assert wrong_changed(("5 to 25 users/s over 6s, then hold", level)) == [
        "9:13: the first plateau lasts 17s, but warm-up and baseline on it need 18s"
    ]
    assert read_changed(("5 to 25 users/s over 6s, then hold", level), ("  data:", "  warmup: 1s\n  data:"))


RATES = st.integers(1, 10**6).map(lambda n: n / 100)
LENGTHS = st.integers(1, 10**7).map(lambda ms: ms / 1000)


@st.composite
def profiles(draw: st.DrawFn) -> tuple[Stage, ...]:
    """Any sequence of stages that a line could hold, with at least one level."""
    level = draw(RATES)
    stages = [stage(draw(RATES), level, draw(LENGTHS))]
    for _ in range(draw(st.integers(0, 4))):
        end = draw(st.just(level) | RATES)
        stages.append(stage(level, end, draw(LENGTHS)))
        level = end
    stages.append(stage(level, level, draw(st.none() | LENGTHS)))
    return tuple(stages)


@given(profiles())
def test_arrivals_round_trip(stages: tuple[Stage, ...]) -> None:
    """Reading the canonical line of any stages gives the same stages."""
    assert parse_arrivals(render(stages)) == stages


def test_a_line_of_one_stage_is_rendered() -> None:
    """A load that is level for ever has the shortest line."""
    assert render([stage(50, 50, None)]) == "50 users/s"
