"""Old slots, ten seconds at a time: a long quiet run must not fill a disk with detail that nobody will ask for.

What the fold has merged by then (`chaosrunner.logic.detail`) is merged here too, up to the first inject; from then on
all detail stays. A segment's frames are replaced by the same frames without slots, the last of each worker carrying
the sums of all: one slot a name, ten seconds and phase. Numbers, sequence and totals stay, and so does the fold.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chaosrunner.logic.detail import Detail
from chaosrunner.model.events import Entry, Injecting, LoadStarted, SlotsArrived
from chaosrunner.model.slots import Slot
from chaosrunner.model.units import SLOT_NS
from chaosrunner.world import segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from chaosrunner.model.slots import Frame

Sums = dict[tuple[int, int], Slot]
"""(slot number, step index) → what was due there."""


@dataclass(slots=True)
class Compactor:
    """Knows which segments may be merged, and merges them in a thread of its own."""

    _detail: Detail = field(default_factory=Detail)
    _epoch_ns: int = 0
    _waiting: list[Path] = field(default_factory=list)
    """Closed, but not yet old enough."""
    _old: list[Path] = field(default_factory=list)
    _detail_from_now_on: bool = False
    _work: threading.Thread | None = None

    def note(self, entry: Entry) -> None:
        """Learn what may be merged, and that from the first inject on all detail is kept."""
        self._detail.note(entry.event)
        match entry.event:
            case SlotsArrived(frame=frame):
                self._detail.frame(frame)
            case LoadStarted(epoch_ns=epoch_ns):
                self._epoch_ns = epoch_ns
            case Injecting():
                self._detail_from_now_on = True
            case _:
                pass

    def closed(self, segment: Path) -> None:
        """A segment has been closed. Have those merged that are old enough; at most one thread at a time."""
        self._waiting.append(segment)
        if self._detail_from_now_on:
            return
        merged_ns = self._epoch_ns + self._detail.until * SLOT_NS
        while self._waiting and segments.end_of(self._waiting[0]) <= merged_ns:
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
                merge(self._old.pop(0), self._detail)
            except OSError:
                continue  # the detail stays: larger, but nothing is lost


def merge(segment: Path, detail: Detail) -> None:
    """Replace a closed segment by its sums, in one step: a reader sees the old one or the new one.

    Args:
        segment: the file.
        detail: what of it is merged by now.

    Raises:
        OSError: it could not be replaced, and is as it was.
    """
    damage = segments.Damage()
    entries = merged(segments.read_segment(segment, damage), detail)
    if not entries or damage:  # what is broken is left as it is, for whoever wants to look into it
        return
    fresh = segment.with_suffix(".new")
    try:
        with fresh.open("wb") as file:
            file.write(segments.encode(entries))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(segment)
    finally:
        fresh.unlink(missing_ok=True)


def merged(entries: Iterable[Entry], detail: Detail) -> list[Entry]:
    """The same entries without slots and raw hits; each worker's last one holds all slots, the old ones merged."""
    sums: dict[int, Sums] = {}
    last: dict[int, int] = {}
    bare: list[tuple[Entry, Frame]] = []
    for entry in entries:  # one at a time: with their slots all frames of a segment are tens of megabytes
        if isinstance(entry.event, SlotsArrived):
            frame = entry.event.frame
            _add(sums.setdefault(frame.worker, {}), frame.slots, detail)
            last[frame.worker] = entry.n
            empty = replace(frame, hits=(), slots={})
            bare.append((replace(entry, event=SlotsArrived(frame=empty)), empty))
    return [
        replace(entry, event=SlotsArrived(frame=replace(frame, slots=_sums_of(entry, frame, sums, last))))
        for entry, frame in bare
    ]


def _add(sums: Sums, slots: Mapping[tuple[int, int], Slot], detail: Detail) -> None:
    for (number, name), slot in slots.items():
        sums.setdefault((detail.place(number), name), Slot()).add(slot)


def _sums_of(entry: Entry, frame: Frame, sums: Mapping[int, Sums], last: Mapping[int, int]) -> Sums:
    return sums[frame.worker] if last[frame.worker] == entry.n else {}
