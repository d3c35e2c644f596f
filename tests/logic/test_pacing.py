"""The schedule: closed form, against the integral computed another way."""

from __future__ import annotations

from itertools import islice, pairwise, takewhile
from math import cos, exp, floor, inf, nextafter, pi, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.logic.chance import arrival
from chaosrunner.logic.pacing import Pace, arrivals, count, due
from chaosrunner.model.load import Shape, Stage, Wave

RATES = st.floats(0, 100).filter(lambda rate: rate == 0 or rate > 0.01)
WAVES = st.builds(
    lambda rates, period, times: Wave(
        low=min(rates), high=max(rates), period_s=period, lasts_s=times and times * period
    ),
    st.tuples(RATES, RATES).filter(any),
    st.floats(0.01, 20),
    st.none() | st.integers(1, 5),
)
RAMPS = st.builds(Stage, start=RATES, end=RATES, lasts_s=st.floats(0.01, 20))
ENDED = st.lists(RAMPS | WAVES.filter(lambda wave: wave.lasts_s), min_size=1, max_size=5).map(tuple)
HOLDS = st.builds(lambda rate: Stage(start=rate, end=rate, lasts_s=None), RATES) | WAVES.filter(lambda w: not w.lasts_s)
ENDLESS = st.tuples(ENDED, HOLDS).map(lambda parts: (*parts[0], parts[1]))
STAGES = st.one_of(ENDED, ENDLESS)
FACTORS = st.one_of(st.just(0.0), st.floats(0.1, 5))


def integral(stages: tuple[Shape, ...], until: float) -> float:
    """The area under the rate, trapezium by trapezium; of a wave by its antiderivative, written another way."""
    area, begin = 0.0, 0.0
    for stage in stages:
        length = until - begin if stage.lasts_s is None else min(stage.lasts_s, until - begin)
        if length <= 0:
            break
        if isinstance(stage, Wave):
            turn = 2 * pi / stage.period_s
            area += stage.mean * length + stage.swing / turn * (1 - cos(turn * length))
            begin += length
            continue
        share = 0.0 if stage.lasts_s is None else length / stage.lasts_s
        rate_then = stage.start + (stage.end - stage.start) * share
        area += length * (stage.start + rate_then) / 2
        begin += length
    return area


@settings(deadline=None)
@given(STAGES, st.floats(0, 60))
def test_the_count_is_the_integral_of_the_rate(stages: tuple[Shape, ...], until: float) -> None:
    """`count` is the area under the rate."""
    assert count(stages, until) == pytest.approx(integral(stages, until), rel=1e-9, abs=1e-6)


@settings(deadline=None)
@given(STAGES, st.floats(0, 20))
def test_as_many_journeys_as_the_integral(stages: tuple[Shape, ...], until: float) -> None:
    """Until any instant the number of journeys due differs from the integral of the rate by at most ½."""
    seen = sum(1 for _ in takewhile(lambda arrival: arrival[1] <= until, arrivals(Pace.of(stages))))
    assert abs(seen - integral(stages, until)) <= 0.5 + 1e-6


@settings(deadline=None)
@given(STAGES, st.integers(0, 5000))
def test_a_journey_is_due_where_the_integral_reaches_it(stages: tuple[Shape, ...], n: int) -> None:
    """The integral up to the n-th due time is n + ½, or the stages end before."""
    at = due(stages, n)
    if at == inf:
        assert count(stages, 1e9) <= n + 0.5
    else:
        assert count(stages, at) == pytest.approx(n + 0.5, rel=1e-6, abs=1e-4)


@settings(deadline=None)
@given(STAGES, st.lists(st.tuples(st.floats(0, 10), FACTORS), max_size=3))
def test_due_times_never_go_back(stages: tuple[Shape, ...], steerings: list[tuple[float, float]]) -> None:
    """A later journey is never due before an earlier one, however the load is steered."""
    pace = Pace.of(stages)
    for at, factor in sorted(steerings):
        pace = pace.steered(at, factor)
    times = [at for _, at in islice(arrivals(pace), 400)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(times))


@settings(deadline=None)
@given(STAGES, st.integers(1, 7))
def test_shards_partition_the_schedule(stages: tuple[Shape, ...], of: int) -> None:
    """Every journey belongs to exactly one shard, at the time it has in the whole."""
    pace = Pace.of(stages)
    whole = list(islice(arrivals(pace), 210))
    shards = [list(islice(arrivals(pace, shard=shard, of=of), 210)) for shard in range(of)]
    merged = sorted(arrival for shard in shards for arrival in shard)
    assert merged[: len(whole)] == whole
    assert len({n for n, _ in merged}) == len(merged)


@settings(deadline=None)
@given(STAGES, st.floats(0, 20), FACTORS, st.floats(0, 10))
def test_steering_scales_what_comes_after(stages: tuple[Shape, ...], at: float, factor: float, later: float) -> None:
    """From the instant of a steering on, the integral grows `factor` times as fast; before it nothing moves."""
    pace = Pace.of(stages)
    steered = pace.steered(at, factor)
    assert steered.count(at / 2) == pytest.approx(pace.count(at / 2))
    gained = pace.count(at + later) - pace.count(at)
    assert steered.count(at + later) == pytest.approx(pace.count(at) + factor * gained, rel=1e-6, abs=1e-6)
    before = floor(pace.count(at) - 0.51)
    if before >= 0:
        assert steered.due(before) == pytest.approx(pace.due(before))


def test_a_wave_has_its_mean_over_whole_periods() -> None:
    """60 to 140 a second in waves of 30 s: 3,000 a period, most of them in its first half."""
    pace = Pace.of([Wave(low=60, high=140, period_s=30, lasts_s=None)])
    assert [pace.count(at) for at in (15, 30, 3000)] == pytest.approx([1500 + 40 * 30 / pi, 3000, 300_000])
    assert pace.due(299_999) == pytest.approx(3000 - 0.5 / 100, abs=1e-4)


@given(
    st.tuples(st.floats(0, 1e5), st.floats(0.01, 1e5)).map(sorted),
    st.floats(0.001, 1e5),
    st.integers(0, 10**9),
)
def test_a_wave_is_inverted_to_the_nanosecond(rates: list[float], period: float, n: int) -> None:
    """A nanosecond before the n-th due time the integral has not reached n + ½, a nanosecond after it has."""
    pace = Pace.of([Wave(low=rates[0], high=rates[1], period_s=period, lasts_s=None)])
    at = pace.due(n)
    dust = 1e-14 * (n + 1) + at * 2**-52 * rates[1]  # what floats cannot tell apart
    assert pace.count(at - 1e-9) <= n + 0.5 + dust
    assert pace.count(at + 1e-9) >= n + 0.5 - dust


def test_a_wave_that_touches_zero_is_inverted_there() -> None:
    """Where the rate is zero for an instant the next journey is found all the same, and none is due twice."""
    pace = Pace.of([Wave(low=0, high=2, period_s=4, lasts_s=None)])
    times = [pace.due(n) for n in range(4000)]
    assert [pace.count(at) for at in times] == pytest.approx([n + 0.5 for n in range(4000)])
    assert all(later > earlier for earlier, later in pairwise(times))


@given(ENDLESS, st.integers(0, 2**32), st.floats(0, 20), st.lists(st.tuples(st.floats(0, 10), FACTORS), max_size=3))
def test_at_random_the_rescaled_process_is_the_unit_process(
    stages: tuple[Shape, ...], seed: int, until: float, steerings: list[tuple[float, float]]
) -> None:
    """Journeys due by an instant are the unit process's arrivals up to the integral, give or take one, also steered."""
    pace = Pace.of(stages, seed)
    for at, factor in sorted(steerings):
        pace = pace.steered(at, factor)
    seen = sum(1 for _ in takewhile(lambda arrival: arrival[1] <= until, arrivals(pace)))
    wanted = sum(1 for _ in takewhile(lambda at: at <= pace.count(until), (arrival(seed, n) for n in range(10**6))))
    assert abs(seen - wanted) <= 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_at_random_a_level_rate_has_exponential_gaps(seed: int) -> None:
    """At 50 a second the gaps are exponential with mean 20 ms: mean and distribution are as chance allows."""
    pace = Pace.of([Stage(start=50, end=50, lasts_s=None)], seed)
    times = [at for _, at in islice(arrivals(pace), 20_000)]
    gaps = sorted(later - earlier for earlier, later in pairwise([0.0, *times]))
    strayed = max(abs((nth + 0.5) / len(gaps) - (1 - exp(-50 * gap))) for nth, gap in enumerate(gaps))
    assert strayed * sqrt(len(gaps)) < 1.95
    assert sum(gaps) / len(gaps) == pytest.approx(0.02, rel=4 / sqrt(len(gaps)))


def test_at_random_a_ramp_has_as_many_in_each_part_as_its_area() -> None:
    """Rescaled by the integral of the rate, arrivals on a ramp are spread evenly."""
    pace = Pace.of([Stage(start=0, end=200, lasts_s=100)], 5)
    shares = [pace.count(at) / 10_000 for _, at in arrivals(pace)]
    assert len(shares) == pytest.approx(10_000, abs=400)
    strayed = max(abs((nth + 0.5) / len(shares) - share) for nth, share in enumerate(shares))
    assert strayed * sqrt(len(shares)) < 1.95


def test_a_pause_and_its_end() -> None:
    """At factor 0 nothing more is due; from 1 on the schedule goes on where it stood."""
    pace = Pace.of([Stage(start=10, end=10, lasts_s=None)]).steered(1, 0)
    assert pace.due(9) == pytest.approx(0.95)
    assert pace.due(10) == inf
    assert pace.steered(5, 1).due(10) == pytest.approx(5.05)


def test_a_steering_twice_as_fast() -> None:
    """Twice the rate from second 1 on: the next journey comes after half the usual gap."""
    pace = Pace.of([Stage(start=10, end=10, lasts_s=None)]).steered(1, 2)
    assert [pace.due(n) for n in (9, 10, 11)] == pytest.approx([0.95, 1.025, 1.075])


def test_a_ramp_in_closed_form() -> None:
    """0 to 10 a second over 10 s is 50 journeys, the n-th at √(2n + 1) s."""
    stages = [Stage(start=0, end=10, lasts_s=10)]
    assert count(stages, 10) == pytest.approx(50)
    assert [due(stages, n) for n in range(50)] == pytest.approx([(2 * n + 1) ** 0.5 for n in range(50)])
    assert due(stages, 50) == inf


def test_a_ramp_down_ends_at_rest() -> None:
    """10 to 0 a second: the last journey comes before the end and the square root does not turn negative."""
    stages = [Stage(start=10, end=0, lasts_s=10), Stage(start=0, end=0, lasts_s=5), Stage(start=2, end=2, lasts_s=None)]
    assert due(stages, 49) == pytest.approx(9.0)
    assert due(stages, 50) == pytest.approx(15.25)


def test_the_boundary_of_a_stage_belongs_to_the_next() -> None:
    """A journey due exactly where a stage begins is due there, not in the middle of a pause before it."""
    stages = [Stage(start=1, end=1, lasts_s=0.5), Stage(start=0, end=0, lasts_s=9), Stage(start=1, end=1, lasts_s=None)]
    assert due(stages, 0) == 9.5
    assert due([Stage(start=1, end=1, lasts_s=nextafter(0.5, 1)), *stages[1:]], 0) == pytest.approx(0.5)


def test_nothing_before_the_epoch() -> None:
    """Before the load begins the integral is zero."""
    assert count([Stage(start=5, end=5, lasts_s=None)], -1) == 0


def test_a_rate_of_zero_for_ever_sends_nothing() -> None:
    """An endless stage at rate zero has no journey."""
    assert list(arrivals(Pace.of([Stage(start=0, end=0, lasts_s=None)]))) == []


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param([], id="no stage"),
        pytest.param([Stage(start=1, end=1, lasts_s=None), Stage(start=1, end=1, lasts_s=1)], id="open end inside"),
        pytest.param([Stage(start=1, end=2, lasts_s=None)], id="open end that is not flat"),
        pytest.param([Stage(start=-1, end=2, lasts_s=1)], id="negative rate"),
        pytest.param([Stage(start=1, end=inf, lasts_s=1)], id="infinite rate"),
        pytest.param([Stage(start=1, end=1, lasts_s=0)], id="no length"),
        pytest.param([Stage(start=1, end=1, lasts_s=inf)], id="infinite length"),
        pytest.param([Wave(low=-1, high=2, period_s=1, lasts_s=None)], id="negative wave"),
        pytest.param([Wave(low=3, high=2, period_s=1, lasts_s=None)], id="wave upside down"),
        pytest.param([Wave(low=0, high=0, period_s=1, lasts_s=None)], id="no wave"),
        pytest.param([Wave(low=1, high=2, period_s=0, lasts_s=None)], id="wave without period"),
        pytest.param([Wave(low=1, high=2, period_s=1, lasts_s=0)], id="wave without length"),
    ],
)
def test_stages_that_are_no_schedule(stages: list[Stage]) -> None:
    """Stages without a meaning are refused."""
    with pytest.raises(ValueError, match=r"stage|rate"):
        Pace.of(stages)


@pytest.mark.parametrize("factor", [-1.0, inf, float("nan")])
def test_a_factor_that_is_none(factor: float) -> None:
    """The factor of a steering is a finite number from 0 up."""
    with pytest.raises(ValueError, match="factor"):
        Pace.of([Stage(start=1, end=1, lasts_s=None)]).steered(0, factor)
