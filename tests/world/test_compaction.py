"""Old detail is merged: what a phase adds up to stays the same, what a disk must hold does not."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.logic.detail import CALM_HITS, Detail, representative
from chaosrunner.logic.fold import State, fold
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.testing import FakeClock
from chaosrunner.world.compaction import merge, merged
from chaosrunner.world.journal import Journal, read
from chaosrunner.world.segments import Damage, encode

EPOCH_NS = 1_000 * 10**9
MB = 1e6


def slot_of(values):
    """A slot with one hit a value, the first of which is still open."""
    slot = Slot(due=len(values) * 400_000 + 1, done={Outcome.OK: len(values)})
    for value in values:
        for histogram in (slot.ok, slot.adjusted, slot.lag):
            histogram.record(value)
    return slot


slots = st.dictionaries(
    st.tuples(st.integers(0, 1_500), st.integers(0, 2)),
    st.lists(st.integers(0, 5_000_000), max_size=4).map(slot_of),
    max_size=6,
)


@st.composite
def runs(draw):
    """Entries of a run with two workers, some so long and busy that much of it is merged."""
    starts = sorted(draw(st.sets(st.integers(0, 400), min_size=1, max_size=3)))
    events = [e.LoadStarted(epoch_ns=EPOCH_NS, workers=2)]
    events += [
        e.PhaseEntered(phase=phase, at_ns=EPOCH_NS + start * 10**8)
        for phase, start in zip((Phase.WARMUP, Phase.BASELINE, Phase.FAULT), starts, strict=False)
    ]
    next_seq = [0, 0]
    for deltas in draw(st.lists(slots, max_size=8)):
        worker = draw(st.integers(0, 1))
        frame = Frame(worker=worker, seq=next_seq[worker], until_us=draw(st.integers(0, 2 * 10**8)), slots=deltas)
        next_seq[worker] += 1
        events.append(e.SlotsArrived(frame=replace(frame, journeys=3, skipped=1, connects=2, cpu_us=9)))
    return [e.Entry(n, EPOCH_NS + n, "", 0, event) for n, event in enumerate(events)]


def sums(state: State):
    """What each phase and name adds up to."""
    found = dict(state.coarse)
    for number, names in state.slots.items():
        for name, slot in names.items():
            found.setdefault((state.phase_of_slot(number), name), Slot()).add(slot)
    return found


@given(runs())
@settings(max_examples=200, deadline=None)
def test_merging_changes_no_sum_of_any_phase(run):
    """Merged frames fold to the same totals and the same slot for every phase and name, under the same numbers."""
    entries = run
    frames = [entry for entry in entries if isinstance(entry.event, e.SlotsArrived)]
    facts = [entry for entry in entries if entry not in frames]
    before = fold(entries)
    after = merged(frames, before.detail)
    assert [(entry.n, entry.at_ns) for entry in after] == [(entry.n, entry.at_ns) for entry in frames]
    assert sums(before) == sums(fold([*facts, *after]))
    assert replace(before, hits=[]) == replace(fold([*facts, *after]), hits=[])


@given(number=st.integers(0, 2000), starts=st.sets(st.integers(0, 2000), max_size=4))
def test_a_slot_is_represented_within_its_phase_and_its_ten_seconds(number, starts):
    """The slot that stands for others is not later, is of the same ten seconds, and no phase begins in between."""
    phases = tuple(sorted(starts))
    first = representative(number, phases)
    assert first <= number
    assert first // 100 == number // 100
    assert not [start for start in phases if first < start <= number]
    assert representative(first, phases) == first


def busy_frame(rng, seq, at_s, hits_per_slot=250):
    """A quarter of a second over five names, as one worker reports it: 10,000 hits/s unless said."""
    due = {}
    for name in range(5):
        for number in {int(at_s * 10), int((at_s + 0.2) * 10)}:
            slot = Slot(due=hits_per_slot, done={Outcome.OK: hits_per_slot})
            for _ in range(hits_per_slot):
                micros, lag = int(rng.lognormvariate(9, 0.5)), int(rng.expovariate(1 / 200))
                slot.ok.record(micros)
                slot.adjusted.record(micros - lag)
                slot.lag.record(lag)
                slot.wait.record(lag // 2)
            due[number, name] = slot
    hits = (Hit(due_us=int(at_s * 1e6), name=0, outcome=Outcome.OK, response_us=5, lag_us=0),)
    return Frame(worker=0, seq=seq, until_us=int((at_s + 0.25) * 1e6), slots=due, hits=hits)


async def test_a_long_quiet_run_is_small_and_detail_is_kept_around_faults(tmp_path):
    """Old segments are merged once and for all, as the fold has merged them; from the inject on all detail stays."""
    clock, rng = FakeClock(EPOCH_NS), random.Random(1)
    journal = Journal.create(tmp_path / "run", clock)
    journal.write(e.LoadStarted(epoch_ns=EPOCH_NS, workers=1))
    journal.write(e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH_NS))
    pattern = [busy_frame(rng, 0, 0.0, 20) for _ in range(8)]
    for slot in pattern[0].slots.values():
        slot.due += CALM_HITS // 200  # so many are still open: a busy run, and quick to write
    for seq in range(4 * 120):
        if seq == 4 * 100:
            journal.write(e.Injecting(fault=0, called_ns=clock.now()))
        shift, model = int(seq * 2.5), pattern[seq % 8]
        moved = {(shift + number, name): slot for (number, name), slot in model.slots.items()}
        frame = replace(model, seq=seq, slots=moved, until_us=seq * 250_000)
        journal.write(e.SlotsArrived(frame=frame))
        if seq % 40 == 0:
            await journal.durable(journal.state.n)  # as slowly as in real life: let the writer follow
        clock.advance(0.25)
    await journal.close()
    sizes = [path.stat().st_size for path in sorted((tmp_path / "run/slots").iterdir())]
    assert len(sizes) == 12
    assert max(sizes[:3]) < min(sizes[4:11]) / 2, "merged until a minute before the inject, fine from there on"
    read_again = fold(read(tmp_path / "run"))
    assert 300 <= read_again.detail.until <= 400
    assert replace(read_again, n=journal.state.n, hits=[]) == replace(journal.state, hits=[])


def test_old_segments_of_a_busy_run_are_under_25_mb_an_hour():
    """Ten seconds of 10,000 hits/s over five names, merged, take less than a 360th of 25 MB."""
    rng = random.Random(1)
    events = [e.SlotsArrived(frame=busy_frame(rng, seq, seq / 4)) for seq in range(40)]
    entries = [e.Entry(n, n, "", 0, event) for n, event in enumerate(events)]
    assert len(encode(merged(entries, Detail(until=100)))) * 360 / MB < 25


async def test_a_broken_segment_is_left_as_it_is(tmp_path):
    """What cannot be read whole is not replaced by what could be read of it."""
    clock = FakeClock(EPOCH_NS)
    journal = Journal.create(tmp_path / "run", clock)
    journal.write(e.LoadStarted(epoch_ns=EPOCH_NS, workers=1))
    for seq in range(3):
        journal.write(e.SlotsArrived(frame=busy_frame(random.Random(seq), seq, seq / 4)))
    await journal.close()
    segment = next((tmp_path / "run/slots").iterdir())
    whole = bytearray(segment.read_bytes())
    whole[len(whole) // 2] ^= 1
    segment.write_bytes(whole)
    merge(segment, Detail())
    assert segment.read_bytes() == whole
    damage = Damage()
    assert len(list(read(tmp_path / "run", damage))) == 3
    assert damage.records == 1
