"""Many runs: times to recover that may be cut off, permutation tests, and two versions compared."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from random import Random
from statistics import median as middle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.logic.search.figures import Figures, figures_of, times, values
from chaosrunner.logic.search.permute import (
    mean_difference,
    noise_floor,
    p_value,
    shift,
    shift_interval,
    smallest_p,
)
from chaosrunner.logic.search.survival import Median, Time, curve, log_rank, median
from chaosrunner.logic.search.versus import TIME, Claim, Difference, Groups, differences, too_few, unlike

QUICK = settings(deadline=None, max_examples=30)
SECONDS = st.floats(0.1, 100).map(lambda value: round(value, 2))
TIMES = st.lists(st.builds(Time, SECONDS, st.booleans()), min_size=1, max_size=12)


@QUICK
@given(st.lists(SECONDS, min_size=1, max_size=20))
def test_without_censoring_the_curve_is_the_share_that_is_left(seconds: list[float]) -> None:
    """Kaplan and Meier's curve is the empirical one, and its median the smallest time that half do not exceed."""
    steps = curve([Time(one) for one in seconds])
    for step in steps:
        assert step.share == pytest.approx(sum(one > step.seconds for one in seconds) / len(seconds))
    assert median([Time(one) for one in seconds]).seconds == sorted(seconds)[(len(seconds) + 1) // 2 - 1]


@QUICK
@given(TIMES)
def test_a_curve_falls_and_lies_within_its_interval(runs: list[Time]) -> None:
    """Shares never rise, stay within 0 and 1, and within their interval."""
    steps = curve(runs)
    assert [step.share for step in steps] == sorted((step.share for step in steps), reverse=True)
    for step in steps:
        assert 0 <= step.low <= step.share <= step.high <= 1


def test_the_curve_of_a_known_example() -> None:
    """Six runs of which two are cut off: the shares that a textbook's table has."""
    runs = [Time(1), Time(2), Time(2, seen=False), Time(3), Time(4, seen=False), Time(5)]
    assert [(step.seconds, pytest.approx(step.share)) for step in curve(runs)] == [
        (1, 5 / 6), (2, 2 / 3), (3, 4 / 9), (5, 0.0),
    ]  # fmt: skip


def test_a_run_cut_off_makes_the_median_later_never_earlier() -> None:
    """Cut-off runs count as longer; where half are cut off early there is no median."""
    seen = [Time(1), Time(2), Time(3)]
    assert median([*seen, *[Time(3.5, seen=False)] * 2]).seconds == 3
    assert median([*seen, *[Time(10, seen=False)] * 3]).seconds == 3
    assert median([*seen, *[Time(10, seen=False)] * 4]) == Median(None, 1.0, None)
    assert median([]) == Median(None, None, None)


def test_an_interval_of_a_median_holds_it_as_often_as_it_says() -> None:
    """Of 200 samples of ten, a quarter of the times cut off, 90 % of the intervals hold the true median at least."""
    chance, inside = Random(1), 0
    for _ in range(200):
        runs = [Time(min(t, 12.0), t < 12.0) for t in (chance.expovariate(math.log(2) / 6) for _ in range(10))]
        seen = median(runs)
        inside += (seen.low or 0.0) <= 6.0 <= (seen.high or math.inf)
    assert inside >= 180


def test_five_runs_have_no_interval_and_six_have() -> None:
    """By counting, 95 % takes six runs."""
    assert median([Time(nth) for nth in range(1, 6)]) == Median(3, None, None)
    assert median([Time(nth) for nth in range(1, 7)]) == Median(3, 1, 6)


@QUICK
@given(TIMES, TIMES)
def test_the_log_rank_statistic_is_antisymmetric(one: list[Time], other: list[Time]) -> None:
    """Swapping the groups changes its sign; two alike groups have none."""
    assert log_rank(one, other) == pytest.approx(-log_rank(other, one), abs=1e-9)
    assert log_rank(one, one) == pytest.approx(0.0, abs=1e-9)


def test_who_recovers_later_is_expected_to_have_recovered_more() -> None:
    """Below zero: slower."""
    slow, fast = [Time(5), Time(6), Time(9, seen=False)], [Time(1), Time(2), Time(3)]
    assert log_rank(slow, fast) < 0 < log_rank(fast, slow)


def test_an_exact_p_value_counts_all_deals() -> None:
    """Fully apart, four against four are extreme in 2 of 70 deals."""
    assert p_value([1.0, 2, 3, 4], [5.0, 6, 7, 8], mean_difference) == pytest.approx(2 / 70)
    assert smallest_p(4, 4) == pytest.approx(2 / 70)
    assert smallest_p(1, 1) == 1.0


def test_among_many_deals_a_p_value_is_never_zero() -> None:
    """At random: one more than was counted, of one more than there were, the same by the same seed."""
    one, other = [float(nth) for nth in range(12)], [float(nth) for nth in range(100, 112)]
    seen = p_value(one, other, mean_difference, seed=3)
    assert seen == p_value(one, other, mean_difference, seed=3) == pytest.approx(5e-4)


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**32))
def test_alike_groups_are_seldom_called_different(seed: int) -> None:
    """Of forty pairs of alike groups no more than seven have p ≤ 5 % (two are expected)."""
    chance = Random(seed)
    small = 0
    for _ in range(40):
        one, other = ([chance.gauss(0, 1) for _ in range(5)] for _ in range(2))
        small += p_value(one, other, mean_difference) <= 0.05
    assert small <= 8


@pytest.mark.parametrize(("m", "n"), [(3, 3), (4, 4), (5, 4), (6, 5)])
def test_an_interval_of_a_shift_is_exact(m: int, n: int) -> None:
    """Over all orders of m + n runs it holds a shift of zero in 95 % at least, and is open only where it must be."""
    inside = total = 0
    for chosen in combinations(range(m + n), m):
        one = [float(nth) for nth in chosen]
        other = [float(nth) for nth in range(m + n) if nth not in chosen]
        low, high = shift_interval(one, other)
        assert low <= shift(one, other) <= high
        inside += low <= 0 <= high
        total += 1
    assert inside / total >= 0.95
    assert (inside == total) is (smallest_p(m, n) > 0.05)


def test_the_noise_floor_is_what_halves_of_a_group_differ_by() -> None:
    """Alike runs give a floor of zero, scattered ones a larger one, and few of them none."""
    assert noise_floor([[5.0] * 6]) == 0.0
    assert noise_floor([[1.0, 2.0, 3.0], []]) is None
    wide = noise_floor([[float(nth) for nth in range(16)]])
    assert wide is not None
    assert 4 < wide <= 8


def run(nth: int, seconds: float | None = 1.0, **values: float) -> Figures:
    """A run of which everything is known, unless said."""
    known = {"goodput": 100.0, "errors": 0.01, "p50": 0.01, "p95": 0.02, "p99": 0.03}
    return Figures(
        run=str(nth), question="?", outcome="HELD", headline="", time=None if seconds is None else Time(seconds),
        values=known | values,
    )  # fmt: skip


def group(scale: float = 1.0, *, runs: int = 6, spread: float = 0.01, **values: float) -> tuple[Figures, ...]:
    """Runs whose latencies scatter a little around `scale` times the usual."""
    return tuple(run(nth, 1 + spread * nth, p95=0.02 * scale * (1 + spread * nth), **values) for nth in range(runs))


def of(found: list[Difference], metric: str) -> Difference:
    """The difference in one metric."""
    return next(one for one in found if one.metric == metric)


def test_a_version_that_is_slower_is_called_worse() -> None:
    """p95 twice as high: WORSE, by about 100 %; what did not change is the same."""
    found = differences(Groups(one=group(), other=group(2.0)))
    slower = of(found, "p95")
    assert slower.claim is Claim.WORSE
    assert slower.shift == pytest.approx(1.0, rel=0.05)
    assert slower.p is not None
    assert slower.p <= 0.05
    assert of(found, TIME).claim is Claim.SAME
    assert of(found, "goodput").claim is Claim.SAME


def test_more_goodput_and_less_latency_are_better() -> None:
    """The same difference the other way round is BETTER."""
    one = tuple(run(nth, goodput=100.0 + nth / 10, p95=0.02 + nth / 1e4) for nth in range(6))
    other = tuple(run(nth, goodput=150.0 + nth / 10, p95=0.01 + nth / 1e4) for nth in range(6))
    found = differences(Groups(one=one, other=other))
    assert of(found, "goodput").claim is of(found, "p95").claim is Claim.BETTER


def test_below_the_noise_floor_nothing_is_claimed() -> None:
    """A difference that is sure, but that A/A runs show as well, is refused."""
    one = tuple(run(nth, p99=0.030 + nth / 1e5) for nth in range(6))
    other = tuple(run(nth, p99=0.036 + nth / 1e5) for nth in range(6))
    noise = tuple(run(nth, p99=0.03 * 1.6 ** (nth % 2)) for nth in range(6))
    assert of(differences(Groups(one=one, other=other)), "p99").claim is Claim.WORSE
    refused = of(differences(Groups(one=one, other=other, noise=noise)), "p99")
    assert refused.claim is Claim.UNCLEAR
    assert "noise floor" in refused.why


def test_what_scatters_is_unclear_and_says_so() -> None:
    """Runs that differ among each other as much as between the groups show nothing."""
    one, other = group(spread=0.5), group(1.1, spread=0.5)
    seen = of(differences(Groups(one=one, other=other)), "p95")
    assert seen.claim is Claim.UNCLEAR
    assert "alike runs differ as much" in seen.why


def test_without_a_floor_nothing_is_claimed() -> None:
    """Where noise was measured by too few runs there is no claim, however clear it looks."""
    seen = of(differences(Groups(one=group(), other=group(2.0), noise=group(runs=2))), "p95")
    assert seen.claim is Claim.UNCLEAR
    assert "no noise floor" in seen.why


def test_times_cut_off_are_compared_by_rank_without_an_interval() -> None:
    """Never recovered against quickly recovered: WORSE, at least by so much."""
    never = tuple(
        Figures(run=str(nth), question="?", outcome="BROKEN", headline="", time=Time(30.0, seen=False))
        for nth in range(6)
    )
    seen = of(differences(Groups(one=group(), other=never)), TIME)
    assert seen.claim is Claim.WORSE
    assert (seen.low, seen.high) == (None, None)
    assert "6 runs were cut off" in seen.why


def test_what_failed_has_no_ratio_and_what_is_missing_is_not_known() -> None:
    """A quantile that is a failure is not compared; unknown runs are not counted."""
    found = differences(Groups(one=group(), other=tuple(run(nth, None, p99=math.inf) for nth in range(6))))
    assert "failure" in of(found, "p99").why
    assert of(found, TIME).why == "known of 6 and 0 runs only"
    few = differences(Groups(one=group(), other=group(runs=2)))
    assert {one.claim for one in few} == {Claim.UNCLEAR}


PAUSED = replace(run(0), load="40 users/s", faults=("process.pause on api",))
NOOP = replace(PAUSED, faults=("noop",))


@pytest.mark.parametrize(
    ("other", "noise", "why"),
    [
        ([PAUSED], [NOOP], ""),
        (
            [replace(PAUSED, question="Else?")],
            [],
            "runs of different questions are no versions of one thing: ? / Else?",
        ),
        ([replace(PAUSED, load="80 users/s")], [], "different loads are no versions of one thing: 40 users/s / 80"),
        ([PAUSED], [replace(NOOP, load="5 users/s")], "runs of different loads"),
        ([NOOP], [], "runs of different faults are no versions of one thing: process.pause on api / noop"),
        ([replace(PAUSED, faults=())], [], "process.pause on api / none"),
        ([NOOP, PAUSED], [], ""),
    ],
)
def test_only_what_was_done_alike_is_compared(other: list[Figures], noise: list[Figures], why: str) -> None:
    """Another question, load or fault is refused; A/A runs have faults of their own, and chance may choose others."""
    found = unlike(Groups(one=(PAUSED,), other=tuple(other), noise=tuple(noise)))
    assert why in found
    assert bool(found) is bool(why)


def test_load_tests_have_nothing_to_compare() -> None:
    """Runs in which nothing was broken have no time in which something was."""
    assert "nothing was broken" in unlike(Groups(one=group(), other=group()))


def test_a_few_runs_can_never_differ_for_sure() -> None:
    """Six metrics and four runs each are too little; five each can do."""
    assert "it takes 5 and 5" in too_few(Groups(one=group(runs=4), other=group(runs=4)))
    assert "0 and 5" in too_few(Groups(one=(), other=group(runs=5)))
    assert too_few(Groups(one=group(runs=5), other=group(runs=5))) == ""


def verdict(**changes: Any) -> dict[str, Any]:
    """A written verdict."""
    phase = {"phase": "fault", "name": "", "hits": 200, "errors": 2, "p50_s": 0.1, "p95_s": "Infinity", "p99_s": None}
    plain = {
        "schema": "chaosrunner/verdict/v1", "run": "a1", "question": "?", "outcome": "HELD", "headline": "well",
        "load": {"asked": "40 users/s"}, "faults": [{"title": "noop"}],
        "recovery": {"state": "recovered", "time_s": 2.5, "target_s": 9.0},
        "phases": [{"phase": "baseline", "name": ""}, phase | {"ok_per_s": 99.0}],
    }  # fmt: skip
    return plain | changes


def test_figures_are_those_of_the_time_in_which_faults_were_in_place() -> None:
    """Time to recover, goodput, errors and quantiles are read; a quantile that is a failure is infinite."""
    seen = figures_of(verdict())
    assert seen.time == Time(2.5)
    assert seen.values == {"p50": 0.1, "p95": math.inf, "goodput": 99.0, "errors": 0.01}
    assert seen.usable
    assert (seen.load, seen.faults) == ("40 users/s", ("noop",))
    assert (times([seen]), values([seen], "errors"), values([seen], "p99")) == ([Time(2.5)], [0.01], [])


@pytest.mark.parametrize(
    ("recovery", "time"),
    [
        ({"state": "none"}, Time(0.0)),
        ({"state": "late", "time_s": 12.0}, Time(12.0)),
        ({"state": "never", "target_s": 9.0, "longer_than_s": 11.0}, Time(11.0, seen=False)),
        ({"state": "never", "target_s": 9.0}, Time(9.0, seen=False)),
        ({"state": "unknown"}, None),
    ],
)
def test_a_recovery_that_did_not_come_is_a_time_cut_off(recovery: dict[str, Any], time: Time | None) -> None:
    """None to recover from is no time at all, never is longer than was watched, unknown is nothing."""
    assert figures_of(verdict(recovery=recovery)).time == time
    assert figures_of(verdict(recovery=recovery, faults=[])).time is None, "nothing was broken: nothing to recover from"


def test_a_run_without_traffic_during_faults_has_no_figures() -> None:
    """No hit and no such phase give nothing, not zero."""
    silent = {"phase": "fault", "name": "", "hits": 0, "errors": 0, "p50_s": None, "p95_s": None, "p99_s": None}
    assert figures_of(verdict(phases=[silent])).values == {}
    assert figures_of(verdict(phases=[])).values == {}
    assert times([figures_of(verdict(outcome="UNKNOWN"))]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": "x"},
        {"recovery": 5},
        {"recovery": {"state": "late", "time_s": "soon"}},
        {"phases": {}},
        {"faults": 1},
    ],
)
def test_what_is_no_verdict_is_refused(wrong: dict[str, Any]) -> None:
    """Another schema, or fields of another kind, are an error and not a run without figures."""
    with pytest.raises(ValueError, match="verdict"):
        figures_of(verdict(**wrong))
    with pytest.raises(ValueError, match="verdict"):
        figures_of([])


def test_the_middle_of_all_differences_is_the_shift() -> None:
    """Hodges and Lehmann's estimate."""
    assert shift([1.0, 2.0], [4.0, 7.0]) == middle([3.0, 6.0, 2.0, 5.0])
