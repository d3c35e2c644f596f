"""The last baseline of a question, as a plan finds it among earlier runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from chaosrunner.cli.prior import last_baseline
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.http_step import Request
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import Stage, single
from chaosrunner.model.system import System

ASKED = Experiment(
    question="Does it hold?",
    file="x.yaml",
    source="",
    system=System(name="shop", file="shop.yaml"),
    system_source="",
    load=single(
        steps=(Request(name="read", method="GET", path="/"),), stages=(Stage(start=9.0, end=9.0, lasts_s=None),)
    ),
    baseline_s=20.0,
    faults=(),
    hypothesis=Hypothesis(),
    recover=RecoveryTarget(),
)
BASELINE = {"phase": "baseline", "of": "all", "hits": 200, "errors": 1, "p50_s": 0.02, "p95_s": 0.05}
WHOLE = {
    "run": "7f3a",
    "question": "Does it hold?",
    "system": {"name": "shop"},
    "load": {"requests_per_s": 40.0},
    "phases": [BASELINE],
}


def written(runs: Path, name: str, verdict: object, at_s: int = 1_000) -> None:
    """A run whose verdict was written then."""
    file = runs / name / "verdict.json"
    file.parent.mkdir()
    file.write_text(verdict if isinstance(verdict, str) else json.dumps(verdict))
    os.utime(file, (at_s, at_s))


def test_the_newest_of_the_same_question_counts(tmp_path: Path) -> None:
    """Of two runs of the question the newer one's baseline is taken; another question's is not."""
    written(tmp_path, "a", WHOLE)
    written(tmp_path, "b", {**WHOLE, "run": "8b21", "phases": [{**BASELINE, "p95_s": 0.04}]}, 2_000)
    written(tmp_path, "c", {**WHOLE, "question": "Something else?"}, 3_000)
    written(tmp_path, "d", {**WHOLE, "system": {"name": "staging"}}, 3_000)
    found = last_baseline(tmp_path, ASKED)
    assert found is not None
    assert (found.run, found.p95_s, found.errors, found.requests_per_s) == ("8b21", 0.04, 0.005, 40.0)


@pytest.mark.parametrize(
    "verdict",
    [
        "{",
        "[]",
        {},
        {**WHOLE, "phases": []},
        {**WHOLE, "phases": [{**BASELINE, "hits": 0}]},
        {**WHOLE, "phases": [{**BASELINE, "p95_s": "Infinity"}]},
        {**WHOLE, "phases": [{**BASELINE, "p50_s": None}]},
    ],
)
def test_what_tells_nothing_is_passed_by(tmp_path: Path, verdict: object) -> None:
    """A file that is broken, of another version, or whose baseline failed or was empty is no baseline."""
    written(tmp_path, "a", verdict)
    assert last_baseline(tmp_path, ASKED) is None
    assert last_baseline(tmp_path / "nowhere", ASKED) is None
