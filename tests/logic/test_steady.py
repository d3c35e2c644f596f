"""The gate before any harm."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import Script, away, errors, experiment, p95, tolerance

from chaosrunner.logic.steady import steady
from chaosrunner.model.hypothesis import Hypothesis, Metric, Stat
from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.verdict import Outcome

BEFORE = Script(fault=None, inject=None, heal=None, recovery=None, end=23.0, ended="")
GATE = experiment(hypothesis=Hypothesis(before=(errors(0.01), p95(0.1))))


def test_a_healthy_system_may_be_broken() -> None:
    """Every tolerance of `before` is a finding, in order, and holds."""
    findings = steady(GATE, BEFORE.state())
    assert [(f.name, f.outcome) for f in findings] == [
        ("before: errors < 1%", Outcome.HELD),
        ("before: p95 <= 0.1s", Outcome.HELD),
    ]


def test_a_sick_system_is_unknown_not_broken() -> None:
    """A violation before anything was broken says nothing of resilience, and shows what was seen."""
    sick, _ = steady(GATE, replace(BEFORE, answer=away(5.0, 9.0)).state())
    assert (sick.outcome, sick.observed) == (Outcome.UNKNOWN, "20 %")
    assert sick.why == "20 % before anything was broken"


def test_without_faults_a_violation_is_broken() -> None:
    """A load test is an experiment without a fault: there the plateau is what is judged."""
    findings = steady(
        experiment(faults=(), hypothesis=GATE.hypothesis),
        replace(BEFORE, answer=away(5.0, 9.0)).state(),
    )
    assert [f.outcome for f in findings] == [Outcome.BROKEN, Outcome.BROKEN]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rate": 3.0}, "60 hits of the 100 it takes; 34 s would suffice"),
        ({"end": 12.0}, "the phase was cut short"),
        ({"baseline": None}, "the run did not get that far"),
        ({"answer": lambda due, _: (Hits.LATE if 5 <= due < 6 else Hits.OK, 0.005)}, "load not delivered: 5 %"),
        ({"lag": 0.03}, "generator lag p99 is 30 ms"),
        ({"lag": 0.2}, "the generator's own lag decides: without it 5 ms, HELD"),
    ],
)
def test_unfit_evidence_is_unknown(changes: dict[str, object], why: str) -> None:
    """Too little data, missing reports, load not fired and the generator's own lag are never the target's fault."""
    findings = steady(GATE, replace(BEFORE, **changes).state())
    assert findings[-1].outcome is Outcome.UNKNOWN
    assert findings[-1].why.startswith(why)


def test_a_judge_that_crashes_has_found_nothing() -> None:
    """An error while judging is UNKNOWN with the error, and the other findings stand."""
    impossible = tolerance("p95 == 1s", Metric(stat=Stat.QUANTILE, quantile=0.95), "==", 1.0)
    findings = steady(experiment(hypothesis=Hypothesis(before=(impossible, errors(0.01)))), BEFORE.state())
    assert [f.outcome for f in findings] == [Outcome.UNKNOWN, Outcome.HELD]
    assert findings[0].why == "judging failed: ValueError: '==' is no comparison"
