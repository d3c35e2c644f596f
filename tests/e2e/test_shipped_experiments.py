"""Every shipped question has two true answers: HELD on the resilient demo, BROKEN on the fragile, and why."""

from __future__ import annotations

import asyncio
import math
import os
from pathlib import Path

import pytest
from real_play import ROOT, Played, assert_trustworthy, play

from chaosrunner.demo.options import SPAN, free_base_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NEVER = "recovery within 20 s"
"""The finding that is BROKEN when users never get it back."""

BROKEN_ON_FRAGILE: dict[str, frozenset[str]] = {
    "chat-survives-a-lost-replica": frozenset({"during: errors of chat.numbered < 0.01%"}),
    "control": frozenset(),
    "database-away": frozenset({"during: errors of log in < 1%", "during: errors < 60%", NEVER}),
    "database-under-load": frozenset(),
    "failing-dependency": frozenset({"during: errors < 1%", "after: errors < 1%", NEVER}),
    "full-disk": frozenset({"during: errors < 1%"}),
    "hung-cache": frozenset({"during: errors of log in < 1%", "during: errors < 1%", NEVER}),
    "jittery-dependency": frozenset({"during: p95 of list <= 300ms"}),
    "locked-table": frozenset({"during: errors of log in < 1%", NEVER}),
    "lost-replica": frozenset({"during: errors < 2%", "after: errors < 1%", NEVER}),
    "lost-replica-slow-database": frozenset({"during: p95 <= 1s", "during: errors < 2%", "after: errors < 1%", NEVER}),
    "one-after-another": frozenset({"during: errors < 2%", "after: errors < 1%", NEVER}),
    "paused-replica": frozenset({"during: p95 <= 1s"}),
    "pool-exhausted": frozenset({"during: errors of log in < 1%", "during: errors < 60%", NEVER}),
    "read-only-database": frozenset({"during: errors of log in < 1%", NEVER}),
    "silent-dependency": frozenset({"during: errors < 1%", "after: errors < 1%", NEVER}),
    "slow-database": frozenset({"during: p95 <= 1s"}),
    "slower-and-slower": frozenset({"during: errors < 2%", "after: errors < 1%", NEVER}),
}
"""Question → findings that must be among the broken ones; nothing is broken where nothing was done."""

SELDOM = {
    "database-away",
    "database-under-load",
    "failing-dependency",
    "full-disk",
    "hung-cache",
    "jittery-dependency",
    "locked-table",
    "lost-replica",
    "lost-replica-slow-database",
    "one-after-another",
    "paused-replica",
    "read-only-database",
    "silent-dependency",
}
"""Played by `make questions` alone: what they rest on is played by the others as well."""

ISOLATED = {"silent-dependency"}
"""Need a demo part with a network of its own, so root."""

OWN_DISK = {"full-disk"}
"""Need a disk that only the demo has, so root or a kernel that lets users mount."""

CACHED = {"hung-cache"}
"""Need a demo with a cache, so a redis-server."""

ELSEWHERE = {"lost-container", "own-container", "own-server", "silent-cache", "silent-container"}
"""`test_demo_containers.py`, `test_docker_experiments.py`, `test_own_server.py`, `test_redis_experiment.py`."""


def test_every_shipped_experiment_is_proven() -> None:
    """No experiment is shipped whose two answers are not stated here."""
    shipped = {path.stem for path in (ROOT / "experiments").glob("*.yaml")}
    assert shipped == BROKEN_ON_FRAGILE.keys() | ELSEWHERE


PLAYED = sorted(BROKEN_ON_FRAGILE.keys() - (set() if "CHAOSRUNNER_EVERY_QUESTION" in os.environ else SELDOM))


@pytest.mark.parametrize("name", PLAYED)
async def test_a_shipped_experiment_tells_the_two_demos_apart(name: str, tmp_path: Path) -> None:
    """The same experiment holds on the resilient demo and is broken by the fragile one's defects."""
    held, broken = await _both(name, tmp_path)
    _assert_held(held)
    if not BROKEN_ON_FRAGILE[name]:
        _assert_held(broken)
    else:
        _assert_broken(broken, BROKEN_ON_FRAGILE[name])


async def _both(name: str, tmp_path: Path) -> tuple[Played, Played]:
    """The experiment on either demo at the same time: two cores are enough for both."""
    resilient = free_base_port()
    fragile = free_base_port()
    while abs(fragile - resilient) < SPAN:
        fragile = free_base_port()
    wishes = (("--isolated", ISOLATED), ("--own-disk", OWN_DISK), ("--cache", CACHED))
    flags = [flag for flag, names in wishes if name in names]
    words = ("demo", f"experiments/{name}.yaml", *flags, "--base-port")
    return await asyncio.gather(
        play(*words, str(resilient), directory=tmp_path / "resilient"),
        play(*words, str(fragile), "--fragile", directory=tmp_path / "fragile"),
    )


def _assert_held(played: Played) -> None:
    assert played.code == 0, played
    assert played.verdict["outcome"] == "HELD", played
    assert_trustworthy(played)
    assert played.recovery["state"] == "recovered", played
    assert 0 <= played.recovery["low_s"] <= played.recovery["time_s"] <= played.recovery["high_s"], played
    assert played.recovery["time_s"] < 20, played
    assert played.recovery["held_s"] >= 10, played


def _assert_broken(played: Played, because: frozenset[str]) -> None:
    assert played.code == 1, played
    assert played.verdict["outcome"] == "BROKEN", played
    assert_trustworthy(played)
    assert because <= played.broken, (because - played.broken, played)
    if NEVER in because:
        assert played.recovery["state"] == "never", played
    else:
        assert played.recovery["state"] == "recovered", played
        assert NEVER not in played.broken, played
        assert math.isfinite(float(played.recovery["time_s"])), played
