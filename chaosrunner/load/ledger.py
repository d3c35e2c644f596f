"""The books of a worker: every due hit is written down once when it is due and once when it has its outcome.

What is written accumulates as deltas, which `cut` hands out as numbered frames. Instants are CLOCK_MONOTONIC ns.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.model.units import NANOS, SLOT_NS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaosrunner.load.act import OpenHit

ALL_HITS_PER_S = 2_000
"""Up to this many hits a second every raw hit is kept; above it all failures, and first and last of each run."""


NOTES, NOTE_BYTES = 1_000, 8_000
"""How many facts a worker may note, and how large."""


class RawHits:
    """The raw hits worth keeping."""

    def __init__(self, names: int) -> None:
        self._kept: list[Hit] = []
        self._second = -1
        self._seen = 0
        self._run: list[Outcome | None] = [None] * names
        """Name → outcome of its latest hit."""
        self._latest: list[Hit | None] = [None] * names
        """Name → its latest hit if that was not kept: should the run end here, it was the run's last."""

    def add(self, hit: Hit, now_ns: int) -> None:
        """A hit has ended."""
        second = now_ns // NANOS
        if second != self._second:
            self._second, self._seen = second, 0
        self._seen += 1
        turned = self._run[hit.name] is not hit.outcome
        if turned:
            last = self._latest[hit.name]
            if last is not None:
                self._kept.append(last)
            self._run[hit.name] = hit.outcome
        if turned or self._seen <= ALL_HITS_PER_S or hit.outcome is not Outcome.OK:
            self._kept.append(hit)
            self._latest[hit.name] = None
        else:
            self._latest[hit.name] = hit

    def take(self, *, last: bool) -> tuple[Hit, ...]:
        """Hand out what was kept; with `last` also the latest of each name, which end their runs."""
        if last:
            self._kept += [hit for hit in self._latest if hit is not None]
        kept, self._kept = tuple(self._kept), []
        return kept


class Ledger:
    """Deltas by slot and name since the last frame, and the counts beside them."""

    def __init__(self, *, worker: int, names: int, epoch_ns: int = 0) -> None:
        self._worker = worker
        self.epoch_ns = epoch_ns
        """Set once it is known, before anything is due."""
        self._seq = 0
        self._slots: dict[tuple[int, int], Slot] = {}
        self._raw = RawHits(names)
        self._cpu_ns = time.process_time_ns()
        self._connects = 0
        self._counts: dict[str, int] = {}
        self._notes: list[dict[str, object]] = []
        self._noted = 0
        self.journeys = 0
        self.skipped = 0
        self.behind = 0

    def fired(self, name: int, due_ns: int, fired_ns: int) -> None:
        """A hit became due and was started."""
        slot = self._slot(name, due_ns)
        slot.due += 1
        slot.lag.record((fired_ns - due_ns) // 1000)

    def unfired(self, name: int, due_ns: int, outcome: Outcome, now_ns: int) -> None:
        """A hit became due and was never started (SHED or LATE): counted, without any time."""
        slot = self._slot(name, due_ns)
        slot.due += 1
        slot.done[outcome] = slot.done.get(outcome, 0) + 1
        self._raw.add(Hit((due_ns - self.epoch_ns) // 1000, name, outcome, 0, (now_ns - due_ns) // 1000), now_ns)

    def done(self, hit: OpenHit, outcome: Outcome, done_ns: int) -> None:
        """A started hit has its outcome.

        One that was never sent has spent all its time since it was fired on waiting for a connection.
        """
        due_ns, fired_ns, sent_ns = hit.due_ns, hit.fired_ns, hit.sent_ns
        slot = self._slot(hit.name, due_ns)
        slot.done[outcome] = slot.done.get(outcome, 0) + 1
        response, lag = (done_ns - due_ns) // 1000, (fired_ns - due_ns) // 1000
        slot.wait.record(((sent_ns or done_ns) - fired_ns) // 1000)
        if outcome is Outcome.OK:
            slot.ok.record(response)
            slot.adjusted.record(response - lag)
            slot.service.record((done_ns - (sent_ns or done_ns)) // 1000)
        else:
            slot.failed.record(response)
        raw = Hit(
            (due_ns - self.epoch_ns) // 1000,
            hit.name,
            outcome,
            response,
            lag,
            _after(due_ns, sent_ns),
            _after(due_ns, hit.connected_ns),
            _after(due_ns, hit.first_ns),
        )
        self._raw.add(raw, done_ns)

    def observe(self, name: int, at_ns: int, value_us: int, outcome: Outcome = Outcome.OK) -> None:
        """Something measured beside the hits.

        Args:
            name: index of a series among the profile's names.
            at_ns: when, CLOCK_MONOTONIC.
            value_us: how long it took.
            outcome: what became of it.
        """
        slot = self._slot(name, at_ns)
        slot.due += 1
        slot.done[outcome] = slot.done.get(outcome, 0) + 1
        (slot.ok if outcome is Outcome.OK else slot.failed).record(value_us)

    def count(self, name: str, n: int = 1) -> None:
        """Something that happened, by any name; names come from the profile or from a small set, never from data."""
        self._counts[name] = self._counts.get(name, 0) + n

    def note(self, about: str, **data: object) -> None:
        """A fact for the journal: JSON values, at most `NOTE_BYTES`; beyond `NOTES` a worker only counts them."""
        if self._noted < NOTES and len(json.dumps(data, default=str)) <= NOTE_BYTES:
            self._noted += 1
            self._notes.append({"about": about, "data": data})
        else:
            self.count("notes.dropped")

    def notes(self) -> list[dict[str, object]]:
        """Hand out the notes since the last time."""
        notes, self._notes = self._notes, []
        return notes

    def cut(
        self, until_ns: int, *, connects: int, watch: Mapping[str, float] | None = None, last: bool = False
    ) -> Frame:
        """The next frame: everything since the previous one.

        Args:
            until_ns: everything due before it was written down.
            connects: connections opened so far, ever.
            watch: how this worker found itself since the previous frame.
            last: nothing will follow.
        """
        cpu_ns = time.process_time_ns()
        frame = Frame(
            worker=self._worker,
            seq=self._seq,
            until_us=max(0, until_ns - self.epoch_ns) // 1000,
            slots=self._slots,
            hits=self._raw.take(last=last),
            skipped=self.skipped,
            journeys=self.journeys,
            behind=self.behind,
            connects=connects - self._connects,
            cpu_us=(cpu_ns - self._cpu_ns) // 1000,
            counts=self._counts,
            watch=watch or {},
            last=last,
        )
        self._slots, self._cpu_ns, self._connects = {}, cpu_ns, connects
        self._counts = {}
        self._seq += 1
        self.journeys = self.skipped = self.behind = 0
        return frame

    def _slot(self, name: int, due_ns: int) -> Slot:
        key = ((due_ns - self.epoch_ns) // SLOT_NS, name)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot()
        return slot


def _after(due_ns: int, at_ns: int) -> int | None:
    return (at_ns - due_ns) // 1000 if at_ns else None
