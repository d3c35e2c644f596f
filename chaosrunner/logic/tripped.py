"""A safeguard that tripped, as a finding: whether its evidence blames the target."""

from __future__ import annotations

from chaosrunner.logic import safeguards
from chaosrunner.logic.doubt import TIMES, busy_worker, unfit_abort
from chaosrunner.logic.measure import LATENCIES
from chaosrunner.logic.punctual import without_lag
from chaosrunner.logic.traffic import Traffic
from chaosrunner.logic.validity import unfit_delivery, unfit_faults
from chaosrunner.model.experiment import Phase
from chaosrunner.model.hypothesis import Stat, Tolerance
from chaosrunner.model.verdict import Finding, Outcome


def blamed(traffic: Traffic, tolerance: Tolerance) -> Finding:
    """A safeguard that tripped on valid evidence is BROKEN; before any harm it says nothing of resilience."""
    state = traffic.state
    unfit = f"the load has gaps: {state.gaps[0]}" if state.gaps else ""
    if not any(fault.inject_called_ns is not None for fault in state.faults.values()) and traffic.experiment.faults:
        unfit = unfit or "it tripped before anything was broken"
    if any(fault.proven is False for fault in state.faults.values()):  # None: it tripped before that was known
        unfit = unfit or unfit_faults(traffic.experiment, state)
    unfit = unfit or _unfit_trip(traffic, tolerance)
    return Finding(
        name=f"abort: {tolerance.text}",
        phase=None,
        expected=f"never {tolerance.text}",
        observed=state.aborted.removeprefix(f"{tolerance.text}: "),
        outcome=Outcome.UNKNOWN if unfit else Outcome.BROKEN,
        why=unfit,
        evidence=(state.asked["abort"],) if "abort" in state.asked else (),
    )


def _unfit_trip(traffic: Traffic, tolerance: Tolerance) -> str:
    """Why the evidence on which a safeguard tripped blames nobody; empty when it is fit."""
    spans, stat = traffic.spans(Phase.FAULT, Phase.RECOVERY, Phase.AFTER), tolerance.metric.stat
    if not spans:
        return ""

    def trips(view: Traffic) -> bool:
        return safeguards.trips_without(traffic, view, tolerance, traffic.state.aborted_ns)

    unfit = "" if stat is Stat.PROBE else next(filter(None, (unfit_delivery(traffic, span) for span in spans)), "")
    if not unfit and stat in LATENCIES and not trips(Traffic(traffic.experiment, without_lag(traffic.state))):
        unfit = "the generator's own lag decides: without it it need not have tripped"
    unfit = unfit or unfit_abort(traffic, spans[-1], tolerance, trips)
    return unfit or (busy_worker(traffic, spans[-1]) if stat in TIMES else "")
