"""Does a tolerance hold? On samples whose every hit is known, against a list that is simply sorted."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from building import count, errors, p95, tolerance
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.logic.measure import (
    beyond_repair,
    bound_of,
    enough,
    expected,
    holds,
    human,
    measure,
)
from chaosrunner.logic.tolerate import Evidence, Judgement, judge_answers, judge_load
from chaosrunner.logic.traffic import Sample
from chaosrunner.model.hypothesis import Against, Metric, Stat
from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.slots import Hit, Slot
from chaosrunner.model.verdict import Outcome

MEAN = Metric(stat=Stat.MEAN)
SLOWEST = Metric(stat=Stat.MAX)
RATE = Metric(stat=Stat.RATE)
PROBE = Metric(stat=Stat.PROBE, probe="queue")
TWICE = p95(2.0, against=Against.TIMES_BASELINE, text="p95 <= 2x baseline")
ONE_PERCENT_MORE = errors(0.01, cmp="<=", against=Against.PLUS_BASELINE, text="errors <= baseline + 1%")


def sample(
    ok_ms: list[int], failed: int = 0, *, open_: int = 0, late: int = 0, lag_ms: int = 0, s: float = 10.0
) -> Sample:
    """These responses, and so many failures (of 1 ms), open hits and hits never fired."""
    slot = Slot(due=len(ok_ms) + failed + open_ + late)
    for ms in ok_ms:
        count(slot, Hit(0, 0, Hits.OK, ms * 1000, lag_ms * 1000))
    for _ in range(failed):
        count(slot, Hit(0, 0, Hits.RESET, 1000, 0))
    for _ in range(late):
        count(slot, Hit(0, 0, Hits.LATE, 0, 0))
    return Sample(slot, s)


def judge(tol: object, now: Sample, baseline: Sample | None = None, **more: bool) -> Judgement:
    return judge_load(tol, Evidence(now, (), baseline), **more)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 60_000), max_size=200), st.integers(0, 50), st.floats(0.01, 0.999))
def test_a_quantile_counts_failures_as_infinitely_slow(ok_ms: list[int], failed: int, share: float) -> None:
    """It is the nearest rank of the sorted list with every failure at its end, to 0.1 %."""
    seen = measure(Metric(stat=Stat.QUANTILE, quantile=share), sample(ok_ms, failed))
    everything = sorted(ok_ms) + [math.inf] * failed
    if not everything:
        assert seen is None
        return
    assert seen is not None
    wanted = everything[max(1, math.ceil(share * len(everything) - 1e-9)) - 1] / 1000
    assert seen.value == wanted if math.isinf(wanted) else wanted <= seen.value <= wanted * 1.001 + 1e-6
    assert seen.low <= seen.value <= seen.high


def test_what_a_sample_is() -> None:
    """Open hits are failures, hits never fired are nobody's, and the rate counts what succeeded."""
    seen = sample([10, 20], 3, open_=4, late=5)
    assert (seen.hits, seen.oks, seen.failures, seen.late, seen.rate) == (9, 2, 7, 5, 0.2)
    assert Sample(Slot(), 0.0).rate == 0.0
    assert sample([10, 20, 30]).quantile(0.5) == pytest.approx(0.02, rel=1e-3)
    assert Sample(Slot(), 1.0).quantile(0.5) is None


def test_metrics_of_a_known_sample() -> None:
    """Mean, maximum, errors and rate are what they are, with their intervals around them."""
    seen = sample([10] * 50 + [30] * 50, 100, s=20.0)
    mean, slowest, share, rate = (measure(metric, seen) for metric in (MEAN, SLOWEST, Metric(stat=Stat.ERRORS), RATE))
    assert mean is not None
    assert slowest is not None
    assert share is not None
    assert rate is not None
    assert mean.value == pytest.approx(0.020, rel=1e-3)
    assert (mean.high - mean.low) / 2 == pytest.approx(0.010 * 1.96 / 10, rel=1e-2)
    assert slowest.value == pytest.approx(0.030, rel=1e-3)
    assert share.value == 0.5
    assert share.low < 0.5 < share.high
    assert rate.value == 5.0
    assert rate.low < 5.0 < rate.high


def test_a_mean_of_failures_is_infinite() -> None:
    """Where nothing succeeded, no mean is short."""
    seen = measure(MEAN, sample([], 5))
    assert seen is not None
    assert math.isinf(seen.value)


def test_lag_can_be_taken_off() -> None:
    """The adjusted measure is what a perfect generator had seen."""
    seen = measure(p95(1.0).metric, sample([100] * 20, lag_ms=60), adjusted=True)
    assert seen is not None
    assert seen.value == pytest.approx(0.040, rel=1e-3)


def test_a_probe_has_no_hits() -> None:
    """A probe cannot be measured on load."""
    with pytest.raises(ValueError, match="queue is a probe"):
        measure(PROBE, sample([1]))


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        (sample([10] * 96, 4), Outcome.HELD),
        (sample([10] * 94, 6), Outcome.BROKEN),
        (sample([10] * 94 + [300] * 6), Outcome.BROKEN),
        (sample([10] * 99), Outcome.UNKNOWN),
        (sample([10] * 20 + [300] * 6), Outcome.BROKEN),
        (sample([]), Outcome.UNKNOWN),
    ],
)
def test_an_absolute_quantile(now: Sample, outcome: Outcome) -> None:
    """The observed p95 decides once there are 100 hits; before, only what the missing hits could not mend."""
    assert judge(p95(0.1), now).outcome is outcome


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        (sample([10] * 99, 1), Outcome.HELD),
        (sample([10] * 98, 2), Outcome.UNKNOWN),
        (sample([10] * 94, 6), Outcome.BROKEN),
        (sample([10] * 94, open_=6), Outcome.BROKEN),
        (sample([10] * 245, 5), Outcome.BROKEN),
        (sample([10] * 40), Outcome.UNKNOWN),
        (sample([10] * 5, 2), Outcome.BROKEN),
        (sample([10] * 6, 1), Outcome.UNKNOWN),
        (sample([], late=100), Outcome.UNKNOWN),
    ],
)
def test_an_absolute_share_of_errors(now: Sample, outcome: Outcome) -> None:
    """`errors < 2%` is decided by 50 hits; up to 250 hits break it only with more failures than chance explains."""
    assert judge(errors(0.02), now).outcome is outcome


@pytest.mark.parametrize(
    ("tol", "now", "outcome"),
    [
        (tolerance("rate >= 9/s", RATE, ">=", 9.0), sample([10] * 100), Outcome.HELD),
        (tolerance("rate >= 9/s", RATE, ">=", 9.0), sample([10] * 80, 20), Outcome.BROKEN),
        (tolerance("rate >= 9/s", RATE, ">=", 9.0), sample([10] * 20), Outcome.UNKNOWN),
        (tolerance("mean < 20ms", MEAN, "<", 0.020), sample([10] * 40), Outcome.HELD),
        (tolerance("mean < 20ms", MEAN, "<", 0.020), sample([10] * 5), Outcome.UNKNOWN),
        (tolerance("max < 20ms", SLOWEST, "<", 0.020), sample([10] * 5 + [30]), Outcome.BROKEN),
        (tolerance("max < 20ms", SLOWEST, "<", 0.020), sample([10] * 5), Outcome.UNKNOWN),
        (tolerance("max < 20ms", SLOWEST, "<", 0.020), sample([10] * 50), Outcome.HELD),
    ],
)
def test_other_absolute_metrics(tol: object, now: Sample, outcome: Outcome) -> None:
    """Rates, means and maxima need 30 hits; one hit is enough to exceed a maximum."""
    assert judge(tol, now).outcome is outcome


def test_too_little_says_how_long_would_do() -> None:
    """UNKNOWN for want of data names the time that would suffice at this pace."""
    assert judge(p95(0.1), sample([10] * 50)).why == "50 hits of the 100 it takes; 20 s would suffice"


STEADY = sample([ms for ms in range(80, 121) for _ in range(50)], s=20.0)


def scaled(factor: float, repeat: int = 50, s: float = 20.0) -> Sample:
    return sample([round(ms * factor) for ms in range(80, 121) for _ in range(repeat)], s=s)


@pytest.mark.parametrize(
    ("factor", "outcome"), [(1.0, Outcome.HELD), (1.9, Outcome.HELD), (2.1, Outcome.BROKEN), (3.0, Outcome.BROKEN)]
)
def test_a_relative_quantile_with_plenty_of_data(factor: float, outcome: Outcome) -> None:
    """`2x baseline` holds below and breaks above, where both samples are large."""
    judged = judge(TWICE, scaled(factor), STEADY)
    assert judged.outcome is outcome
    assert judged.baseline == pytest.approx(0.119, rel=0.01)
    assert judged.bound == pytest.approx(0.238, rel=0.01)


def test_a_relative_quantile_beyond_what_is_visible() -> None:
    """A margin smaller than the smallest visible effect is UNKNOWN, and a longer baseline or run is asked for."""
    close = replace(TWICE, value=1.003)
    judged = judge(close, scaled(1.0), STEADY)
    assert judged.outcome is Outcome.UNKNOWN
    assert "smallest visible effect" in judged.why
    assert "would suffice" in judged.why


def test_a_longer_baseline_is_asked_for_when_that_would_do() -> None:
    """When only the baseline is too short, the time asked for is the baseline's."""
    short = sample([round(ms) for ms in range(60, 141) for _ in range(2)], s=4.0)
    judged = judge(replace(TWICE, value=1.02), sample([100] * 5000), short)
    assert judged.outcome is Outcome.UNKNOWN
    assert judged.why.endswith("of baseline would suffice")


@pytest.mark.parametrize("now", [scaled(0.99), sample([100] * 96, 4)])
def test_no_margin_is_never_held(now: Sample) -> None:
    """`1x baseline` leaves no room for noise: it can break, not hold, and no duration would change that."""
    judged = judge(replace(TWICE, value=1.0), now, STEADY)
    assert judged.outcome is Outcome.UNKNOWN
    assert "suffice" not in judged.why


@pytest.mark.parametrize(
    ("failed", "outcome"), [(0, Outcome.HELD), (2, Outcome.HELD), (25, Outcome.UNKNOWN), (100, Outcome.BROKEN)]
)
def test_relative_errors(failed: int, outcome: Outcome) -> None:
    """`baseline + 1%` holds for few errors more, breaks for many, and is UNKNOWN in between."""
    judged = judge(ONE_PERCENT_MORE, sample([10] * (2000 - failed), failed), sample([10] * 2000))
    assert judged.outcome is outcome


def test_a_relative_rate_has_its_margin_below() -> None:
    """`rate >= 0.5x baseline` holds above half and breaks well below it."""
    half = tolerance("rate >= 0.5x baseline", RATE, ">=", 0.5, against=Against.TIMES_BASELINE)
    assert judge(half, sample([10] * 900), sample([10] * 1000)).outcome is Outcome.HELD
    assert judge(half, sample([10] * 300), sample([10] * 1000)).outcome is Outcome.BROKEN


@pytest.mark.parametrize(
    ("baseline", "why"),
    [
        (None, "the baseline has no data"),
        (sample([]), "the baseline has no data"),
        (sample([10] * 50), "baseline: 50 hits of the 100 it takes"),
        (sample([10] * 80, 20), "the baseline itself fails"),
    ],
)
def test_a_baseline_that_cannot_be_compared_with(baseline: Sample | None, why: str) -> None:
    """Without a usable baseline a relative tolerance is UNKNOWN."""
    judged = judge(TWICE, sample([10] * 200), baseline)
    assert judged.outcome is Outcome.UNKNOWN
    assert judged.why.startswith(why)


GOOD, BAD, THIN, NONE = sample([10] * 100), sample([10] * 90, 10), sample([10] * 3), sample([])


@pytest.mark.parametrize(
    ("windows", "outcome"),
    [
        ((GOOD, GOOD), Outcome.HELD),
        ((GOOD, BAD, GOOD), Outcome.BROKEN),
        ((GOOD, THIN), Outcome.HELD),
        ((THIN, THIN), Outcome.UNKNOWN),
        ((GOOD, NONE), Outcome.UNKNOWN),
        ((BAD, NONE), Outcome.BROKEN),
        ((), Outcome.UNKNOWN),
    ],
)
def test_in_any_window(windows: tuple[Sample, ...], outcome: Outcome) -> None:
    """Any broken window breaks, a window without traffic is no pass, and some window must have enough."""
    judged = judge_load(errors(0.05, window_s=10.0), Evidence(GOOD, windows))
    assert judged.outcome is outcome


def test_the_worst_window_is_reported() -> None:
    """Of several windows the finding shows the worst value, above or below."""
    above = judge_load(errors(0.5, window_s=10.0), Evidence(GOOD, (GOOD, BAD)))
    below = judge_load(tolerance("rate > 1/s", RATE, ">", 1.0, window_s=10.0), Evidence(GOOD, (GOOD, BAD)))
    assert (above.value, below.value) == (0.1, 9.0)


BELOW_FIVE = tolerance("queue < 5", PROBE, "<", 5.0)


@pytest.mark.parametrize(
    ("answers", "outcome", "value"),
    [
        ([(True, 1.0), (True, 4.0)], Outcome.HELD, 4.0),
        ([(True, 1.0), (True, 6.0), (True, 2.0)], Outcome.BROKEN, 6.0),
        ([(True, 1.0), (False, None)], Outcome.BROKEN, 1.0),
        ([(True, None)], Outcome.BROKEN, None),
        ([], Outcome.UNKNOWN, None),
    ],
)
def test_the_worst_answer_of_a_probe_decides(
    answers: list[tuple[bool, float | None]], outcome: Outcome, value: float | None
) -> None:
    """One bad answer or error violates, and no answer is no pass."""
    judged = judge_answers(BELOW_FIVE, answers, None)
    assert (judged.outcome, judged.value) == (outcome, value)


def test_answers_of_a_probe_against_the_baseline() -> None:
    """A relative probe needs a number in the baseline, and its worst answer is the smallest where more is better."""
    half = tolerance("queue >= 0.5x baseline", PROBE, ">=", 0.5, against=Against.TIMES_BASELINE)
    assert judge_answers(half, [(True, 4.0)], None).why == "the probe gave no number in the baseline"
    assert judge_answers(half, [(True, 9.0), (True, 6.0)], 10.0).value == 6.0
    broken = judge_answers(half, [(True, 9.0), (True, 4.0), (False, None)], 10.0)
    assert (broken.outcome, broken.why) == (Outcome.BROKEN, "2 of 3 answers, 1 of them an error")


def test_only_an_upper_bound_can_be_beyond_repair() -> None:
    """More hits can always mend a lower bound, a mean or a rate."""
    assert not beyond_repair(tolerance("errors >= 1%", errors(0.01).metric, ">=", 0.01), sample([], 5), 0.01)
    assert not beyond_repair(tolerance("mean < 1ms", MEAN, "<", 0.001), sample([10] * 5), 0.001)
    assert not beyond_repair(tolerance("max < 1ms", SLOWEST, "<", 0.001), sample([]), 0.001)
    assert beyond_repair(p95(0.05), sample([100] * 30, lag_ms=10), 0.05, adjusted=True)
    assert not beyond_repair(p95(0.05), sample([100] * 30, lag_ms=90), 0.05, adjusted=True)


def test_comparisons() -> None:
    """The four comparisons mean what they say, and there is no fifth."""
    assert [holds(1.0, cmp, 1.0) for cmp in ("<=", "<", ">=", ">")] == [True, False, True, False]
    with pytest.raises(ValueError, match="no comparison"):
        holds(1.0, "==", 1.0)


def test_bounds() -> None:
    """A bound is absolute, a multiple of the baseline, or the baseline and something."""
    assert [bound_of(replace(p95(3.0), against=against), 2.0) for against in Against] == [3.0, 6.0, 5.0]


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        (MEAN, 0.34, "340 ms"),
        (Metric(stat=Stat.ERRORS), 0.0312, "3.12 %"),
        (RATE, 98.123, "98.12 /s"),
        (PROBE, 4.0, "4"),
        (MEAN, None, "no data"),
        (MEAN, math.inf, "failed"),
    ],
)
def test_values_for_people(metric: Metric, value: float | None, text: str) -> None:
    """Values carry their unit; infinitely slow is called what it is."""
    assert human(metric, value) == text


def test_expectations_for_people() -> None:
    """The expectation is the bound, with its window; without a bound it is what the user wrote."""
    assert expected(errors(0.05, window_s=10.0), 0.05) == "<5 % in any 10 s"
    assert expected(TWICE, 0.68) == "≤680 ms"
    assert expected(TWICE, None) == "p95 <= 2x baseline"


def test_what_is_enough() -> None:
    """The number of hits needed is that of the metric."""
    assert [enough(tol, 0.005) for tol in (p95(1.0), errors(0.005), tolerance("m", MEAN, "<", 1.0))] == [100, 200, 30]


def test_a_window_that_chance_may_have_broken_is_not_hidden_by_others() -> None:
    """Beside windows that held, one that violates by no more than chance explains is UNKNOWN, with its own figure."""
    clean, doubtful = sample([10] * 100), sample([10] * 96, 4)
    told = judge_load(replace(errors(0.02), window_s=10.0), Evidence(clean, [clean, doubtful, clean]))
    assert (told.outcome, told.value, told.by_chance) == (Outcome.UNKNOWN, 0.04, True)


def test_a_quantile_among_failures_is_compared_with_nothing() -> None:
    """Where the quantile falls on requests that failed, by a few, nothing is visible, and that is no error."""
    judged = judge(TWICE, sample([100] * 945, 55), sample([100] * 2000))
    assert judged.outcome is Outcome.UNKNOWN
    assert "smallest visible effect" in judged.why
