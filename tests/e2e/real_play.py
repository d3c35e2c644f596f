"""Whole experiments as a user plays them: the real command line in a process of its own, its verdict read from disk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENDS_WITHIN_S = 150.0
"""Start of the system, at most 90 s of experiment, reports; with room for a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a finished command left behind."""

    code: int
    out: str
    err: str
    verdict: dict[str, Any]
    run_dir: Path

    @property
    def broken(self) -> set[str]:
        """Names of the findings that are BROKEN."""
        return {finding["name"] for finding in self.verdict["findings"] if finding["outcome"] == "BROKEN"}

    @property
    def recovery(self) -> dict[str, Any]:
        """The measured recovery."""
        recovery: dict[str, Any] = self.verdict["recovery"]
        return recovery

    def __str__(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"


async def play(*words: str, directory: Path, **variables: str) -> Played:
    """Run `chaosrunner <words>`, a run directory and a state directory of its own below `directory`, to its end.

    Raises:
        AssertionError: it did not end in time, or left no verdict; says what it said.
    """
    runs = directory / "runs"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaosrunner", *words, "--runs", str(runs)),
        cwd=ROOT,
        env=os.environ | {"CHAOSRUNNER_STATE": str(directory / "state"), **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    talk = asyncio.create_task(process.communicate())
    done, _ = await asyncio.wait([talk], timeout=ENDS_WITHIN_S)
    if not done:
        await _stop(process, talk)
    out, err = (text.decode(errors="replace") for text in await talk)
    assert done, f"not over after {ENDS_WITHIN_S:g} s: {out}\n{err}"
    verdicts = list(runs.glob("*/verdict.json"))
    assert len(verdicts) == 1, f"{len(verdicts)} verdicts, exit {process.returncode}: {out}\n{err}"
    verdict = json.loads(verdicts[0].read_text())
    return Played(code=process.returncode or 0, out=out, err=err, verdict=verdict, run_dir=verdicts[0].parent)


async def _stop(process: asyncio.subprocess.Process, talk: asyncio.Task[tuple[bytes, bytes]]) -> None:
    """Ask it to end, which puts everything back; then kill it."""
    process.send_signal(signal.SIGTERM)
    done, _ = await asyncio.wait([talk], timeout=30)
    if not done:
        process.kill()


def assert_trustworthy(played: Played, *, offered: int = 1000) -> None:
    """Whatever came of it: faults proven, everything put back, every request accounted for, told without noise."""
    verdict = played.verdict
    assert verdict["exit"] == played.code, played
    assert verdict["restored"] is True, played
    assert [fault["title"] for fault in verdict["faults"] if fault["proven"] is not True] == [], played
    assert [fault["title"] for fault in verdict["faults"] if not fault["restored"]] == [], played
    assert verdict["trust"]["unaccounted"] == 0, played
    assert verdict["trust"]["offered"] > offered, played
    assert verdict["lasted_s"] < 90, played
    if verdict["outcome"] == "HELD":
        assert {finding["outcome"] for finding in verdict["findings"]} == {"HELD"}, played
    assert played.err == "", played
    assert f"exit {played.code}: " in played.out, played
