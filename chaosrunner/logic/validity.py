"""Is the evidence fit? Asked before anything is judged, so that the generator's fault never blames the target."""

from __future__ import annotations

from chaosrunner.logic.fold import State
from chaosrunner.logic.measure import LATENCIES, human
from chaosrunner.logic.pacing import Pace
from chaosrunner.logic.tolerate import Judgement
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Sample, Span, Traffic
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.histogram import cell_of, lowest_in
from chaosrunner.model.hypothesis import Tolerance
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Slot
from chaosrunner.model.units import human_duration

LATE_ALLOWED = 0.01
"""Share of due hits that the generator may fail to start before its load counts as not delivered."""

LATE_S = 1.0
"""Closed model without pacing: user time that one LATE journey stands for (see `chaosrunner.load.users`)."""

STALL_US = 10_000
"""Closed model: a lag above this is time in which the generator kept a user waiting; less is the cost of firing."""

MORE_ROOM = "use more `workers`, a less busy host or a lower load"
UNSENT = {
    Outcome.LATE: "{} due were never started by the generator; " + MORE_ROOM,
    Outcome.LOCAL: "this host had no port or descriptor left for {}; raise `ulimit -n`, widen "
    "net.ipv4.ip_local_port_range, or let connections be kept",
    Outcome.SPENT: "the data had no unused row left for {}; give it more rows",
}
"""Why requests that were due never reached the target, and what to do."""

LAG_ALLOWED = 0.25
"""Share of a latency bound that the generator's own lag (p99) may take."""


def unfit_faults(experiment: Experiment, state: State) -> str:
    """Why nothing may be said about the faults' effect; empty when every fault was verified."""
    for fault in experiment.faults:
        current = state.faults.get(fault.index)
        if current is None or current.inject_answered_ns is None:
            return f"{fault.title} was not injected"
        if current.proven is not True:
            seen = f": {current.evidence}" if current.evidence else ""
            return f"{fault.title} was not verified to be in effect{seen}"
    return ""


def unfit_load(traffic: Traffic, span: Span) -> str:
    """Why the load of a span may not be trusted; empty when it was offered as asked, reported and accounted for."""
    state = traffic.state
    if state.gaps:
        return f"the load has gaps: {state.gaps[0]}"
    if not span.whole:
        return "the phase was cut short"
    sample = traffic.sample(span)
    if unfit := unfit_delivery(traffic, span):
        return unfit
    if state.load_ended_ns is not None and sample.slot.open:
        return f"{sample.slot.open} requests have no outcome in the journal"
    return ""


def unfit_delivery(traffic: Traffic, span: Span) -> str:
    """Why the load of a span is not the one asked for; empty when practically all of it was offered.

    An open model asks for requests, and those are counted. A closed model asks for users: what the generator never
    did is the time in which it kept them waiting, of all the time they were there. A generator that stands still for
    half a phase lacks half the requests of that phase, but has missed hardly any that ever became due.
    """
    for name in ("", *dict.fromkeys(step.name for step in traffic.experiment.load.steps)):
        if unfit := _unfired(name, traffic.sample(span, name).slot):
            return f"load not delivered: {unfit}"
    lost = user_time_lost(traffic, span)
    if lost <= LATE_ALLOWED:
        return ""
    return f"load not delivered: the generator kept its users waiting for {lost * 100:.3g} % of their time; {MORE_ROOM}"


def _unfired(name: str, slot: Slot) -> str:
    """Which share of the hits due never reached the target for want of something here; empty when hardly any."""
    if slot.ours <= LATE_ALLOWED * slot.due:
        return ""
    why = max(UNSENT, key=lambda outcome: slot.done.get(outcome, 0))
    share = f"{slot.done[why] / slot.due * 100:.3g} % of the requests" + (f" of {name}" if name else "")
    return UNSENT[why].format(share)


def user_time_lost(traffic: Traffic, span: Span) -> float:
    """Closed model: the share of the users' time in a span that the generator took from them; 0 in the open model."""
    load = traffic.experiment.load
    there_s, lost_s = 0.0, 0.0
    for nth, stream in enumerate(load.streams):
        if stream.closed is None:
            continue
        crowd = Pace.of(stream.stages)
        begin_s, end_s = (max(0.0, slot / SLOTS_A_SECOND - stream.starts_s) for slot in (span.first, span.last))
        there_s += crowd.count(end_s) - crowd.count(begin_s)
        slot = traffic.stream(span, nth)
        stalls_s = sum(lowest_in(cell) * count for cell, count in slot.lag if cell >= cell_of(STALL_US)) / 1e6
        turn_s = LATE_S if stream.closed.every_s is None else stream.closed.every_s
        lost_s += stalls_s + slot.done.get(Outcome.LATE, 0) * turn_s
    return lost_s / there_s if there_s else 0.0


def unfit_lag(tolerance: Tolerance, sample: Sample, plain: Judgement, adjusted: Judgement) -> str:
    """Why the generator's own lag forbids to judge a latency; empty when it does not matter."""
    if tolerance.metric.stat not in LATENCIES or plain.bound is None:
        return ""
    if plain.outcome is not adjusted.outcome:
        value = human(tolerance.metric, adjusted.value)
        return f"the generator's own lag decides: without it {value}, {adjusted.outcome.name}; {MORE_ROOM}"
    lag = sample.slot.lag.quantile(0.99)
    if lag is not None and lag / 1e6 > LAG_ALLOWED * plain.bound:
        ours, bound = human_duration(lag / 1e6), human_duration(plain.bound)
        return f"generator lag p99 is {ours}, too much for a bound of {bound}; {MORE_ROOM}"
    return ""
