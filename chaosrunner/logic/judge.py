"""`judge(experiment, state) → Verdict`: pure, so that the same journal gives the same verdict next year.

Each finding is asked whether its evidence is fit before it is judged (`validity`); then HELD < UNKNOWN < BROKEN,
merged by max. Nothing unrestored is green, and no finding at all is no pass.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from chaosrunner.errors import Exit, worst_exit
from chaosrunner.logic import safeguards
from chaosrunner.logic.appraisal import ILL, appraisal, doubted, glance, without_rate
from chaosrunner.logic.doubt import BAD, TIMES, busy_worker, unfit_abort, unfit_recovery, users_waited
from chaosrunner.logic.fault_state import FaultState
from chaosrunner.logic.findings import findings_of, guarded
from chaosrunner.logic.fold import State
from chaosrunner.logic.headline import COMPLETED, fault_report, headline
from chaosrunner.logic.measure import LATENCIES
from chaosrunner.logic.patience import side
from chaosrunner.logic.punctual import without_lag
from chaosrunner.logic.recovery import recovery
from chaosrunner.logic.residual import concluded
from chaosrunner.logic.steady import steady
from chaosrunner.logic.tally import phase_stats, trust
from chaosrunner.logic.traffic import Span, Traffic
from chaosrunner.logic.validity import unfit_delivery, unfit_faults, unfit_load
from chaosrunner.model.events import ABORT
from chaosrunner.model.experiment import Experiment, Phase, RecoveryTarget
from chaosrunner.model.hypothesis import Stat, Tolerance
from chaosrunner.model.units import NANOS, human_duration
from chaosrunner.model.verdict import Degradation, Finding, Outcome, Recovery, Return, Verdict

RECOVERY = "recovery within "
"""How the finding on the recovery is named."""

FAILED = "failed: "
"""How the end of a run begins when something of ours ended it: its owner died, and its heir says so."""


def judge(experiment: Experiment, state: State) -> Verdict:
    """The verdict on a run, or on as much of it as the journal holds. Never raises: a failure is UNKNOWN."""
    traffic = Traffic(experiment, state)
    measured = _appraised(traffic)
    findings = _findings(traffic, measured)
    measured = _fitted(measured, findings, unfit_faults(experiment, state))
    outcome = max((finding.outcome for finding in findings), default=Outcome.UNKNOWN)
    restored = not state.debts() and not state.residue
    code = _exit(state, outcome)
    return Verdict(
        run=state.started.run if state.started else "",
        question=experiment.question,
        system=experiment.system.name,
        environment=experiment.system.environment,
        outcome=outcome,
        exit=code,
        headline=headline(experiment, state, findings, measured, code),
        restored=restored,
        residue=tuple(state.residue),
        findings=tuple(findings),
        recovery=measured,
        faults=tuple(fault_report(fault, state.faults.get(fault.index, FaultState())) for fault in experiment.faults),
        phases=tuple(phase_stats(traffic)),
        trust=trust(traffic),
        counts=_counts(state),
        notes=tuple({"about": note.about, "worker": note.worker, "data": note.data} for note in state.notes),
        seconds=_seconds(state),
        users_per_s=_journeys_per_s(traffic),
        requests_per_s=_per_s(traffic),
        users=sum(stream.plateau for stream in experiment.load.streams if stream.closed) or None,
        arriving=sum(stream.plateau for stream in experiment.load.streams if not stream.closed) or None,
    )


def _counts(state: State) -> dict[str, dict[str, int]]:
    """Name → phase → how often, names in order of the alphabet, phases in that of time."""
    found: dict[str, dict[str, int]] = {}
    phases = [None, *Phase]
    told = state.counts.by_phase(state.phase_of_slot)
    for (phase, name), n in sorted(told.items(), key=lambda item: (item[0][1], phases.index(item[0][0]))):
        found.setdefault(name, {})[phase.value if phase else ""] = n
    return found


def _per_s(traffic: Traffic, name: str = "") -> float:
    """Requests a second that became due in the baseline, of one name or of all."""
    baseline = traffic.span(Phase.BASELINE)
    return traffic.sample(baseline, name).slot.due / baseline.seconds if baseline and baseline.seconds else 0.0


def _journeys_per_s(traffic: Traffic) -> float:
    """Journeys a second: what the open streams ask for, and what the users of closed ones came to begin."""
    total = 0.0
    for stream in traffic.experiment.load.streams:
        if stream.closed is None:
            total += stream.plateau
        else:
            total += sum(_per_s(traffic, one.steps[0].name) for one in stream.scenarios if one.steps)
    return total


def _recovery(experiment: Experiment, state: State) -> Recovery:
    try:
        return recovery(experiment, state, state.covered_ns())
    except Exception as error:
        why = f"measuring failed: {type(error).__name__}: {error}"
        return Recovery(state="unknown", target_s=experiment.recover.within_s, why=why)


def _appraised(traffic: Traffic) -> Recovery:
    """The recovery with its verdict; one that is bad only by the generator's doing, or for want of CPU, is none."""
    experiment, state = traffic.experiment, traffic.state
    until, error = state.covered_ns(), side(experiment, state)
    try:
        plain = appraisal(experiment, state, until, error)
        if plain.verdict in ILL:
            view = glance(experiment, without_lag(state), until, error)
            plain = doubted(plain, view, "the generator's own lag decides")
        if plain.verdict in ILL and traffic.lack:
            kinder = traffic.relieved(frozenset({Phase.RECOVERY, Phase.AFTER}))
            view = glance(experiment, kinder.state, until, error)
            if _users_waited(traffic):
                view = without_rate(view)
            plain = doubted(plain, view, "a CPU was missing, and that decides")
        if plain.verdict is Return.RECOVERED:
            plain = _against_the_best(traffic, plain, until, error)
        return _undegraded(traffic, plain, until)
    except Exception as failure:
        why = f"measuring failed: {type(failure).__name__}: {failure}"
        return _inconclusive(_recovery(experiment, state), why)


def _against_the_best(traffic: Traffic, plain: Recovery, until: int, side: float) -> Recovery:
    """A recovery, unless what was missing had spoilt the baseline, and more than it did what is compared with it."""
    better = {"without the generator's own lag": without_lag(traffic.state)}
    if traffic.lack:
        better["with the CPU that was missing"] = traffic.relieved(frozenset(Phase)).state
    for how, state in better.items():
        view = glance(traffic.experiment, state, until, side)
        if view.verdict is Return.NOT_RECOVERED:
            return _inconclusive(plain, f"baseline: {how} it was better, and by that one {view.verdict_why}")
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
    return replace(measured, verdict=Return.INCONCLUSIVE, verdict_why=why)


def _fitted(measured: Recovery, findings: list[Finding], unfit: str) -> Recovery:
    """A verdict on evidence that is not fit is none: the load was not delivered, or the fault not proven."""
    found = (one.why for one in findings if one.name.startswith(RECOVERY) and one.outcome is Outcome.UNKNOWN)
    unfit = next(found, unfit)
    if measured.verdict is None or not unfit or measured.verdict is Return.INCONCLUSIVE:
        return measured
    return _inconclusive(measured, unfit)


def _findings(traffic: Traffic, measured: Recovery) -> list[Finding]:
    experiment, state = traffic.experiment, traffic.state
    # Whoever went on to break something had found the baseline steady, and that is not asked again.
    gate = state.phase_start_ns(Phase.FAULT) is None
    found = steady(experiment, state) if gate else findings_of(traffic, Phase.BASELINE)
    found += findings_of(traffic, Phase.FAULT)
    found += findings_of(traffic, Phase.AFTER)
    if experiment.faults and (measured.state != "none" or measured.asked is not None):
        found.append(guarded("recovery", "measured", lambda: _recovery_finding(traffic, measured)))
    tripped = [one for one in experiment.abort if safeguards.names(one, state.aborted)]
    found += [guarded(f"abort: {one.text}", one.text, lambda t=one: _tripped(traffic, t)) for one in tripped]  # type: ignore[misc]
    if why := _incomplete(experiment, state, tripped):
        found.append(_completed(why))
    return found


def _recovery_finding(traffic: Traffic, measured: Recovery) -> Finding:
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
    spans = _spans(traffic, Phase.RECOVERY, Phase.AFTER)
    if busy := next(filter(None, (busy_worker(traffic, span) for span in spans)), ""):
        return busy if _recovery(_without(traffic.experiment, TIMES), traffic.state).state not in BAD else ""
    if _users_waited(traffic):
        kinder_one = _recovery(_without(traffic.experiment, {Stat.RATE}), traffic.state)
        return "" if kinder_one.state in BAD else "others on this host had the CPUs: users who wait longer ask less"
    return ""


def _users_waited(traffic: Traffic) -> bool:
    """Whether users that wait for an answer asked less after the faults because others had the CPUs."""
    return any(users_waited(traffic, span) for span in _spans(traffic, Phase.RECOVERY, Phase.AFTER))


def _spans(traffic: Traffic, *phases: Phase) -> list[Span]:
    return [span for phase in phases if (span := traffic.span(phase)) is not None]


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
    verdict = concluded(measured.residuals)[0] if measured.verdict is Return.RELAPSED else measured.verdict
    return (proven.get(verdict, Outcome.HELD), f"{verdict}: {measured.verdict_why}") if verdict else (Outcome.HELD, "")


def within(target: RecoveryTarget) -> str:
    """`, to within 10 % of the baseline`; empty unless the user asked for it."""
    return f", to within {target.margin * 100:g} % of the baseline" if target.margin is not None else ""


def _time(measured: Recovery) -> str:
    if measured.time_s is None or measured.low_s is None or measured.high_s is None:
        return measured.state
    return f"{measured.time_s:.2f} s ({measured.low_s:.2f}–{measured.high_s:.2f})"


def _tripped(traffic: Traffic, tolerance: Tolerance) -> Finding:
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
    spans, stat = _spans(traffic, Phase.FAULT, Phase.RECOVERY, Phase.AFTER), tolerance.metric.stat
    if not spans:
        return ""

    def trips(view: Traffic) -> bool:
        return safeguards.trips_without(traffic, view, tolerance, traffic.state.aborted_ns)

    unfit = "" if stat is Stat.PROBE else next(filter(None, (unfit_delivery(traffic, span) for span in spans)), "")
    if not unfit and stat in LATENCIES and not trips(Traffic(traffic.experiment, without_lag(traffic.state))):
        unfit = "the generator's own lag decides: without it it need not have tripped"
    unfit = unfit or unfit_abort(traffic, spans[-1], tolerance, trips)
    return unfit or (busy_worker(traffic, spans[-1]) if stat in TIMES else "")


def _incomplete(experiment: Experiment, state: State, tripped: list[Tolerance]) -> str:
    """Why the run says less than was asked of it; empty when it was played to its end."""
    if state.aborted:
        return "" if tripped else state.aborted
    if state.ended.startswith(FAILED):
        return state.ended
    if not state.ended:
        return "the journal ends before the run does"
    return ""


def _completed(why: str) -> Finding:
    return Finding(
        name=COMPLETED,
        phase=None,
        expected="the run is played to its end",
        observed=why,
        outcome=Outcome.UNKNOWN,
        why=why,
    )


def _exit(state: State, outcome: Outcome) -> Exit:
    codes = [{Outcome.HELD: Exit.HELD, Outcome.UNKNOWN: Exit.UNKNOWN, Outcome.BROKEN: Exit.BROKEN}[outcome]]
    if state.debts() or state.residue:
        codes.append(Exit.NOT_RESTORED)
    if any(signal != ABORT for signal in state.signals):
        codes.append(Exit.INTERRUPTED)
    if state.crashes:
        codes.append(Exit.INTERNAL)
    return worst_exit(codes)


def _seconds(state: State) -> float:
    """How long the load was played, as far as is known."""
    if state.load_epoch_ns is None:
        return 0.0
    return max(0, (state.ended_ns or state.covered_ns()) - state.load_epoch_ns) / NANOS
