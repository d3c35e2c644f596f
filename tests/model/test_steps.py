"""Steps have names in the journal and reasons."""

from __future__ import annotations

import pytest

from chaosrunner.model.experiment import Phase
from chaosrunner.model.steps import Abort, Done, Enter, Heal, Inject, Step, Wait, name_of, why_of


@pytest.mark.parametrize(
    ("step", "name", "why"),
    [
        (Wait(5), "wait", ""),
        (Enter(Phase.FAULT, 5, "steady"), "enter fault", "steady"),
        (Inject(2, "now"), "inject 2", "now"),
        (Heal(2, "done"), "heal 2", "done"),
        (Abort("interrupted"), "abort", "interrupted"),
        (Done("proven"), "done", "proven"),
    ],
)
def test_names_and_reasons(step: Step, name: str, why: str) -> None:
    """A step is journalled by its name and the numbers it rests on; waiting has no reason."""
    assert (name_of(step), why_of(step)) == (name, why)
