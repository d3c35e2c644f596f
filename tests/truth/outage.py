"""Is the measured outage true? A database goes away; the app that needs it says itself when, and so does the verdict.

As a script: `python tests/truth/outage.py --runs 20` prints each run and the distribution of the errors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaosrunner.demo.options import DemoOptions, free_base_port
from chaosrunner.demo.running import Demo, running_demo
from chaosrunner.demo.system_file import at_port, own_dsn
from chaosrunner.model.events import Undone
from chaosrunner.world.journal import read

PER_S = 200
BETWEEN_S = 1 / PER_S
ENDS_WITHIN_S = 90.0
APP = Path(__file__).with_name("needy_app.py")

SYSTEM = """\
environment: truth
entry: http://127.0.0.1:{port}
fault_proxy: {fault_proxy}
database:
  proxies: [database]
"""

EXPERIMENT = """\
question: How long is a database away that is away for five seconds?
system: {system}
load:
  each_user:
    - ask: {{GET: /}}
  arrivals: {per_s} users/s
baseline: 3s
faults:
  - proxy.down: {{target: database}}
    for: 5s
hypothesis:
  before: [errors < 1%]
  after:  [errors < 1%]
recover: within 10s, hold 2s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number of the verdict beside the truth; seconds."""

    truth_s: float
    value_s: float
    low_s: float
    high_s: float
    slack_s: float = 0.0
    """How wide the truth itself is: it counts from an instant known only to lie in an interval."""

    @property
    def error_s(self) -> float:
        """Measured minus true."""
        return self.value_s - self.truth_s

    @property
    def inside(self) -> bool:
        """Whether the truth lies in the reported bounds."""
        return self.low_s <= self.truth_s + self.slack_s and self.truth_s <= self.high_s

    @property
    def allowed_s(self) -> float:
        """The error that the traffic and the stated bounds explain."""
        return 2 * BETWEEN_S + (self.high_s - self.low_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One run."""

    outage: Measured
    recovery: Measured


@dataclass(slots=True)
class App:
    """The running app, and what it says of itself."""

    port: int
    said: dict[str, list[int]] = field(default_factory=lambda: {"back": [], "away": []})


async def compare(demo: Demo, directory: Path, *, reaction_s: float = 0.0) -> Compared:
    """Play one outage on the database of a running demo and lay the verdict beside the truth.

    Args:
        demo: its Postgres and its fault proxy are used.
        directory: an empty one.
        reaction_s: how long the app takes to serve again once the database is back.

    Raises:
        AssertionError: the run was not what it should be; says what was printed.
    """
    async with _app(demo, reaction_s) as app:
        (directory / "needy.yaml").write_text(SYSTEM.format(port=app.port, fault_proxy=demo.fault_proxy))
        (directory / "outage.yaml").write_text(EXPERIMENT.format(per_s=PER_S, system=directory / "needy.yaml"))
        run_dir = await _play(directory)
    verdict: dict[str, Any] = json.loads((run_dir / "verdict.json").read_text())
    seen = verdict["recovery"]
    assert verdict["outcome"] == "HELD", verdict
    [away] = app.said["away"]
    [back] = [at for at in app.said["back"] if at > away]
    [undone] = [entry.event for entry in read(run_dir) if isinstance(entry.event, Undone)]
    from_called, from_answered = (max(0.0, (back - at) / 1e9) for at in (undone.called_ns, undone.answered_ns))
    return Compared(
        outage=Measured(
            truth_s=(back - away) / 1e9,
            value_s=seen["outage_s"],
            low_s=seen["outage_low_s"],
            high_s=seen["outage_high_s"],
        ),
        recovery=Measured(
            truth_s=from_answered,
            value_s=seen["time_s"],
            low_s=seen["low_s"],
            high_s=seen["high_s"],
            slack_s=from_called - from_answered,
        ),
    )


@asynccontextmanager
async def truth_demo() -> AsyncIterator[Demo]:
    """A demo whose database is to go away."""
    async with running_demo(DemoOptions(base_port=free_base_port())) as demo:
        yield demo


@asynccontextmanager
async def _app(demo: Demo, reaction_s: float) -> AsyncIterator[App]:
    dsn = at_port(own_dsn(demo.ports), demo.ports.proxied_database)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(APP), dsn, str(reaction_s)), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(20):
            app = App(int((await process.stdout.readline()).split()[1]))
            await _hear(app, process.stdout)  # it has its session
        listening = asyncio.create_task(_listen(app, process.stdout))
        yield app
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


async def _listen(app: App, stream: asyncio.StreamReader) -> None:
    while await _hear(app, stream):
        pass


async def _hear(app: App, stream: asyncio.StreamReader) -> bool:
    what, _, at = (await stream.readline()).decode().partition(" ")
    if what:
        app.said[what].append(int(at))
    return bool(what)


async def _play(directory: Path) -> Path:
    """Play the experiment by the real command line; the run directory."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaosrunner", "run", str(directory / "outage.yaml")),
        *("--runs", str(directory / "runs")),
        env=os.environ | {"CHAOSRUNNER_STATE": str(directory / "state")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    talk = asyncio.create_task(process.communicate())
    done, _ = await asyncio.wait([talk], timeout=ENDS_WITHIN_S)
    if not done:
        process.terminate()  # it puts everything back and ends
    said = (await talk)[0].decode(errors="replace")
    assert process.returncode == 0, said
    [run_dir] = (directory / "runs").iterdir()
    return run_dir


async def _main(runs: int, reaction_s: float) -> None:
    seen: list[Compared] = []
    async with truth_demo() as demo:
        for number in range(1, runs + 1):
            with tempfile.TemporaryDirectory() as directory:
                seen.append(await compare(demo, Path(directory), reaction_s=reaction_s))
            print(
                f"run {number:2}  " + "   ".join(_line(name, seen[-1]) for name in ("outage", "recovery")), flush=True
            )
    for name in ("outage", "recovery"):
        each: list[Measured] = [getattr(one, name) for one in seen]
        errors = [abs(one.error_s) * 1000 for one in each]
        print(
            f"{name}: {runs} runs, {PER_S} requests/s; |error| mean {statistics.mean(errors):.1f} ms, "
            f"median {statistics.median(errors):.1f} ms, max {max(errors):.1f} ms, "
            f"bias {statistics.mean(one.error_s for one in each) * 1000:+.1f} ms; "
            f"bounds {statistics.mean(one.high_s - one.low_s for one in each) * 1000:.1f} ms wide, "
            f"truth inside in {sum(one.inside for one in each)} of {runs}"
        )


def _line(name: str, one: Compared) -> str:
    seen: Measured = getattr(one, name)
    return (
        f"{name}: true {seen.truth_s:.4f} s, measured {seen.value_s:.4f} s ({seen.low_s:.4f}–{seen.high_s:.4f}), "
        f"error {seen.error_s * 1000:+.1f} ms{'' if seen.inside else ', OUTSIDE'}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--reaction", type=float, default=0.0, metavar="SECONDS", help="of the app, on top")
    options = parser.parse_args()
    asyncio.run(_main(options.runs, options.reaction))
