"""`decide(experiment, state, now) → step`: the only place that knows what comes next. Pure, so a journal replays it.

A run goes WARMUP → BASELINE → FAULT → RECOVERY → AFTER. From anywhere, a reason to give up (a signal, a crash, a lost
watchdog or load worker, a failed inject, a tripped safeguard) becomes one `Abort`; from then on there is only healing.
"""

from __future__ import annotations

from typing import assert_never

from chaosrunner.logic.fault_state import FaultState, FaultStatus
from chaosrunner.logic.fold import State
from chaosrunner.logic.patience import next_look
from chaosrunner.logic.recovery import recovery
from chaosrunner.logic.safeguards import tripped
from chaosrunner.logic.steady import steady
from chaosrunner.model.events import ABORT
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.fault import Fault
from chaosrunner.model.steps import Abort, Done, Enter, Heal, Inject, Step, Wait
from chaosrunner.model.units import NANOS, SLOT_NS
from chaosrunner.model.verdict import Outcome

LOOK_AGAIN_NS = 250_000_000
"""While something is awaited that has no due time (a frame, an answer), look again this often."""

BLIND_NS = 5 * NANOS
"""Frames later than this are not late but missing."""


def decide(experiment: Experiment, state: State, now: int) -> Step:
    """The next step.

    Args:
        experiment: what was asked.
        state: what is known, the fold of the journal so far.
        now: CLOCK_BOOTTIME nanoseconds.
    """
    if not state.aborted and (why := _reason_to_give_up(experiment, state, now)):
        return Abort(why)
    if state.aborted:
        return _wind_down(experiment, state, now)
    match state.phase:
        case None:
            return _begin(state, now)
        case Phase.WARMUP:
            return _until_warm(experiment, state, now)
        case Phase.BASELINE:
            return _until_steady(experiment, state, now)
        case Phase.FAULT:
            return _break_and_heal(experiment, state, now)
        case Phase.RECOVERY:
            return _until_recovered(experiment, state, now)
        case Phase.AFTER:
            return _until_held(experiment, state, now)
        case never:
            assert_never(never)


def _reason_to_give_up(experiment: Experiment, state: State, now: int) -> str:
    if state.signals:
        return f"interrupted: {state.signals[0]}" if state.signals[0] != ABORT else "aborted by hand, by command or key"
    if state.crashes:
        return f"failed: {state.crashes[0]}"
    if state.watchdog_lost:
        return f"failed: the watchdog is gone ({state.watchdog_lost}); without it nothing may stay broken"
    for index, fault in sorted(state.faults.items()):
        if fault.status in (FaultStatus.FAILED, FaultStatus.STUCK):
            return f"failed: {experiment.faults[index].title}: {fault.why}"
    if state.forbidden and experiment.faults and state.phase not in (Phase.RECOVERY, Phase.AFTER):
        return f"not allowed any more: {state.forbidden}"
    if state.gaps:
        return f"failed: load lost: {state.gaps[0]}"
    if state.load_ended_ns is not None:
        return "failed: the load ended before the experiment did"
    return tripped(experiment, state, now)


def _wind_down(experiment: Experiment, state: State, now: int) -> Step:
    """Heal newest first; done when nothing is under way."""
    under_way = False
    for fault in reversed(experiment.faults):
        if f"inject {fault.index}" not in state.asked:
            continue
        current = state.fault(fault.index)
        if f"heal {fault.index}" not in state.asked:
            return Heal(fault.index, state.aborted)
        under_way |= not _is_over(current)
    return Wait(now + LOOK_AGAIN_NS) if under_way else Done(state.aborted)


def _is_over(fault: FaultState) -> bool:
    """Nothing more will happen to it: paid, stuck, failed without a debt, or a kill that was answered."""
    return fault.over or (fault.status is FaultStatus.ACTIVE and not fault.reversible)


def _begin(state: State, now: int) -> Step:
    if state.load_epoch_ns is None:
        return Wait(now + LOOK_AGAIN_NS)
    return Enter(Phase.WARMUP, state.load_epoch_ns, "load workers are ready")


def _until_warm(experiment: Experiment, state: State, now: int) -> Step:
    end = _edge(state, _start(state, Phase.WARMUP) + int(experiment.load.warmup_s * NANOS))
    return Wait(end) if now < end else Enter(Phase.BASELINE, end, "the ramp is over")


def _until_steady(experiment: Experiment, state: State, now: int) -> Step:
    start = _start(state, Phase.BASELINE)
    end = _edge(state, start + int(experiment.baseline_s * NANOS))
    if now < end:
        return Wait(end)
    # The last requests of the baseline deserve the time that any request gets before it counts as unanswered.
    answered_by = end + int(experiment.unanswered_s * NANOS)
    if state.covered_ns() < end or (now < answered_by and _open_between(state, start, end)):
        return _or_blind(state, end, now)
    findings = steady(experiment, state)
    if unmet := [finding for finding in findings if finding.outcome is not Outcome.HELD]:
        seen = "; ".join(f"{f.name}: {f.observed}" + (f" ({f.why})" if f.why else "") for f in unmet)
        return Done(f"steady state not met before any fault: {seen}")
    met = "; ".join(f"{f.name}: {f.observed}" for f in findings) or "nothing asked of it"
    if not experiment.faults:
        return Done("no fault")
    return Enter(Phase.FAULT, _edge(state, now + SLOT_NS), f"steady state met: {met}")


def _break_and_heal(experiment: Experiment, state: State, now: int) -> Step:
    start = _start(state, Phase.FAULT)
    wake = now + LOOK_AGAIN_NS
    ends: list[int] = []
    for fault in experiment.faults:
        if f"inject {fault.index}" not in state.asked:
            at = _due(experiment, fault, state, now)
            if at is not None and now >= at:
                return Inject(fault.index, f"{(at - start) / NANOS:g} s into the phase")
            wake = wake if at is None else min(wake, at)
            continue
        end = _end_of(fault, state.fault(fault.index))
        if end is None:
            continue
        if now >= end and state.fault(fault.index).reversible and f"heal {fault.index}" not in state.asked:
            return Heal(fault.index, f"it has lasted {fault.for_s:g} s")
        wake = min(wake, end) if end > now else wake
        over = _over_at(fault, state.fault(fault.index), now)
        if over is not None:
            ends.append(over)
    if len(ends) == len(experiment.faults):
        return Enter(Phase.RECOVERY, _edge(state, max(ends)), "every fault has ended")
    return Wait(wake)


def _due(experiment: Experiment, fault: Fault, state: State, now: int) -> int | None:
    """When a fault is to begin; None while what it waits for is not over."""
    at = _start(state, Phase.FAULT) + int(fault.at_s * NANOS)
    for index in fault.after:
        current = state.faults.get(index)
        over = _over_at(experiment.faults[index], current, now) if current else None
        if over is None:
            return None
        at = max(at, over + int(fault.pause_s * NANOS))
    return at


def _over_at(fault: Fault, current: FaultState, now: int) -> int | None:
    """When a fault was over: its time and its undoing; None while it is not."""
    end = _end_of(fault, current)
    if end is None or now < end or not _is_over(current):
        return None
    return max(end, current.undone_answered_ns or 0)


def _end_of(fault: Fault, current: FaultState) -> int | None:
    """When a fault has lasted as long as asked; None while its inject has not been answered."""
    if current.inject_answered_ns is None:
        return None
    return current.inject_answered_ns + int(fault.for_s * NANOS)


def _until_recovered(experiment: Experiment, state: State, now: int) -> Step:
    start = _start(state, Phase.RECOVERY)
    target = experiment.recover
    over = start + int((target.within_s + target.hold_s + experiment.unanswered_s) * NANOS)
    seen = recovery(experiment, state, now)
    if seen.at_ns is not None and (seen.held_s or 0.0) >= target.hold_s:
        at = _edge(state, max(seen.at_ns, start))
        return Enter(Phase.AFTER, at, f"'after' holds since {seen.time_s:.2f} s, for {seen.held_s:.1f} s")
    if now >= over:
        return Done("not recovered")
    return Wait(min(now + LOOK_AGAIN_NS, over))


def _until_held(experiment: Experiment, state: State, now: int) -> Step:
    start = _start(state, Phase.AFTER)
    end = _edge(state, start + int(experiment.recover.hold_s * NANOS))
    answered_by = end + int(experiment.unanswered_s * NANOS)
    if state.covered_ns() < end or (now < answered_by and _open_between(state, start, end)):
        return _or_blind(state, end, now)
    look = next_look(experiment, state, now)
    if look is not None:
        return Wait(min(now + LOOK_AGAIN_NS, look))
    return Done("proven")


def _or_blind(state: State, end: int, now: int) -> Step:
    """Wait for frames that are late; give up on frames that are missing."""
    if now > end + BLIND_NS and state.covered_ns() < end:
        return Abort("failed: blind: the load workers have stopped reporting")
    return Wait(now + LOOK_AGAIN_NS if now >= end else end)


def _open_between(state: State, begin: int, end: int) -> bool:
    """Whether a hit due in [begin, end) is still open."""
    first, last = state.slot_number(begin), state.slot_number(end)
    return any(state.unanswered(number) for number in range(first, last))


def _start(state: State, phase: Phase) -> int:
    at = state.phase_start_ns(phase)
    assert at is not None
    return at


def _edge(state: State, at: int) -> int:
    """The first slot edge at or after an instant."""
    assert state.load_epoch_ns is not None
    return state.load_epoch_ns + -(-(at - state.load_epoch_ns) // SLOT_NS) * SLOT_NS
