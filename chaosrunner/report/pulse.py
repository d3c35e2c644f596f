"""What a live view shows at one moment: a small frozen value, computed from the state and handed to a drawer."""

from __future__ import annotations

from dataclasses import dataclass

from chaosrunner.logic.fault_state import FaultState, FaultStatus
from chaosrunner.logic.fold import State
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.fault import Fault, Group
from chaosrunner.model.hypothesis import Metric, Tolerance
from chaosrunner.model.units import NANOS
from chaosrunner.report.table import Cell, Row, grouped
from chaosrunner.report.tally import SLOTS_PER_S, PhaseTallies, Tally, of_slots
from chaosrunner.report.words import bound_of, limit_of, measured


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPulse:
    """Where one fault stands."""

    title: str
    status: FaultStatus
    proven: bool | None
    evidence: str
    lasts_s: float | None
    """Seconds since its inject was answered; None before."""

    standing: bool
    """Whether harm may be in place now; what has no undo counts for as long as it was asked to last."""
    final: bool
    """It has no undo: a kill."""
    group: Group | None = None
    """The composite it is part of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """One moment of a run."""

    phase: Phase | None
    clock_s: float
    """Seconds since the load's epoch; negative before it."""
    phase_s: float
    done: float
    """Share of the expected run that is over, 0..1."""
    left_at_most_s: float
    per_second: float | None
    """Hits that became due in the last whole second that every worker has reported."""
    p95_s: float | None
    errors: float | None
    open: int
    faults: tuple[FaultPulse, ...]
    rows: tuple[Row, ...] = ()
    why: str = ""
    """Why the run was given up or has ended; empty while it goes on."""


class Pulses:
    """Takes the pulse of a growing state at a bounded price."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._groups = grouped(experiment)
        self._tallies = PhaseTallies(experiment.load.timeout_s + 5)

    def at(self, state: State, now_ns: int) -> Pulse:
        """The pulse at an instant."""
        tallies = self._tallies.look(state)
        begun = state.phases[-1][1] if state.phases else now_ns
        clock = (now_ns - state.load_epoch_ns) / NANOS if state.load_epoch_ns is not None else 0.0
        last = self._last_second(state)
        return Pulse(
            phase=state.phase,
            clock_s=clock,
            phase_s=(now_ns - begun) / NANOS,
            done=self._done(state, now_ns),
            left_at_most_s=max(0.0, self._experiment.longest_s - clock),
            per_second=None if last is None else float(last.due),
            p95_s=None if last is None else last.quantile_s(0.95),
            errors=None if last is None else last.error_share,
            open=sum(tally.open for names in tallies.values() for tally in names.values()),
            faults=tuple(_fault(fault, state.faults.get(fault.index), now_ns) for fault in self._experiment.faults),
            rows=tuple(self._row(group, tallies, state) for group in self._groups),
            why=state.aborted or state.ended,
        )  # fmt: skip

    def _last_second(self, state: State) -> Tally | None:
        if state.load_epoch_ns is None or state.covered_ns() < state.load_epoch_ns + NANOS:
            return None
        end = state.slot_number(state.covered_ns())
        return of_slots(state, range(end - SLOTS_PER_S, end))

    def _done(self, state: State, now_ns: int) -> float:
        """By the nominal plan, in which recovery is instant; a phase that takes longer stands still."""
        asked = self._experiment
        plan = {
            Phase.WARMUP: asked.load.warmup_s,
            Phase.BASELINE: asked.baseline_s,
            Phase.FAULT: asked.fault_s,
            Phase.RECOVERY: asked.recover.hold_s if asked.faults else 0.0,
            Phase.AFTER: 0.0,
        }
        total = sum(plan.values())
        if state.phase is None or not total:
            return 0.0
        before = sum(length for phase, length in plan.items() if _earlier(phase, state.phase))
        inside = min((now_ns - state.phases[-1][1]) / NANOS, plan[state.phase])
        return min(1.0, (before + max(0.0, inside)) / total)

    def _row(
        self, group: tuple[str, Metric, dict[Phase, Tolerance]], tallies: dict[Phase, dict[int, Tally]], state: State
    ) -> Row:
        label, metric, asked = group
        values: dict[Phase, float | None] = {}
        if not any(tolerance.window_s for tolerance in asked.values()):  # the worst window is for the judge
            for phase, names in tallies.items():
                tally = _of(self._experiment, names, metric.of)
                values[phase] = tally.value(metric, _covered_s(state, phase))
        baseline = values.get(Phase.BASELINE)
        cells = {}
        for phase in (Phase.BASELINE, Phase.FAULT, Phase.AFTER):
            bound = bound_of(asked[phase], baseline) if phase in asked else ""
            over = phase in asked and _violates(asked[phase], values.get(phase), limit_of(asked[phase], baseline))
            cells[phase] = Cell(
                value=measured(metric.stat, values.get(phase)), bound=bound, hint="over" if over else ""
            )
        return Row(label=label, metric=metric, cells=cells)


def _covered_s(state: State, phase: Phase) -> float:
    """Seconds of a phase that every worker has reported."""
    begin = state.phase_start_ns(phase)
    end = min([state.covered_ns(), *(at for _, at in state.phases if begin is not None and at > begin)])
    return 0.0 if begin is None else max(0.0, (end - begin) / NANOS)


def _earlier(one: Phase, other: Phase) -> bool:
    order = list(Phase)
    return order.index(one) < order.index(other)


def _of(experiment: Experiment, names: dict[int, Tally], name: str) -> Tally:
    """The tally of one request name, or of all."""
    tally = Tally()
    wanted = experiment.load.called(name)
    for index, one in names.items():
        if index in wanted:
            tally.add(one)
    return tally


def _violates(tolerance: Tolerance, value: float | None, limit: float | None) -> bool:
    """Whether the value so far is beyond its bound; a hint while it runs, not a judgement."""
    if value is None or limit is None:
        return False
    return {"<": value >= limit, "<=": value > limit, ">": value <= limit, ">=": value < limit}[tolerance.cmp]


def _fault(fault: Fault, current: FaultState | None, now_ns: int) -> FaultPulse:
    if current is None:
        current = FaultState()
    end = current.undone_answered_ns or now_ns
    since = current.inject_answered_ns
    lasts = None if since is None else (end - since) / NANOS
    final = current.recipe is not None and not current.reversible
    return FaultPulse(
        title=fault.title,
        group=fault.group,
        standing=_standing(current) and not (final and lasts is not None and lasts >= fault.for_s),
        final=final,
        status=current.status,
        proven=current.proven,
        evidence=current.evidence or current.why,
        lasts_s=lasts,
    )


def _standing(current: FaultState) -> bool:
    return current.status in (FaultStatus.INJECTING, FaultStatus.ACTIVE, FaultStatus.UNDOING, FaultStatus.STUCK)
