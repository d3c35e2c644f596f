"""The run over time: a point an interval for the charts, and when its phases, faults and recovery were."""

from __future__ import annotations

from dataclasses import dataclass

from chaosrunner.logic.detail import GROUP
from chaosrunner.logic.fault_state import FaultState
from chaosrunner.logic.fold import State
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.fault import Fault, Group
from chaosrunner.model.load import ERRORS
from chaosrunner.model.slots import Hit
from chaosrunner.model.units import NANOS, SLOT_NS
from chaosrunner.model.verdict import Verdict
from chaosrunner.report.tally import SLOTS_PER_S, Tally, of_slots

WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
"""How long one point may be."""

MARGIN_S = 3.0
"""Single requests are drawn from this long before the first inject until this long after the recovery."""

HITS = 3000
"""About this many single requests are drawn; beyond it every n-th success, and every failure."""

CROSSES = 20_000
"""No page holds more single requests than this."""

POINTS = 180
"""At most this many points, while the widths last."""


@dataclass(frozen=True, slots=True)
class Point:
    """The hits due in one interval."""

    at_s: float
    """Where the interval begins, in seconds after the load's epoch."""
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One fault in time, seconds after the load's epoch; each end is an interval [called, answered]."""

    title: str
    begun: tuple[float, float]
    ended: tuple[float, float] | None
    """None: it has no undo, or was not undone."""
    final: bool
    """A kill: nothing to undo."""
    proven_s: float | None
    group: Group | None = None
    """The composite it is part of, whose faults are drawn in one lane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Everything that is drawn against time. Seconds after the load's epoch."""

    width_s: int
    """Length of one point."""
    points: tuple[Point, ...]
    phases: tuple[tuple[Phase, float, float], ...]
    bars: tuple[Bar, ...]
    recovered_s: float | None
    end_s: float
    begin_s: float = 0.0
    hits: tuple[Hit, ...] = ()
    """Raw requests around the faults, by due time."""
    hits_whole: bool = True
    """Whether those are all that were due from the first to the last of them."""

    def among(self, phase: Phase) -> list[Point]:
        """The points that begin inside a phase."""
        spans = [(begin, end) for which, begin, end in self.phases if which is phase]
        return [point for point in self.points if any(begin <= point.at_s < end for begin, end in spans)]


def timeline(experiment: Experiment, verdict: Verdict, state: State) -> Timeline | None:
    """The run over time; None when no load was ever sent."""
    epoch = state.load_epoch_ns
    if epoch is None or not state.slots:
        return None

    def since(at_ns: int) -> float:
        return (at_ns - epoch) / NANOS

    first, last = min(state.slots), max(state.slots)
    # Where slots were merged a point is of whole tens of seconds, or every other would be empty.
    whole = GROUP // SLOTS_PER_S if first < state.detail.until else 1
    begin, end = first // SLOTS_PER_S // whole * whole, -(-(last + 1) // SLOTS_PER_S)
    width = next((w for w in WIDTHS_S if (end - begin) / w <= POINTS and w % whole == 0), WIDTHS_S[-1])
    points = tuple(
        Point(float(at), of_slots(state, range(at * SLOTS_PER_S, (at + width) * SLOTS_PER_S)))
        for at in range(begin, end, width)
    )
    starts = [(phase, since(at)) for phase, at in state.phases]
    ends = [*[at for _, at in starts[1:]], max(float(end), starts[-1][1] if starts else 0.0)]
    bars = [_bar(fault, state.faults.get(fault.index), epoch) for fault in experiment.faults]
    recovered = None if verdict.recovery.at_ns is None else since(verdict.recovery.at_ns)
    drawn = [bar for bar in bars if bar is not None]
    around = _around_faults(state, recovered, drawn)
    return Timeline(
        width_s=width,
        points=points,
        phases=tuple((phase, at, until) for (phase, at), until in zip(starts, ends, strict=True)),
        bars=tuple(drawn),
        recovered_s=recovered,
        begin_s=float(begin),
        end_s=float(end),
        hits=around,
        hits_whole=_all_drawn(state, around),
    )


def _around_faults(state: State, recovered_s: float | None, bars: list[Bar]) -> tuple[Hit, ...]:
    """Raw hits from a little before the first inject until a little after recovery, the successes thinned evenly."""
    if not bars:
        return ()
    begin = min(bar.begun[0] for bar in bars) - MARGIN_S
    ends = [bar.ended[1] for bar in bars if bar.ended] + ([recovered_s] if recovered_s is not None else [])
    end = max(ends) + MARGIN_S if ends and recovered_s is not None else float("inf")
    inside = sorted((hit for hit in state.hits if begin <= hit.due_us / 1e6 <= end), key=lambda hit: hit.due_us)
    every = -(-len(inside) // HITS)
    return tuple(hit for number, hit in enumerate(inside) if number % max(1, every) == 0 or hit.outcome in ERRORS)[
        :CROSSES
    ]


def _all_drawn(state: State, hits: tuple[Hit, ...]) -> bool:
    """Whether no hit of the slots between the first and the last of some is missing among them."""
    if not hits:
        return True
    length = SLOT_NS // 1000
    first, last = hits[0].due_us // length + 1, hits[-1].due_us // length
    due = of_slots(state, range(first, last)).due
    return due == sum(first <= hit.due_us // length < last for hit in hits)


def _bar(asked: Fault, fault: FaultState | None, epoch: int) -> Bar | None:
    """A fault in time; None when its inject was never called."""
    if fault is None or fault.inject_called_ns is None:
        return None
    called = (fault.inject_called_ns - epoch) / NANOS
    answered = called if fault.inject_answered_ns is None else (fault.inject_answered_ns - epoch) / NANOS
    ended = None
    if fault.undone_called_ns is not None and fault.undone_answered_ns is not None:
        ended = ((fault.undone_called_ns - epoch) / NANOS, (fault.undone_answered_ns - epoch) / NANOS)
    return Bar(
        title=asked.title,
        group=asked.group,
        begun=(called, answered),
        ended=ended,
        final=not fault.reversible,
        proven_s=None if not fault.proven or fault.evidence_ns is None else (fault.evidence_ns - epoch) / NANOS,
    )
