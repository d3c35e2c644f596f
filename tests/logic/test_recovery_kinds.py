"""Recovery by rates, means, maxima and probes, which single requests do not tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import Script, away, errors, noisy, ns, steps, tolerance
from recovering import after, measured

from chaosrunner.model import events as e
from chaosrunner.model.hypothesis import Against, Metric, Stat
from chaosrunner.model.load import Outcome

RATE = tolerance("rate >= 90/s", Metric(stat=Stat.RATE), ">=", 90.0)
MEAN = tolerance("mean <= 10ms", Metric(stat=Stat.MEAN), "<=", 0.010)
SLOWEST = tolerance("max <= 50ms", Metric(stat=Stat.MAX), "<=", 0.050)


@pytest.mark.parametrize("raw", [True, False])
def test_a_rate_recovers(raw: bool) -> None:
    """A rate has recovered when it holds from a slot on, known to about a tenth of a second."""
    seen = measured(Script(answer=away(24.0, 30.0), raw=raw), after(RATE))
    assert seen.time_s == pytest.approx(2.5, abs=0.11)
    assert seen.detected_s is None


def test_a_mean_recovers() -> None:
    """A mean has recovered when the first second and the whole hold time are below it."""
    seen = measured(Script(answer=lambda due, _: (Outcome.OK, 0.05 if 24.0 <= due < 30.0 else 0.005)), after(MEAN))
    assert seen.time_s == pytest.approx(2.5, abs=0.15)
    dead = measured(Script(answer=away(24.0, 999.0)), after(MEAN, load=steps("read")))
    assert dead.state == "never"


def test_a_rate_that_relapses() -> None:
    """A rate that falls again after the hold time is a relapse, and before the watch is over it is unknown."""
    seen = measured(Script(answer=away(24.0, 28.0, otherwise=away(50.0, 55.0))), after(RATE))
    assert (seen.state, seen.why) == ("recovered", "it relapsed later")
    assert measured(Script(answer=away(24.0, 30.0), end=35.0), after(RATE)).state == "unknown"


def test_a_rate_of_too_few() -> None:
    """A rate over a handful of requests is not proven."""
    slow = replace(RATE, value=1.0)
    assert measured(Script(rate=2.0), after(slow)).why == "10 requests too few in 10 s to prove a recovery"


def test_a_maximum_allows_nothing() -> None:
    """One request above a maximum is one too many, and the last such one ends the outage."""
    seen = measured(Script(answer=lambda due, _: (Outcome.OK, 0.2 if due in {24.0, 29.0} else 0.005)), after(SLOWEST))
    assert seen.time_s == pytest.approx(1.505)
    assert seen.detected_s == pytest.approx(1.5)
    assert seen.outage_s == pytest.approx(5.0)


def test_everything_may_fail() -> None:
    """A tolerance that allows all errors is always kept."""
    seen = measured(Script(answer=away(24.0, 999.0)), after(errors(1.0, cmp="<=")))
    assert (seen.state, seen.time_s, seen.detected_s) == ("recovered", 0.0, None)


def test_half_may_fail() -> None:
    """A median is recovered when most are fast again."""
    median = tolerance("p50 <= 100ms", Metric(stat=Stat.QUANTILE, quantile=0.5), "<=", 0.1)
    seen = measured(Script(answer=away(24.0, 30.0, otherwise=noisy(1, slow=0.3))), after(median))
    assert seen.time_s == pytest.approx(2.5, abs=0.1)


def test_errors_below_nothing_cannot_hold() -> None:
    """`errors < 0%` is never kept, however well all goes."""
    assert measured(Script(), after(errors(0.0))).state == "never"


def probed(*values: tuple[float, float | None]) -> list[tuple[float, e.Event]]:
    return [
        (at, e.ProbeAnswered(probe="queue", at_ns=ns(at), ok=value is not None, value=value)) for at, value in values
    ]


QUEUE = tolerance("queue < 5", Metric(stat=Stat.PROBE, probe="queue"), "<", 5.0)


def test_a_probe_must_recover_too() -> None:
    """Users have it back, but the queue has drained only when the probe says so."""
    said = probed(*[(float(at), 9.0 if 24 <= at < 33 else 1.0) for at in range(2, 60)])
    seen = measured(Script(answer=away(24.0, 28.0), extra=said), after(errors(0.01), QUEUE))
    assert seen.time_s == pytest.approx(5.0, abs=0.02)
    assert seen.low_s == pytest.approx(4.5, abs=0.02)
    assert seen.outage_s == pytest.approx(4.0, abs=0.02)


def test_a_silent_probe_proves_nothing() -> None:
    """A probe without an answer, or with errors only, has not recovered."""
    silent = measured(Script(), after(errors(0.01), QUEUE))
    assert (silent.state, silent.why) == ("unknown", "1 requests too few in 10 s to prove a recovery")
    failing = probed(*[(float(at), None) for at in range(2, 60)])
    assert measured(Script(extra=failing), after(QUEUE)).state == "never"


def test_a_relative_probe_rests_on_the_baseline() -> None:
    """`queue < 2x baseline` counts from the median answer of the baseline."""
    twice = replace(QUEUE, against=Against.TIMES_BASELINE, value=2.0)
    said = probed(*[(float(at), 9.0 if 24 <= at < 33 else 3.0) for at in range(2, 60)])
    assert measured(Script(extra=said), after(twice)).time_s == pytest.approx(5.0, abs=0.02)
