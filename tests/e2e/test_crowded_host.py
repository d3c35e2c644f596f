"""A target on a host that it shares: what strangers do to it is not its doing, what it does itself is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from real_play import Played, play

from chaosrunner.logic.relief import taken
from chaosrunner.model.events import Pressure
from chaosrunner.world.journal import read

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ATTEMPTS = 4

HOG = "import os; os.sched_setaffinity(0, {%d}); t = __import__('time').monotonic\ne = t() + 60\nwhile t() < e: pass"

EXPERIMENT = """\
question: Is the target quick enough?
system: {system}
load:
  each_user:
{steps}
  arrivals: 100 users/s
  warmup: 0s
  timeout: 2s
baseline: 1s
faults:
  - noop: {{}}
    for: 3s
hypothesis:
  during: [{asked}]
recover: within 1s, hold 1s
"""


@contextmanager
def started(*program: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that is ended, and waited for, with the body."""
    process = subprocess.Popen([sys.executable, *program], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def judged(directory: Path, steps: dict[str, str], *, hogs: int = 0) -> Played:
    """Play steps (name → path), each against a target of its own, with hogs on its CPU all the time."""
    cpu = min(os.sched_getaffinity(0))
    with ExitStack() as running:
        lines = []
        for name, path in steps.items():
            target = str(Path(__file__).with_name("crowded_target.py"))
            server = running.enter_context(started(target, str(cpu)))
            assert server.stdout is not None
            lines.append(f"    - {name}: {{GET: 'http://127.0.0.1:{int(server.stdout.readline())}{path}'}}")
        for _ in range(hogs):
            running.enter_context(started("-c", HOG % cpu))
        system = directory / "system.yaml"
        at = ", ".join(line.split("'")[1] for line in lines)
        system.write_text(f"environment: test\nentry: http://127.0.0.1:1\nservers: {{at: [{at}]}}\n")
        file = directory / "experiment.yaml"
        asked = ", ".join(f"p95 of {name} <= 100ms" for name in steps)
        file.write_text(EXPERIMENT.format(system=system, steps="\n".join(lines), asked=asked))
        return await play("run", str(file), directory=directory)


def found(played: Played, name: str) -> dict[str, Any]:
    finding: dict[str, Any]
    (finding,) = [one for one in played.verdict["findings"] if one["name"] == f"during: p95 of {name} <= 100ms"]
    return finding


async def alone(directory: Path, steps: dict[str, str]) -> Played:
    """The steps played when no real stranger on this host made the run UNKNOWN; of those the test cannot speak."""
    for attempt in range(ATTEMPTS):
        place = directory / str(attempt)
        place.mkdir()
        played = await judged(place, steps)
        events = [entry.event for entry in read(played.run_dir)]
        robbed = sum(isinstance(event, Pressure) and taken(event) > 0 for event in events)
        if played.code != 3 or not robbed:
            return played
    pytest.skip(f"{ATTEMPTS} times others had the CPUs of this host, the last time in {robbed} seconds")


async def test_two_hogs_from_outside_are_no_finding(tmp_path: Path) -> None:
    """Two strangers on the target's CPU make it slow, and the verdict UNKNOWN: who it was, and what to do."""
    played = await judged(tmp_path, {"visit": "/4/0"}, hogs=2)
    finding = found(played, "visit")
    assert finding["value"] == "Infinity" or finding["value"] > 0.1, played
    assert played.code == 3, played
    assert finding["why"].startswith("others on this host had the CPUs (python"), played
    assert "give the target a host of its own" in finding["why"], played


async def test_without_hogs_the_same_target_holds(tmp_path: Path) -> None:
    """The same target under the same load is quick enough when it is alone."""
    played = await alone(tmp_path, {"visit": "/4/0"})
    assert played.code == 0, played


async def test_a_target_that_is_slow_by_itself_is_broken(tmp_path: Path) -> None:
    """A target that sleeps, or burns all of its CPU itself, is BROKEN: nobody else was in its way."""
    played = await alone(tmp_path, {"sleepy": "/0/400", "overloaded": "/15/0"})
    assert played.code == 1, played
    assert found(played, "sleepy")["outcome"] == "BROKEN", played
    assert found(played, "overloaded")["outcome"] == "BROKEN", played
