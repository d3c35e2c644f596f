"""The names of steps in the journal."""

from __future__ import annotations

import pytest

from chaosrunner.model.experiment import Phase
from chaosrunner.model.steps import Abort, Done, Enter, Heal, Inject, Step, Wait, name_of, why_of

STEPS: list[tuple[Step, str, str]] = [
    (Wait(5), "wait", ""),
    (Enter(Phase.FAULT, 5, "steady"), "enter fault", "steady"),
    (Inject(1, "2 s into the phase"), "inject 1", "2 s into the phase"),
    (Heal(0, "it has lasted 4 s"), "heal 0", "it has lasted 4 s"),
    (Abort("interrupted: SIGINT"), "abort", "interrupted: SIGINT"),
    (Done("proven"), "done", "proven"),
]


@pytest.mark.parametrize(("step", "name", "why"), STEPS, ids=[name for _, name, _ in STEPS])
def test_a_step_has_a_name_and_a_reason(step: Step, name: str, why: str) -> None:
    """Each step is written down by a name that says which fault or phase, and why."""
    assert (name_of(step), why_of(step)) == (name, why)
