"""What tests of recovery share: a run whose fault ends at a known time, and how it is measured."""

from __future__ import annotations

from building import Script, errors, experiment, ns, p95

from chaosrunner.logic.recovery import recovery
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Hypothesis, Tolerance
from chaosrunner.model.verdict import Recovery

HEAL = 27.5
"""When the fault of the script ends, in seconds after the load's epoch."""

LATER = ns(1000.0)


def after(*tolerances: Tolerance, **more: object) -> Experiment:
    return experiment(hypothesis=Hypothesis(after=tolerances), **more)


FEW = after(errors(0.01))
FEW_AND_FAST = after(errors(0.01), p95(0.1))


def measured(script: Script, asked: Experiment = FEW) -> Recovery:
    return recovery(asked, script.state(), LATER)
