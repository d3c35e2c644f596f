"""When did users have it back? Measured from their own requests, hit by hit, with bounds.

Definitions (docs: explanation of recovery):

- The *end of the effect* is the interval [called, answered] of the last fault's heal, or of the inject for a kill.
- Each `after` tolerance (without any, each `before` one) allows a share of bad hits: `errors < 0.5%` half a percent
  that failed, `p95 <= 374ms` five percent that failed or took longer. Relative bounds rest on the baseline's value.
- *Recovered* is the due time r of the first hit, not before the end of the effect, such that over [r, r + hold] every
  tolerance holds as a whole and no stretch that begins at r strays further than `stats.stray_limit` allows.
- It turned somewhere between the last bad hit and r. Time to recover = halfway between them − answered, never below 0,
  in bounds [last bad hit − answered, r − called].
- Where chance explains all that was bad after the end, the time is 0; the upper bound stays r − called.
- Load workers on other machines: both bounds are wider by the most their clocks may be off.
- *Never*: watched until target + hold, and no such r; unknown if only failures as few as chance explains were in the
  way.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from math import log

from chaosrunner.logic import change, sharpen
from chaosrunner.logic.comeback import comeback
from chaosrunner.logic.conditions import Condition, NoConditionError, Seen, conditions, look
from chaosrunner.logic.doubt import BAD
from chaosrunner.logic.episode import with_episode
from chaosrunner.logic.fold import State
from chaosrunner.logic.levels import SLOT_US
from chaosrunner.logic.trace import Trace, Watch
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Traffic, slots_in
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Stat, Tolerance
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Hit
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import Recovery

LEAD_SLOTS = 20 * SLOTS_A_SECOND
"""Slots looked at before the first inject, to know what is usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """From the first inject to the end of the last fault's effect. µs after the load's epoch."""

    inject_called_us: int
    inject_answered_us: int
    last_inject_us: int
    """The call of the last inject."""
    called_us: int
    answered_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A moment of recovery, at first sight and proven. µs after the load's epoch."""

    turn_us: int
    """The most likely moment: halfway between the last bad request and the first good one."""
    last_us: int
    good_us: int
    """These two; both are the moment itself where it is not told by single requests. Of a probe that was not asked
    while the faults lasted nothing is known before its first answer."""
    low_us: int
    """The last bad hit before the earliest moment possible, or the end of the effect."""
    held_us: int
    """The moment from which everything held over the whole hold time."""
    high_us: int
    held_until_us: int
    """Where it strayed again, or the end of the watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a recovery is measured by."""

    seen: Seen
    effect: Effect
    tolerances: tuple[Tolerance, ...]

    @property
    def watch(self) -> Watch:
        """From when to when it is looked for."""
        return Watch(
            since_us=self.effect.inject_called_us,
            begin_us=self.effect.called_us,
            until_us=self.seen.last * SLOT_US,
            hold_us=slots_in(self.seen.traffic.experiment.recover.hold_s) * SLOT_US,
        )


def recovery(experiment: Experiment, state: State, now: int) -> Recovery:
    """What is known of the recovery at an instant.

    Args:
        experiment: its `recover` says how fast and for how long, its `after` what recovered means.
        state: what is known of the run.
        now: CLOCK_BOOTTIME nanoseconds; nothing due later is looked at.
    """
    found = sight(experiment, state, now)
    return found if isinstance(found, Recovery) else measured(found)


def sight(experiment: Experiment, state: State, now: int) -> Sight | Recovery:
    """What there is to measure a recovery by, or the answer where there is nothing to measure."""
    target_s = experiment.recover.within_s
    if not experiment.faults:
        return Recovery(state="none", target_s=target_s, why="there is no fault to recover from")
    traffic = Traffic(experiment, state)
    effect = _effect(experiment, state)
    if isinstance(effect, str):
        called = any(fault.inject_called_ns is not None for fault in state.faults.values())
        return Recovery(state="unknown" if called else "none", target_s=target_s, why=effect)
    if state.gaps:
        return Recovery(state="unknown", target_s=target_s, why=f"the load has gaps: {state.gaps[0]}")
    first = max(0, effect.inject_called_us // SLOT_US - LEAD_SLOTS)
    last = _settled(traffic, effect.inject_called_us // SLOT_US, now)
    return Sight(
        seen=look(traffic, first, max(first, last)),
        effect=effect,
        tolerances=experiment.hypothesis.after or experiment.hypothesis.before,
    )


def measured(found: Sight) -> Recovery:
    """The recovery that is in sight; unknown where a tolerance cannot be asked."""
    try:
        asked = conditions(found.seen, found.tolerances)
    except NoConditionError as reason:
        target_s = found.seen.traffic.experiment.recover.within_s
        return Recovery(state="unknown", target_s=target_s, why=str(reason))
    seen = _measured(found, asked)
    if seen.state in BAD and any(isinstance(one, Trace) and one.paced for one in asked):
        kindly = _measured(found, [_kindly(one) for one in asked])
        if kindly.state not in BAD:
            why = f"a probe was silent: had it answered well, {kindly.state}"
            return Recovery(state="unknown", target_s=seen.target_s, held_s=seen.held_s, why=why)
    return seen


def _kindly(condition: Condition) -> Condition:
    """The condition as if every question had been answered, and what was not said were good."""
    return replace(condition, kindly=True) if isinstance(condition, Trace) and condition.paced else condition


def _effect(experiment: Experiment, state: State) -> Effect | str:
    """The span of the faults' effect, or why there is none (yet)."""
    epoch = state.load_epoch_ns
    begins, ends = [], []
    for fault in experiment.faults:
        current = state.faults.get(fault.index)
        if epoch is None or current is None or current.inject_called_ns is None or current.inject_answered_ns is None:
            return f"{fault.title} was not injected"
        begins.append((current.inject_called_ns, current.inject_answered_ns))
        if not current.reversible:
            ends.append((current.inject_answered_ns, current.inject_called_ns))
        elif current.undone_called_ns is None or current.undone_answered_ns is None:
            return f"{fault.title} is still in place"
        else:
            ends.append((current.undone_answered_ns, current.undone_called_ns))
    assert epoch is not None
    (inject_called, inject_answered), (answered, called) = min(begins), max(ends)
    return Effect(
        inject_called_us=(inject_called - epoch) // 1000,
        inject_answered_us=(inject_answered - epoch) // 1000,
        last_inject_us=(max(begins)[0] - epoch) // 1000,
        called_us=(called - epoch) // 1000,
        answered_us=(answered - epoch) // 1000,
    )


def _settled(traffic: Traffic, first: int, now: int) -> int:
    """The first slot from `first` on that is not over, or in which a hit has no outcome yet: nobody guesses it."""
    state = traffic.state
    last = traffic.slot_before(min(now, state.covered_ns()))
    still_open = (number for number in range(first, last) if state.unanswered(number))
    return next(still_open, last)


def _measured(sighted: Sight, asked: list[Condition]) -> Recovery:
    seen, effect, watch = sighted.seen, sighted.effect, sighted.watch
    target = seen.traffic.experiment.recover
    if not asked:
        return _nothing_asked(seen, effect, watch)
    held = _first_common(seen, asked, watch, watch.begin_us)
    if held is None or held + watch.hold_us > watch.until_us:
        return _not_found(seen, effect, watch, asked, held)
    found = _found(seen, asked, watch, held)
    time_us, target_us = max(0, found.turn_us - effect.answered_us), target.within_s * 1e6
    off_us = seen.traffic.state.clock_error_us
    last_us, good_us = found.last_us - effect.answered_us, found.good_us - effect.answered_us
    if last_us <= target_us < good_us:
        why = f"no request between {human_duration(last_us / 1e6)} and {human_duration(good_us / 1e6)} after it tells"
        return Recovery(state="unknown", target_s=target.within_s, why=why)
    seen_recovery = Recovery(
        state="recovered" if good_us <= target_us else "late",
        at_ns=_epoch(seen) + found.held_us * 1000,
        time_s=time_us / 1e6,
        low_s=max(0, found.low_us - effect.answered_us - off_us) / 1e6,
        high_s=max(time_us, found.high_us - effect.called_us + off_us) / 1e6,
        from_inject_s=max(0, found.turn_us - effect.inject_answered_us) / 1e6,
        held_s=(found.held_until_us - found.held_us) / 1e6,
        target_s=target.within_s,
        why="it relapsed later" if found.held_until_us < watch.until_us else "",
    )
    return with_episode(seen_recovery, seen, asked, (effect.inject_called_us, effect.inject_answered_us, found.turn_us))


def _found(seen: Seen, asked: list[Condition], watch: Watch, held: int) -> Found:
    """What held from `held` on: when it began to look like that, and until when it went on."""
    strays = [condition.strays_at(held, watch) for condition in asked]
    heard = [one.heard_after(watch.begin_us, watch.since_us) for one in asked if isinstance(one, Trace)]
    turned = _turn(seen, asked, watch, held)
    last_us = max(watch.begin_us, turned.last_us)
    return Found(
        turn_us=(last_us + turned.at_us) // 2,
        last_us=last_us,
        good_us=max([turned.at_us, *heard]),
        low_us=turned.low_us,
        held_us=max(held, turned.at_us),
        high_us=turned.high_us + (0 if seen.exact else SLOT_US),
        held_until_us=min((stray for stray in strays if stray is not None), default=watch.until_us),
    )


def _turn(seen: Seen, asked: list[Condition], watch: Watch, held: int) -> change.Turn:
    """The most likely moment from which on, until it held, chance explains every bad hit."""
    end = min(held + watch.hold_us, watch.until_us)
    traces = [condition for condition in asked if isinstance(condition, Trace)]
    if _calm(seen, asked, replace(watch, until_us=end)):
        hidden = [change.hidden(trace, replace(watch, until_us=end)) for trace in traces]
        return change.Turn(watch.begin_us, watch.begin_us, watch.begin_us, max([held, *hidden]))
    strict = replace(watch, whole=False, until_us=end)
    late = _unbroken(seen, asked, strict, held)
    early = _first_common(seen, asked, replace(strict, strict=False), watch.begin_us) or late
    early = min(early, late)
    gradual = {nth: turn for nth, trace in enumerate(traces) if (turn := _gradual(seen, trace, strict))}
    seen_turns = [
        gradual.get(nth) or _sharp(seen, trace, change.turn(trace, early, late, strict), strict)
        for nth, trace in enumerate(traces)
    ]
    turns = [turn for turn in seen_turns if turn is not None]
    doubts = [doubt for one in asked if (doubt := one.doubt_before(early, watch.begin_us)) is not None]
    final = max(turns, key=lambda turn: (turn.at_us, -turn.last_us), default=change.Turn(early, early, early, early))
    low = max([turn.low_us for turn in turns] or doubts, default=watch.begin_us)
    at = final.at_us if final in gradual.values() else _snap(seen, final.at_us) or late
    high = max([at if gradual else held, *(turn.high_us for turn in turns)])
    return change.Turn(min(low, final.last_us), final.last_us, at, high)


def _gradual(seen: Seen, trace: Trace, watch: Watch) -> change.Turn | None:
    """When a quantile crossed its bound, if responses came back little by little."""
    if not _by_response(seen, trace):
        return None
    before, after = _own(seen, trace, 0, watch.since_us), _own(seen, trace, watch.begin_us, watch.until_us)
    held = _own(seen, trace, watch.until_us - watch.hold_us, watch.until_us)
    usual = [hit.outcome is Outcome.OK for hit in before + held]
    share = min(1.0, (1.0 - trace.rule.allowed) * len(usual) / max(1, sum(usual)))  # a failure is infinitely slow
    found = comeback(_timed(after, watch), _timed(before, watch), log(max(1e-6, trace.rule.bound)), share)
    if found is None:
        return None
    at, low, high = (watch.begin_us + round(seconds * 1e6) for seconds in (found.at_s, found.low_s, found.high_s))
    # The law knows nothing of requests that failed meanwhile, nor of what is slow once more.
    return change.Turn(low, at, at, high) if trace.rule.holds(*trace.counts(high, high + watch.hold_us)) else None


def _sharp(seen: Seen, trace: Trace, turn: change.Turn | None, watch: Watch) -> change.Turn | None:
    """A quantile's turn, told by how slow each request was if none failed about it."""
    if turn is None or not _by_response(seen, trace):
        return turn
    if bisect_left(seen.failed_due, turn.low_us) != bisect_left(seen.failed_due, turn.high_us):
        return turn
    logs = [(due, y) for due, y, _ in _logs(_own(seen, trace, watch.since_us, watch.until_us))]
    found = sharpen.split(logs, turn.low_us, turn.high_us)
    return turn if found is None else replace(turn, low_us=min(turn.low_us, found[0]), last_us=found[0], at_us=found[1])


def _by_response(seen: Seen, trace: Trace) -> bool:
    """Whether there are single responses, which tell more than how many were too slow."""
    return seen.exact and trace.rule.tolerance.metric.stat is Stat.QUANTILE


def _own(seen: Seen, trace: Trace, begin_us: int, end_us: int) -> list[Hit]:
    """The raw hits due in [begin, end) that a rule is about."""
    names = trace.rule.names
    due = seen.hits[bisect_left(seen.due, begin_us) : bisect_left(seen.due, end_us)]
    return [hit for hit in due if names is None or hit.name in names]


def _timed(hits: list[Hit], watch: Watch) -> list[tuple[float, float, int]]:
    """(seconds after the effect, logarithm of the response in seconds, name) of what succeeded."""
    return [((due - watch.begin_us) / 1e6, y, name) for due, y, name in _logs(hits)]


def _logs(hits: list[Hit]) -> list[tuple[int, float, int]]:
    """(due in µs, logarithm of the response in seconds, name) of what succeeded."""
    return [(hit.due_us, log(max(1, hit.response_us) / 1e6), hit.name) for hit in hits if hit.outcome is Outcome.OK]


def _calm(seen: Seen, asked: list[Condition], watch: Watch) -> bool:
    """Whether, by all that chance does not explain, nothing was ill any more when the effect ended, or later."""
    begin = _snap(seen, watch.begin_us)
    return begin is not None and all(
        change.calm(condition, begin, watch)
        if isinstance(condition, Trace)
        else condition.next_at(begin, watch) == begin
        for condition in asked
    )


def _unbroken(seen: Seen, asked: list[Condition], watch: Watch, held: int) -> int:
    """The first moment from which nothing strays until the hold time that held is over."""
    at: int | None = watch.begin_us
    while at is not None and (at := _first_common(seen, asked, watch, at)) is not None and at < held:
        strays = [stray for condition in asked if (stray := condition.strays_at(at, watch)) is not None]
        if not strays:
            return at
        at = min(strays) + 1
    return held


def _first_common(seen: Seen, asked: list[Condition], watch: Watch, begin_us: int) -> int | None:
    """The first hit from `begin_us` on from which every condition holds: each in turn moves it on, until none does."""
    at = _snap(seen, begin_us)
    while at is not None:
        later = next((moved for condition in asked if (moved := condition.next_at(at, watch)) != at), at)
        if later == at:
            return at
        at = None if later is None else _snap(seen, later)
    return None


def _snap(seen: Seen, at_us: int) -> int | None:
    """The due time of the first request from an instant on."""
    nth = bisect_left(seen.due, at_us)
    return seen.due[nth] if nth < len(seen.due) else None


def _nothing_asked(seen: Seen, effect: Effect, watch: Watch) -> Recovery:
    """Without a tolerance there is nothing to recover; the end of the effect stands in, so that a plan has an end."""
    return Recovery(
        state="none",
        at_ns=_epoch(seen) + effect.answered_us * 1000,
        time_s=0.0,
        held_s=max(0, watch.until_us - effect.answered_us) / 1e6,
        target_s=seen.traffic.experiment.recover.within_s,
        why="no tolerance says what recovered means",
    )


def _not_found(seen: Seen, effect: Effect, watch: Watch, asked: list[Condition], held: int | None) -> Recovery:
    target = seen.traffic.experiment.recover
    watched_s = max(0, watch.until_us - effect.answered_us) / 1e6
    held_s = 0.0 if held is None else (watch.until_us - held) / 1e6
    unknown = Recovery(state="unknown", target_s=target.within_s, held_s=held_s)
    if watched_s < target.within_s + target.hold_s:
        return replace(unknown, why=f"watched for {human_duration(watched_s)}, holding for {human_duration(held_s)}")
    end = (max(watch.begin_us, watch.until_us - watch.hold_us), watch.until_us)
    violated = any(_is_worse(condition, *end) for condition in asked)
    lacking = max(condition.lacks(*end) for condition in asked)
    if lacking and not violated:
        why = f"{lacking} requests too few in {human_duration(target.hold_s)} to prove a recovery"
        return replace(unknown, why=why)
    if chance := _chance(seen, asked, watch):
        return replace(unknown, why=chance)
    why = f"holding only for the last {human_duration(held_s)}" if held_s else "not within target and hold"
    never = replace(unknown, state="never", why=f"{why}, watched for {human_duration(watched_s)}")
    return with_episode(never, seen, asked, (effect.inject_called_us, effect.inject_answered_us, watch.until_us))


def _is_worse(condition: Condition, begin_us: int, end_us: int) -> bool:
    """Whether a condition is violated over [begin, end) by more than chance explains."""
    if not condition.violated(begin_us, end_us):
        return False
    return not (isinstance(condition, Trace) and condition.by_chance(begin_us, end_us))


def _chance(seen: Seen, asked: list[Condition], watch: Watch) -> str:
    """Why it may have recovered in time, where nothing but failures as few as chance explains kept it from holding."""
    begin = _first_common(seen, asked, replace(watch, whole=False), watch.begin_us)
    latest = watch.begin_us + round(seen.traffic.experiment.recover.within_s * 1e6)
    if begin is None or begin > latest:
        return ""
    hold = begin, begin + watch.hold_us
    violated = [one for one in asked if one.violated(*hold)]
    if not violated or any(_is_worse(one, *hold) for one in violated):
        return ""
    if any(isinstance(one, Trace) and one.excess(begin, watch.until_us) for one in violated):
        return ""
    return "too few requests to tell the failures in the hold time from chance"


def _epoch(seen: Seen) -> int:
    epoch = seen.traffic.state.load_epoch_ns
    assert epoch is not None
    return epoch
