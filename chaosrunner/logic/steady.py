"""The gate before any harm: does the system keep its `before` tolerances on the plateau, and is it one?"""

from __future__ import annotations

from chaosrunner.logic.drift import unsteady
from chaosrunner.logic.findings import findings_of
from chaosrunner.logic.fold import State
from chaosrunner.logic.residual import baseline_of
from chaosrunner.logic.traffic import Traffic
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.verdict import Finding, Outcome


def steady(experiment: Experiment, state: State) -> list[Finding]:
    """One finding a `before` tolerance, over the BASELINE, and what forbids to call it one: it drifts, or is too short.

    Anything but HELD means: break nothing.
    """
    traffic = Traffic(experiment, state)
    found, baseline = findings_of(traffic, Phase.BASELINE), baseline_of(traffic)
    if baseline is not None and all(finding.outcome is Outcome.HELD for finding in found):
        found += unsteady(traffic, baseline)
    return found
