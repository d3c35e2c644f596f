"""The books of a worker: every due hit is written down once when it is due and once when it has its outcome.

What is written accumulates as deltas, which `cut` hands out as numbered frames. Instants are CLOCK_MONOTONIC ns.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from chaosrunner.load.raw_hits import RawHits
from chaosrunner.load.tally import Slots, Tally, count
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame
from chaosrunner.model.units import SLOT_NS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chaosrunner.load.act import OpenHit

_OK = Outcome.OK

NOTES, NOTE_BYTES = 1_000, 8_000
"""How many facts a worker may note, and how large."""


class Ledger:
    """Deltas by slot and name since the last frame, and the counts beside them."""

    def __init__(self, *, worker: int, names: int, epoch_ns: int = 0) -> None:
        self._worker = worker
        self.epoch_ns = epoch_ns
        """Set once it is known, before anything is due."""
        self._seq = 0
        self._tallies: dict[tuple[int, int], Tally] = {}
        self._current = [_NONE] * names
        """Name → the tally that was written to last."""
        self._raw = RawHits(names)
        self._cpu_ns = time.process_time_ns()
        self._connects = 0
        self._counts: dict[str, int] = {}
        self._notes: list[dict[str, object]] = []
        self._noted = 0
        self.journeys = 0
        self.skipped = 0
        self.behind = 0

    def unfired(self, name: int, due_ns: int, outcome: Outcome, now_ns: int) -> None:
        """A hit became due and was never started (SHED or LATE): counted, without any time."""
        tally = self._tally(name, due_ns)
        tally.uncounted += 1
        tally.fail(outcome)
        self._raw.unfired(name, (due_ns - self.epoch_ns, now_ns - due_ns), outcome, now_ns)

    def under_way(self, hits: Iterable[OpenHit]) -> None:
        """Hits that have no outcome yet, the latest first: those that are not written down are, for the next frame."""
        for hit in hits:
            if hit.booked:
                return
            hit.booked = True
            count(self._tally(hit.name, hit.due_ns).lag, (hit.fired_ns - hit.due_ns) // 1000)

    def done(self, hit: OpenHit, outcome: Outcome, done_ns: int) -> None:
        """A started hit has its outcome. The hot path: written out, since calls would cost a third of it."""
        due_ns, fired_ns, name = hit.due_ns, hit.fired_ns, hit.name
        tally = self._current[name]
        if not tally.begin_ns <= due_ns < tally.end_ns:
            tally = self._current[name] = self._tally(name, due_ns)
        if outcome is _OK and hit.sent_ns == fired_ns and not hit.booked:
            lag, response = (fired_ns - due_ns) // 1000, (done_ns - due_ns) // 1000
            usual = tally.usual.get(lag)
            if usual is None:
                usual = tally.usual[lag] = {}
            usual[response] = usual[response] + 1 if response in usual else 1
            raw = self._raw
            if done_ns < raw.calm_ns[name]:
                raw.latest[name] = due_ns, fired_ns, fired_ns, hit.connected_ns, hit.first_ns, done_ns
                return
        else:
            tally.unusual(hit, outcome, done_ns)
        self._raw.ended(hit, outcome, done_ns)

    def observe(self, name: int, at_ns: int, value_us: int, outcome: Outcome = Outcome.OK) -> None:
        """Something measured beside the hits.

        Args:
            name: index of a series among the profile's names.
            at_ns: when, CLOCK_MONOTONIC.
            value_us: how long it took.
            outcome: what became of it.
        """
        tally = self._tally(name, at_ns)
        tally.uncounted += 1
        if outcome is _OK:
            count(tally.ok, value_us)
            count(tally.adjusted, value_us)  # no lag of ours is in it
        else:
            count(tally.failed, value_us)
            tally.fail(outcome)

    def observe_alike(self, name: int, at_ns: int, value_us: int, n: int) -> None:
        """The same, OK and equal, for n of them: what happens once a query need not be written down once a query."""
        tally = self._tally(name, at_ns)
        tally.uncounted += n
        count(tally.ok, value_us, n)
        count(tally.adjusted, value_us, n)

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
            slots=Slots(self._tallies),
            hits=self._raw.take(self.epoch_ns, last=last),
            skipped=self.skipped,
            journeys=self.journeys,
            behind=self.behind,
            connects=connects - self._connects,
            cpu_us=(cpu_ns - self._cpu_ns) // 1000,
            counts=self._counts,
            watch=watch or {},
            last=last,
        )
        self._tallies, self._cpu_ns, self._connects = {}, cpu_ns, connects
        self._current = [_NONE] * len(self._current)
        self._counts = {}
        self._seq += 1
        self.journeys = self.skipped = self.behind = 0
        return frame

    def _tally(self, name: int, at_ns: int) -> Tally:
        number = (at_ns - self.epoch_ns) // SLOT_NS
        tally = self._tallies.get((number, name))
        if tally is None:
            begin_ns = self.epoch_ns + number * SLOT_NS
            tally = self._tallies[number, name] = Tally(begin_ns, begin_ns + SLOT_NS)
        return tally


_NONE = Tally(0, 0)
"""Holds no instant."""
