"""Whether one stretch is as another was: proven, refuted, or neither."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stretches import Kind, drawn, joined, piece

from chaosrunner.logic.equivalence import compare, label, pooled
from chaosrunner.logic.stretch import alike, size_of_piece, student, variance_of_sum
from chaosrunner.model.hypothesis import Metric, Stat
from chaosrunner.model.verdict import Change

P50, P95 = (Metric(stat=Stat.QUANTILE, quantile=share) for share in (0.5, 0.95))
MEAN, ERRORS, RATE = (Metric(stat=stat) for stat in (Stat.MEAN, Stat.ERRORS, Stat.RATE))
LATENCIES = (P50, P95, MEAN)


def proven(metric: Metric, before: Kind, after: Kind, *, margin: float = 0.1, seed: int = 10_000) -> Change:
    return compare(metric, (drawn(seed, before), drawn(seed + 1_000_000, after)), margin).proves


@pytest.mark.parametrize("metric", LATENCIES, ids=label)
@pytest.mark.parametrize("wander", [0.0, 0.05], ids=["independent", "wandering"])
def test_its_interval_holds_what_is_true(metric: Metric, wander: float) -> None:
    """Of 95 % intervals of a change of a fifth at least nine in ten hold it, autocorrelated or not."""
    slower = Kind(median=0.024, wander=wander)
    seen = [compare(metric, (drawn(n, Kind(wander=wander)), drawn(-n, slower)), 0.1) for n in range(10_000, 10_030)]
    inside = [one.low is not None and one.high is not None and one.low <= 1.2 <= one.high for one in seen]
    assert sum(inside) >= 27


@pytest.mark.parametrize("metric", LATENCIES, ids=label)
def test_a_quarter_more_is_never_as_before(metric: Metric) -> None:
    """A quarter slower than before is never proven to be within a tenth; with enough requests it is refuted."""
    seen = {proven(metric, Kind(), Kind(median=0.025), seed=seed) for seed in range(10_000, 10_020)}
    assert seen <= {Change.WORSE, Change.UNCLEAR}
    assert Change.WORSE in seen
    assert proven(metric, Kind(hits=400), Kind(hits=400, median=0.025)) is Change.WORSE


@pytest.mark.parametrize("metric", [*LATENCIES, ERRORS, RATE], ids=label)
def test_the_same_is_hardly_ever_refuted(metric: Metric) -> None:
    """Of thirty pairs that are the same none is called worse, though they wander and fail now and then."""
    kind = Kind(wander=0.05, errors=0.002, rush=0.1)
    seen = [proven(metric, kind, kind, margin=0.01 if metric is ERRORS else 0.1, seed=seed) for seed in range(30)]
    assert Change.WORSE not in seen


@pytest.mark.parametrize("metric", [*LATENCIES, ERRORS, RATE], ids=label)
def test_the_same_is_proven_with_enough_of_it(metric: Metric) -> None:
    """A thousand requests a second for twenty seconds prove that nothing has changed."""
    kind = Kind(hits=1000, errors=0.002)
    assert proven(metric, kind, kind, margin=0.01 if metric is ERRORS else 0.1) is Change.EQUAL


def test_better_is_not_the_same() -> None:
    """What is faster than the margin is told apart, and is not held against anyone."""
    assert proven(P50, Kind(hits=400), Kind(hits=400, median=0.015)) is Change.BETTER
    assert proven(RATE, Kind(rush=0.01), Kind(hits=80, rush=0.01)) is Change.BETTER


def test_more_errors_are_a_difference_of_shares() -> None:
    """Five percent of errors where there were none are five points more, and worse than one."""
    seen = compare(ERRORS, (drawn(1, Kind()), drawn(2, Kind(errors=0.05))), 0.01)
    assert seen.proves is Change.WORSE
    assert seen.change is not None
    assert seen.low is not None
    assert seen.high is not None
    assert seen.low < 0.05 < seen.high
    assert seen.scale == "difference"


def test_less_goodput_is_harm() -> None:
    """A tenth less goodput is worse than a twentieth, and the interval says so from the other side."""
    seen = compare(RATE, (drawn(1, Kind(rush=0.02)), drawn(2, Kind(hits=45, rush=0.02))), 0.05)
    assert (seen.proves, seen.metric) == (Change.WORSE, "rate")
    assert seen.high is not None
    assert seen.high < 0.95


def test_no_goodput_at_all_is_worse() -> None:
    """Where nothing succeeds any more the ratio is nought, its upper end a number, and that is refuted."""
    dead = joined([piece([None] * 50) for _ in range(20)])
    seen = compare(RATE, (drawn(1, Kind()), dead), 0.05)
    assert (seen.proves, seen.change, seen.low) == (Change.WORSE, 0.0, 0.0)
    assert compare(RATE, (dead, drawn(1, Kind())), 0.05).why == "the baseline itself fails"
    assert compare(MEAN, (drawn(1, Kind()), dead), 0.1).proves is not Change.EQUAL
    assert compare(MEAN, (dead, dead), 0.1).why == "the baseline itself fails"


def test_a_quantile_on_failures_is_infinitely_slow() -> None:
    """When a tenth of the requests fails p95 is infinite: worse, with an open end, and said so as a baseline."""
    failing = drawn(1, Kind(hits=400, errors=0.1))
    seen = compare(P95, (drawn(2, Kind(hits=400)), failing), 0.1)
    assert (seen.after, seen.change, seen.high, seen.proves) == (math.inf, math.inf, math.inf, Change.WORSE)
    assert compare(P95, (failing, failing), 0.1).why == "the baseline itself fails"
    edge = compare(P95, (drawn(2, Kind(hits=400)), drawn(3, Kind(hits=400, errors=0.049))), 0.1)
    assert edge.proves is not Change.EQUAL


def test_too_little_says_what_would_do() -> None:
    """With few requests, few pieces, or a wide interval nothing is proven, and the time that would do is told."""
    short = compare(P95, (drawn(1, Kind()), drawn(2, Kind(pieces=4))), 0.1)
    assert short.why == "the time after is only 4 s long; 8 s would do"
    none = compare(P95, (drawn(1, Kind()), drawn(2, Kind(pieces=0))), 0.1)
    assert none.why == "the time after is only 0 s long; 1 s would do"
    few = compare(P95, (drawn(1, Kind(hits=4)), drawn(2, Kind())), 0.1)
    assert few.why == "the baseline has 80 requests of the 100 it takes; 25 s would do"
    wide = compare(P95, (drawn(2, Kind(hits=10)), drawn(1, Kind(hits=10))), 0.1)
    assert wide.proves is Change.UNCLEAR
    assert "worse" in wide.why
    assert wide.why.endswith("of hold would do")
    failing = compare(ERRORS, (drawn(1, Kind(hits=10)), drawn(2, Kind(hits=10))), 0.01)
    assert "points" in failing.why
    rushing = compare(RATE, (drawn(1, Kind(rush=0.9)), drawn(2, Kind(rush=0.9))), 0.05)
    assert "%" in rushing.why


def test_a_change_on_the_margin_cannot_be_told() -> None:
    """Where the change is the margin itself, no time is promised; where the end is open, none can be."""
    kind = Kind(hits=10, sigma=0.5)
    told = {
        compare(P50, (drawn(n, kind), drawn(-n, Kind(hits=10, sigma=0.5, median=0.022))), 0.1).why for n in range(30)
    }
    assert any("too close to the margin" in why for why in told)
    open_end = compare(
        Metric(stat=Stat.QUANTILE, quantile=0.999), (drawn(1, Kind(hits=250)), drawn(2, Kind(hits=250))), 0.1
    )
    assert open_end.why.startswith("it may be any amount worse")
    lowest = compare(Metric(stat=Stat.QUANTILE, quantile=0.01), (drawn(1, Kind(hits=10)), drawn(2, Kind(hits=10))), 0.1)
    assert lowest.why.startswith("it may be any amount worse")


@pytest.mark.parametrize(("stat", "margin"), [(Stat.MAX, 0.1), (Stat.PROBE, 0.1), (Stat.MEAN, 0.0)])
def test_what_has_no_interval_is_not_compared(stat: Stat, margin: float) -> None:
    """A maximum, a probe's answer and a margin of nothing cannot be compared."""
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(Metric(stat=stat), (drawn(1, Kind()), drawn(2, Kind())), margin)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    metric=st.sampled_from([*LATENCIES, ERRORS, RATE]),
    after=st.builds(Kind, median=st.floats(0.005, 0.1), errors=st.floats(0, 0.3), hits=st.integers(5, 80)),
    margin=st.floats(0.005, 0.5),
)
def test_an_interval_holds_its_value_and_proves_what_it_says(
    seed: int, metric: Metric, after: Kind, margin: float
) -> None:
    """The change lies within its interval; equal, worse and better follow from its ends alone."""
    seen = compare(metric, (drawn(seed, Kind(hits=30)), drawn(seed + 1, after)), margin)
    if seen.change is None:
        assert seen.proves is Change.UNCLEAR
        return
    assert seen.low is not None
    assert seen.high is not None
    assert seen.low <= seen.change <= seen.high
    wider = compare(metric, (drawn(seed, Kind(hits=30)), drawn(seed + 1, after)), margin, 0.001)
    assert wider.low is not None
    assert wider.low <= seen.low
    ok = 1 - margin <= seen.low if metric is RATE else seen.high <= (margin if metric is ERRORS else 1 + margin) + 1e-9
    assert (seen.proves in (Change.EQUAL, Change.BETTER)) == ok or math.isclose(seen.low, 1 - margin)


@pytest.mark.parametrize(
    ("share", "freedom", "value"), [(0.975, 7, 2.3646), (0.975, 19, 2.0930), (0.95, 30, 1.6973), (0.995, 10, 3.1693)]
)
def test_students_quantiles_are_those_of_the_tables(share: float, freedom: int, value: float) -> None:
    """The quantile of Student's t agrees with printed tables to three digits."""
    assert student(share, freedom) == pytest.approx(value, abs=2e-3)


def test_what_neighbours_share_is_seen() -> None:
    """Independent residuals have no correlation to speak of, wandering ones about their own, and it is bounded."""
    assert alike([1.0, -1.0] * 50) == 0.0
    assert alike([0.0] * 50, [1.0]) == 0.0
    assert alike([1.0] * 25 + [-1.0] * 25) == 0.8
    assert variance_of_sum([1.0, -1.0] * 10, 0.5) == pytest.approx(20 / 19 * 20 * 3)


def test_pieces_are_a_twentieth_of_the_shorter() -> None:
    """The shorter of two stretches is cut in about twenty, and no piece is shorter than a slot."""
    assert size_of_piece(range(100), range(600)) == 5
    assert size_of_piece(range(10), range(600)) == 1


def test_kinds_are_pooled_by_how_many_there_were() -> None:
    """The mean change of two kinds lies between theirs, nearer to that of the many, and so does its interval."""
    kinds = [
        (300, compare(P50, (drawn(1, Kind()), drawn(2, Kind())), 0.1)),
        (100, compare(P50, (drawn(3, Kind(median=0.2)), drawn(4, Kind(median=0.208))), 0.1)),
    ]
    seen = pooled(P50, kinds, 0.1)
    assert seen is not None
    assert seen.metric == "p50 by kind"
    for field in ("change", "low", "high", "before", "after"):
        many, few = (math.log(getattr(one, field)) for _, one in kinds)
        assert math.log(getattr(seen, field)) == pytest.approx(0.75 * many + 0.25 * few)


def test_kinds_that_cannot_be_pooled() -> None:
    """One kind that is proven to be worse, or of which too little is known, is not hidden by the others."""
    same = compare(P50, (drawn(1, Kind(hits=400)), drawn(2, Kind(hits=400))), 0.1)
    worse = compare(P50, (drawn(1, Kind(hits=400)), drawn(2, Kind(hits=400, median=0.03))), 0.1)
    lacking = compare(P50, (drawn(1, Kind()), joined([piece([])] * 20)), 0.1)
    assert same.proves is Change.EQUAL
    assert worse.proves is Change.WORSE
    assert lacking.change is None
    assert pooled(P50, [(1000, same), (1, worse)], 0.1) is None
    assert pooled(P50, [(1000, same), (1, lacking)], 0.1) is None
    assert pooled(P50, [(1000, same), (1, replace(same, change=math.inf))], 0.1) is None


def test_what_takes_no_time_and_for_ever_is_pooled() -> None:
    """A kind whose interval has no end leaves the mean without one, so nothing is proven."""
    same = compare(P50, (drawn(1, Kind(hits=400)), drawn(2, Kind(hits=400))), 0.1)
    seen = pooled(P50, [(1, same), (1, replace(same, low=0.0, high=math.inf))], 0.1)
    assert seen is not None
    assert (seen.low, seen.high, seen.proves) == (0.0, math.inf, Change.UNCLEAR)
