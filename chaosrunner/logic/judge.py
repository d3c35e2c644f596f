"""`judge(experiment, state) → Verdict`: pure, so that the same journal gives the same verdict next year.

Each finding is asked whether its evidence is fit before it is judged (`validity`); then HELD < UNKNOWN < BROKEN,
merged by max. Nothing unrestored is green, and no finding at all is no pass.
"""

from __future__ import annotations

from chaosrunner.errors import Exit, worst_exit
from chaosrunner.logic import safeguards
from chaosrunner.logic.fault_state import FaultState
from chaosrunner.logic.findings import findings_of, guarded
from chaosrunner.logic.fold import FAILED, State
from chaosrunner.logic.headline import COMPLETED, fault_report, headline
from chaosrunner.logic.returned import appraised, fitted, recovery_finding
from chaosrunner.logic.steady import steady
from chaosrunner.logic.tally import phase_stats, trust
from chaosrunner.logic.traffic import Traffic
from chaosrunner.logic.tripped import blamed
from chaosrunner.model.events import ABORT
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.hypothesis import Tolerance
from chaosrunner.model.units import NANOS
from chaosrunner.model.verdict import Finding, Outcome, Recovery, Verdict


def judge(experiment: Experiment, state: State) -> Verdict:
    """The verdict on a run, or on as much of it as the journal holds. Never raises: a failure is UNKNOWN."""
    traffic = Traffic(experiment, state)
    measured = appraised(traffic)
    findings = _findings(traffic, measured)
    measured = fitted(traffic, measured, findings)
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


def _findings(traffic: Traffic, measured: Recovery) -> list[Finding]:
    experiment, state = traffic.experiment, traffic.state
    # Whoever went on to break something had found the baseline steady, and that is not asked again.
    gate = state.phase_start_ns(Phase.FAULT) is None
    found = steady(experiment, state) if gate else findings_of(traffic, Phase.BASELINE)
    found += findings_of(traffic, Phase.FAULT)
    found += findings_of(traffic, Phase.AFTER)
    if experiment.faults and (measured.state != "none" or measured.asked is not None):
        found.append(guarded("recovery", "measured", lambda: recovery_finding(traffic, measured)))
    tripped = [one for one in experiment.abort if safeguards.names(one, state.aborted)]
    found += [guarded(f"abort: {one.text}", one.text, lambda t=one: blamed(traffic, t)) for one in tripped]  # type: ignore[misc]
    if why := _incomplete(experiment, state, tripped):
        found.append(_completed(why))
    return found


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
