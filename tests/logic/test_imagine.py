"""The plan: `decide` in a world where all goes well."""

from __future__ import annotations

from dataclasses import replace

import pytest
from building import errors, experiment, fault, steps

from chaosrunner.logic.imagine import Planned, imagine
from chaosrunner.model.experiment import Experiment, Phase, RecoveryTarget
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import LoadProfile
from chaosrunner.model.steps import Abort, Done, Enter, Heal, Inject, name_of


def short(**changes: object) -> Experiment:
    """Warm-up 1 s, baseline 2 s, one fault for 5 s, hold 1 s."""
    load = replace(steps("read", "write"), warmup_s=1.0)
    given: dict[str, object] = {"load": load, "baseline_s": 2.0, "recover": RecoveryTarget(within_s=5.0, hold_s=1.0)}
    return experiment(**{**given, **changes})


def times(planned: list[Planned]) -> dict[str, float]:
    """Step name → when it is taken; for phases, when they begin."""
    return {
        name_of(one.step): one.step.at_ns / 1e9 if isinstance(one.step, Enter) else one.at_s
        for one in planned
        if not isinstance(one.step, Done)
    }


def test_a_plan_says_every_step_and_when() -> None:
    """Warm-up, baseline, the fault for as long as asked, recovery at once, and the hold time."""
    planned = list(imagine(short()))
    assert planned[-1].step == Done("proven")
    at = times(planned)
    assert list(at) == [
        "enter warmup",
        "enter baseline",
        "enter fault",
        "inject 0",
        "heal 0",
        "enter recovery",
        "enter after",
    ]
    assert (at["enter warmup"], at["enter baseline"]) == (0.0, 1.0)
    assert at["enter fault"] == pytest.approx(3.0, abs=0.5)
    assert at["heal 0"] - at["inject 0"] == pytest.approx(5.0, abs=0.3)
    assert planned[-1].at_s == pytest.approx(at["heal 0"] + 1.0, abs=0.6)


def test_what_cannot_be_undone_is_not_healed() -> None:
    """A kill is injected, never healed, and its phase lasts as long as it says."""
    planned = list(imagine(short(), without_undo=frozenset({0})))
    names = [name_of(one.step) for one in planned]
    assert "inject 0" in names
    assert "heal 0" not in names
    at = times(planned)
    assert at["enter recovery"] - at["inject 0"] == pytest.approx(5.0, abs=0.3)


def test_faults_are_planned_at_their_time() -> None:
    """Two faults begin and end as the experiment says, in order of time."""
    planned = list(imagine(short(faults=(fault(0, for_s=4.0), fault(1, at_s=2.0, for_s=1.0)))))
    order = [name_of(one.step) for one in planned if isinstance(one.step, Inject | Heal)]
    assert order == ["inject 0", "inject 1", "heal 1", "heal 0"]


def test_tolerances_are_taken_to_hold() -> None:
    """A plan is about time: tolerances that no healthy system keeps, and safeguards, do not change it."""
    impossible = short(hypothesis=Hypothesis(before=(errors(0.0),)), abort=(errors(0.5, cmp="<"),))
    assert list(imagine(impossible)) == list(imagine(short()))


def test_without_a_fault_the_plan_ends_with_the_baseline() -> None:
    """A control warms up, looks, and is done."""
    planned = list(imagine(short(faults=())))
    assert [name_of(one.step) for one in planned] == ["enter warmup", "enter baseline", "done"]
    assert planned[-1].step == Done("no fault")


def test_a_plan_never_gives_up() -> None:
    """Nothing in an imagined run is a reason to abort, whatever the number of names."""
    for names in (1, 2, 5):
        load: LoadProfile = steps(*[f"s{n}" for n in range(names)])
        assert not [one for one in imagine(short(load=load)) if isinstance(one.step, Abort)]


def test_every_phase_begins_on_a_slot_edge() -> None:
    """Phases begin at multiples of 100 ms after the load's epoch, in order."""
    begins = [one.step.at_ns for one in imagine(short()) if isinstance(one.step, Enter)]
    assert all(at % 100_000_000 == 0 for at in begins)
    assert begins == sorted(begins)
    assert len(begins) == len(Phase)


def test_a_plan_that_does_not_end_is_an_error() -> None:
    """An imagined run is given up after so many steps, never imagined for ever."""
    with pytest.raises(RuntimeError, match="does not end"):
        list(imagine(short(), limit=5))
