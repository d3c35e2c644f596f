"""How long an experiment lasts at most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.fault import Fault
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import Stage, single
from chaosrunner.model.system import System

SECONDS = st.integers(0, 1000).map(float)


def experiment(*faults: tuple[float, float]) -> Experiment:
    """An experiment with faults at and for these seconds."""
    return Experiment(
        question="?",
        file="e.yaml",
        source="",
        system=System(name="s", file="s.yaml"),
        system_source="",
        load=single(steps=(), stages=(Stage(start=1.0, end=1.0, lasts_s=None),), warmup_s=5.0),
        baseline_s=10.0,
        faults=tuple(
            Fault(index=index, injector="noop", target=None, params=None, at_s=at, for_s=lasts)
            for index, (at, lasts) in enumerate(faults)
        ),
        hypothesis=Hypothesis(),
        recover=RecoveryTarget(within_s=20.0, hold_s=3.0),
    )


def test_the_longest_run_waits_for_recovery_and_hold() -> None:
    """Warm-up, baseline, the latest end of a fault, the recovery target and the hold add up."""
    found = experiment((0.0, 12.0), (5.0, 30.0))
    assert found.fault_s == 35.0
    assert found.longest_s == 5.0 + 10.0 + 35.0 + 20.0 + 3.0


def test_without_faults_nothing_is_waited_for() -> None:
    """A load test ends with its baseline."""
    found = experiment()
    assert (found.fault_s, found.longest_s) == (0.0, 15.0)


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=5))
def test_the_fault_phase_lasts_as_long_as_its_latest_fault(faults: list[tuple[float, float]]) -> None:
    """No fault outlasts the fault phase, and one of them ends with it."""
    found = experiment(*faults)
    ends = [at + lasts for at, lasts in faults]
    assert all(end <= found.fault_s for end in ends)
    assert found.fault_s in ends
