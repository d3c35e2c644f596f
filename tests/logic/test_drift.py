"""Whether a baseline is one: it stands still, and is long enough for what is asked of it."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from building import Answer, Script, errors, experiment, ns, p95, tolerance

from chaosrunner.errors import Exit
from chaosrunner.logic.decide import decide
from chaosrunner.logic.drift import drifts, unsteady, watched
from chaosrunner.logic.fold import State
from chaosrunner.logic.judge import judge
from chaosrunner.logic.residual import baseline_of
from chaosrunner.logic.steady import steady
from chaosrunner.logic.traffic import Traffic
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat, Tolerance
from chaosrunner.model.load import Outcome, Wave
from chaosrunner.model.steps import Done
from chaosrunner.model.verdict import Change

PLAIN = experiment(hypothesis=Hypothesis(before=(errors(0.5),)))
TIMES, PLUS = {"against": Against.TIMES_BASELINE}, {"against": Against.PLUS_BASELINE}


def trending(a_second: float, *, seed: int = 10_000, sigma: float = 0.3, wander: float = 0.0, **more: float) -> Answer:
    """50 ms (or `base`) and some scatter, more by that share every second; errors more by `wrong` every second."""
    base, wrong = more.get("base", 0.05), more.get("wrong", 0.0)
    chance, levels = random.Random(seed), [0.0]
    for _ in range(30):
        levels.append(0.5 * levels[-1] + wander * chance.gauss(0, 1))

    def answer(due: float, _name: int) -> tuple[Outcome, float]:
        if chance.random() < wrong * due:
            return Outcome.STATUS, 0.004
        level = math.exp(sigma * chance.gauss(0, 1) + levels[int(due)])
        return Outcome.OK, base * (1 + a_second * due) * level

    return answer


def baseline(answer: Answer, rate: float = 50.0) -> State:
    """A run up to the end of its baseline, from 2 s to 22 s."""
    return Script(
        answer=answer, rate=rate, end=24.5, fault=None, inject=None, heal=None, recovery=None, ended=""
    ).state()


def refused(asked: Experiment, state: State) -> list[str]:
    slots = baseline_of(Traffic(asked, state))
    assert slots is not None
    return [finding.why for finding in unsteady(Traffic(asked, state), slots)]


@pytest.mark.parametrize("a_second", [0.5, -0.04])
def test_a_drifting_baseline_is_refused(a_second: float) -> None:
    """Where responses become more than twice as slow, or fast, nothing is broken, and the run is UNKNOWN."""
    state = baseline(trending(a_second))
    why = refused(PLAIN, state)
    assert any(one.startswith("the baseline drifts: p") for one in why)
    assert any("longer 'load.warmup'" in one for one in why)
    assert {finding.outcome.name for finding in steady(PLAIN, state)} == {"HELD", "UNKNOWN"}
    step = decide(PLAIN, state, ns(24.5))
    assert isinstance(step, Done)
    assert "drifts" in step.why
    assert judge(PLAIN, state).exit is Exit.UNKNOWN


def test_errors_may_drift_too() -> None:
    """A share of errors that climbs by more than five points is no steady state."""
    assert any("errors" in one for one in refused(PLAIN, baseline(trending(0.0, wrong=0.02))))


def test_what_stands_still_is_not_refused() -> None:
    """Of fifteen baselines that wander and go nowhere none is refused, though a tenth would matter."""
    asked = experiment(recover=RecoveryTarget(margin=0.1), hypothesis=Hypothesis(before=(errors(0.5),)))
    for seed in range(10_000, 10_015):
        assert refused(asked, baseline(trending(0.0, seed=seed, wander=0.03), rate=20.0)) == []


@pytest.mark.parametrize(
    ("asked", "is_refused"),
    [
        (Hypothesis(after=(p95(1.1, **TIMES),)), True),
        (Hypothesis(during=(p95(1.1, **TIMES),)), True),
        (Hypothesis(after=(p95(5.0, **TIMES),)), False),
        (Hypothesis(after=(p95(1.0, **TIMES),)), False),
        (Hypothesis(after=(errors(0.1, **PLUS),)), False),
        (Hypothesis(before=(p95(0.5),)), False),
    ],
)
def test_how_much_matters_is_what_is_asked(asked: Hypothesis, is_refused: bool) -> None:
    """A drift of two fifths matters to `p95 <= 1.1x baseline`, and to nothing that allows more."""
    state = baseline(trending(0.04), rate=100.0)
    drifting = [one for one in refused(experiment(hypothesis=asked), state) if "drifts" in one]
    assert bool(drifting) is is_refused


def test_a_few_milliseconds_are_no_drift() -> None:
    """A quick system may become three times as slow where that is less than a slice of a scheduler's time."""
    quick = baseline(trending(0.5, base=0.0003))
    assert refused(PLAIN, quick) == []
    rated = tolerance("rate >= 10/s", Metric(stat=Stat.RATE), ">=", 10.0)
    assert refused(experiment(hypothesis=Hypothesis(after=(rated,))), quick) == []


def test_waves_and_loads_without_faults_are_left_alone() -> None:
    """A part of a wave is no plateau, without a fault the load is the test, and 2 s are too short to tell."""
    state = baseline(trending(0.5))
    assert refused(replace(PLAIN, faults=()), state) == []
    stream = replace(PLAIN.load.streams[0], stages=(Wave(low=10.0, high=30.0, period_s=10.0, lasts_s=None),))
    wavy = replace(PLAIN, load=replace(PLAIN.load, streams=(stream,)))
    assert refused(wavy, state) == []
    margins = [(metric, 0.1) for metric in watched(PLAIN)]
    assert list(drifts(Traffic(PLAIN, state), range(20, 40), margins)) == []
    assert all(one.proves is Change.WORSE for one in drifts(Traffic(PLAIN, state), range(20, 220), margins))


@pytest.mark.parametrize(
    ("asked", "rate", "told"),
    [
        (p95(1.01, **TIMES), 20.0, "known to"),
        (p95(2.0, **TIMES), 2.0, "it has 40 requests of the 100 it takes; 'baseline: 50 s' would do"),
        (p95(2.0, **TIMES), 20.0, ""),
        (p95(0.9, **TIMES), 20.0, ""),
        (p95(0.0002, **PLUS), 20.0, "which"),
        (tolerance("rate >= 0.99x baseline", Metric(stat=Stat.RATE), ">=", 0.99, **TIMES), 20.0, "rate"),
        (tolerance("max <= 2x baseline", Metric(stat=Stat.MAX), "<=", 2.0, **TIMES), 20.0, ""),
        (tolerance("q <= 2x baseline", Metric(stat=Stat.PROBE, probe="q"), "<=", 2.0, **TIMES), 20.0, ""),
    ],
)
def test_a_baseline_too_short_is_refused(asked: Tolerance, rate: float, told: str) -> None:
    """Where the baseline alone is less certain than what is allowed, it says so and how long would do."""
    said = refused(experiment(hypothesis=Hypothesis(after=(asked,))), baseline(trending(0.0), rate))
    assert bool(said) is bool(told)
    assert all(one.startswith(f"the baseline is too short for '{asked.text}': it") for one in said)
    assert all(one.endswith("would do") for one in said)


def test_a_baseline_that_fails_is_said_by_its_finding() -> None:
    """Without a number to compare with, and without any hit, nothing is said twice."""
    asked = experiment(hypothesis=Hypothesis(after=(p95(1.1, **TIMES),)))
    assert refused(asked, baseline(lambda _due, _name: (Outcome.STATUS, 0.004))) == []
    assert (
        refused(asked, Script(dues=[23.0], end=24.5, fault=None, inject=None, heal=None, recovery=None).state()) == []
    )
    nothing = Script(baseline=None, end=3.0, fault=None, inject=None, heal=None, recovery=None).state()
    assert steady(experiment(hypothesis=Hypothesis()), nothing) == []
    assert list(unsteady(Traffic(asked, nothing), range(0))) == []
