"""The fold: every event finds its place, frames merge in any order, and a prefix is enough to go on from."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from building import EPOCH, Script, away, frame_of, number
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.logic import fold as fold_module
from chaosrunner.logic.detail import CALM_HITS
from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.logic.fold import State, fold, step
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase
from chaosrunner.model.histogram import Histogram
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Hit, Slot

SMALL = Script(answer=away(1.0, 2.0), rate=20.0, baseline=0.5, fault=0.8, inject=(1.0, 1.0), heal=(2.0, 2.0), end=4.0)


def after(*events: e.Event) -> State:
    return fold(number(events))


LOADED = e.LoadStarted(epoch_ns=EPOCH, workers=1)


@given(st.integers(0, 40))
def test_a_prefix_is_enough_to_go_on_from(cut: int) -> None:
    """Folding a prefix and then the rest equals folding all."""
    entries = replace(SMALL, recovery=2.0, after=2.5).entries()
    state = fold(entries[:cut])
    for entry in entries[cut:]:
        state = step(state, entry)
    assert state == fold(entries)


@settings(max_examples=30)
@given(st.integers(0, 1_000_000), st.integers(1, 5))
def test_frames_of_several_workers_merge_in_any_order(seed: int, workers: int) -> None:
    """However hits are dealt to workers and their frames interleaved, the slots and raw hits are the same."""
    chance = random.Random(seed)
    hits = [hit for _, frame in SMALL.frames() for hit in frame.hits]
    shares: list[list[Hit]] = [[] for _ in range(workers)]
    for hit in hits:
        shares[chance.randrange(workers)].append(hit)
    queues = []
    for worker, mine in enumerate(shares):
        chance.shuffle(mine)
        cut = chance.randint(0, len(mine))
        queues.append(
            [
                frame_of(mine[:cut], seq=0, until_us=1, worker=worker),
                frame_of(mine[cut:], seq=1, until_us=4_000_000, worker=worker),
            ]
        )
    events: list[e.Event] = [e.LoadStarted(epoch_ns=EPOCH, workers=workers)]
    while any(queues):
        events.append(e.SlotsArrived(frame=chance.choice([queue for queue in queues if queue]).pop(0)))
    state = after(*events)
    whole = after(LOADED, e.SlotsArrived(frame=frame_of(hits, seq=0, until_us=4_000_000)))
    assert (state.slots, state.hits) == (whole.slots, whole.hits)
    assert state.covered_ns() == whole.covered_ns() == EPOCH + 4_000_000_000


def test_what_is_written_once_is_remembered() -> None:
    """Run, owner, watchdog, load, phases, answers, pressure, signals, crashes and the end are all in the state."""
    state = after(
        *[entry.event for entry in SMALL.entries()[:1]],
        e.OwnerChanged(epoch=2, pid=7, who="watchdog"),
        e.WatchdogReady(pid=9),
        e.WatchdogLost(why="exit 1"),
        LOADED,
        e.LoadLost(worker=0, why="exit -9"),
        e.LoadEnded(at_ns=5),
        e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH),
        e.ProbeAnswered(probe="db", at_ns=6, ok=True, value=1.5),
        e.Pressure(at_ns=7, cpu_some=0.5, target_wait_s=0.1),
        e.Signalled(signal="SIGINT"),
        e.Crashed(where="load", why="ValueError"),
        e.Decided(step="enter fault", why="steady", now_ns=8),
        e.Decided(step="abort", why="interrupted: SIGINT", now_ns=8),
        e.Decided(step="abort", why="again", now_ns=8),
        e.Unknown(kind="Later", raw={"kind": "Later"}),
        e.Ended(why="interrupted: SIGINT", at_ns=9),
    )
    assert state.started is not None
    assert (state.epoch, state.watchdog_pid, state.watchdog_lost) == (2, 9, "exit 1")
    assert state.gaps == ["worker 0: exit -9"]
    assert (state.load_ended_ns, state.phase) == (5, Phase.WARMUP)
    assert state.probes == {"db": [(6, True, 1.5)]}
    assert state.pressure == [e.Pressure(at_ns=7, cpu_some=0.5, target_wait_s=0.1)]
    assert (state.signals, state.crashes) == (["SIGINT"], ["load: ValueError"])
    assert (state.aborted, state.asked) == ("interrupted: SIGINT", {"enter fault": 12, "abort": 13})
    assert (state.ended, state.ended_ns, state.n) == ("interrupted: SIGINT", 9, 16)


PREPARED = e.Prepared(fault=0, recipe={"reversible": True}, deadline_ns=99)
INJECTING = e.Injecting(fault=0, called_ns=10)
INJECTED = e.Injected(fault=0, called_ns=10, answered_ns=12)
UNDOING = e.Undoing(fault=0, attempt=1, called_ns=20)
UNDONE = e.Undone(fault=0, called_ns=21, answered_ns=23, attempts=2, says="gone")


@pytest.mark.parametrize(
    ("events", "status", "debt", "over"),
    [
        ((), FaultStatus.PLANNED, False, False),
        ((PREPARED,), FaultStatus.PREPARED, True, False),
        ((PREPARED, INJECTING), FaultStatus.INJECTING, True, False),
        ((PREPARED, INJECTING, INJECTED), FaultStatus.ACTIVE, True, False),
        ((PREPARED, INJECTING, UNDOING, INJECTED), FaultStatus.UNDOING, True, False),
        ((PREPARED, INJECTING, INJECTED, UNDOING), FaultStatus.UNDOING, True, False),
        ((PREPARED, INJECTING, INJECTED, UNDOING, UNDONE), FaultStatus.PAID, False, True),
        ((PREPARED, INJECTING, INJECTED, UNDOING, e.UndoFailed(fault=0, why="no")), FaultStatus.STUCK, True, True),
        ((e.InjectFailed(fault=0, why="no", touched=False),), FaultStatus.FAILED, False, True),
        ((PREPARED, INJECTING, e.InjectFailed(fault=0, why="no", touched=True)), FaultStatus.FAILED, True, False),
    ],
)
def test_where_a_fault_stands(events: tuple[e.Event, ...], status: FaultStatus, debt: bool, over: bool) -> None:
    """A recipe is a debt from the moment it is written until it is paid, whatever happens in between."""
    state = after(*events)
    fault = state.fault(0)
    assert (fault.status, fault.debt, fault.over) == (status, debt, over)
    assert state.debts() == ([0] if debt else [])


def test_a_kill_is_no_debt() -> None:
    """A recipe that cannot be undone leaves no debt."""
    state = after(e.Prepared(fault=0, recipe={"reversible": False}, deadline_ns=0), INJECTING, INJECTED)
    assert state.debts() == []


def test_instants_of_a_fault() -> None:
    """Evidence, the first undo call and the answered one are kept with their numbers."""
    seen = e.Verified(fault=0, ok=True, says="seen", at_ns=13)
    again = replace(UNDOING, attempt=2, called_ns=21)
    fault = after(PREPARED, INJECTING, INJECTED, seen, UNDOING, again, UNDONE).fault(0)
    assert (fault.inject_called_ns, fault.inject_answered_ns) == (10, 12)
    assert (fault.proven, fault.evidence, fault.evidence_ns, fault.evidence_n) == (True, "seen", 13, 3)
    assert (fault.undo_called_ns, fault.undone_called_ns, fault.undone_answered_ns) == (20, 21, 23)
    assert (fault.attempts, fault.deadline_ns) == (2, 99)


@pytest.mark.parametrize(
    ("ok", "proven", "evidence"),
    [
        (True, True, "seen"),
        (None, True, "seen; at its end: away"),
        (False, False, "not to its end: away (at first: seen)"),
    ],
)
def test_a_fault_that_was_gone_before_its_end_is_not_proven(ok: bool | None, proven: bool, evidence: str) -> None:
    """The last look takes back the proof of what was not there any more, and adds what it could not see."""
    last = e.VerifiedAgain(fault=0, ok=ok, says="away", at_ns=14)
    fault = after(PREPARED, INJECTING, INJECTED, e.Verified(fault=0, ok=True, says="seen", at_ns=13), last).fault(0)
    assert (fault.proven, fault.evidence) == (proven, evidence)


def test_debts_are_named_newest_first() -> None:
    """What was prepared last is healed first."""
    assert after(PREPARED, replace(PREPARED, fault=2), replace(PREPARED, fault=1)).debts() == [2, 1, 0]


def test_a_frame_counts_once() -> None:
    """A frame that comes twice is merged once, and one that is missing is a gap."""
    frame = frame_of([Hit(0, 0, Outcome.OK, 5, 0)], seq=0, until_us=100_000)
    late = frame_of([Hit(1, 0, Outcome.OK, 5, 0)], seq=3, until_us=200_000)
    state = after(LOADED, *[e.SlotsArrived(frame=one) for one in (frame, frame, late)])
    assert state.slots[state.slot_number(EPOCH)][0].due == 2
    assert state.gaps == ["worker 0: frames 1–2 are missing"]


def test_counters_of_frames_add_up() -> None:
    """Journeys, connections, skipped steps and CPU time are summed, and the last frame of a worker is remembered."""
    frame = Frame(worker=0, seq=0, until_us=1, slots={}, skipped=1, journeys=2, connects=3, cpu_us=4)
    state = after(LOADED, e.SlotsArrived(frame=frame), e.SlotsArrived(frame=replace(frame, seq=1, last=True)))
    assert (state.skipped, state.journeys, state.connects, state.cpu_us) == (2, 4, 6, 8)
    assert state.last_workers == {0}


def test_nothing_is_covered_before_every_worker_has_reported() -> None:
    """The slowest worker says how far the traffic is known."""
    both = e.LoadStarted(epoch_ns=EPOCH, workers=2)
    first = e.SlotsArrived(frame=frame_of([], seq=0, until_us=500_000))
    second = e.SlotsArrived(frame=frame_of([], seq=0, until_us=300_000, worker=1))
    assert after(first).covered_ns() == 0
    assert after(both, first).covered_ns() == 0
    assert after(both, first, second).covered_ns() == EPOCH + 300_000_000


def test_no_slots_before_the_load() -> None:
    """Without an epoch no instant is in a slot."""
    with pytest.raises(ValueError, match="load has not started"):
        State().slot_number(1)
    assert State().phase_start_ns(Phase.FAULT) is None
    assert State().phase is None


BUSY = Histogram.of([[cell, 1 + cell % 300] for cell in range(0, 23_000, 300)])


def minutes(count: int) -> list[e.Event]:
    """Frames of a busy minute each: each has so many hits that all before the last minute are merged."""
    slot = Slot(due=CALM_HITS, done={Outcome.OK: BUSY.total}, ok=BUSY, adjusted=BUSY, service=BUSY)
    return [
        e.SlotsArrived(
            frame=Frame(worker=0, seq=seq, until_us=(seq + 1) * 60_000_000, slots={(seq * 600 + 70, seq % 2): slot})
        )
        for seq in range(count)
    ]


def test_old_slots_are_merged_within_ten_seconds_and_their_phase() -> None:
    """An old slot stands where its ten seconds or its phase begin, late deltas too; a minute stays as it was."""
    warm, entered = (
        e.PhaseEntered(phase=phase, at_ns=EPOCH + at)
        for phase, at in ((Phase.WARMUP, 0), (Phase.BASELINE, 60_500_000_000))
    )
    late = Frame(worker=0, seq=4, until_us=240_000_000, slots={(77, 0): Slot(due=1), (604, 0): Slot(due=2)})
    state = after(LOADED, warm, entered, *minutes(4), e.SlotsArrived(frame=late))
    assert {n: [(name, slot.due) for name, slot in names.items()] for n, names in state.slots.items()} == {
        0: [(0, CALM_HITS + 1)], 600: [(0, 2)], 605: [(1, CALM_HITS)], 1200: [(0, CALM_HITS)], 1870: [(1, CALM_HITS)],
    }  # fmt: skip
    assert (state.coarse_until, state.slots[0][0].ok) == (0, BUSY)


def test_the_memory_of_a_day_is_bounded() -> None:
    """Packed slots have the room they may have and no more; what has none is in the sum of its phase, late too."""
    entered = e.PhaseEntered(phase=Phase.BASELINE, at_ns=EPOCH + 9_000_000_000)
    most, whole, state = 0, 1_440, State(room=20_000)
    late = Frame(worker=0, seq=whole, until_us=1, slots={(3, 0): Slot(due=1), (99, 0): Slot(due=1)})
    for entry in number([LOADED, entered, *minutes(whole), e.SlotsArrived(frame=late)]):
        state = step(state, entry)
        most = max(most, state.slots.weight)  # type: ignore[attr-defined]
    assert 0.9 * 20_000 < most <= 20_000
    assert len(state.slots) < 450
    assert state.coarse_until > 600_000
    kept = sum(slot.due for names in state.slots.values() for slot in names.values())
    summed = sum(slot.due for slot in state.coarse.values())
    assert {phase for phase, _ in state.coarse} == {Phase.BASELINE}
    assert kept + summed == (whole - 1) * CALM_HITS + 1, "what was due before the first phase belongs to nothing"


def test_raw_hits_are_bounded() -> None:
    """More raw hits than may be kept are dropped from the oldest on, and counted."""
    hits = tuple(Hit(n, 0, Outcome.OK, 1, 0) for n in range(fold_module.HITS_KEPT + 5))
    state = after(LOADED, e.SlotsArrived(frame=Frame(worker=0, seq=0, until_us=1, slots={}, hits=hits)))
    assert (len(state.hits), state.hits_dropped, state.hits[0].due_us) == (fold_module.HITS_KEPT, 5, 5)


def test_raw_hits_long_before_the_first_inject_are_forgotten() -> None:
    """From 30 s before the first inject on raw hits are kept; a second inject forgets nothing more."""
    hits = tuple(Hit(second * 1_000_000, 0, Outcome.OK, 1, 0) for second in range(60))
    arrived = e.SlotsArrived(frame=Frame(worker=0, seq=0, until_us=1, slots={}, hits=hits))
    first = e.Injecting(fault=0, called_ns=EPOCH + 50_000_000_000)
    second = e.Injecting(fault=1, called_ns=EPOCH + 90_000_000_000)
    state = after(LOADED, arrived, first, second)
    assert state.hits[0].due_us == 20_000_000
    assert after(arrived, first).hits[0].due_us == 0
