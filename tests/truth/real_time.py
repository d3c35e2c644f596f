"""The lie detector in real time: the whole program before a scripted target that is a process, laid beside its truth.

`make truth ARGS=--live` plays all runs of `real_cells` and prints one row each. The target tells its own times; load
driver, journal, watchdog and judge are the real ones, called by the real command line. A run that is UNKNOWN where
something is due (the host had no CPU to give) is played again, once; such runs are counted beside the others.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from real_cells import Live, lives

from chaosrunner.model.events import Undone
from chaosrunner.world.journal import read

HERE = Path(__file__).resolve().parent
ENDS_WITHIN_S = 150.0
AGAIN = 1
LATE_S = 0.1
"""A target that was so late around its own recovery did not do what its script says."""
GENTLE = 200
"""Requests a second up to which two runs go side by side."""
SYSTEM = "environment: test\nentry: http://127.0.0.1:{port}\n"
POINTS = "[chaosrunner.injectors]\ntruth.script = truth_fault:TruthScript\n"
TITLE = """# Verdicts beside the truth, in real time

Written by `make truth ARGS=--live`; [how to read it](truth.md#in-real-time).
"""
HEAD = (
    "| target | requests/s | noise | truth | measured | interval | off by | allowed | inside "
    "| due | seen | verdict | remarks |\n|---|--:|---|--:|--:|--:|--:|--:|---|---|---|---|---|"
)


@dataclass(slots=True)
class Told:
    """The running target, and what it says of itself."""

    process: asyncio.subprocess.Process
    said: dict[str, list[int]] = field(default_factory=dict)
    ports: tuple[int, int] = (0, 0)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Hear it until it ends."""
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            what, *numbers = line.split()
            if what == "ready":
                self.ports = (int(numbers[0]), int(numbers[1]))
            self.said.setdefault(what, []).extend(int(number) for number in numbers)
            self.news.set()

    async def until(self, what: str) -> None:
        """Return when it has said that."""
        while what not in self.said:
            self.news.clear()
            await self.news.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One run: its verdict beside the truth. Seconds from the end of the effect."""

    live: Live
    verdict: Mapping[str, Any]
    truth_s: float | None
    """None: it never recovers."""
    late_s: float = 0.0
    """The longest that the target's own loop was behind around its recovery: so well the truth is known."""
    heal_s: float = 0.0
    """From the target's own end of the effect to the answer that the product counts from."""
    ended_inside: bool
    """Whether the target ended its effect between call and answer of the product's undo."""

    @property
    def recovery(self) -> Mapping[str, Any]:
        """What was measured."""
        found: Mapping[str, Any] = self.verdict["recovery"]
        return found

    @property
    def outcome(self) -> str:
        """HELD, BROKEN or UNKNOWN."""
        return str(self.verdict["outcome"])

    @property
    def measured_s(self) -> float | None:
        """The time to recover, where there is a true one to compare with."""
        comparable = self.truth_s is not None and not self.live.unknowable and self.outcome != "UNKNOWN"
        return self.recovery["time_s"] if comparable else None

    @property
    def error_s(self) -> float | None:
        """Of the moment itself, measured minus true: not counted from a heal whose answer came late."""
        if self.measured_s is None or self.truth_s is None:
            return None
        return self.measured_s + self.heal_s - self.truth_s

    @property
    def inside(self) -> bool | None:
        """Whether the truth is in the interval, to how well it is known."""
        if self.measured_s is None or self.truth_s is None:
            return None
        slack = 0.002 + self.late_s
        return bool(self.recovery["low_s"] - slack <= self.truth_s <= self.recovery["high_s"] + slack)

    def wrongs(self) -> list[str]:
        """What contradicts the truth."""
        found = []
        if self.outcome not in self.live.outcomes:
            found.append("outcome")
        if self.recovery["verdict"] not in self.live.verdicts:
            found.append("verdict")
        if self.live.timed and self.error_s is not None and abs(self.error_s) > self.live.allowed_s + self.late_s:
            found.append("error")
        if self.inside is False:
            found.append("interval")
        if not self.ended_inside:
            found.append("the heal's own interval")
        return found

    @property
    def undecided(self) -> bool:
        """UNKNOWN where something is due, or a truth that is not known: the host had no CPU to give."""
        blurred = self.truth_s is not None and self.late_s > LATE_S
        return blurred or (self.outcome == "UNKNOWN" and self.outcome not in self.live.outcomes)

    def _late(self) -> str:
        return f"target {self.late_s * 1000:.0f} ms late" if self.late_s > 0.02 else ""

    def row(self, remark: str = "") -> str:
        """Its line of the table."""
        recovery, measured, error = self.recovery, self.measured_s, self.error_s
        interval = "–" if measured is None else f"{recovery['low_s']:.3f}–{recovery['high_s']:.3f} s"
        inside = {True: "yes", False: "**no**", None: "–"}[self.inside]
        figures = [
            self.live.says, str(self.live.rate), self.live.noise,
            "never" if self.truth_s is None else _s(self.truth_s), _s(measured), interval,
            "–" if error is None else f"{error * 1000:+.0f} ms",
            _s(self.live.allowed_s) if self.live.timed else "–",
            inside, " or ".join(self.live.outcomes), self.outcome, str(recovery["verdict"] or "–"),
            "; ".join([*filter(None, [remark, self._late()]), *self.wrongs()]),
        ]  # fmt: skip
        return f"| {' | '.join(figures)} |"


def _s(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.3f} s"


async def play(live: Live, directory: Path) -> Seen | None:
    """Play one run in an empty directory; None if the watchdog had to end it.

    Raises:
        AssertionError: the program ended in a way that no verdict explains; says what was printed.
    """
    async with _target(live) as told:
        (directory / "scripted.yaml").write_text(SYSTEM.format(port=told.ports[0]))
        text = live.experiment(str(directory / "scripted.yaml"), told.ports[1])
        (directory / "experiment.yaml").write_text(text)
        run_dir = await _run(directory, told, MEANWHILE[live.meanwhile])
    if run_dir is None:
        return None
    verdict: dict[str, Any] = json.loads((run_dir / "verdict.json").read_text())
    if live.unknowable or "ended" not in told.said:
        return Seen(live=live, verdict=verdict, truth_s=live.truth_s, ended_inside=True)
    [ended] = told.said["ended"]
    [undone] = [entry.event for entry in read(run_dir) if isinstance(entry.event, Undone)]
    truth_s = _truth(live, told)
    return Seen(
        live=live,
        verdict=verdict,
        truth_s=truth_s,
        late_s=_late(told, ended, max(truth_s or 0.0, verdict["recovery"]["time_s"] or 0.0)),
        heal_s=(undone.answered_ns - ended) / 1e9,
        ended_inside=undone.called_ns <= ended <= undone.answered_ns,
    )


def _late(told: Told, ended: int, lasts_s: float) -> float:
    """The worst from half a second before the end of the effect until half a second after the recovery."""
    said = told.said.get("late", [])
    first, last = ended - 500_000_000, ended + int((lasts_s + 0.5) * 1e9)
    return max((by for at, by in zip(said[::2], said[1::2], strict=True) if first <= at <= last + by), default=0) / 1e9


def _truth(live: Live, told: Told) -> float | None:
    """As scripted; where a door was reopened, by when it really was."""
    [ended], opened = told.said["ended"], told.said["listening"][-1]
    if live.script == "connection refused":
        return max(0.0, (opened - ended) / 1e9)
    return live.truth_s


@asynccontextmanager
async def _target(live: Live) -> AsyncIterator[Told]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(HERE / "real_target.py"), json.dumps(live.plan())),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parents[1])))},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    told = Told(process)
    listening = asyncio.create_task(told.listen())
    try:
        async with asyncio.timeout(20):
            await told.until("ready")
        yield told
        process.stdin.close()
        await asyncio.wait_for(listening, 20)
    finally:
        if process.returncode is None:
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _run(directory: Path, told: Told, meanwhile: Callable[[int], Awaitable[None]]) -> Path | None:
    """Play the experiment by the real command line; the run directory, None if the watchdog had to end it."""
    site = directory / "site" / "truth_fault-1.0.dist-info"
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: truth_fault\nVersion: 1.0\n")
    (site / "entry_points.txt").write_text(POINTS)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaosrunner", "run", str(directory / "experiment.yaml")),
        *("--runs", str(directory / "runs")),
        env=os.environ
        | {
            "CHAOSRUNNER_STATE": str(directory / "state"),
            "PYTHONPATH": os.pathsep.join(map(str, (site.parent, HERE, HERE.parents[1]))),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )

    async def disturb() -> None:
        await told.until("begun")
        await meanwhile(process.pid)

    disturbing = asyncio.create_task(disturb())
    talk = asyncio.create_task(process.communicate())
    done, _ = await asyncio.wait([talk], timeout=ENDS_WITHIN_S)
    if not done:
        process.terminate()  # it puts everything back and ends
    said = (await talk)[0].decode(errors="replace")
    disturbing.cancel()
    with suppress(asyncio.CancelledError):
        await disturbing
    if process.returncode == -signal.SIGKILL:
        return None
    assert process.returncode in (0, 1, 3), f"exit {process.returncode}: {said}"
    [run_dir] = (directory / "runs").iterdir()
    return run_dir


def workers_of(runner: int) -> list[int]:
    """The load workers that a runner has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == runner and b"chaosrunner.load.worker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


async def _nothing(_runner: int) -> None:
    """Nothing."""


async def _kill(runner: int) -> None:
    """No traffic any more."""
    for pid in workers_of(runner):
        os.kill(pid, signal.SIGKILL)


async def _stutter(runner: int) -> None:
    """It sleeps 150 ms of every 300, for as long as the run lasts."""
    pids = workers_of(runner)
    stopped = False
    try:
        while pids:
            stopped = not stopped
            for pid in pids:
                os.kill(pid, signal.SIGSTOP if stopped else signal.SIGCONT)
            await asyncio.sleep(0.15)
    except ProcessLookupError:
        pass
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def _hog(_runner: int) -> None:
    """Two processes on every core compute, for as long as the run lasts."""
    hogs = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(2 * (os.cpu_count() or 1))]
    for hog in hogs:
        hog.start()
    try:
        await asyncio.Event().wait()
    finally:
        for hog in hogs:
            hog.kill()
            hog.join()


def _compute() -> None:
    ends = time.monotonic() + 60.0
    while time.monotonic() < ends:
        pass


MEANWHILE: Mapping[str, Callable[[int], Awaitable[None]]] = {
    "": _nothing,
    "the worker is killed": _kill,
    "the worker stutters": _stutter,
    "hogs on every core": _hog,
}


async def insist(live: Live, say: Callable[[str], None]) -> list[Seen | None]:
    """Play it, again where the host did not let it be decided; every run, the last one counts.

    Returns:
        None for a run that its watchdog ended, because neither runner nor target had a CPU.
    """
    keep = os.environ.get("CHAOSRUNNER_TRUTH_KEEP")  # a directory for runs that contradict the truth
    tries: list[Seen | None] = []
    while not tries or (len(tries) <= AGAIN and (tries[-1] is None or tries[-1].undecided)):
        with tempfile.TemporaryDirectory() as directory:
            seen = await play(live, Path(directory))
            if keep and (seen is None or seen.wrongs() or seen.undecided):
                shutil.copytree(
                    directory, Path(keep) / f"{live.script}-{live.rate}-{live.seed}-{len(tries)}", dirs_exist_ok=True
                )
        tries.append(seen)
        if seen is None:
            say(f"| {live.says} | {live.rate} | {live.noise} |{' – |' * 9} again: ended by the watchdog |")
        else:
            say(seen.row("again: " + str(seen.verdict["headline"]) if seen.undecided else ""))
    return tries


async def all_of(chosen: Iterable[Live], say: Callable[[str], None], side: int = 2) -> list[list[Seen | None]]:
    """Gentle runs so many at a time, the others alone."""
    chosen = list(chosen)
    found: list[list[Seen | None]] = []
    waiting = [live for live in chosen if live.rate <= GENTLE and not live.meanwhile]

    async def take() -> None:
        while waiting:
            found.append(await insist(waiting.pop(0), say))

    alone = [live for live in chosen if live not in waiting]
    await asyncio.gather(*(take() for _ in range(side)))
    for live in alone:
        found.append(await insist(live, say))
    return found


def summary(found: Sequence[Sequence[Seen | None]]) -> str:
    """What all runs say together."""
    last = [seen[-1] for seen in found if seen[-1]]
    decided = [one for one in last if not one.undecided]
    timed = [one for one in decided if one.live.timed and one.error_s is not None]
    inside = [one.inside for one in decided if one.inside is not None]
    close = sum(abs(one.error_s or 0.0) <= one.live.allowed_s for one in timed)
    errors = sorted(abs(one.error_s or 0.0) for one in timed)
    again = sum(len(seen) - 1 for seen in found)
    return (
        f"{len(found)} runs: {close} of {len(timed)} outages and steps within their bound "
        f"(median error {errors[len(errors) // 2] * 1000 if errors else 0:.0f} ms), the truth in "
        f"{sum(map(bool, inside))} of {len(inside)} intervals, "
        f"{sum('outcome' in one.wrongs() for one in decided)} wrong outcomes, "
        f"{sum('verdict' in one.wrongs() for one in decided)} wrong verdicts; {len(found) - len(decided)} stayed "
        f"undecided for want of CPU, {again} were played again for it."
    )


def live(only: str, side: int, out: Path | None) -> int:
    """Play the runs whose row holds these words; 1 if one of them contradicts the truth."""
    rows: list[str] = []

    def say(row: str) -> None:
        rows.append(row)
        print(row, flush=True)

    print(HEAD)
    began = time.monotonic()
    found = asyncio.run(all_of((one for one in lives() if only in one.says), say, side))
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    took = f"{(time.monotonic() - began) / 60:.0f} minutes on {os.cpu_count()} cores, load average {load}"
    said = f"{summary(found)} {took}."
    print(said)
    if out:
        out.write_text(f"{TITLE}\n{said}\n\n{HEAD}\n" + "\n".join(rows) + "\n")
    return int(any(one.wrongs() for seen in found if (one := seen[-1]) and not one.undecided))


if __name__ == "__main__":
    sys.exit(live(sys.argv[1] if len(sys.argv) > 1 else "", 1, None))
