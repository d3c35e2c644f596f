"""Old slots, ten seconds at a time: a long quiet run must not fill a disk with detail that nobody will ask for.

Detail is kept from 30 s before the first inject until the end. Before that, 30 s late, a segment's frames are replaced
by the same frames without slots, the last of each worker carrying the sums of all: one slot a name, ten seconds and
phase. Numbers, sequence and totals stay; the fold over phases is the same.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chaosrunner.model.events import Entry, Injecting, LoadStarted, PhaseEntered, SlotsArrived
from chaosrunner.model.slots import Slot
from chaosrunner.model.units import NANOS, SLOT_NS
from chaosrunner.world import segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from chaosrunner.model.slots import Frame

Sums = dict[tuple[int, int], Slot]
"""(slot number, step index) → what was due there."""

KEEP_NS = 30 * NANOS
GROUP = 100
"""Slots merged into one: ten seconds."""


@dataclass(slots=True)
class Compactor:
    """Knows which segments may be merged, and merges them in a thread of its own."""

    _epoch_ns: int | None = None
    _phases: list[int] = field(default_factory=list)
    _waiting: list[Path] = field(default_factory=list)
    """Closed, but not yet old enough."""
    _old: list[Path] = field(default_factory=list)
    _detail_from_now_on: bool = False
    _work: threading.Thread | None = None

    def note(self, entry: Entry) -> None:
        """Learn when phases begin, and that from the first inject on all detail is kept."""
        match entry.event:
            case LoadStarted(epoch_ns=epoch_ns):
                self._epoch_ns = epoch_ns
            case PhaseEntered(at_ns=at_ns) if self._epoch_ns is not None:
                self._phases.append(-(-(at_ns - self._epoch_ns) // SLOT_NS))
            case Injecting():
                self._detail_from_now_on = True
            case _:
                pass

    def closed(self, segment: Path, now_ns: int) -> None:
        """A segment has been closed. Have those merged that are old enough; at most one thread at a time."""
        self._waiting.append(segment)
        if self._detail_from_now_on:
            return
        while self._waiting and segments.end_of(self._waiting[0]) <= now_ns - KEEP_NS:
            self._old.append(self._waiting.pop(0))
        if self._old and (self._work is None or not self._work.is_alive()):
            self._work = threading.Thread(target=self._merge_all, name="compaction", daemon=True)
            self._work.start()

    def finish(self) -> None:
        """Return when all that is old enough has been merged."""
        if self._work is not None:
            self._work.join()
        self._merge_all()

    def _merge_all(self) -> None:
        while self._old:
            try:
                merge(self._old.pop(0), tuple(self._phases))
            except OSError:
                continue  # the detail stays: larger, but nothing is lost


def merge(segment: Path, phases: tuple[int, ...]) -> None:
    """Replace a closed segment by its sums, in one step: a reader sees the old one or the new one.

    Args:
        segment: the file.
        phases: slot numbers at which phases begin, ascending.

    Raises:
        OSError: it could not be replaced, and is as it was.
    """
    damage = segments.Damage()
    entries = list(segments.read_segment(segment, damage))
    if not entries or damage:  # what is broken is left as it is, for whoever wants to look into it
        return
    fresh = segment.with_suffix(".new")
    try:
        with fresh.open("wb") as file:
            file.write(segments.encode(merged(entries, phases)))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(segment)
    finally:
        fresh.unlink(missing_ok=True)


def merged(entries: Iterable[Entry], phases: tuple[int, ...]) -> list[Entry]:
    """The same entries without slots and raw hits; each worker's last one holds the sums."""
    frames = [(entry, entry.event.frame) for entry in entries if isinstance(entry.event, SlotsArrived)]
    sums: dict[int, Sums] = {}
    last: dict[int, int] = {}
    for entry, frame in frames:
        _add(sums.setdefault(frame.worker, {}), frame.slots, phases)
        last[frame.worker] = entry.n
    return [
        replace(entry, event=SlotsArrived(frame=replace(frame, hits=(), slots=_sums_of(entry, frame, sums, last))))
        for entry, frame in frames
    ]


def representative(number: int, phases: tuple[int, ...]) -> int:
    """The slot that stands for all of its ten seconds and its phase: the first of them."""
    begun = bisect_right(phases, number)
    return max(number // GROUP * GROUP, phases[begun - 1] if begun else 0)


def _add(sums: Sums, slots: Mapping[tuple[int, int], Slot], phases: tuple[int, ...]) -> None:
    for (number, name), slot in slots.items():
        sums.setdefault((representative(number, phases), name), Slot()).add(slot)


def _sums_of(entry: Entry, frame: Frame, sums: Mapping[int, Sums], last: Mapping[int, int]) -> Sums:
    return sums[frame.worker] if last[frame.worker] == entry.n else {}
