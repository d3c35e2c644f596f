"""The one-line languages of arrivals and users."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parse_rig import EXPERIMENT, read, read_changed, wrong_changed

from chaosrunner.logic.parse.arrivals import (
    Coming,
    length_s,
    parse_arrivals,
    parse_users,
    plateau,
    render_stream,
    warmup_s,
)
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.model.load import Closed, Shape, Stage, Wave


def wave(low: float, high: float, period_s: float, lasts_s: float | None) -> Wave:
    return Wave(low=low, high=high, period_s=period_s, lasts_s=lasts_s)


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
        ("5 users/s over 9s, then at 8 for 2s, then at 5", [stage(5, 5, 9), stage(8, 8, 2), stage(5, 5, None)]),
        ("soak at 50 users/s", [stage(0, 50, 60), stage(50, 50, None)]),
        ("soak at 60 users/min for 8h", [stage(0, 1, 60), stage(1, 1, 28_800)]),
        (
            "10 users/s, then step by 10 every 30s to 35",
            [stage(10, 10, 30), stage(20, 20, 30), stage(30, 30, 30), stage(35, 35, None)],
        ),
        (
            "3 users/s over 60s, then step by 1 every 5s to 1, then to 9 over 1s, then hold for 9s",
            [stage(3, 3, 60), stage(2, 2, 5), stage(1, 1, 5), stage(1, 9, 1), stage(9, 9, 9)],
        ),
        (
            "0.1 users/s, then step by 0.1 every 1s to 0.3",
            [stage(0.1, 0.1, 1), stage(0.2, 0.2, 1), stage(0.3, 0.3, None)],
        ),
        (
            "50 users/s over 60s, then spike to 500 for 10s",
            [stage(50, 50, 60), stage(500, 500, 10), stage(50, 50, None)],
        ),
        (
            "50 users/s over 60s, then spike to 500 users/s for 10s, then hold 20s, then spike to 600 for 1s",
            [stage(50, 50, 60), stage(500, 500, 10), stage(50, 50, 20), stage(600, 600, 1), stage(50, 50, None)],
        ),
        ("60 to 140 users/s in waves of 30s", [wave(60, 140, 30, None)]),
        ("60 to 120 users/min in waves of 30s over 90s, then hold", [wave(1, 2, 30, 90), stage(1.5, 1.5, None)]),
        (
            "0 to 5 users/s over 9s, then waves of 2s between 0 and 10 over 4s, then waves of 3s between 4 and 6",
            [stage(0, 5, 9), wave(0, 10, 2, 4), wave(4, 6, 3, None)],
        ),
    ],
)
def test_arrivals(text: str, stages: list[Shape]) -> None:
    """A line of arrivals is a sequence of ramps, levels and waves, in journeys per second."""
    assert parse_arrivals(text) == Coming(tuple(stages))
    assert parse_arrivals(f"{text} , at random") == Coming(tuple(stages), at_random=True)


@pytest.mark.parametrize(
    ("text", "stages", "every_s"),
    [
        ("50", [stage(50, 50, None)], None),
        ("1 user", [stage(1, 1, None)], None),
        ("10 to 200 over 60s, then hold", [stage(10, 200, 60), stage(200, 200, None)], None),
        ("10 to 200 users over 60s, then hold", [stage(10, 200, 60), stage(200, 200, None)], None),
        ("soak at 20 for 1h", [stage(0, 20, 60), stage(20, 20, 3600)], None),
        ("5, then step by 5 every 10s to 10, each user every 10s", [stage(5, 5, 10), stage(10, 10, None)], 10),
        ("5 over 60s, then spike to 50 users for 5s,each user  every 300ms", [stage(5, 5, 60), stage(50, 50, 5),
            stage(5, 5, None)], 0.3),
    ],
)  # fmt: skip
def test_users(text: str, stages: list[Shape], every_s: float | None) -> None:
    """A line of users is the same sequence, counted in users, and may say how often each of them comes."""
    assert parse_users(text) == Coming(tuple(stages), closed=Closed(every_s=every_s))


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
            "or 'then to 100 over 10s', or 'at random' at the end instead of 'hold'",
        ),
        ("50 users/s over 10s, then to 100", "instead of 'then to 100'"),
        ("50 users/s, then hold", "nothing can come after an open end; say how long before 'then hold'"),
        ("1 to 5 users/s over 1s, then hold, then to 9 over 1s", "nothing can come after an open end"),
        ("0 users/s", "no user ever arrives"),
        ("200000 users/s", "more than 100,000 users a second"),
        ("10 to 20 users/s over 60s", "the load is never level, so there is no baseline; end it with ', then hold'"),
        ("10 to 0 users/s over 60s, then hold", "a level of zero users measures nothing"),
        (
            "5 users/s over 9s, then stpe by 1 every 1s to 9",
            "'stpe' is nothing that can come after 'then'; did you mean 's",
        ),
        ("5 users/s over 9s, then rest", "after 'then'; expected hold, to, at, step, spike or waves"),
        ("5 users/s over 9s, then spike to 50", "expected 'then spike to 500 for 10s' instead of 'then spike to 50'"),
        ("5 users/s, then step by 0 every 1s to 9", "a staircase needs steps and somewhere to go"),
        ("5 users/s, then step by 1 every 1s to 5", "a staircase needs steps and somewhere to go"),
        ("5 users/s, then step by 0.001 every 1s to 9", "more than 1,000 steps"),
        (
            "5 users/s in waves of 30s",
            "a wave needs its lowest and its highest; write '5 to 5 users/s in waves of 30s'",
        ),
        ("9 to 5 users/s in waves of 30s", "from its lowest to its highest; write '5 to 9'"),
        ("5 to 9 users/s in waves of 30s over 70s", "a wave lasts whole periods; write 'over 90s'"),
        ("5 to 9 users/s in waves of 30s over 10s", "a wave lasts whole periods; write 'over 30s'"),
        ("5 to 9 users/s in waves of 30", "a duration needs a unit"),
        ("5 users/s, each user every 10s", "'each user every' is for 'users'"),
        ("5 users/s, at randm", "or 'at random' at the end instead of 'at randm'"),
        ("soak at 5", "instead of 'soak at 5'"),
    ],
)
def test_what_is_no_line_of_arrivals(text: str, said: str) -> None:
    """Each slip is answered with what was expected there."""
    with pytest.raises(ReadingError) as caught:
        parse_arrivals(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fifty", "expected '50' or '10 to 200 over 60s' instead of 'fifty'"),
        ("50 users/s", "'users' says how many there are; a rate belongs to 'arrivals'"),
        ("1.5", "expected whole numbers of users"),
        ("1 to 5, then hold", "a ramp needs its length"),
        ("10, at random", "'at random' is for 'arrivals'"),
        ("10, each user ever 10s", "or 'each user every 10s' at the end instead of 'each user ever 10s'"),
        ("10, each user every 10", "a duration needs a unit"),
        ("10 over 9s, then waves of 3s between 5 and 15", "waves are for arrivals"),
        ("0", "no user ever arrives"),
        ("200000", "more than 100,000 users"),
    ],
)
def test_what_is_no_line_of_users(text: str, said: str) -> None:
    """Each slip is answered with what was expected there."""
    with pytest.raises(ReadingError) as caught:
        parse_users(text)
    assert said in str(caught.value)


def test_the_ramp_is_the_warmup() -> None:
    """Warm-up lasts until the first level; a load that begins level has three seconds of it."""
    assert warmup_s(parse_arrivals("1 to 5 users/s over 6s, then hold")) == 6.0
    assert warmup_s(parse_arrivals("1 to 5 users/s over 6s, then to 9 over 4s, then hold")) == 10.0
    assert warmup_s(parse_arrivals("5 users/s")) == 3.0
    assert warmup_s(parse_arrivals("5 to 9 users/s in waves of 30s")) == 3.0
    assert warmup_s(parse_users("5")) == 3.0
    assert warmup_s(parse_users("5, each user every 10s")) == 10.0
    assert warmup_s(parse_users("1 to 5 over 6s, then hold, each user every 10s")) == 16.0
    assert read_changed(("5 to 25 users/s over 6s, then hold", "5 users/s")).load.warmup_s == 3.0
    assert read_changed(("  data:", "  warmup: 0s\n  data:")).load.warmup_s == 0.0


def test_lengths() -> None:
    """The whole load and its first plateau have lengths, or last as long as the run."""

    def lengths(text: str) -> tuple[float | None, float | None]:
        stages = parse_arrivals(text).stages
        return length_s(stages), plateau(stages).lasts_s

    assert lengths("1 to 5 users/s over 6s, then hold 10s, then to 9 over 1s, then hold 5s") == (22.0, 10.0)
    assert lengths("5 users/s over 6s, then hold 10s") == (16.0, 16.0)
    assert lengths("5 users/s over 6s, then hold") == (None, None)
    assert lengths("5 users/s over 6s, then at 6 for 10s") == (16.0, 6.0)
    assert lengths("5 to 9 users/s in waves of 2s over 4s, then waves of 2s between 5 and 9 over 2s") == (6.0, 6.0)
    assert lengths("7 users/s over 6s, then waves of 2s between 5 and 9") == (None, 6.0)


def test_a_load_lasts_as_long_as_the_run() -> None:
    """A load that ends before the run could is a mistake, and so is a plateau that is too short for the baseline."""
    assert wrong_changed(("then hold", "then hold 30s")) == [
        "9:13: arrivals end after 36s, but the run may last 63s; end them with ', then hold'"
    ]
    assert read_changed(("then hold", "then hold 57s")).load.streams[0].plateau == 25.0
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
def profiles(draw: st.DrawFn, *, closed: bool = False) -> Coming:
    """Anything that a line could hold, with at least one level."""
    rates = st.integers(1, 1000).map(float) if closed else RATES
    level = draw(rates)
    stages: list[Shape] = [stage(draw(rates), level, draw(LENGTHS))]
    if not closed and draw(st.booleans()):
        stages = [draw(waves())]
        level = stages[0].end
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["ramp", "jump", "ramp" if closed else "wave"]))
        end = draw(st.just(level) | rates)
        more = draw(waves()) if kind == "wave" else stage(level if kind == "ramp" else end, end, draw(LENGTHS))
        stages.append(more)
        level = more.end
    stages.append(stage(level, level, draw(st.none() | LENGTHS)))
    if closed:
        return Coming(tuple(stages), closed=Closed(every_s=draw(st.none() | LENGTHS)))
    return Coming(tuple(stages), at_random=draw(st.booleans()))


@st.composite
def waves(draw: st.DrawFn) -> Wave:
    """A wave of whole periods."""
    low, high = sorted(draw(st.tuples(RATES, RATES).filter(lambda pair: pair[0] != pair[1])))
    period = draw(st.integers(1, 10**4).map(float))
    return wave(low, high, period, period * draw(st.integers(1, 9)))


@given(profiles())
def test_arrivals_round_trip(coming: Coming) -> None:
    """Reading the canonical line of any arrivals gives the same arrivals."""
    assert parse_arrivals(render_stream(coming)) == coming


@given(profiles(closed=True))
def test_users_round_trip(coming: Coming) -> None:
    """Reading the canonical line of any users gives the same users."""
    assert parse_users(render_stream(coming)) == coming


def test_a_line_of_one_stage_is_rendered() -> None:
    """A load that is level for ever has the shortest line."""
    assert render_stream(Coming((stage(50, 50, None),))) == "50 users/s"
    assert render_stream(Coming((stage(50, 50, None),), closed=Closed())) == "50 users"


ARRIVE = "arrivals: 5 to 25 users/s over 6s, then hold"


def test_a_closed_load_is_read() -> None:
    """`users` instead of `arrivals` is a closed model, with a connection for each user and its own warm-up."""
    load = read_changed((ARRIVE, "users: 300, each user every 10s\n  iterations: 20")).load
    found = load.streams[0]
    assert (found.closed, load.connections, load.warmup_s) == (Closed(every_s=10.0, iterations=20), 300, 10.0)
    assert (found.plateau, found.peak, found.at_random) == (300, 300, False)
    few = read_changed((ARRIVE, "users: 20")).load
    assert (few.streams[0].closed, few.connections) == (Closed(), 200)
    assert read_changed((ARRIVE, "users: 300\n  connections: 7")).load.connections == 7


def test_open_and_closed_do_not_mix() -> None:
    """What belongs to one model is a mistake in the other, at its place."""
    assert wrong_changed((ARRIVE, "arrivals: 5 users/s\n  users: 5")) == [
        "10:3: 'users' (a closed model) and 'arrivals' (an open one) exclude each other"
    ]
    assert wrong_changed((ARRIVE, "users: 5\n  max_in_flight: 9")) == [
        "10:3: 'max_in_flight' is for 'arrivals': each user makes one journey at a time"
    ]
    assert wrong_changed((ARRIVE, "iterations: 5"))[1] == (
        "9:3: 'iterations' is for 'users': who arrives makes one journey"
    )
    assert wrong_changed((ARRIVE, "users: 5\n  iterations: 0")) == ["10:15: iterations '0': expected 1 to 1,000,000"]
    assert wrong_changed((ARRIVE, "users: 5/s\n  iterations: 2"))[0].startswith("9:10: users '5/s': expected '50'")
    assert wrong_changed((ARRIVE, "users: 5 over 9s")) == [
        "9:10: users end after 9s, but the run may last 1min; end them with ', then hold'"
    ]


def test_a_baseline_on_a_wave_is_whole_periods() -> None:
    """Where the load is a wave, half a period is no baseline: the mistake says how long would be one."""
    assert wrong_changed((ARRIVE, "arrivals: 5 to 25 users/s in waves of 10s")) == [
        "9:13: a baseline of 15s is no whole number of waves of 10s; write 'baseline: 20s'"
    ]
    assert read_changed((ARRIVE, "arrivals: 5 to 25 users/s in waves of 5s")).load.streams[0].plateau == 15.0


def test_without_a_fault_the_whole_load_is_the_test() -> None:
    """A staircase or a spike may be the test itself when nothing is compared with its first plateau."""
    stairs = "arrivals: 5 users/s, then step by 5 every 5s to 25"
    assert wrong_changed((ARRIVE, stairs)) == [
        "9:13: the first plateau lasts 5s, but warm-up and baseline on it need 18s"
    ]
    text = EXPERIMENT[: EXPERIMENT.index("faults:")].replace(ARRIVE, stairs)
    found = read(text + "hypothesis: {before: p95 <= 250ms}\n")
    assert [shape.end for shape in found.load.streams[0].stages] == [5, 10, 15, 20, 25]


FILES = Path(__file__).resolve().parents[3] / "docs" / "reference" / "files.md"


def test_the_examples_of_the_reference_are_right() -> None:
    """Every line of load that the reference shows is one, and says what its row promises."""
    text = FILES.read_text()
    models = text[text.index("**Open**") : text.index("**Pauses**")]
    opened, closed = models.split("**Closed**")
    arrivals = [example for row in table_rows(opened) for example in re.findall(r"`([^`:]+)`", row)]
    users = [example for row in table_rows(closed) for example in re.findall(r"`([^`:]+)`", row)]
    assert len(arrivals) >= 9
    assert len(users) >= 4
    assert [parse_arrivals(example).closed for example in arrivals] == [None] * len(arrivals)
    assert all(parse_users(example).closed for example in users)


def table_rows(text: str) -> list[str]:
    """The rows of the tables in a text, without their heads."""
    return [line for line in text.splitlines() if line.startswith("| ") and "example" not in line]
