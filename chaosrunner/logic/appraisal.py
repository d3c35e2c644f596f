"""A recovery looked at closely: the verdict by equivalence to the baseline, relapses, and what the faults did.

`recovery` says when `after` began to hold, and is asked four times a second while a run waits. What is added here
takes a whole look at the traffic, so it is asked when the run is judged, or at the looks of a stricter target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chaosrunner.logic.conditions import NoConditionError, conditions
from chaosrunner.logic.drift import drifts, watched
from chaosrunner.logic.equivalence import SIDE
from chaosrunner.logic.fold import State
from chaosrunner.logic.impact import Course, impact
from chaosrunner.logic.levels import SLOT_US
from chaosrunner.logic.recovery import Sight, measured, sight
from chaosrunner.logic.relapse import answered_ill, relapses
from chaosrunner.logic.residual import (
    Comparison,
    baseline_of,
    changed,
    concluded,
    margin_of,
    residuals,
    tail,
)
from chaosrunner.logic.trace import Trace
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Stat
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import Change, Impact, Recovery, Relapse, Residual, Return

ILL = frozenset({Return.NOT_RECOVERED, Return.RELAPSED})
"""Verdicts that speak against the target."""

TOLD = 2
"""Relapses that are put into words; the JSON has all."""


def appraisal(experiment: Experiment, state: State, now: int, side: float = SIDE) -> Recovery:
    """What is known of the recovery at an instant, with its verdict.

    Args:
        experiment: what was asked.
        state: what is known of the run.
        now: CLOCK_BOOTTIME nanoseconds; nothing due later is looked at.
        side: error of each side of the intervals.
    """
    found = sight(experiment, state, now)
    if isinstance(found, Recovery):
        return _not_looked(found, experiment)
    seen = _glanced(measured(found), found, side)
    baseline = baseline_of(found.seen.traffic)
    return seen if baseline is None else replace(seen, impact=_impact(seen, found, baseline))


def glance(experiment: Experiment, state: State, now: int, side: float = SIDE) -> Recovery:
    """The same without what the faults did to users: what it takes to know whether to wait on."""
    found = sight(experiment, state, now)
    return _not_looked(found, experiment) if isinstance(found, Recovery) else _glanced(measured(found), found, side)


def _not_looked(found: Recovery, experiment: Experiment) -> Recovery:
    """Without anything in sight there is no verdict, or none that could be."""
    verdict = Return.INCONCLUSIVE if found.state == "unknown" else None
    return replace(found, verdict=verdict, verdict_why=found.why, asked=experiment.recover.margin)


def _glanced(seen: Recovery, found: Sight, side: float) -> Recovery:
    traffic = found.seen.traffic
    seen = replace(seen, longer_than_s=_longer_than(seen, found), asked=traffic.experiment.recover.margin)
    seen = _with_relapses(seen, found)
    baseline = baseline_of(traffic)
    if baseline is None:
        why = "the baseline is not kept slot by slot any more"
        return replace(seen, verdict=Return.INCONCLUSIVE, verdict_why=why)
    begin_us = found.effect.answered_us
    if seen.at_ns is not None:
        begin_us = max(begin_us, _since_epoch(found, seen.at_ns))
    after = tail(traffic.experiment, -(-begin_us // SLOT_US), found.seen.last)
    return _with_verdict(seen, Comparison(traffic, baseline, after, side))


def _impact(seen: Recovery, found: Sight, baseline: range) -> Impact:
    effect = found.effect
    over_us = found.watch.until_us if seen.at_ns is None else _since_epoch(found, seen.at_ns)
    course = Course(
        seen=found.seen,
        traces=_traces(found),
        inject_us=effect.inject_answered_us,
        ended_us=effect.answered_us,
        over_us=max(over_us, effect.inject_answered_us),
    )
    return impact(seen, course, baseline)


def _with_verdict(seen: Recovery, there: Comparison) -> Recovery:
    """The verdict; RELAPSED, and NOT RECOVERED where `after` never held, whatever the last stretch looks like."""
    remains = residuals(there)
    verdict, why = concluded(remains)
    margins = [(metric, margin_of(there.traffic, metric)) for metric in watched(there.traffic.experiment)]
    if drift := next(drifts(there.traffic, there.baseline, margins), None):
        what = changed(drift).rpartition(", ")[0]
        verdict, why = Return.INCONCLUSIVE, f"the baseline itself drifts, so nothing can be as before: {what}"
    if seen.state == "never":
        held = f"'after' never held long enough: {seen.why}"
        why = f"{held}; {why}" if verdict is Return.NOT_RECOVERED else held
        verdict = Return.NOT_RECOVERED
    if seen.state == "unknown":
        verdict, why = Return.INCONCLUSIVE, seen.why
    seen = replace(seen, residuals=remains, verdict=verdict, verdict_why=why)
    return _relapsed(seen, verdict, why) if seen.relapses else seen


def doubted(plain: Recovery, view: Recovery, why: str) -> Recovery:
    """A bad verdict without what a kinder view does not show: neither a relapse nor a change for the worse is proven
    by what the target did not do.

    Args:
        plain: as seen; of another verdict than NOT RECOVERED and RELAPSED it is left as it is.
        view: the same from the traffic without what is not the target's doing.
        why: what that was, in words: `the generator's own lag decides`.
    """
    if plain.verdict not in ILL:
        return plain
    worse = {one.metric for one in view.residuals if one.proves is Change.WORSE}
    kept = tuple(
        replace(one, proves=Change.UNCLEAR, why=f"{why}: with it {changed(one)}")
        if one.proves is Change.WORSE and one.metric not in worse
        else one
        for one in plain.residuals
    )
    seen = replace(plain, residuals=kept)
    if view.verdict not in ILL:
        bad = f"RELAPSED: {_ill_again(plain)}" if plain.relapses else plain.verdict_why
        why = f"{why}: with it {bad}"
        return replace(seen, verdict=Return.INCONCLUSIVE, verdict_why=why, relapses=view.relapses, beneath=None)
    if plain.relapses and not view.relapses:
        return replace(seen, verdict=view.verdict, verdict_why=view.verdict_why, relapses=(), beneath=None)
    if kept == plain.residuals or plain.state == "never" or plain.beneath not in (None, Return.NOT_RECOVERED):
        return seen
    verdict, said = concluded(kept)
    return _relapsed(seen, verdict, said) if plain.relapses else replace(seen, verdict=verdict, verdict_why=said)


def without_rate(view: Recovery) -> Recovery:
    """The verdict without what users did for themselves: how often they asked."""
    return _of(view, [one for one in view.residuals if not one.metric.startswith(Stat.RATE.value)])


def of_errors(view: Recovery) -> Recovery:
    """The verdict without what is about time."""
    return _of(view, [one for one in view.residuals if one.metric.startswith(Stat.ERRORS.value)])


def _of(view: Recovery, kept: Sequence[Residual]) -> Recovery:
    if view.verdict is not Return.NOT_RECOVERED or view.state == "never" or len(kept) == len(view.residuals):
        return view
    verdict, why = concluded(kept)
    return replace(view, residuals=tuple(kept), verdict=verdict, verdict_why=why)


def unproven(seen: Recovery, why: str) -> Recovery:
    """The recovery without what it was said to be, beneath its relapses if it has any: that is not proven."""
    if seen.verdict is not Return.RELAPSED:
        return replace(seen, verdict=Return.INCONCLUSIVE, verdict_why=why)
    return _relapsed(seen, Return.INCONCLUSIVE, why)


def _relapsed(seen: Recovery, verdict: Return, why: str) -> Recovery:
    """What it was ill of again, and what it would be without that."""
    told = _ill_again(seen)
    whole = told if verdict is Return.RECOVERED else f"{told}; {verdict}: {why}"
    return replace(seen, verdict=Return.RELAPSED, verdict_why=whole, beneath=verdict)


def _ill_again(seen: Recovery) -> str:
    """The relapses in words, the first few of many."""
    more = len(seen.relapses) - TOLD
    told = [*map(_told, seen.relapses[:TOLD]), *([f"and {more} more"] if more > 0 else [])]
    return "; ".join(told)


def _told(one: Relapse) -> str:
    return (
        f"well {human_duration(one.well_s)} after the last fault, ill again from {human_duration(one.begin_s)} "
        f"to {human_duration(one.end_s)}"
    )


def _with_relapses(seen: Recovery, found: Sight) -> Recovery:
    watch, effect = found.watch, found.effect
    traces = _single(found)
    of_load, of_probes = ([one for one in traces if one.paced is paced] for paced in (False, True))
    ill = relapses(of_load, effect.last_inject_us, watch.begin_us, watch.until_us)
    if seen.at_ns is not None:
        ill += answered_ill(of_probes, _since_epoch(found, seen.at_ns), watch.begin_us)
    # They are told as the time to recover is: from the end of the effect as it was answered.
    late_s = max(0, effect.answered_us - watch.begin_us) / 1e6
    ill = tuple(sorted(ill, key=lambda one: one.begin_s))
    return replace(seen, relapses=tuple(_later(one, late_s) for one in ill))


def _later(one: Relapse, late_s: float) -> Relapse:
    well, begin, end = (max(0.0, at_s - late_s) for at_s in (one.well_s, one.begin_s, one.end_s))
    return Relapse(well_s=well, begin_s=begin, end_s=end)


def _traces(found: Sight) -> list[Trace]:
    """The conditions of recovery that are about single requests."""
    return [one for one in _single(found) if not one.paced]


def _single(found: Sight) -> list[Trace]:
    try:
        asked = conditions(found.seen, found.tolerances)
    except NoConditionError:
        return []
    return [one for one in asked if isinstance(one, Trace)]


def _longer_than(seen: Recovery, found: Sight) -> float | None:
    """How long it was watched in vain, from the end of the effect; None where a time is known, or was never asked."""
    if seen.state not in ("never", "unknown"):
        return None
    return max(0, found.watch.until_us - found.effect.answered_us) / 1e6


def _since_epoch(found: Sight, at_ns: int) -> int:
    epoch = found.seen.traffic.state.load_epoch_ns
    assert epoch is not None
    return (at_ns - epoch) // 1000
