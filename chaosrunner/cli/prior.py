"""The last baseline of a question: what an earlier run of it, on the same system, wrote into its verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaosrunner.logic.foresight import Prior
    from chaosrunner.model.experiment import Experiment

LOOKED_AT = 200
"""So many of the newest runs are looked at."""


def last_baseline(runs: Path, experiment: Experiment) -> Prior | None:
    """The newest run of the same question on the same system whose baseline had traffic; None without any.

    Args:
        runs: where run directories are; it need not exist.
        experiment: whose question it is.
    """
    written = sorted(runs.glob("*/verdict.json"), key=lambda file: (file.stat().st_mtime, file.name), reverse=True)
    found = (_prior(file, experiment) for file in written[:LOOKED_AT])
    return next((prior for prior in found if prior is not None), None)


def _prior(file: Path, experiment: Experiment) -> Prior | None:
    from chaosrunner.logic.foresight import Prior

    try:
        verdict = json.loads(file.read_text(encoding="utf-8"))
        same = (verdict["question"], verdict["system"]["name"]) == (experiment.question, experiment.system.name)
        baseline = next((one for one in verdict["phases"] if (one["phase"], one["of"]) == ("baseline", "all")), None)
        if not same or baseline is None or not baseline["hits"]:
            return None
        p50, p95 = float(baseline["p50_s"]), float(baseline["p95_s"])
        if not 0 < p50 <= p95 < float("inf"):
            return None
        return Prior(
            run=str(verdict["run"]),
            p50_s=p50,
            p95_s=p95,
            errors=baseline["errors"] / baseline["hits"],
            requests_per_s=float(verdict["load"]["requests_per_s"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # of another version, or half written: not this one then
