"""The journal: one order, one fold, one owner, and readable wherever it was cut off."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world_rig import lines

from chaosrunner.errors import Busy, JournalBroken
from chaosrunner.logic.fold import State, fold, step
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.testing import FakeClock, MemoryJournal
from chaosrunner.world.clock import RealClock
from chaosrunner.world.journal import Journal, parse_line, read
from chaosrunner.world.lock import OWNER, held
from chaosrunner.world.paper import BALLAST, EVENTS, Disk, line
from chaosrunner.world.segments import Damage

STARTED = e.RunStarted(
    run="r1",
    question="Wie lange dauert „kaputt“? ½",
    file="x.yaml",
    source="question: …\n",
    system="shop",
    system_file="shop.yaml",
    system_source="",
    seed=7,
    boot="b",
    version="0",
)
RECIPE = {"injector": "noop", "says": "nothing", "data": {"tag": "t"}, "claims": ["c"], "reversible": True}


def frame(seq, number=0, count=3, worker=0):
    """A frame with some hits in one slot."""
    slot = Slot(due=count, done={Outcome.OK: count - 1, Outcome.REFUSED: 1})
    for micros in range(count):
        slot.ok.record(1000 * micros)
    hits = (Hit(due_us=number * 100_000, name=0, outcome=Outcome.OK, response_us=17, lag_us=1),)
    return Frame(worker=worker, seq=seq, until_us=(number + 1) * 100_000, slots={(number, 0): slot}, hits=hits)


def a_run():
    """The facts of a small run, frames among them."""
    yield STARTED
    yield e.LoadStarted(epoch_ns=10**9, workers=1)
    yield e.PhaseEntered(phase=Phase.WARMUP, at_ns=10**9)
    for seq in range(4):
        yield e.SlotsArrived(frame=frame(seq, number=seq * 2))
    yield e.PhaseEntered(phase=Phase.FAULT, at_ns=2 * 10**9)
    yield e.Prepared(fault=0, recipe=RECIPE, deadline_ns=5)
    yield e.Injecting(fault=0, called_ns=1)
    yield e.Injected(fault=0, called_ns=1, answered_ns=2)
    yield e.SlotsArrived(frame=frame(4, number=9))
    yield e.Verified(fault=0, ok=True, says="seen", at_ns=3, data={"bytes": 4})
    yield e.ProbeAnswered(probe="p", at_ns=4, ok=False, value=None, says="né")
    yield e.Undoing(fault=0, attempt=1, called_ns=5)
    yield e.Undone(fault=0, called_ns=5, answered_ns=6, attempts=1, says="gone")
    yield e.Ended(why="proven", at_ns=7)


A_FEW = list(a_run())[1:4] + list(a_run())[8:12]
"""Two frames and five facts: short enough to be broken at every byte."""


async def written(run_dir: Path, facts=None, clock=None) -> Journal:
    """A closed journal of a run."""
    journal = Journal.create(run_dir, clock or RealClock())
    for fact in facts or a_run():
        journal.write(fact)
    await journal.close()
    return journal


async def test_what_is_written_is_what_is_read(tmp_path):
    """Facts and frames come back in the order they were written, numbered without gaps, and fold to the same state."""
    journal = await written(tmp_path / "run")
    damage = Damage()
    entries = list(read(tmp_path / "run", damage))
    assert [entry.event for entry in entries] == list(a_run())
    assert [entry.n for entry in entries] == list(range(len(entries)))
    assert fold(entries) == journal.state
    assert not damage


async def test_the_live_state_is_the_fold_of_every_prefix(tmp_path):
    """After each write the journal's state equals the fold of all that was written so far."""
    journal = MemoryJournal(FakeClock())
    for fact in a_run():
        journal.write(fact)
        assert journal.state == fold(journal.entries)


async def test_a_line_says_what_it_is_to_a_reader_of_json(tmp_path):
    """Every line is JSON with number, time and kind, so any tool can read it."""
    await written(tmp_path / "run")
    first = lines(tmp_path / "run" / EVENTS)[0]
    assert first["n"] == 0
    assert first["event"]["kind"] == "RunStarted"
    assert first["event"]["question"] == STARTED.question


@given(flip=st.integers(0, 10**9), bit=st.integers(0, 7))
@settings(max_examples=300)
def test_a_flipped_bit_of_a_line_is_always_seen(flip, bit):
    """One changed bit anywhere in a line makes it no entry, never a different entry."""
    raw = bytearray(line(e.Entry(3, 4, "w", 0, e.Prepared(fault=0, recipe=RECIPE, deadline_ns=5)))[:-1])
    raw[flip % len(raw)] ^= 1 << bit
    with pytest.raises(ValueError, match="as it was written"):
        parse_line(bytes(raw))


async def test_cut_off_at_any_byte_a_journal_is_readable(tmp_path):
    """A file cut at any byte yields the whole lines before the cut, and its fold does not fail."""
    await written(tmp_path / "run", A_FEW)
    whole = (tmp_path / "run" / EVENTS).read_bytes()
    segment = next((tmp_path / "run" / "slots").iterdir())
    frames = segment.read_bytes()
    all_numbers = [entry.n for entry in read(tmp_path / "run")]
    segment.write_bytes(b"")
    for cut in range(len(whole) + 1):
        (tmp_path / "run" / EVENTS).write_bytes(whole[:cut])
        damage = Damage()
        entries = list(read(tmp_path / "run", damage))
        assert len(entries) == whole[:cut].count(b"\n")
        assert not damage
        fold(entries)
    for cut in range(len(frames) + 1):
        segment.write_bytes(frames[:cut])
        numbers = [entry.n for entry in read(tmp_path / "run")]
        assert set(numbers) <= set(all_numbers)
        assert numbers == sorted(numbers)
    assert numbers == all_numbers


async def test_garbled_at_any_byte_a_journal_is_readable(tmp_path):
    """A wrong byte anywhere costs at most the two entries it touches, is counted, and the fold does not fail."""
    await written(tmp_path / "run", A_FEW)
    total = len(list(read(tmp_path / "run")))
    segment = next((tmp_path / "run" / "slots").iterdir())
    for path in (tmp_path / "run" / EVENTS, segment):
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
            damage = Damage()
            entries = list(read(tmp_path / "run", damage))
            assert total - 2 <= len(entries) < total
            assert damage or len(entries) == total - 1, "only a torn last entry is not damage"
            fold(entries)
        path.write_bytes(whole)


@given(noise=st.binary(max_size=400), at=st.floats(0, 1))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_noise_in_a_journal_is_skipped(tmp_path, noise, at):
    """Bytes of any kind put in anywhere are skipped and counted; what was not touched is read."""
    run_dir = tmp_path / "run"
    if not run_dir.exists():
        asyncio.run(written(run_dir))
        (run_dir / "copy").write_bytes((run_dir / EVENTS).read_bytes())
    whole = (run_dir / "copy").read_bytes()
    cut = int(at * len(whole))
    (run_dir / EVENTS).write_bytes(whole[:cut] + noise + whole[cut:])
    damage = Damage()
    entries = list(read(run_dir, damage))
    untouched = whole[:cut].count(b"\n") + whole[cut:].count(b"\n") - 1
    assert len(entries) >= untouched
    fold(entries)


@given(kind=st.text(min_size=1, max_size=10).filter(lambda text: text not in e.KINDS))
@settings(max_examples=50, deadline=None)
def test_an_event_of_another_version_is_kept(kind):
    """A kind that this version does not know is read as Unknown and folds to nothing."""
    entry = parse_line(line(e.Entry(0, 0, "", 0, e.Unknown(kind=kind, raw={"kind": kind, "x": 1})))[:-1])
    assert entry.event == e.Unknown(kind=kind, raw={"kind": kind, "x": 1})
    before = State(n=0)
    assert step(State(), entry) == before


async def test_a_run_directory_has_one_owner(tmp_path):
    """While a journal is open nobody else can take it over; a directory that holds a run takes no second."""
    clock = RealClock()
    journal = Journal.create(tmp_path / "run", clock)
    with pytest.raises(Busy, match="runner, pid"):
        Journal.take_over(tmp_path / "run", clock, "recover")
    await journal.close()
    with pytest.raises(Busy, match="holds a run already"):
        Journal.create(tmp_path / "run", clock)
    assert not held(tmp_path / "run" / OWNER)


async def test_a_new_owner_begins_with_a_newline_and_says_so(tmp_path):
    """After half a line, a new owner's facts are readable, numbered on from all that is there, under a new epoch."""
    await written(tmp_path / "run")
    path = tmp_path / "run" / EVENTS
    whole = path.read_bytes()
    cut = whole[:-20]
    path.write_bytes(cut)
    journal = Journal.take_over(tmp_path / "run", RealClock(), "watchdog")
    n = journal.write(e.UndoFailed(fault=0, why="no"))
    await journal.close()
    assert path.read_bytes().startswith(cut + b"\n{")
    damage = Damage()
    entries = list(read(tmp_path / "run", damage))
    assert damage.lines == 1
    assert [entry.event for entry in entries[-2:]] == [
        e.OwnerChanged(epoch=1, pid=os.getpid(), who="watchdog"),
        e.UndoFailed(fault=0, why="no"),
    ]
    assert [entry.epoch for entry in entries[-2:]] == [1, 1]
    assert entries[-1].n == n
    assert len({entry.n for entry in entries}) == len(entries)


async def test_a_frame_that_outlived_its_facts_keeps_its_number(tmp_path):
    """When the last facts were lost and frames were not, a new owner's numbers come after the frames'."""
    await written(tmp_path / "run")
    path = tmp_path / "run" / EVENTS
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    journal = Journal.take_over(tmp_path / "run", RealClock(), "watchdog")
    await journal.close()
    numbers = [entry.n for entry in read(tmp_path / "run")]
    assert numbers == sorted(set(numbers))
    assert isinstance(list(read(tmp_path / "run"))[-1].event, e.OwnerChanged)


async def test_taking_over_what_is_no_journal_is_refused(tmp_path):
    """A directory without a journal, or none at all, cannot be taken over, and nothing is made there."""
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(JournalBroken, match="no journal"):
            Journal.take_over(folder, RealClock(), "recover")
    assert list(tmp_path.iterdir()) == []


async def test_a_directory_that_cannot_be_written_is_said(tmp_path):
    """Where no file can be made there is no journal, and the message names the place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalBroken, match="no journal can be kept in"):
        Journal.create(tmp_path / "file" / "run", RealClock())


async def test_news_is_told_once_and_time_passes_without_any():
    """`news` returns at once for what was written since, and otherwise at its time."""
    clock = FakeClock()
    journal = MemoryJournal(clock)
    journal.write(STARTED)
    began = clock.now()
    await journal.news(began + 10**12)
    assert clock.now() == began
    await journal.news(began + 5)
    assert clock.now() == began + 5
    asyncio.get_running_loop().call_soon(journal.write, STARTED)
    await journal.news(began + 10**12)
    assert clock.now() == began + 5


class FailingDisk(Disk):
    """Fails from a given call on; a full disk has room again once the ballast is gone."""

    def __init__(self, run_dir, number, *, writes=10**9, syncs=10**9):
        self.ballast = run_dir / BALLAST
        self.number = number
        self.writes = writes
        self.syncs = syncs

    def write(self, fd, data):
        """Maybe."""
        self.writes -= 1
        if self.writes < 0 and (self.number != errno.ENOSPC or self.ballast.exists()):
            super().write(fd, data[: len(data) // 2])  # as a full disk does: it takes what it can
            raise OSError(self.number, os.strerror(self.number))
        return super().write(fd, data)

    def fsync(self, fd):
        """Maybe."""
        self.syncs -= 1
        if self.syncs < 0:
            raise OSError(errno.EIO, "Input/output error")
        super().fsync(fd)


async def test_a_failed_sync_is_never_trusted_again(tmp_path):
    """Once an fsync has failed, nothing is durable any more, though a later one might succeed; facts go on."""
    disk = FailingDisk(tmp_path / "run", errno.EIO, syncs=0)
    journal = Journal.create(tmp_path / "run", RealClock(), disk)
    with pytest.raises(JournalBroken, match="Input/output error"):
        await journal.durable(journal.write(STARTED))
    disk.syncs = 10**9
    with pytest.raises(JournalBroken):
        await journal.durable(journal.write(e.Ended(why="x", at_ns=1)))
    await asyncio.sleep(0)
    assert journal.broken
    assert [crash.split(":")[0] for crash in journal.state.crashes] == ["journal"]
    await journal.close()


async def test_a_full_disk_still_takes_the_last_facts(tmp_path):
    """When the disk is full, frames are dropped, the ballast makes room, and facts written afterwards are read."""
    disk = FailingDisk(tmp_path / "run", errno.ENOSPC, writes=3)
    journal = Journal.create(tmp_path / "run", RealClock(), disk)
    assert (tmp_path / "run" / BALLAST).stat().st_size == 256 * 1024
    for fact in a_run():
        journal.write(fact)
    with pytest.raises(JournalBroken, match="No space left"):
        await journal.durable(journal.state.n)
    await journal.close()
    assert not (tmp_path / "run" / BALLAST).exists()
    entries = list(read(tmp_path / "run"))
    facts = [entry.event for entry in entries if not isinstance(entry.event, e.SlotsArrived | e.Crashed)]
    assert facts == [fact for fact in a_run() if not isinstance(fact, e.SlotsArrived)]
    assert journal.state.ended == "proven"


async def test_a_recipe_that_is_no_json_is_not_durable(tmp_path):
    """What cannot be written cannot be trusted: durable says so."""
    journal = Journal.create(tmp_path / "run", RealClock())
    n = journal.write(e.Prepared(fault=0, recipe={"data": {1, 2}}, deadline_ns=0))
    with pytest.raises(JournalBroken, match="set"):
        await journal.durable(n)
    await journal.close()


async def test_a_closed_journal_promises_nothing(tmp_path):
    """After close, writes are only folded, and nothing is durable any more; closing twice is closing once."""
    journal = await written(tmp_path / "run")
    n = journal.write(e.Signalled(signal="SIGINT"))
    assert journal.state.signals == ["SIGINT"]
    with pytest.raises(JournalBroken, match="closed"):
        await journal.durable(n)
    await journal.close()


REAL_FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from chaosrunner.errors import JournalBroken
from chaosrunner.model import events as e
from chaosrunner.world.clock import RealClock
from chaosrunner.world.journal import Journal

async def main(run_dir, limit):
    journal = Journal.create(run_dir, RealClock())
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for index in range(100_000):
        n = journal.write(e.Decided(step="wait", why="x" * 1000, now_ns=index))
        if index % 100 == 0:
            try:
                await journal.durable(n)
            except JournalBroken as error:
                print(error)
                break
    journal.write(e.Ended(why="healed all the same", at_ns=1))
    await journal.close()

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def fill_really(run_dir: Path, limit: int) -> str:
    """Write a journal until its disk, or its process's limit, is full; what was said."""
    done = subprocess.run(
        [sys.executable, "-c", REAL_FULL_DISK, str(run_dir), str(limit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_a_file_size_limit_is_noticed(tmp_path):
    """A real limit of the kernel breaks the journal; what was whole before it is readable."""
    assert "File too large" in fill_really(tmp_path / "run", 512 * 1024)
    entries = list(read(tmp_path / "run"))
    assert len(entries) > 100
    fold(entries)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a small tmpfs")
def test_a_really_full_disk_takes_the_last_facts(tmp_path):
    """On a file system that is really full, the fact that all was healed is still written, thanks to the ballast."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this container may not mount: {mounted.stderr.strip()}")
    try:
        assert "No space left" in fill_really(disk / "run", 0)
        assert fold(read(disk / "run")).ended == "healed all the same"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_events_are_readable_json_for_other_tools(tmp_path):
    """The file is what jq and pandas call JSON lines."""
    asyncio.run(written(tmp_path / "run"))
    for raw in (tmp_path / "run" / EVENTS).read_text().splitlines():
        assert json.loads(raw)["event"]["kind"] in e.KINDS
