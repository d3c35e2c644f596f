"""The gate before any harm: does the system keep its `before` tolerances on the plateau?"""

from __future__ import annotations

from chaosrunner.logic.findings import findings_of
from chaosrunner.logic.fold import State
from chaosrunner.logic.traffic import Traffic
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.verdict import Finding


def steady(experiment: Experiment, state: State) -> list[Finding]:
    """One finding a `before` tolerance, over the BASELINE; anything but HELD means: break nothing."""
    return findings_of(Traffic(experiment, state), Phase.BASELINE)
