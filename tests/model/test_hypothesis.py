"""A hypothesis is empty until something is said, and a tolerance covers its whole phase unless it says less."""

from __future__ import annotations

from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Probe, Stat, Tolerance


def test_a_tolerance_covers_everything_by_default() -> None:
    """Without `of`, `in any` and `for` a tolerance is about all requests of the whole phase."""
    tolerance = Tolerance(
        text="errors < 2%", metric=Metric(stat=Stat.ERRORS), cmp="<", against=Against.ABSOLUTE, value=0.02
    )
    assert (tolerance.metric.of, tolerance.window_s, tolerance.for_s, tolerance.line) == ("", 0.0, 0.0, 0)


def test_a_hypothesis_is_empty_until_something_is_said() -> None:
    """No phase has a tolerance by default; a probe is asked every second and has two to answer."""
    assert Hypothesis() == Hypothesis(before=(), during=(), after=())
    probe = Probe(name="stock", kind="http")
    assert (probe.every_s, probe.timeout_s, dict(probe.args)) == (1.0, 2.0, {})
