"""What a hand leaves behind on another host: a guard and marks, and nothing where it only looked."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from chaosrunner import __version__
from chaosrunner.world.hand import FORGOTTEN_S, GONE, GRACE_S, ORDER, UNDONE

if TYPE_CHECKING:
    from pathlib import Path

WITHIN_S = 20.0


def test_a_guard_outlives_whatever_its_injector_raises(tmp_path: Path) -> None:
    """An undo that fails in a way of its own is tried again, until the fault is seen to be gone."""
    recipe = {"injector": "process.pause", "says": "it lacks all that an undo needs", "data": {}, "claims": []}
    (tmp_path / ORDER).write_text(json.dumps({"recipe": recipe, "ends_ns": 0}))
    command = [sys.executable, "-m", "chaosrunner.world.hand", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as guard:
        end = time.monotonic() + WITHIN_S
        while not (tmp_path / UNDONE).exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        (tmp_path / GONE).touch()
        said = guard.communicate(timeout=WITHIN_S)[1]
    assert guard.returncode == 0, said


def test_who_only_looks_leaves_nothing_and_what_is_long_gone_is_forgotten(tmp_path: Path) -> None:
    """A look leaves no mark, an inject does, and sweeps those of faults that were gone a day ago."""
    hands = tmp_path / "hands"
    for name, age_s in (("old", FORGOTTEN_S + 60), ("young", 60)):
        (hands / name).mkdir(parents=True)
        (hands / name / GONE).touch()
        os.utime(hands / name / GONE, times=(time.time() - age_s,) * 2)
    assert _obeyed(tmp_path, "absent") == ["old", "young"]
    assert _obeyed(tmp_path, "inject") == ["new", "young"]


def test_an_order_is_whole_or_not_there_and_a_torn_one_hides_no_other(tmp_path: Path) -> None:
    """What is written down takes its place at once; what cannot be read all the same is told by its name alone."""
    hands = tmp_path / "hands"
    for name in ("new", "torn"):
        (hands / name).mkdir(parents=True)
        (hands / name / ORDER).write_text("{")
    recipe = {"injector": "process.pause", "says": "it", "data": {"targets": []}, "claims": []}
    with (hands / "new" / ORDER).open() as earlier:
        _answer(tmp_path, {"do": "inject", "recipe": recipe, "tag": "new", "lasts_s": 60.0})
        assert earlier.read() == "{"
    answer = _answer(tmp_path, {"do": "recorded"})
    (hands / "new" / GONE).touch()  # ends its guard
    assert [one["tag"] for one in answer["found"]] == ["new"]
    assert 60 < answer["found"][0]["left_s"] <= 60 + GRACE_S
    assert [problem.partition(" cannot be read")[0] for problem in answer["problems"]] == [str(hands / "torn" / ORDER)]


def _obeyed(state: Path, do: str) -> list[str]:
    """Have a hand obey an order about a fault that does nothing; what has a folder then."""
    recipe = {"injector": "noop", "says": "nothing", "data": {}, "claims": [], "reversible": False}
    _answer(state, {"do": do, "recipe": recipe, "tag": "new", "lasts_s": 1.0})
    return sorted(path.name for path in (state / "hands").iterdir())


def _answer(state: Path, order: dict[str, Any]) -> dict[str, Any]:
    """What a hand with a state directory says to an order, which it does not refuse."""
    answer = subprocess.run(
        [sys.executable, "-m", "chaosrunner", "hand"],
        input=f"{__version__}\n".encode() + pickle.dumps(order),
        env={**os.environ, "CHAOSRUNNER_STATE": str(state)},
        capture_output=True,
        check=True,
    )
    said: dict[str, Any] = json.loads(answer.stdout)
    assert "error" not in said, answer
    return said
