"""A long load on a virtual clock: hits → ledger → frames → lines → journal → segments → compaction, nothing left out.

Response times are drawn (lognormal, median 8 ms); 10,000 hits a second over five names, one frame a quarter of a
second. Nothing is sent, so a day takes as long as it takes to write it down. What is drawn repeats itself every minute,
and so do the ledger's frames: from the second minute on those of the first are written again, as of a minute later.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import psutil

from chaosrunner.load.act import OpenHit
from chaosrunner.load.journey import Journey, Leg, Route
from chaosrunner.load.ledger import Ledger
from chaosrunner.load.wire import line
from chaosrunner.logic.detail import CALM_HITS
from chaosrunner.logic.shelf import Shelf
from chaosrunner.model.events import LoadStarted, PhaseEntered, SlotsArrived
from chaosrunner.model.experiment import Phase
from chaosrunner.model.journey import Think
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import from_json
from chaosrunner.testing import FakeClock
from chaosrunner.world.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

HITS_PER_S = 10_000
NAMES = 5
FRAME_S = 0.25
EPOCH_NS = 1_000 * 10**9
MB = 1e6
FRAMES_A_MINUTE = int(60 / FRAME_S)
DRAWN = 20_000
"""Response times; a minute's hits are a multiple of it."""
FINE_S = CALM_HITS / HITS_PER_S
"""So much is kept in detail."""
SHORTEST_S = FINE_S + 100.0
ROUTE = Route([Leg(name, None, Think(), None, 10**9) for name in range(NAMES)])  # type: ignore[arg-type]
JOURNEY = Journey(None, ROUTE, 0, 0, 0)  # type: ignore[arg-type]
"""Of every hit: nobody asks it for anything here."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was left.

    Attributes:
        disk_mb_per_hour: On disk, per simulated hour, the newest minutes (which are not yet merged) set aside.
        growth_mb: Resident memory at the end minus at half time, but for packed slots: those have a bound of their own,
            which they reach after two hours.
        peak_mb: The most there was of it.
    """

    disk_mb_per_hour: float
    growth_mb: float
    peak_mb: float


def simulated_day(folder: Path, seconds: float) -> Seen:
    """Write down so many simulated seconds.

    Args:
        folder: For the run directory, which is gone afterwards.
        seconds: At least `SHORTEST_S`, or nothing is merged yet.
    """
    return asyncio.run(_write(folder / "day", max(SHORTEST_S, seconds)))


async def _write(run: Path, seconds: float) -> Seen:
    clock, rng = FakeClock(EPOCH_NS), random.Random(1)
    resident: list[float] = []
    packed: list[float] = []
    journal = Journal.create(run, clock)
    journal.write(LoadStarted(epoch_ns=EPOCH_NS, workers=1))
    journal.write(PhaseEntered(phase=Phase.BASELINE, at_ns=EPOCH_NS))
    ledger = Ledger(worker=0, names=NAMES, epoch_ns=EPOCH_NS)
    times = [int(rng.lognormvariate(15.9, 0.5)) for _ in range(DRAWN)]
    lines: list[bytes] = []
    try:
        for number in range(int(seconds / FRAME_S)):
            clock.advance(FRAME_S)
            if number <= FRAMES_A_MINUTE:  # the first has no answers yet to what was asked before it
                _hits(ledger, number, times)
                lines.append(line(ledger.cut(clock.now(), connects=50)))
            journal.write(SlotsArrived(frame=from_json(_frame(lines, number))))
            if number % 40 == 0:
                await journal.durable(journal.state.n)  # as slowly as in real life: the writer follows
                resident.append(psutil.Process().memory_info().rss / MB)
                slots = journal.state.slots
                packed.append(slots.size() / MB if isinstance(slots, Shelf) else 0.0)
        await journal.close()
        segments = sorted((run / "slots").iterdir())[: -int(FINE_S / 10) - 4]
        disk = sum(segment.stat().st_size for segment in segments) / len(segments) * 360 / MB
    finally:
        shutil.rmtree(run, ignore_errors=True)
    beside = [whole - kept for whole, kept in zip(resident, packed, strict=True)]
    return Seen(disk, beside[-1] - beside[len(beside) // 2], max(resident))


def _frame(lines: list[bytes], number: int) -> dict[str, Any]:
    """The frame of a number, read from its line or from that of the first minute's frame that is like it."""
    minutes = max(0, number - 1) // FRAMES_A_MINUTE
    frame: dict[str, Any] = orjson.loads(lines[number - minutes * FRAMES_A_MINUTE])["frame"]
    frame["seq"], frame["until"] = number, frame["until"] + minutes * 60_000_000
    for slot in frame["slots"]:
        slot[0] += minutes * 600
    for hit in frame["hits"]:
        hit[0] += minutes * 60_000_000
    return frame


def _hits(ledger: Ledger, number: int, times: list[int]) -> None:
    """A quarter of a second's hits, due evenly, with a lag of up to 40 µs."""
    first = int(number * FRAME_S * HITS_PER_S)
    for nth in range(first, first + int(FRAME_S * HITS_PER_S)):
        due, lag, took = EPOCH_NS + nth * (10**9 // HITS_PER_S), times[nth % 1_000] % 40_000, times[nth % len(times)]
        hit = OpenHit(None, JOURNEY, nth % NAMES, due, due + lag)  # type: ignore[arg-type]
        hit.sent_ns = due + lag
        ledger.done(hit, Outcome.OK, due + took)
