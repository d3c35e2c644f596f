"""A target on a host that it shares: what strangers do to it is not its doing, what it does itself is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from real_play import Played, play

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

HOG = "import os; os.sched_setaffinity(0, {%d}); t = __import__('time').monotonic\ne = t() + 60\nwhile t() < e: pass"

EXPERIMENT = """\
question: Is the target quick enough?
system: {system}
load:
  each_user:
    - visit: {{GET: /{work}/{sleep}}}
  arrivals: 150 users/s
baseline: 1s
faults:
  - noop: {{}}
    for: 4s
hypothesis:
  during: [p95 <= 100ms]
recover: within 1s, hold 1s
"""


@contextmanager
def started(program: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A Python process that is ended, and waited for, with the body."""
    process = subprocess.Popen([sys.executable, *program], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def judged(directory: Path, *, work_ms: int, sleep_ms: int = 0, hogs: int = 0) -> Played:
    """Play the experiment against a target on one CPU, which hogs that are nobody's share from the start."""
    cpu = min(os.sched_getaffinity(0))
    target = str(Path(__file__).with_name("crowded_target.py"))
    with started([target, str(cpu)]) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        system = directory / "system.yaml"
        system.write_text(f"environment: test\nentry: http://127.0.0.1:{port}\n")
        file = directory / "experiment.yaml"
        file.write_text(EXPERIMENT.format(system=system, work=work_ms, sleep=sleep_ms))
        with ExitStack() as crowd:
            for _ in range(hogs):
                crowd.enter_context(started(["-c", HOG % cpu]))
            return await play("run", str(file), directory=directory)


async def test_two_hogs_from_outside_are_no_finding(tmp_path: Path) -> None:
    """Two strangers on the target's CPU make it slow, and the verdict UNKNOWN: who it was, and what to do."""
    played = await judged(tmp_path, work_ms=3, hogs=2)
    finding = next(one for one in played.verdict["findings"] if one["name"].startswith("during"))
    print(played.out)
    assert played.code == 3, played
    assert finding["value"] == "Infinity" or finding["value"] > 0.1, played
    assert finding["why"].startswith("others on this host had the CPUs (python"), played
    assert "give the target a host of its own" in finding["why"]


async def test_without_hogs_the_same_target_holds(tmp_path: Path) -> None:
    """The same target under the same load is quick enough when it is alone."""
    played = await judged(tmp_path, work_ms=3)
    assert played.code == 0, played


@pytest.mark.parametrize(
    ("work_ms", "sleep_ms"), [pytest.param(0, 300, id="sleeps"), pytest.param(12, 0, id="overloaded")]
)
async def test_a_target_that_is_slow_by_itself_is_broken(tmp_path: Path, work_ms: int, sleep_ms: int) -> None:
    """A target that sleeps, or burns all of its CPU itself, is BROKEN: nobody else was in its way."""
    played = await judged(tmp_path, work_ms=work_ms, sleep_ms=sleep_ms)
    assert played.code == 1, played
