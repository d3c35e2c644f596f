"""The one line that says why this exit code, and what became of each fault."""

from __future__ import annotations

from collections.abc import Sequence

from chaosrunner.errors import Exit
from chaosrunner.logic.fault_state import FaultState, FaultStatus
from chaosrunner.logic.fold import State
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.fault import Fault
from chaosrunner.model.units import NANOS
from chaosrunner.model.verdict import FaultReport, Finding, Outcome, Recovery, Return

COMPLETED = "played to the end"
"""The finding that says why a run was cut short: what else is unknown then follows from it."""


def headline(experiment: Experiment, state: State, findings: Sequence[Finding], measured: Recovery, code: Exit) -> str:
    """Why this exit code, in one line."""
    match code:
        case Exit.NOT_RESTORED:
            left = "; ".join([*(experiment.faults[index].title for index in state.debts()), *state.residue])
            return f"{left} may still be in place; repair with: {_repair(experiment, state)}"
        case Exit.INTERRUPTED:
            names = ", ".join(dict.fromkeys(state.signals))
            return f"interrupted by {names}; everything was restored"
        case Exit.INTERNAL:
            return f"internal error, everything was restored: {state.crashes[0]}"
        case Exit.HELD:
            return _held(findings, measured)
        case _:
            return _worst(findings)


def _repair(experiment: Experiment, state: State) -> str:
    """The one command; what bears a tag and is of no open debt is found at the system."""
    run = state.started.run if state.started else "RUN"
    return f"chaosrunner recover {run}" + (f" --scan {experiment.system.file}" if state.residue else "")


def _held(findings: Sequence[Finding], measured: Recovery) -> str:
    held = f"{len(findings)} of {len(findings)} held"
    if measured.state != "recovered" or measured.time_s is None:
        return held
    if measured.verdict in (Return.NOT_RECOVERED, Return.RELAPSED):
        return f"{held}, but {measured.verdict}: {measured.verdict_why}"
    back = "recovered" if measured.verdict is Return.RECOVERED else "'after' held"
    return f"{held}; {back} in {measured.time_s:.2f} s"


def _worst(findings: Sequence[Finding]) -> str:
    """The first of the worst findings: `during: errors < 2%: 3.1 %, expected <2 %`."""
    if not findings:
        return "nothing was found: no tolerance was judged"
    worst = max(finding.outcome for finding in findings)
    first, *others = sorted(
        (finding for finding in findings if finding.outcome is worst), key=lambda finding: finding.name != COMPLETED
    )
    more = f"; {len(others)} more" if others else ""
    if worst is Outcome.BROKEN:
        return f"{first.name}: {first.observed}, expected {first.expected}{more}"
    return f"{first.name}: {first.why or first.observed}{more}"


def fault_report(fault: Fault, state: FaultState) -> FaultReport:
    """What became of one fault, as far as its own facts say."""
    recipe = state.recipe or {}
    return FaultReport(
        title=fault.title,
        says=str(recipe.get("says", "")),
        proven=state.proven,
        evidence=state.evidence,
        lasted_s=_lasted(state),
        restored=not state.debt,
        note=_note(state),
        group=fault.group,
    )


def _lasted(state: FaultState) -> float | None:
    """From the answer of the inject to the answer of the undo; None for a kill, or while it is in place."""
    if state.inject_answered_ns is None or state.undone_answered_ns is None or not state.reversible:
        return None
    return max(0, state.undone_answered_ns - state.inject_answered_ns) / NANOS


def _note(state: FaultState) -> str:
    if state.status in (FaultStatus.FAILED, FaultStatus.STUCK):
        return state.why
    if state.recipe is None:
        return "was not injected"
    if not state.reversible:
        return "has no undo"
    return f"undone at attempt {state.attempts}" if state.attempts > 1 else ""
