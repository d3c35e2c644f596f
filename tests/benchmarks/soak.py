"""A load for an hour on the real thing, watched for what grows: memory, descriptors, disk, lag.

`python tests/benchmarks/soak.py [--minutes 60] [--rate 2000]`, or `make soak`. Journeys of five requests to an nginx on
one core, from one worker process on the other, into a real journal; a line a minute. Exit code: 0 if nothing was lost
and nothing grew, 1 if it did, 2 if it could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import psutil
from bench_generators import Job
from bench_ours import driver, play, profile
from bench_peers import FailedError, pinned
from bench_sites import nginx

from chaosrunner.logic.detail import CALM_HITS, FINE_SLOTS
from chaosrunner.logic.shelf import Shelf
from chaosrunner.model.events import LoadLost, LoadStarted, PhaseEntered, SlotsArrived
from chaosrunner.model.experiment import Phase
from chaosrunner.model.slots import Slot
from chaosrunner.world.clock import RealClock
from chaosrunner.world.journal import Journal
from chaosrunner.world.segments import end_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosrunner.load.driver import LoadDriver
    from chaosrunner.logic.fold import State
    from chaosrunner.model.events import Event

MB = 1e6
LOOK_S = 5.0
UNMERGED_S = 50.0
"""The newest slots on disk, beside `CALM_HITS`, that are not merged; they do not count."""
MOST_MB_PER_HOUR = 25.0
GROWTH_MB = 5.0
OWN_DESCRIPTORS = 20
"""Of a worker, beside its connections, of which a crowded minute may open all it has."""
MOST_MB = 150.0
"""Of the runner. What it keeps of the run, packed, may grow to its bound; the rest of its memory must not."""


@dataclass
class Watched:
    """What is seen while it runs; one value a look."""

    whole: Slot = field(default_factory=Slot)
    minute: Slot = field(default_factory=Slot)
    lost: list[str] = field(default_factory=list)
    runner_mb: list[float] = field(default_factory=list)
    kept_mb: list[float] = field(default_factory=list)
    worker_mb: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def note(self, event: Event) -> None:
        """Take in one event of the driver."""
        if isinstance(event, SlotsArrived):
            for slot in event.frame.slots.values():
                self.whole.add(slot)
                self.minute.add(slot)
        elif isinstance(event, LoadLost):
            self.lost.append(event.why)

    def look(self, playing: LoadDriver, state: State) -> None:
        """Take note of memory and descriptors."""
        self.kept_mb.append(sum(kind.size() for kind in (state.slots, state.series) if isinstance(kind, Shelf)) / MB)
        self.runner_mb.append(psutil.Process().memory_info().rss / MB)
        try:
            workers = [psutil.Process(pid) for pid in playing.pids()]
            worker_mb = sum(worker.memory_info().rss for worker in workers) / MB
            descriptors = sum(worker.num_fds() for worker in workers)
        except psutil.NoSuchProcess:
            return  # the load has just ended
        self.worker_mb.append(worker_mb)
        self.descriptors.append(descriptors)

    def line(self, minutes: float) -> str:
        """The minute that has passed; the next one begins."""
        slot, self.minute = self.minute, Slot()
        quantiles = "/".join(f"{(slot.ok.quantile(share) or 0) / 1000:.2f}" for share in (0.5, 0.99))
        return (
            f"{minutes:5.1f} min  {slot.finished:9,} hits  {slot.errors} errors  p50/p99 {quantiles} ms  "
            f"lag p99 {(slot.lag.quantile(0.99) or 0) / 1000:.2f} ms  runner {self.runner_mb[-1]:.0f} MB "
            f"with {self.kept_mb[-1]:.0f} MB of slots  "
            f"worker {self.worker_mb[-1]:.0f} MB  {self.descriptors[-1]} descriptors"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and print; the exit code."""
    parser = argparse.ArgumentParser(description="an hour of load, watched for what grows")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=2_000, help="journeys a second, each of five requests")
    given = parser.parse_args(argv)
    cores = sorted(os.sched_getaffinity(0))
    try:
        with tempfile.TemporaryDirectory() as folder, pinned(cores[0]), nginx(Path(folder), cores[0]) as url:
            job = Job(url, round(given.minutes * 60), given.rate, steps="five")
            return asyncio.run(_soak(job, Path(folder) / "run", cores[-1]))
    except FailedError as failure:
        print(f"failed: {failure}")
        return 2


async def _soak(job: Job, run: Path, core: int) -> int:
    clock, watched = RealClock(), Watched()
    journal = Journal.create(run, clock)

    def report(event: Event) -> None:
        watched.note(event)
        journal.write(event)
        if isinstance(event, LoadStarted):
            journal.write(PhaseEntered(phase=Phase.BASELINE, at_ns=event.epoch_ns))

    playing = driver(profile(job, 1), job.url, job.seconds)
    load = asyncio.create_task(play(playing, core, report))
    looks = 0
    while not (await asyncio.wait({load}, timeout=LOOK_S))[0]:
        watched.look(playing, journal.state)
        looks += 1
        if looks % (60 / LOOK_S) == 0:
            print(watched.line(looks * LOOK_S / 60), flush=True)
    load.result()
    await journal.close()
    fine_s = UNMERGED_S + min(FINE_SLOTS / 10, CALM_HITS / (5 * (job.rate or 1)))
    return _verdict(job, watched, _mb_per_hour(run, clock.now() - fine_s * 1e9))


def _mb_per_hour(run: Path, merged_ns: float) -> float | None:
    """Of slots that are old enough to have been merged; None if there are none yet."""
    sizes = [segment.stat().st_size for segment in (run / "slots").iterdir() if end_of(segment) < merged_ns]
    return sum(sizes) / len(sizes) * 360 / MB if sizes else None


def _verdict(job: Job, watched: Watched, disk: float | None) -> int:
    asked = (job.rate or 0) * 5 * job.seconds
    whole, wrong = watched.whole, [*watched.lost]
    print(f"{whole.finished:,} of {asked:,} hits, {dict(whole.done)}, {whole.open} unaccounted")
    if whole.open or whole.errors or abs(whole.finished / asked - 1) > 0.005:
        wrong.append("not all of the load was delivered and answered")
    beside = [whole - kept for whole, kept in zip(watched.runner_mb, watched.kept_mb, strict=True)]
    print(f"runner: at most {max(watched.runner_mb):.0f} MB, in the end {watched.kept_mb[-1]:.1f} MB of slots")
    if max(watched.runner_mb) > MOST_MB:
        wrong.append(f"the runner took more than {MOST_MB:g} MB")
    for name, values in (("runner but for slots", beside), ("worker", watched.worker_mb)):
        grew = _growth(values)
        print(f"{name}: {median(values):.0f} MB, grew by {grew:.1f} MB from the second quarter to the last")
        if grew > GROWTH_MB:
            wrong.append(f"the memory of the {name} grew")
    if _growth([float(count) for count in watched.descriptors]) > 0 and (
        max(watched.descriptors) > job.connections + OWN_DESCRIPTORS
    ):
        wrong.append("descriptors leaked")
    print("disk: too short to say" if disk is None else f"disk: {disk:.1f} MB/h once merged")
    if disk is not None and disk > MOST_MB_PER_HOUR:
        wrong.append(f"more than {MOST_MB_PER_HOUR:g} MB/h on disk")
    for text in wrong:
        print(f"WRONG  {text}")
    return 1 if wrong else 0


def _growth(values: Sequence[float]) -> float:
    """The last quarter's median minus the second's."""
    quarter = max(1, len(values) // 4)
    return median(values[-quarter:]) - median(values[quarter : 2 * quarter])


if __name__ == "__main__":
    sys.exit(main())
