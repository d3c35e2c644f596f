"""The fold: `step(state, entry) → state`. Live view, safeguards, `decide`, judge and re-judging all read this state.

Law: folding a journal's prefix gives the same state whether it is done live or years later. A state is owned by
its fold: `step` updates it in place and returns it, so that a frame costs what it brings and not what was before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import cast

from chaosrunner.logic import raw_hits
from chaosrunner.logic.counted import Counted
from chaosrunner.logic.detail import GROUP, Detail
from chaosrunner.logic.fault_state import FaultState, FaultStatus
from chaosrunner.logic.shelf import Shelf, answered, unanswered
from chaosrunner.logic.strain import Strains, Watched, note_watch
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase
from chaosrunner.model.journey import SERIES
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.model.units import SLOT_NS

OPEN_SLOTS = 50
"""The newest slots are not packed: most of what is still to come concerns them."""

MERGED_BYTES = 24_000_000
"""Room for merged slots, packed: two hours at 10,000/s. Beyond it the oldest are added to their phase's sum."""

HITS_KEPT = 400_000
"""Raw hits kept around transitions; at 2,000/s over three minutes."""

NOTES_KEPT = 1_000

PRESSURE_KEPT = 20_000
"""Seconds of which it is kept how contended the host was; then the oldest are forgotten."""

FAILED = "failed: "
"""How the end of a run begins when something of ours ended it: its owner died, and its heir says so."""

BEFORE_INJECT_US = 30_000_000
"""Raw hits are kept from this long before the first inject."""


@dataclass(slots=True)
class State:
    """All that may be known of a run so far; bounded in memory."""

    n: int = -1
    """Number of the last entry folded."""
    started: e.RunStarted | None = None
    epoch: int = 0
    watchdog_pid: int | None = None
    watchdog_lost: str = ""
    load_epoch_ns: int | None = None
    workers: int = 0
    workers_why: str = ""
    clock_error_us: int = 0
    """The most by which the instants of any worker may be off."""
    covered_us: dict[int, int] = field(default_factory=dict)
    """Worker → everything due before this has been fired or counted."""
    next_seq: dict[int, int] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    """Lost workers and frames: any makes findings UNKNOWN."""
    last_workers: set[int] = field(default_factory=set)
    load_ended_ns: int | None = None
    phases: list[tuple[Phase, int]] = field(default_factory=list)
    """(phase, begin in CLOCK_BOOTTIME ns), in order."""
    faults: dict[int, FaultState] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    """Steps already decided (`inject 0`, `heal 0`, `enter fault`, `done`) → entry number."""
    detail: Detail = field(default_factory=Detail)
    """Below `detail.until` a slot stands for all of its ten seconds and phase."""
    slots: MutableMapping[int, dict[int, Slot]] = field(default_factory=Shelf)
    """Slot number since the load's epoch → name index → slot."""
    series: MutableMapping[int, dict[int, Slot]] = field(default_factory=Shelf)
    """The same for what is measured beside the hits: slot number → name index from `SERIES` on → slot."""
    room: int = MERGED_BYTES
    merged_until: int = 0
    """How far merging has come in `slots` and `series`."""
    coarse: dict[tuple[Phase, int], Slot] = field(default_factory=dict)
    """Sums of slots too old to be kept even merged."""
    coarse_until: int = 0
    """Slot numbers below this are in `coarse`."""
    hits: list[Hit] = field(default_factory=list)
    """Raw hits, by due time."""
    hits_dropped: int = 0
    skipped: int = 0
    journeys: int = 0
    behind: int = 0
    """Journeys that began later than their user's pacing says."""
    connects: int = 0
    cpu_us: int = 0
    counts: Counted = field(default_factory=Counted)
    """What workers counted beside their hits."""
    notes: list[e.LoadNoted] = field(default_factory=list)
    probes: dict[str, list[tuple[int, bool, float | None]]] = field(default_factory=dict)
    pressure: list[e.Pressure] = field(default_factory=list)
    pressure_dropped: int = 0
    watched: Watched = field(default_factory=dict)
    strains: Strains = field(default_factory=dict)
    signals: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    forbidden: str = ""
    """Why no fault is allowed any more; empty while there is."""
    residue: list[str] = field(default_factory=list)
    """What was found of this run when all should have been put back, beside open debts."""
    aborted: str = ""
    """Why the run was given up; empty if it was not."""
    aborted_ns: int = 0
    ended: str = ""
    ended_ns: int | None = None

    @property
    def phase(self) -> Phase | None:
        """The phase entered last."""
        return self.phases[-1][0] if self.phases else None

    def phase_start_ns(self, phase: Phase) -> int | None:
        """When a phase began; None if it was not entered."""
        return next((at for entered, at in self.phases if entered is phase), None)

    def covered_ns(self) -> int:
        """Everything due before this instant has been reported by every worker; 0 before the load has begun."""
        if self.load_epoch_ns is None or len(self.covered_us) < self.workers:
            return 0
        return self.load_epoch_ns + min(self.covered_us.values(), default=0) * 1000

    def named(self, number: int, names: frozenset[int] | None = None) -> Iterator[Slot]:
        """The slots of one number: of some names, series among them, or (None) of all hits."""
        if names is None:
            yield from self.slots.get(number, {}).values()
            return
        for kind in (self.slots, self.series):
            yield from (slot for name, slot in kind.get(number, {}).items() if name in names)

    def answered(self, number: int) -> int:
        """Hits due in a slot whose outcome is the target's."""
        slots = self.slots
        return slots.answered(number) if isinstance(slots, Shelf) else answered(slots.get(number, {}))

    def unanswered(self, number: int) -> bool:
        """Whether a hit due in a slot has no outcome yet."""
        slots = self.slots
        return slots.unanswered(number) if isinstance(slots, Shelf) else unanswered(slots.get(number, {}))

    def slot_number(self, at_ns: int) -> int:
        """The slot that begins at (or holds) an instant. Raises ValueError before the load has an epoch."""
        if self.load_epoch_ns is None:
            raise ValueError("the load has not started: there are no slots yet")
        return (at_ns - self.load_epoch_ns) // SLOT_NS

    def phase_of_slot(self, number: int) -> Phase | None:
        """The phase a slot belongs to, by the phases entered so far; None before the first."""
        assert self.load_epoch_ns is not None
        at = self.load_epoch_ns + number * SLOT_NS
        found = None
        for phase, begin in self.phases:
            if at >= begin:
                found = phase
        return found

    def fault(self, index: int) -> FaultState:
        """The state of a fault; PLANNED when nothing was written about it."""
        return self.faults.setdefault(index, FaultState())

    def debts(self) -> list[int]:
        """Faults whose harm may be in place, newest first."""
        return sorted((i for i, fault in self.faults.items() if fault.debt), reverse=True)

    @property
    def played(self) -> bool:
        """Whether it came to the end that was meant for it: neither given up, nor ended by something of ours."""
        return bool(self.ended) and not self.aborted and not self.ended.startswith(FAILED)


def fold(entries: Iterable[e.Entry]) -> State:
    """The state after all `entries`."""
    state = State()
    for entry in entries:
        state = step(state, entry)
    return state


def step(state: State, entry: e.Entry) -> State:  # noqa: C901, PLR0912 - one arm a kind of event
    """Fold one entry in."""
    state.n = entry.n
    state.detail.note(entry.event)
    match entry.event:
        case e.RunStarted() as started:
            state.started = started
        case e.OwnerChanged(epoch=epoch):
            state.epoch = epoch
        case e.WatchdogReady(pid=pid):
            state.watchdog_pid = pid
        case e.WatchdogLost(why=why):
            state.watchdog_lost = why
        case e.LoadStarted(epoch_ns=epoch_ns, workers=workers, why=why):
            state.load_epoch_ns, state.workers, state.workers_why = epoch_ns, workers, why
        case e.ClockCompared(error_us=error_us):
            state.clock_error_us = max(state.clock_error_us, error_us)
        case e.LoadLost(worker=worker, why=why):
            state.gaps.append(f"worker {worker}: {why}")
        case e.LoadNoted() as note:
            if len(state.notes) < NOTES_KEPT:
                state.notes.append(note)
        case e.LoadEnded(at_ns=at_ns):
            state.load_ended_ns = at_ns
        case e.SlotsArrived(frame=frame):
            _frame(state, frame)
        case e.PhaseEntered(phase=phase, at_ns=at_ns):
            state.phases.append((phase, at_ns))
        case e.Decided(step=decided, why=why, now_ns=now_ns):
            state.asked.setdefault(decided, entry.n)
            if decided == "abort" and not state.aborted:
                state.aborted, state.aborted_ns = why, now_ns
        case e.ProbeAnswered(probe=probe, at_ns=at_ns, ok=ok, value=value):
            state.probes.setdefault(probe, []).append((at_ns, ok, value))
        case e.Pressure() as pressure:
            state.pressure.append(pressure)
            if len(state.pressure) > PRESSURE_KEPT:
                del state.pressure[0]
                state.pressure_dropped += 1
        case e.Signalled(signal=signal):
            state.signals.append(signal)
        case e.Crashed(where=where, why=why):
            state.crashes.append(f"{where}: {why}")
        case e.Ended(why=why, at_ns=at_ns):
            state.ended, state.ended_ns = why, at_ns
        case event:
            _fault_event(state, event, entry.n)
    return state


def _fault_event(state: State, event: e.Event, n: int) -> None:  # noqa: C901, PLR0912 - one arm a kind of event
    match event:
        case e.Prepared(fault=i, recipe=recipe, deadline_ns=deadline):
            fault = state.fault(i)
            fault.status, fault.recipe, fault.deadline_ns = FaultStatus.PREPARED, recipe, deadline
        case e.Injecting(fault=i, called_ns=called):
            fault = state.fault(i)
            fault.status, fault.inject_called_ns = FaultStatus.INJECTING, called
            if len([f for f in state.faults.values() if f.inject_called_ns is not None]) == 1:
                _trim_hits(state, called)
        case e.Injected(fault=i, called_ns=called, answered_ns=answered):
            fault = state.fault(i)
            fault.inject_called_ns, fault.inject_answered_ns = called, answered
            if fault.status is FaultStatus.INJECTING:
                fault.status = FaultStatus.ACTIVE
        case e.InjectFailed(fault=i, why=why):
            fault = state.fault(i)
            fault.status, fault.why = FaultStatus.FAILED, why
        case e.Verified(fault=i, ok=ok, says=says, at_ns=at):
            fault = state.fault(i)
            fault.proven, fault.evidence, fault.evidence_ns, fault.evidence_n = ok, says, at, n
        case e.VerifiedAgain(fault=i, ok=ok, says=says):
            state.fault(i).at_its_end(ok, says)
        case e.Undoing(fault=i, attempt=attempt, called_ns=called):
            fault = state.fault(i)
            fault.status, fault.attempts = FaultStatus.UNDOING, attempt
            fault.undo_called_ns = fault.undo_called_ns or called
        case e.Undone(fault=i, called_ns=called, answered_ns=answered, attempts=attempts):
            fault = state.fault(i)
            fault.status, fault.attempts = FaultStatus.PAID, attempts
            fault.undone_called_ns, fault.undone_answered_ns = called, answered
        case e.Residue(fault=i, says=says) if i is not None:
            fault = state.fault(i)
            fault.status, fault.why = FaultStatus.STUCK, says
        case e.Residue(says=says):
            state.residue.append(says)
        case e.Forbidden(why=why):
            state.forbidden = why
        case e.UndoFailed(fault=i, why=why):
            fault = state.fault(i)
            fault.status, fault.why = FaultStatus.STUCK, why
        case _:  # a kind of a later version: kept in the journal, without meaning here
            return


def _frame(state: State, frame: Frame) -> None:
    expected = state.next_seq.get(frame.worker, 0)
    if frame.seq < expected:  # a duplicate: already merged
        return
    if frame.seq > expected:
        state.gaps.append(f"worker {frame.worker}: frames {expected}–{frame.seq - 1} are missing")
    state.next_seq[frame.worker] = frame.seq + 1
    state.detail.frame(frame)
    for (number, name), delta in frame.slots.items():
        _keep(state, number, name, delta)
    state.covered_us[frame.worker] = max(frame.until_us, state.covered_us.get(frame.worker, 0))
    raw_hits.keep(state.hits, frame.hits)
    if all(fault.inject_called_ns is None for fault in state.faults.values()):
        _trim_hits(state, state.covered_ns())  # an inject can only come later
    state.skipped += frame.skipped
    state.journeys += frame.journeys
    state.behind += frame.behind
    state.connects += frame.connects
    state.cpu_us += frame.cpu_us
    _count(state, frame)
    note_watch(state.watched, state.strains, frame)
    if frame.last:
        state.last_workers.add(frame.worker)
    if len(state.hits) > HITS_KEPT:
        state.hits_dropped += len(state.hits) - HITS_KEPT
        del state.hits[: len(state.hits) - HITS_KEPT]
    _make_room(state)


def _shelves(state: State) -> tuple[Shelf, Shelf]:
    return cast("Shelf", state.slots), cast("Shelf", state.series)  # a state that is folded has nothing else


def _keep(state: State, number: int, name: int, delta: Slot) -> None:
    if number >= state.coarse_until:
        shelf = _shelves(state)[name >= SERIES]
        shelf.to_add(state.detail.place(number)).setdefault(name, Slot()).add(delta)
    elif (phase := state.phase_of_slot(number)) is not None:
        state.coarse.setdefault((phase, name), Slot()).add(delta)


def _make_room(state: State) -> None:
    """Merge what has become old, pack what lies open, and sum up what not even packed has room."""
    shelves, until = _shelves(state), state.detail.until
    for shelf in shelves:
        for number in range(state.merged_until, until):
            _put_back(state, number, shelf.pop(number, {}))
    state.merged_until = until
    for shelf in shelves:
        shelf.seal(max(until, state.detail.covered() - OPEN_SLOTS), until)
    while sum(shelf.weight for shelf in shelves) > state.room:
        oldest = min(min(shelf) for shelf in shelves if shelf)
        state.coarse_until = (oldest // GROUP + 1) * GROUP
        for shelf in shelves:
            for number in range(oldest, state.coarse_until):
                _put_back(state, number, shelf.pop(number, {}))


def _put_back(state: State, number: int, names: Mapping[int, Slot]) -> None:
    for name, slot in names.items():
        _keep(state, number, name, slot)


def _count(state: State, frame: Frame) -> None:
    for name, n in frame.counts.items():
        if state.ended or state.load_epoch_ns is None:
            state.counts.outside(None, name, n)
        else:
            state.counts.add(frame.until_us * 1000 // SLOT_NS, name, n, state.phase_of_slot)


def _trim_hits(state: State, called_ns: int) -> None:
    """Forget raw hits from long before the first inject: slots are enough there."""
    if state.load_epoch_ns is not None:
        raw_hits.forget_before(state.hits, (called_ns - state.load_epoch_ns) // 1000 - BEFORE_INJECT_US)
