"""The journal: facts, numbered in one order, folded as they are written, kept by one owner at a time.

A run directory holds `events.jsonl` (small facts), `slots/` (frames of load) and `owner.lock`. Whoever takes the lock
after its owner died begins with a newline and an OwnerChanged; readers skip what they cannot decode.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import os
import zlib
from typing import TYPE_CHECKING

from chaosrunner.errors import Busy, JournalBroken
from chaosrunner.logic.fold import State, step
from chaosrunner.model.events import Crashed, Entry, OwnerChanged, SlotsArrived, from_json
from chaosrunner.world import segments
from chaosrunner.world.lock import OWNER, FileLock
from chaosrunner.world.paper import EVENTS, Disk, FilePaper, Paper, sync_folder
from chaosrunner.world.segments import Damage
from chaosrunner.world.shield import unshakable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from chaosrunner.model.events import Event
    from chaosrunner.world.clock import Clock

_CRC_ENDS = len(b'{"crc": "01234567", ')


class Journal:
    """Writes facts and knows what they add up to. Made by `create` or `take_over`, inside the running event loop."""

    def __init__(self, paper: Callable[[Callable[[str], object]], Paper], clock: Clock, state: State) -> None:
        """Wrap a paper; called by the makers and by `chaosrunner.testing.MemoryJournal`.

        Args:
            paper: makes what is written on, given whom to tell when it breaks (from any thread).
            clock: stamps the entries.
            state: what was known before.
        """
        self.state = state
        """All that is known, as of the last write."""
        self.broken = ""
        """Why the journal cannot be trusted to hold a recipe any more; empty while it can."""
        self.on_entry: Callable[[Entry], object] = lambda entry: None
        """Told of each entry once it is folded, for diagnostics; must neither wait nor raise."""
        self._clock = clock
        self._next = state.n + 1
        self._epoch = state.epoch
        self._told = state.n
        self._closed = False
        self._fresh = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._lock: FileLock | None = None
        self._paper = paper(lambda why: self._soon(lambda: self._on_broken(why)))

    @classmethod
    def create(cls, run_dir: Path, clock: Clock, disk: Disk | None = None) -> Journal:
        """Begin a journal in a new directory, and own it.

        Raises:
            Busy: the directory holds a run already.
            JournalBroken: its files cannot be made.
        """
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            lock = FileLock.take(run_dir / OWNER, says=_owner("runner", clock))
            return cls._on_files(run_dir, clock, disk, State(), lock)
        except FileExistsError:
            raise Busy(f"{run_dir} holds a run already; choose another directory") from None
        except OSError as error:
            raise JournalBroken(f"no journal can be kept in {run_dir}: {error.strerror}") from error

    @classmethod
    def take_over(cls, run_dir: Path, clock: Clock, who: str, disk: Disk | None = None) -> Journal:
        """Own the journal of a run whose owner is gone. Its state is the fold of the small facts alone.

        Raises:
            Busy: its owner is not gone, or somebody was quicker.
            JournalBroken: there is no journal, or it cannot be appended to.
        """
        try:
            if not (run_dir / EVENTS).exists():
                raise JournalBroken(f"{run_dir} holds no journal")
            lock = FileLock.take(run_dir / OWNER, says=_owner(who, clock))
            journal = cls._on_files(run_dir, clock, disk, None, lock)
        except OSError as error:
            raise JournalBroken(f"the journal in {run_dir} cannot be taken over: {error.strerror}") from error
        journal.write(OwnerChanged(epoch=journal.state.epoch, pid=os.getpid(), who=who))
        return journal

    @classmethod
    def _on_files(cls, run_dir: Path, clock: Clock, disk: Disk | None, state: State | None, lock: FileLock) -> Journal:
        """Open the files of a new run, whose state is given, or of one that was there before."""

        def paper(broke: Callable[[str], object]) -> Paper:
            return FilePaper(run_dir, disk=disk or Disk(), broke=broke, fresh=state is not None)

        try:
            journal = cls(paper, clock, _inherited(run_dir) if state is None else state)
            sync_folder(run_dir.parent)
        except BaseException:
            lock.release()
            raise
        journal._lock = lock
        return journal

    def write(self, event: Event) -> int:
        """Fold a fact in now and have it written soon. Never waits, never fails.

        Returns:
            Its number.
        """
        n, self._next = self._next, self._next + 1
        wall = "" if isinstance(event, SlotsArrived) else self._clock.wall()
        entry = Entry(n, self._clock.now(), wall, self._epoch, event)
        self.state = step(self.state, entry)
        self._paper.put(entry)
        self._fresh.set()
        self.on_entry(entry)
        return n

    async def durable(self, n: int) -> None:
        """Return once entry `n` and all before it survive a power cut.

        Raises:
            JournalBroken: they do not, and nothing written from now on can be trusted to.
        """
        assert n < self._next, "only what was written can be durable"
        why = "it is closed" if self._closed else await self._answer(self._paper.sync)
        if why:
            raise JournalBroken(f"the journal cannot be written: {why}", advice="Make room for it, then run again.")

    async def news(self, until_ns: int) -> None:
        """Return when something was folded since `news` last returned, or at an instant, whichever is first."""
        if self.state.n <= self._told:
            self._fresh.clear()
            waits = [
                asyncio.ensure_future(self._fresh.wait()),
                asyncio.ensure_future(self._clock.sleep_until(until_ns)),
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        else:
            await asyncio.sleep(0)
        self._told = self.state.n

    async def close(self) -> None:
        """Write and sync what is left, then give the run directory up; what is written later is only folded."""
        if self._closed:
            return
        self._closed = True
        await unshakable(self._answer(self._paper.close))
        if self._lock is not None:
            self._lock.release()

    async def _answer(self, ask: Callable[[Callable[[str], object]], None]) -> str:
        answered: asyncio.Future[str] = self._loop.create_future()

        def arrive(why: str) -> None:
            if not answered.done():
                answered.set_result(why)

        ask(lambda why: self._soon(lambda: arrive(why)))
        return await answered

    def _soon(self, call: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            pass  # the loop has ended: nobody is left to be told

    def _on_broken(self, why: str) -> None:
        self.broken = why
        self.write(Crashed(where="journal", why=why))


def read(run_dir: Path, damage: Damage | None = None) -> Iterator[Entry]:
    """Every entry of a run that can be read, facts and frames, in the order of their numbers.

    Args:
        run_dir: the run directory; its owner may be writing.
        damage: counts what had to be skipped.

    Raises:
        FileNotFoundError: there is no journal.
    """
    skipped = Damage() if damage is None else damage
    facts, frames = read_events(run_dir, skipped), segments.entries(run_dir, skipped)
    return heapq.merge(facts, frames, key=lambda entry: entry.n)


def read_events(run_dir: Path, damage: Damage) -> Iterator[Entry]:
    """The small facts alone, up to the last newline. Raises FileNotFoundError when there is no journal."""
    with (run_dir / EVENTS).open("rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            if raw == b"\n":
                continue
            try:
                yield parse_line(raw[:-1])
            except ValueError:
                damage.lines += 1


def _inherited(run_dir: Path) -> State:
    """What a dead owner leaves: the fold of its small facts, the number of its last entry, and the next epoch."""
    state = State()
    for entry in read_events(run_dir, Damage()):
        state = step(state, entry)
    state.n = max(state.n, segments.last_number(run_dir))
    state.epoch += 1
    return state


def parse_line(raw: bytes) -> Entry:
    """An entry from its line, without the newline. Raises ValueError when it is none or a bit of it has flipped."""
    body = b"{" + raw[_CRC_ENDS:]
    if raw[:_CRC_ENDS] != b'{"crc": "%08x", ' % zlib.crc32(body):
        raise ValueError("no entry, or not as it was written")
    try:
        data = json.loads(body)
        return Entry(data["n"], data["at_ns"], data["wall"], data["epoch"], from_json(data["event"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"of no known form: {error}") from error


def _owner(who: str, clock: Clock) -> str:
    return f"{who}, pid {os.getpid()}, since {clock.wall()}"
