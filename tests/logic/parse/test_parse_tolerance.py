"""The one-line language of tolerances."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.parse.tolerance import Names, parse_tolerance, render
from chaosrunner.model.hypothesis import Against, Metric, Stat, Tolerance

NAMES = Names(frozenset({"log in", "read"}), frozenset({"queue length"}))


def parsed(text: str, *, abort: bool = False) -> Tolerance:
    return parse_tolerance(text, NAMES, abort=abort, line=7)


@pytest.mark.parametrize(
    ("text", "metric", "against", "value"),
    [
        ("p95 <= 400ms", Metric(stat=Stat.QUANTILE, quantile=0.95), Against.ABSOLUTE, 0.4),
        ("p99.9 < 1s", Metric(stat=Stat.QUANTILE, quantile=0.999), Against.ABSOLUTE, 1.0),
        ("mean<2min", Metric(stat=Stat.MEAN), Against.ABSOLUTE, 120.0),
        ("max of log in <= 2x baseline", Metric(stat=Stat.MAX, of="log in"), Against.TIMES_BASELINE, 2.0),
        ("p50 <= 1.1 x baseline", Metric(stat=Stat.QUANTILE, quantile=0.5), Against.TIMES_BASELINE, 1.1),
        ("p50 <= baseline + 50ms", Metric(stat=Stat.QUANTILE, quantile=0.5), Against.PLUS_BASELINE, 0.05),
        ("errors <= baseline+1%", Metric(stat=Stat.ERRORS), Against.PLUS_BASELINE, 0.01),
        ("errors <= baseline - 0.5%", Metric(stat=Stat.ERRORS), Against.PLUS_BASELINE, -0.005),
        ("errors <= 0%", Metric(stat=Stat.ERRORS), Against.ABSOLUTE, 0.0),
        ("rate of read >= 90/s", Metric(stat=Stat.RATE, of="read"), Against.ABSOLUTE, 90.0),
        ("rate >= 0.9x baseline", Metric(stat=Stat.RATE), Against.TIMES_BASELINE, 0.9),
        ("queue length < 5", Metric(stat=Stat.PROBE, probe="queue length"), Against.ABSOLUTE, 5.0),
        ("queue length <= 2x baseline", Metric(stat=Stat.PROBE, probe="queue length"), Against.TIMES_BASELINE, 2.0),
        ("queue length <= baseline + 5", Metric(stat=Stat.PROBE, probe="queue length"), Against.PLUS_BASELINE, 5.0),
        ("queue length < 0", Metric(stat=Stat.PROBE, probe="queue length"), Against.ABSOLUTE, 0.0),
    ],
)
def test_tolerances(text: str, metric: Metric, against: Against, value: float) -> None:
    """A tolerance is a metric, a comparison and a bound in the metric's unit."""
    found = parsed(text)
    assert (found.metric, found.against, found.value) == (metric, against, value)
    assert (found.text, found.line, found.window_s, found.for_s) == (text, 7, 0.0, 0.0)


def test_windows_and_lasting() -> None:
    """`in any` is a sliding window of a phase, `for` belongs to what aborts."""
    assert parsed("errors of log in < 5% in any 10s").window_s == 10.0
    found = parsed("errors > 30% for 10s", abort=True)
    assert (found.cmp, found.for_s) == (">", 10.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p95 400ms", "expected one of '<=', '<', '>=' or '>' between a metric and a value"),
        ("p95 =< 400ms", "did you mean '<='?"),
        ("errors ≤ 2%", "did you mean '<='?"),
        ("errors = 2%", "did you mean '<='?"),
        ("p95 <= 1s < 2s", "expected one of"),
        ("<= 400ms", "expected a metric first"),
        ("p95x < 1s", "'p95x' is no metric; did you mean 'p95'?"),
        ("zzz < 1s", "'zzz' is no metric; expected mean, max, errors, rate, p50, p95, p99 or queue length"),
        ("p100 < 1s", "'p100' is spelled 'max'"),
        ("p0 < 1s", "'p0' is no percentile"),
        ("p101 < 1s", "'p101' is no percentile"),
        ("p95 of log on < 1s", "no request is called 'log on'; did you mean 'log in'?"),
        ("queue length of read < 1", "'queue length' is a probe: it is not 'of' a request"),
        ("p95 <= 2x basline", "expected 'baseline' after '2x'"),
        ("p95 <= 2x", "expected 'baseline' after '2x'"),
        ("errors <= 2x baseline", "a multiple of zero errors always breaks; write 'baseline + 1%'"),
        ("errors <= baseline", "expected '+' or '-' and an amount after 'baseline'"),
        ("rate >= baseline - 5/s", "expected a multiple here, such as '1.1x baseline'"),
        ("p95 <= baseline + 10%", "expected a multiple here, such as '1.1x baseline'"),
        ("queue length < 2 in any 5s", "a probe is judged at each of its answers; leave 'in any' out"),
        ("queue length < 2s", "queue length is a plain number; found '2s'"),
        ("p95 <=", "expected a value after the comparison"),
        ("p95 <= 400", "a duration needs a unit; write '400s' or '400min'"),
        ("p95 < 2%", "p95 is a duration, such as '400ms'; found '2%'"),
        ("errors < 2s", "errors is a share, such as '2%'; found '2s'"),
        ("errors < 2", "a share needs a percent sign; write '2%'"),
        ("errors < 101%", "'101%' is more than 100%"),
        ("rate > 90", "a rate needs a unit; write '90/s'"),
        ("rate > 90%", "rate is a rate, such as '90/s'; found '90%'"),
        ("errors < 0%", "nothing is less than zero; write '<='"),
        ("p95 <= 1s in any", "'' is no duration"),
        ("p95 <= 1s in any 0s", "expected more than zero"),
        ("p95 <= 1s for 10s", "'for' belongs to 'abort'; a sliding window is written 'in any 10s'"),
    ],
)
def test_what_is_no_tolerance(text: str, said: str) -> None:
    """Each slip is answered with what was expected there."""
    with pytest.raises(ReadingError) as caught:
        parsed(text)
    assert said in str(caught.value)


def test_what_aborts_is_absolute() -> None:
    """A condition to abort on has no baseline and no sliding window."""
    for text, said in (("errors > 2% in any 5s", "'in any' judges a phase"), ("p95 > 2x baseline", "is absolute")):
        with pytest.raises(ReadingError, match=said):
            parsed(text, abort=True)


def test_names_are_not_checked_against_steps_that_are_wrong() -> None:
    """When the steps could not be read any name will do."""
    assert parse_tolerance("p95 of what < 1s", Names(None)).metric.of == "what"


TIMES = st.integers(1, 10**7).map(lambda us: us / 10**6)
SHARES = st.integers(1, 1000).map(lambda n: n / 1000)
NUMBERS = st.integers(1, 10**6).map(lambda n: n / 100)
OF = st.sampled_from(["", "log in", "read"])


@st.composite
def tolerances(draw: st.DrawFn) -> Tolerance:
    """Any tolerance a file could hold."""
    quantile = draw(st.integers(1, 9999)) / 10_000
    stat = draw(st.sampled_from(list(Stat)))
    metric = Metric(
        stat=stat,
        quantile=quantile if stat is Stat.QUANTILE else 0.0,
        probe="queue length" if stat is Stat.PROBE else "",
        of="" if stat is Stat.PROBE else draw(OF),
    )
    own = {Stat.ERRORS: SHARES, Stat.RATE: NUMBERS, Stat.PROBE: NUMBERS}.get(stat, TIMES)
    possible = {
        Stat.ERRORS: [Against.ABSOLUTE, Against.PLUS_BASELINE],
        Stat.RATE: [Against.ABSOLUTE, Against.TIMES_BASELINE],
    }.get(stat, list(Against))
    against = draw(st.sampled_from(possible))
    value = draw(NUMBERS if against is Against.TIMES_BASELINE else own)
    if against is Against.PLUS_BASELINE and draw(st.booleans()):
        value = -value
    lasting = {"for_s": draw(st.just(0.0) | TIMES)} if against is Against.ABSOLUTE and draw(st.booleans()) else {}
    window = {} if lasting or stat is Stat.PROBE else {"window_s": draw(st.just(0.0) | TIMES)}
    cmp = draw(st.sampled_from(["<=", "<", ">=", ">"]))
    return Tolerance(text="", metric=metric, cmp=cmp, against=against, value=value, **lasting, **window)


@given(tolerances())
def test_tolerances_round_trip(tolerance: Tolerance) -> None:
    """Reading the canonical text of any tolerance gives the same tolerance."""
    text = render(tolerance)
    again = parse_tolerance(text, NAMES, abort=bool(tolerance.for_s))
    assert again == replace(tolerance, text=text)
