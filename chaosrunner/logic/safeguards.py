"""Safeguards: the `abort` conditions, asked again at every decision. Pure, so that a replay trips where the run did.

Load is looked at in seconds that begin with the BASELINE. A second counts once all of it was reported and each of its
hits has an outcome or is older than `unanswered` (and older than a latency bound): an old open hit is a failure, so a
black hole trips too. `for 10s` trips when each of the last ten such seconds violates. Without `for`, the last second
decides, or as many as it takes to see ten requests.
"""

from __future__ import annotations

from chaosrunner.logic.findings import usual_answer
from chaosrunner.logic.fold import State
from chaosrunner.logic.measure import LATENCIES, bound_of, holds, human, measure
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Sample, Traffic, slots_in
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.hypothesis import Against, Stat, Tolerance
from chaosrunner.model.units import NANOS, human_duration

GRACE_S = 10.0
"""A safeguard that cannot be read for this long (or its own `for`, if longer) ends the run."""

ENOUGH = 10
"""Requests that a condition without `for` wants to see."""

BLIND = "blind: "
"""How it begins when a condition cannot be read."""


def tripped(experiment: Experiment, state: State, now: int) -> str:
    """Why the run must be given up; empty when it need not.

    Args:
        experiment: its `abort` holds what must not happen.
        state: what is known.
        now: CLOCK_BOOTTIME nanoseconds.

    Returns:
        `<the condition as written>: <what was seen>`, or `blind: …` when a condition cannot be read.
    """
    begin = state.phase_start_ns(Phase.BASELINE)
    if begin is None or state.load_epoch_ns is None:
        return ""
    silent_s = (now - max(begin, state.covered_ns())) / NANOS
    if silent_s > GRACE_S:
        return f"{BLIND}the load has reported nothing for {human_duration(silent_s)}"
    traffic = Traffic(experiment, state)
    for tolerance in experiment.abort:
        ask = _probe if tolerance.metric.stat is Stat.PROBE else _load
        if why := ask(traffic, tolerance, now):
            return why
    return ""


def names(tolerance: Tolerance, why: str) -> bool:
    """Whether it was this safeguard that tripped with `why`."""
    return why.startswith(f"{tolerance.text}: ")


def trips_without(traffic: Traffic, view: Traffic, tolerance: Tolerance, at_ns: int) -> bool:
    """Whether what made a condition on load trip, shortly before an instant, is there in another view of it, too.

    Args:
        traffic: what was seen.
        view: the same, seen more kindly.
        tolerance: a condition that tripped.
        at_ns: when the run was given up for it.
    """
    if tolerance.metric.stat is Stat.PROBE:
        seen, kindly = (_probe(one, tolerance, at_ns) for one in (traffic, view))
        return not seen or (kindly != "" and not kindly.startswith(BLIND))
    bound = _bound(traffic, tolerance)
    assert bound is not None
    last, wide = traffic.state.slot_number(at_ns), slots_in(max(tolerance.for_s, 1.0))
    ends = range(last, max(wide, last - slots_in(GRACE_S)), -SLOTS_A_SECOND)
    bad = [end for end in ends if _trips(traffic, tolerance, bound, end)]
    return not bad or any(_trips(view, tolerance, bound, end) for end in bad)


def _trips(traffic: Traffic, tolerance: Tolerance, bound: float, last: int) -> bool:
    """Whether it is so in each of the last seconds; without `for` in as few as hold enough requests."""
    of = tolerance.metric.of
    if not tolerance.for_s:
        sample = _enough(traffic, tolerance, last, last)
        return sample is not None and _is_so(tolerance, bound, sample)
    seconds = -(-slots_in(tolerance.for_s) // SLOTS_A_SECOND)
    ends = (last - nth * SLOTS_A_SECOND for nth in range(seconds))
    return all(_is_so(tolerance, bound, traffic.recent(end, SLOTS_A_SECOND, of)) for end in ends)


def _load(traffic: Traffic, tolerance: Tolerance, now: int) -> str:
    bound = _bound(traffic, tolerance)
    if bound is None:  # counted from a baseline that is not over yet
        return ""
    first = traffic.state.slot_number(_begin(traffic))
    last = _readable(traffic, bound if tolerance.metric.stat in LATENCIES else 0.0, first, now)
    if unread := _unread(traffic, tolerance, first, last):
        return unread
    if not tolerance.for_s:
        return _at_once(traffic, tolerance, bound, last - first)
    seconds = -(-slots_in(tolerance.for_s) // SLOTS_A_SECOND)
    if last - seconds * SLOTS_A_SECOND < first:
        return ""
    if not _trips(traffic, tolerance, bound, last):
        return ""
    return _says(tolerance, traffic.recent(last, seconds * SLOTS_A_SECOND, tolerance.metric.of))


def _at_once(traffic: Traffic, tolerance: Tolerance, bound: float, slots: int) -> str:
    sample = _enough(traffic, tolerance, traffic.state.slot_number(_begin(traffic)) + slots, slots)
    return _says(tolerance, sample) if sample is not None and _is_so(tolerance, bound, sample) else ""


def _enough(traffic: Traffic, tolerance: Tolerance, last: int, slots: int) -> Sample | None:
    """The last seconds, as few as hold enough requests; None if all that are looked at do not."""
    wides = range(SLOTS_A_SECOND, min(slots, slots_in(GRACE_S)) + 1, SLOTS_A_SECOND)
    samples = (traffic.recent(last, wide, tolerance.metric.of) for wide in wides)
    return next((sample for sample in samples if sample.hits >= ENOUGH), None)


def _is_so(tolerance: Tolerance, bound: float, sample: Sample) -> bool:
    seen = measure(tolerance.metric, sample)
    return seen is not None and holds(seen.value, tolerance.cmp, bound)


def _says(tolerance: Tolerance, sample: Sample) -> str:
    seen = measure(tolerance.metric, sample)
    return f"{tolerance.text}: {human(tolerance.metric, seen.value if seen else None)}"


def _unread(traffic: Traffic, tolerance: Tolerance, first: int, last: int) -> str:
    """Blind when no request of its name was due for too long."""
    grace_s = max(GRACE_S, tolerance.for_s)
    if last - first < slots_in(grace_s) or traffic.recent(last, slots_in(grace_s), tolerance.metric.of).hits:
        return ""
    return f"{BLIND}{tolerance.text}: no request was due for {human_duration(grace_s)}"


def _readable(traffic: Traffic, bound_s: float, first: int, now: int) -> int:
    """The end (a slot) of the last whole second after `first` in which nothing is open that may still turn out well."""
    state = traffic.state
    patience = int(max(traffic.experiment.unanswered_s, bound_s) * NANOS)
    old = state.slot_number(now - patience)
    seconds = max(0, traffic.slot_before(state.covered_ns()) - first) // SLOTS_A_SECOND
    for nth in range(seconds, 0, -1):
        end = first + nth * SLOTS_A_SECOND
        if end <= old or not traffic.recent(end, SLOTS_A_SECOND).slot.open:
            return end
    return first


def _bound(traffic: Traffic, tolerance: Tolerance) -> float | None:
    if tolerance.against is Against.ABSOLUTE:
        return tolerance.value
    span = traffic.span(Phase.BASELINE)
    if span is None or not span.whole:
        return None
    base = measure(tolerance.metric, traffic.sample(span, tolerance.metric.of))
    return None if base is None else bound_of(tolerance, base.value)


def _probe(traffic: Traffic, tolerance: Tolerance, now: int) -> str:
    """A probe trips when it has answered badly, or with an error, without interruption."""
    name, begin = tolerance.metric.probe, _begin(traffic)
    answers = [answer for answer in traffic.state.probes.get(name, []) if answer[0] >= begin]
    silent_s = (now - (answers[-1][0] if answers else begin)) / NANOS
    if silent_s > max(GRACE_S, tolerance.for_s):
        return f"{BLIND}{tolerance.text}: no answer for {human_duration(silent_s)}"
    usual = usual_answer(traffic, name)
    if not answers or (tolerance.against is not Against.ABSOLUTE and usual is None):
        return ""
    bound = bound_of(tolerance, usual or 0.0)
    since: int | None = None
    for at, ok, value in reversed(answers):
        if ok and value is not None and not holds(value, tolerance.cmp, bound):
            break
        since = at
    if since is None or now - since < tolerance.for_s * NANOS:
        return ""
    return f"{tolerance.text}: {human(tolerance.metric, answers[-1][2])}"


def _begin(traffic: Traffic) -> int:
    begin = traffic.state.phase_start_ns(Phase.BASELINE)
    assert begin is not None
    return begin
