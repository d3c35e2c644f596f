"""Safeguards: the `abort` conditions, asked again at every decision. Pure, so that a replay trips where the run did.

Load is looked at in seconds that begin with the BASELINE. A second counts once all of it was reported and each of its
hits has an outcome or is older than `unanswered` (and older than a latency bound): an old open hit is a failure, so a
black hole trips too. `for 10s` trips when each of the last ten such seconds violates. Without `for`, the last second
decides, or as many as it takes to see ten requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from chaosrunner.logic.findings import usual_answer
from chaosrunner.logic.fold import State
from chaosrunner.logic.measure import LATENCIES, bound_of, holds, human, measure
from chaosrunner.logic.relief import Reply
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Sample, Span, Traffic, slots_in
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.histogram import Histogram, lowest_in
from chaosrunner.model.hypothesis import Against, Stat, Tolerance
from chaosrunner.model.load import OURS, Outcome
from chaosrunner.model.units import NANOS, human_duration

GRACE_S = 10.0
"""A safeguard that cannot be read for this long (or its own `for`, if longer) ends the run."""

ENOUGH = 10
"""Requests that a condition without `for` wants to see."""

BLIND = "blind: "
"""How it begins when a condition cannot be read."""


@dataclass(frozen=True, slots=True)
class Ask:
    """How a condition on load is asked."""

    tolerance: Tolerance
    bound: float
    patience_s: float = math.inf
    """Whoever was answered later counts as not answered."""
    adjusted: bool = False
    """Of responses without the generator's lag."""
    sent: bool = False
    """As if what never reached the target had been answered at once."""

    def of(self, sample: Sample) -> Sample:
        """The sample as it is seen so."""
        slot, patience_us = sample.slot, self.patience_s * 1e6
        answered = slot.adjusted if self.adjusted else slot.ok
        late = answered.above(patience_us) if patience_us < math.inf else 0
        unsent = slot.ours if self.sent else 0
        if not late and not unsent:
            return sample
        seen = Histogram.of(pair for pair in answered if lowest_in(pair[0]) <= patience_us)
        seen.add(Histogram({0: unsent}, unsent))
        done = {outcome: n for outcome, n in slot.done.items() if not (self.sent and outcome in OURS)}
        done[Outcome.OK] = done.get(Outcome.OK, 0) + unsent - late
        return replace(sample, slot=replace(slot, ok=seen, adjusted=seen, done=done))


@dataclass(frozen=True, slots=True)
class Trip:
    """Slots [first, last) in which a condition on load was violated for as long as it takes."""

    ask: Ask
    first: int
    last: int
    patience_s: float
    """The age at which what is open was taken as not answered."""

    def parts(self) -> list[Span]:
        """The stretches each of which it takes: with `for` every second, without it all of them at once."""
        wide = SLOTS_A_SECOND if self.ask.tolerance.for_s else self.last - self.first
        return [Span(Phase.FAULT, first, first + wide) for first in range(self.first, self.last, wide)]


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


def looked_at(traffic: Traffic, tolerance: Tolerance, at_ns: int) -> Span:
    """The slots that may have made a condition trip at an instant: as long as it looks back, from when it could read.

    Args:
        traffic: what was seen.
        tolerance: a condition that tripped.
        at_ns: when the run was given up for it.
    """
    state, first = traffic.state, traffic.state.slot_number(_begin(traffic))
    load = tolerance.metric.stat is not Stat.PROBE
    patience_s = _patience_s(traffic, tolerance, _known_bound(traffic, tolerance)) if load else 0.0
    last = max(first, state.slot_number(at_ns))
    back = slots_in((tolerance.for_s or GRACE_S) + GRACE_S + patience_s)
    return Span(Phase.FAULT, max(first, last - back), last)


def trips(traffic: Traffic, tolerance: Tolerance, at_ns: int) -> list[Trip]:
    """Where a condition on load tripped that was found to do so at an instant, newest first.

    What was open then may have been answered since: where nothing trips, it counts again as not answered. Empty where
    that is not enough either: nothing is left of what was seen.
    """
    bound, first = _known_bound(traffic, tolerance), traffic.state.slot_number(_begin(traffic))
    patience_s = _patience_s(traffic, tolerance, bound)
    last = first + (traffic.state.slot_number(at_ns) - first) // SLOTS_A_SECOND * SLOTS_A_SECOND
    ends = range(last, max(first, last - slots_in(GRACE_S + patience_s)), -SLOTS_A_SECOND)
    for ask in Ask(tolerance, bound), Ask(tolerance, bound, patience_s):
        found = [(end, sample) for end in ends if (sample := _bad(traffic, ask, end)) is not None]
        if found:
            return [Trip(ask, end - slots_in(sample.seconds), end, patience_s) for end, sample in found]
    return []


def trips_again(view: Traffic, trip: Trip, **otherwise: bool) -> bool:
    """Whether a condition trips where it did in another view of it, too, asked `otherwise`: `adjusted` or `sent`."""
    return _bad(view, replace(trip.ask, **otherwise), trip.last) is not None  # type: ignore[arg-type]


def answers_trip(traffic: Traffic, view: Traffic, tolerance: Tolerance, at_ns: int) -> bool:
    """Whether the bad answers before an instant trip a condition on a probe in another view, too.

    Whatever came after the last bad one was not known yet. An answer which that view lacks may have been good.
    """
    name, since = tolerance.metric.probe, None
    sure = set(view.state.probes.get(name, []))
    run: list[Reply] = []
    for reply in reversed(traffic.state.probes.get(name, [])):
        if _begin(traffic) <= reply[0] <= at_ns:
            if _is_bad(traffic, tolerance, reply):
                run.append(reply)
            elif run:
                break
    for reply in reversed(run):
        if since is not None and reply[0] - since >= tolerance.for_s * NANOS:
            return True
        bad = reply in sure and _is_bad(view, tolerance, reply)
        since = (reply[0] if since is None else since) if bad else None
    return since is not None and at_ns - since >= tolerance.for_s * NANOS


def _bad(traffic: Traffic, ask: Ask, last: int) -> Sample | None:
    """The last seconds, if it is so in each of them; without `for` as few as hold enough requests."""
    tolerance, first = ask.tolerance, traffic.state.slot_number(_begin(traffic))
    if not tolerance.for_s:
        sample = _enough(traffic, tolerance, last, last - first)
        return sample if sample is not None and _is_so(ask, sample) else None
    seconds, of = -(-slots_in(tolerance.for_s) // SLOTS_A_SECOND), tolerance.metric.of
    ends = [last - nth * SLOTS_A_SECOND for nth in range(seconds)]
    if ends[-1] - SLOTS_A_SECOND < first or not all(
        _is_so(ask, traffic.recent(end, SLOTS_A_SECOND, of)) for end in ends
    ):
        return None
    return traffic.recent(last, seconds * SLOTS_A_SECOND, of)


def _load(traffic: Traffic, tolerance: Tolerance, now: int) -> str:
    bound = _bound(traffic, tolerance)
    if bound is None:  # counted from a baseline that is not over yet
        return ""
    first = traffic.state.slot_number(_begin(traffic))
    last = _readable(traffic, _patience_s(traffic, tolerance, bound), first, now)
    if unread := _unread(traffic, tolerance, first, last):
        return unread
    sample = _bad(traffic, Ask(tolerance, bound), last)
    return "" if sample is None else _says(tolerance, sample)


def _enough(traffic: Traffic, tolerance: Tolerance, last: int, slots: int) -> Sample | None:
    """The last seconds, as few as hold enough requests; None if all that are looked at do not."""
    wides = range(SLOTS_A_SECOND, min(slots, slots_in(GRACE_S)) + 1, SLOTS_A_SECOND)
    samples = (traffic.recent(last, wide, tolerance.metric.of) for wide in wides)
    return next((sample for sample in samples if sample.hits >= ENOUGH), None)


def _is_so(ask: Ask, sample: Sample) -> bool:
    seen = measure(ask.tolerance.metric, ask.of(sample), adjusted=ask.adjusted)
    return seen is not None and holds(seen.value, ask.tolerance.cmp, ask.bound)


def _says(tolerance: Tolerance, sample: Sample) -> str:
    seen = measure(tolerance.metric, sample)
    return f"{tolerance.text}: {human(tolerance.metric, seen.value if seen else None)}"


def _unread(traffic: Traffic, tolerance: Tolerance, first: int, last: int) -> str:
    """Blind when no request of its name was due for too long."""
    grace_s = max(GRACE_S, tolerance.for_s)
    if last - first < slots_in(grace_s) or traffic.recent(last, slots_in(grace_s), tolerance.metric.of).hits:
        return ""
    return f"{BLIND}{tolerance.text}: no request was due for {human_duration(grace_s)}"


def _patience_s(traffic: Traffic, tolerance: Tolerance, bound: float) -> float:
    """The age at which a request that is open counts as not answered."""
    return max(traffic.experiment.unanswered_s, bound if tolerance.metric.stat in LATENCIES else 0.0)


def _readable(traffic: Traffic, patience_s: float, first: int, now: int) -> int:
    """The end (a slot) of the last whole second after `first` in which nothing is open that may still turn out well."""
    state = traffic.state
    old = state.slot_number(now - int(patience_s * NANOS))
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


def _known_bound(traffic: Traffic, tolerance: Tolerance) -> float:
    """The bound of a condition that tripped."""
    bound = _bound(traffic, tolerance)
    assert bound is not None
    return bound


def _probe(traffic: Traffic, tolerance: Tolerance, now: int) -> str:
    """A probe trips when it has answered badly, or with an error, without interruption."""
    name, begin = tolerance.metric.probe, _begin(traffic)
    answers = [answer for answer in traffic.state.probes.get(name, []) if answer[0] >= begin]
    silent_s = (now - (answers[-1][0] if answers else begin)) / NANOS
    if silent_s > max(GRACE_S, tolerance.for_s):
        return f"{BLIND}{tolerance.text}: no answer for {human_duration(silent_s)}"
    since: int | None = None
    for reply in reversed(answers):
        if not _is_bad(traffic, tolerance, reply):
            break
        since = reply[0]
    if since is None or now - since < tolerance.for_s * NANOS:
        return ""
    return f"{tolerance.text}: {human(tolerance.metric, answers[-1][2])}"


def _is_bad(traffic: Traffic, tolerance: Tolerance, reply: Reply) -> bool:
    """Whether an answer violates, or is an error."""
    usual = usual_answer(traffic, tolerance.metric.probe)
    if tolerance.against is not Against.ABSOLUTE and usual is None:
        return False
    _, ok, value = reply
    return not ok or value is None or holds(value, tolerance.cmp, bound_of(tolerance, usual or 0.0))


def _begin(traffic: Traffic) -> int:
    begin = traffic.state.phase_start_ns(Phase.BASELINE)
    assert begin is not None
    return begin
