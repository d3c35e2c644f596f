"""The recovery as it is told: measured, with its verdict and its finding, and every doubt that forbids to say so much.

What is bad only by the generator's doing, or for want of a CPU, is not the target's; and RECOVERED is only what no
better baseline disproves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from chaosrunner.logic.appraisal import ILL, appraisal, doubted, glance, of_errors, unproven, without_rate
from chaosrunner.logic.doubt import BAD, TIMES, busy_worker, unfit_recovery, users_waited
from chaosrunner.logic.fold import State
from chaosrunner.logic.patience import side
from chaosrunner.logic.punctual import without_lag
from chaosrunner.logic.recovery import recovery
from chaosrunner.logic.traffic import Traffic
from chaosrunner.logic.validity import unfit_faults, unfit_load
from chaosrunner.model.experiment import Experiment, Phase, RecoveryTarget
from chaosrunner.model.hypothesis import Stat
from chaosrunner.model.units import NANOS, human_duration
from chaosrunner.model.verdict import Change, Degradation, Finding, Outcome, Recovery, Return

RECOVERY = "recovery within "
"""How the finding on the recovery is named."""


MEASURED = (Phase.BASELINE, Phase.AFTER)
"""What is laid beside each other to tell whether it is as before."""

MORE = 1.1
"""How many times as much must have been missing before as later to be more."""


def appraised(traffic: Traffic) -> Recovery:
    """The recovery with its verdict; one that is bad only by the generator's doing, or for want of CPU, is none."""
    experiment, state = traffic.experiment, traffic.state
    until, error = state.covered_ns(), side(experiment, state)
    try:
        plain = appraisal(experiment, state, until, error)
        if plain.verdict in ILL:
            for why, view in _kinder(traffic, lambda asked, seen: glance(asked, seen, until, error)):
                plain = doubted(plain, view, why)
                if plain.verdict not in ILL:
                    break
        if Return.NOT_RECOVERED in (plain.verdict, plain.beneath) and (seconds := _cut_short(traffic, until)):
            plain = unproven(plain, f"the run was cut short {human_duration(seconds)} after the fault")
        if Return.RECOVERED in (plain.verdict, plain.beneath):
            plain = _against_the_best(traffic, plain, until, error)
        return _undegraded(traffic, plain, until)
    except Exception as failure:
        why = f"measuring failed: {type(failure).__name__}: {failure}"
        return _inconclusive(_recovery(experiment, state), why)


def fitted(traffic: Traffic, measured: Recovery, findings: list[Finding]) -> Recovery:
    """A verdict on evidence that is not fit is none: the load was not delivered, or the fault not proven."""
    if measured.verdict in (None, Return.INCONCLUSIVE):
        return measured
    found = [one for one in findings if one.name.startswith(RECOVERY)]
    unfit = next((one.why for one in found if one.outcome is Outcome.UNKNOWN), "")
    if measured.beneath is Return.INCONCLUSIVE and unfit == _asked_of(measured)[1]:
        return measured  # that it relapsed is proven all the same
    if not found:  # nothing was asked of it, so nothing has looked
        spans = traffic.spans(Phase.RECOVERY, Phase.AFTER)
        unfit = unfit_faults(traffic.experiment, traffic.state)
        unfit = unfit or next(filter(None, (unfit_load(traffic, span) for span in spans)), "")
    return _inconclusive(measured, unfit) if unfit else measured


def recovery_finding(traffic: Traffic, measured: Recovery) -> Finding:
    """Whether it came back in time, and to within a margin where one was asked for; UNKNOWN where that is in doubt."""
    target = traffic.experiment.recover
    outcome = {"recovered": Outcome.HELD, "none": Outcome.HELD, "late": Outcome.BROKEN, "never": Outcome.BROKEN}.get(
        measured.state, Outcome.UNKNOWN
    )
    outcome, why = max((outcome, measured.why), _asked_of(measured), key=lambda one: one[0])
    unfit = unfit_faults(traffic.experiment, traffic.state)
    for phase in (Phase.FAULT, Phase.RECOVERY, Phase.AFTER):
        if not unfit and outcome is not Outcome.UNKNOWN and (span := traffic.span(phase)):
            unfit = unfit_load(traffic, span)
    untimely = outcome is Outcome.BROKEN and measured.state in BAD
    if not unfit and untimely:
        unfit = unfit_recovery(traffic, lambda view: _recovery(view.experiment, view.state).state)
    if not unfit and untimely:
        unfit = _unfit_generator(traffic)
    return Finding(
        name=f"{RECOVERY}{human_duration(target.within_s)}",
        phase=Phase.RECOVERY,
        expected=f"within {human_duration(target.within_s)}, held for {human_duration(target.hold_s)}{within(target)}",
        observed=_time(measured),
        outcome=Outcome.UNKNOWN if unfit else outcome,
        why=unfit or why,
        value=measured.time_s,
        evidence=tuple(fault.evidence_n for fault in traffic.state.faults.values() if fault.proven is not None),
    )


def within(target: RecoveryTarget) -> str:
    """`, to within 10 % of the baseline`; empty unless the user asked for it."""
    return f", to within {target.margin * 100:g} % of the baseline" if target.margin is not None else ""


def _kinder(traffic: Traffic, look: Callable[[Experiment, State], Recovery]) -> Iterator[tuple[str, Recovery]]:
    """Views of a recovery without what is not the target's doing, and what that was, one after the other."""
    experiment, state = traffic.experiment, traffic.state
    yield "the generator's own lag decides", look(experiment, without_lag(state))
    if traffic.lack:
        kinder = traffic.relieved(frozenset({Phase.RECOVERY, Phase.AFTER})).state
        fair = without_rate if _users_waited(traffic) else lambda view: view
        yield "a CPU was missing, and that decides", fair(look(experiment, kinder))
        yield "the generator's own lag and a missing CPU decide", fair(look(experiment, without_lag(kinder)))
    if any(busy_worker(traffic, span) for span in traffic.spans(Phase.RECOVERY, Phase.AFTER)):
        untimed = _without(experiment, TIMES)
        yield "a worker of the load was never idle, and that decides", of_errors(look(untimed, state))


def _cut_short(traffic: Traffic, until: int) -> float:
    """Seconds after the faults when a run ended that was not to end yet; 0 for one that was watched to the end."""
    state, target = traffic.state, traffic.experiment.recover
    begin = state.phase_start_ns(Phase.RECOVERY)
    watched_s = (until - begin) / NANOS if begin is not None else 0.0
    return 0.0 if state.played or watched_s >= target.within_s + target.hold_s else watched_s


def _against_the_best(traffic: Traffic, plain: Recovery, until: int, side: float) -> Recovery:
    """A recovery, unless what was missing had spoilt the baseline, and more than it did what is compared with it."""
    before, after = ([busy_worker(traffic, span) for span in traffic.spans(phase)] for phase in MEASURED)
    if any(before) and not any(after):
        return unproven(plain, f"baseline: {before[0]}")
    views = {"without the generator's own lag": (without_lag(traffic.state), True)}
    if traffic.lack:
        lacked, lacks = (sum(traffic.lack.taken(one.touched) for one in traffic.spans(phase)) for phase in MEASURED)
        # What is made up is not known but guessed: where no less of it was missing later, it leaves nothing unclear.
        views["with the CPU that was missing"] = traffic.relieved(frozenset(Phase)).state, lacked > MORE * lacks
    for how, (state, better) in views.items():
        view = glance(traffic.experiment, state, until, side)
        found = view.verdict if view.beneath is None else view.beneath
        unclear = (
            better and found is Return.INCONCLUSIVE and any(one.proves is Change.UNCLEAR for one in view.residuals)
        )
        if found is Return.NOT_RECOVERED or unclear:
            return unproven(plain, f"baseline: {how} it was better, and by that one {view.verdict_why}")
    return plain


def _undegraded(traffic: Traffic, plain: Recovery, until: int) -> Recovery:
    """The recovery without a degradation that is not there once missing CPU is taken off: no degradation is proven."""
    told = plain.impact
    if told is None or told.degradation is not Degradation.DEGRADED or not traffic.lack:
        return plain
    kinder = traffic.relieved(frozenset({Phase.FAULT, Phase.RECOVERY, Phase.AFTER}))
    seen = appraisal(traffic.experiment, kinder.state, until).impact or told
    return replace(plain, impact=replace(told, degradation=seen.degradation))


def _inconclusive(measured: Recovery, why: str) -> Recovery:
    return replace(measured, verdict=Return.INCONCLUSIVE, verdict_why=why, beneath=None)


def _recovery(experiment: Experiment, state: State) -> Recovery:
    try:
        return recovery(experiment, state, state.covered_ns())
    except Exception as error:
        why = f"measuring failed: {type(error).__name__}: {error}"
        return Recovery(state="unknown", target_s=experiment.recover.within_s, why=why)


def _unfit_generator(traffic: Traffic) -> str:
    """Why the load generator's own state forbids to call a recovery late or missing; empty when it does not."""
    lag = "the generator's own lag decides: without it"
    views = {lag: without_lag(traffic.state)}
    if traffic.lack:
        kinder = traffic.relieved(frozenset({Phase.RECOVERY, Phase.AFTER, Phase.FAULT, Phase.WARMUP}))
        views[f"{lag}, and with the CPU that was missing,"] = without_lag(kinder.state)
    for why, state in views.items():
        if (kinder_one := _recovery(traffic.experiment, state)).state not in BAD:
            return f"{why} {_time(kinder_one)}"
    spans = traffic.spans(Phase.RECOVERY, Phase.AFTER)
    if busy := next(filter(None, (busy_worker(traffic, span) for span in spans)), ""):
        return busy if _recovery(_without(traffic.experiment, TIMES), traffic.state).state not in BAD else ""
    if _users_waited(traffic):
        kinder_one = _recovery(_without(traffic.experiment, {Stat.RATE}), traffic.state)
        return "" if kinder_one.state in BAD else "others on this host had the CPUs: users who wait longer ask less"
    return ""


def _users_waited(traffic: Traffic) -> bool:
    """Whether users that wait for an answer asked less after the faults because others had the CPUs."""
    return any(users_waited(traffic, span) for span in traffic.spans(Phase.RECOVERY, Phase.AFTER))


def _without(experiment: Experiment, stats: Collection[Stat]) -> Experiment:
    """The same, but that nothing is asked of some statistics after the faults."""
    asked = experiment.hypothesis.after or experiment.hypothesis.before
    kept = tuple(one for one in asked if one.metric.stat not in stats)
    return replace(experiment, hypothesis=replace(experiment.hypothesis, before=kept, after=kept))


def _asked_of(measured: Recovery) -> tuple[Outcome, str]:
    """What the verdict means for the finding: nothing unless the user asked for it by writing a margin."""
    if measured.asked is None:
        return Outcome.HELD, ""
    proven = {Return.NOT_RECOVERED: Outcome.BROKEN, Return.INCONCLUSIVE: Outcome.UNKNOWN}
    verdict = measured.verdict if measured.beneath is None else measured.beneath
    told = f"{measured.verdict}: {measured.verdict_why}"
    return (proven.get(verdict, Outcome.HELD), told) if verdict else (Outcome.HELD, "")


def _time(measured: Recovery) -> str:
    if measured.time_s is None or measured.low_s is None or measured.high_s is None:
        return measured.state
    return f"{measured.time_s:.2f} s ({measured.low_s:.2f}–{measured.high_s:.2f})"
