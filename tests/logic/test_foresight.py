"""What a plan says of lengths and of the smallest effects that can be seen, before anything runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import errors, experiment, p95, steps, tolerance

from chaosrunner.logic.foresight import Prior, foresee, per_second, rests_on
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat, Tolerance
from chaosrunner.model.load import Closed

TIMES, PLUS = {"against": Against.TIMES_BASELINE}, {"against": Against.PLUS_BASELINE}
SEEN = Prior(run="7f3a", p50_s=0.02, p95_s=0.03, errors=0.0, requests_per_s=100.0)


def says(one: Tolerance, prior: Prior | None = None, **more: object) -> tuple[str, bool]:
    """Of a tolerance in `after`, with 100 requests a second, 20 s of baseline and 10 s of hold."""
    asked: Experiment = experiment(hypothesis=Hypothesis(after=(one,)), **more)
    found = next(iter(foresee(asked, prior)))
    assert (found.phase, found.what) == ("after", one.text)
    return found.says, found.short


def test_an_absolute_tolerance_needs_requests() -> None:
    """So many requests, and how long they take at this load."""
    assert says(errors(0.01)) == ("needs 100 requests, 1 s of 10 s", False)
    assert says(errors(0.001, window_s=5.0)) == ("needs 1000 requests, 10 s of 5 s", True)


def test_a_relative_one_can_see_only_so_much() -> None:
    """The smallest effect follows from the load; too small a margin says which lengths would do."""
    told, short = says(p95(1.1, **TIMES))
    assert told.startswith("needs 100 requests, 1 s of 10 s; the smallest effect to be seen is +19.6 %")
    assert told.endswith("of 'after' would do")
    assert short
    told, short = says(p95(1.1, **TIMES), SEEN)
    assert told.endswith("the smallest effect to be seen is +4.51 %")
    assert not short


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (errors(0.02, **PLUS), "points"),
        (tolerance("mean", Metric(stat=Stat.MEAN), "<=", 1.5, **TIMES), "smallest effect"),
        (tolerance("rate", Metric(stat=Stat.RATE), ">=", 0.8, **TIMES), "smallest effect"),
        (tolerance("p99.99", Metric(stat=Stat.QUANTILE, quantile=0.9999), "<=", 1.5, **TIMES), "is nothing"),
        (p95(0.05, **PLUS), "needs 100 requests, 1 s of 10 s"),
        (p95(0.9, **TIMES), "needs 100 requests, 1 s of 10 s"),
        (errors(0.02, cmp=">=", **PLUS), "needs 200 requests, 2 s of 10 s"),
    ],
)
def test_every_kind_of_tolerance_has_its_words(one: Tolerance, told: str) -> None:
    """Errors in points, latencies and rates in percent; without a margin only the requests are told."""
    assert told in says(one)[0]


def test_a_proof_says_what_it_takes() -> None:
    """What errors, p50 and p95 can be told to, and which lengths of baseline and hold prove that all is as before."""
    *_, proof = foresee(experiment(), None)
    assert (proof.phase, proof.short) == ("proof", True)
    assert proof.says.startswith("errors to +0.")
    assert "; at least " in proof.says
    assert proof.says.endswith("of hold would prove it")
    steady = experiment(baseline_s=60.0, recover=RecoveryTarget(hold_s=60.0, margin=0.2))
    *_, enough = foresee(steady, SEEN)
    assert not enough.short
    assert list(foresee(experiment(faults=(), hypothesis=Hypothesis()))) == []


def test_a_probe_needs_no_requests() -> None:
    """A tolerance on a probe is not spoken of."""
    probe = tolerance("queue", Metric(stat=Stat.PROBE, probe="queue"), "<", 5.0)
    assert [one.phase for one in foresee(experiment(hypothesis=Hypothesis(before=(probe,))))] == ["proof"]


def test_how_many_requests_there_will_be() -> None:
    """In the open model by the schedule, in a closed one only by what an earlier run had."""
    two = experiment(load=steps("read", "write"))
    assert (per_second(two, "", None), per_second(two, "write", None)) == (200.0, 100.0)
    stream = replace(two.load.streams[0], closed=Closed())
    closed = replace(two, load=replace(two.load, streams=(stream,)))
    assert per_second(closed, "write", None) is None
    assert per_second(closed, "write", SEEN) == 50.0
    told = "how many requests there will be, only a run can tell"
    assert {one.says for one in foresee(closed)} == {told}


def test_where_the_figures_come_from() -> None:
    """From a run that is named, or from an assumption that is called one."""
    assert rests_on(SEEN) == "by the baseline of run 7f3a: p50 20 ms, p95 30 ms"
    assert "assumed" in rests_on(None)
