"""A safeguard that tripped, as a finding: whether its evidence blames the target."""

from __future__ import annotations

import math
from dataclasses import replace

from chaosrunner.logic import safeguards
from chaosrunner.logic.doubt import TIMES, allowed, busy_worker, lacked, unfit_abort
from chaosrunner.logic.measure import LATENCIES
from chaosrunner.logic.safeguards import Trip, trips_again
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Traffic, slots_in
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
    """Why the evidence on which a safeguard tripped blames nobody; empty when it is fit.

    One stretch that trips and that nothing but the target explains is enough to blame it.
    """
    if tolerance.metric.stat is Stat.PROBE:
        return _unfit_answers(traffic, tolerance)
    found = safeguards.trips(traffic, tolerance, traffic.state.aborted_ns)
    if not found:
        return _unfit_window(traffic, tolerance)
    whys = [_unfit_stretch(traffic, trip) for trip in found]
    return whys[0] if all(whys) else ""


def _unfit_answers(traffic: Traffic, tolerance: Tolerance) -> str:
    """The same of a probe: a missing CPU is all that spoils its answers."""
    at_ns = traffic.state.aborted_ns
    window = safeguards.looked_at(traffic, tolerance, at_ns)

    def trips(view: Traffic) -> bool:
        return safeguards.answers_trip(traffic, view, tolerance, at_ns)

    return unfit_abort(traffic, [window], tolerance, trips) if trips(traffic) or lacked(traffic, window) else ""


def _unfit_window(traffic: Traffic, tolerance: Tolerance) -> str:
    """The same where what tripped is not found again, for old slots are merged: then any trouble is too much."""
    window = safeguards.looked_at(traffic, tolerance, traffic.state.aborted_ns)
    asked = [*traffic.spans(Phase.FAULT, Phase.RECOVERY, Phase.AFTER), window]
    unfit = next(filter(None, (unfit_delivery(traffic, span) for span in asked)), "")
    if lacked(traffic, window):
        unfit = unfit or unfit_abort(traffic, [window], tolerance, lambda _: False)
    return unfit or busy_worker(traffic, window, allowed(tolerance))


def _unfit_stretch(traffic: Traffic, trip: Trip) -> str:
    """Why a stretch that trips blames nobody: a part that it takes was not the load asked for, or not the target's."""
    tolerance = trip.ask.tolerance
    timed = tolerance.metric.stat in LATENCIES or trip.ask.patience_s < math.inf
    unfit = _unfit_delivery(traffic, trip)
    if not unfit and timed and not trips_again(traffic, trip, adjusted=True):
        unfit = "the generator's own lag decides: without it it need not have tripped"
    # Answers are seen until they count as none, and a queue outlives its cause.
    end, later = traffic.state.slot_number(traffic.state.aborted_ns), slots_in(trip.patience_s)
    around = [
        replace(part, first=part.first - SLOTS_A_SECOND, last=min(end, part.last + later)) for part in trip.parts()
    ]
    if any(lacked(traffic, part) for part in around):
        unfit = unfit or unfit_abort(traffic, around, tolerance, lambda view: trips_again(view, trip, adjusted=timed))
    if not unfit and (timed or tolerance.metric.stat in TIMES):
        unfit = next(filter(None, (busy_worker(traffic, part, allowed(tolerance)) for part in around)), "")
    return unfit


def _unfit_delivery(traffic: Traffic, trip: Trip) -> str:
    """Why the load of a stretch is not the one asked for: all of it, or a part without which it would not trip."""
    whole = replace(trip.parts()[0], last=trip.last)
    if unfit := unfit_delivery(traffic, whole):
        return unfit
    waited = traffic.experiment.load.closed and trip.ask.tolerance.metric.stat is Stat.RATE
    if not waited and trips_again(traffic, trip, sent=True):
        return ""
    return next(filter(None, (unfit_delivery(traffic, part) for part in trip.parts())), "")
