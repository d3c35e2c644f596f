"""Every fault at every load, and one number for all of it, whose formula is shown.

A cell's score is the share of the resilience rectangle that is left (Bruneau et al., Earthquake Spectra 19, 2003): of
all requests that become due from the first injection until recovery must have come (the faults' time + the target), the
share that was not lost. The score of a system is the mean over its cells, from 0 to 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaosrunner.logic.fold import State
from chaosrunner.logic.judge import judge
from chaosrunner.logic.search.outcome import trial_of
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.search import Trial

FORMULA = "100 · mean over cells of (1 − requests lost ÷ (requests/s · (time of the faults + recovery target)))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One fault at one load."""

    fault: str
    trial: Trial
    recovery: str
    """As `Recovery.state`."""
    time_s: float | None
    lost: int
    """Requests that failed between injection and recovery, or the end of the watch."""
    score: float | None
    """0..100; None where nothing may be said: the fault was not proven, or the load alone was too much."""


@dataclass(frozen=True, slots=True)
class Score:
    """Between these two, 0..100: cells of which nothing is known count as 0 and as 100. None without any known cell."""

    low: float | None
    high: float | None
    known: int
    cells: int


def cell_of(experiment: Experiment, state: State, level: float, fault: str) -> Cell:
    """The cell that a run is.

    Args:
        experiment: what was played.
        state: the fold of its journal.
        level: of the load.
        fault: what was in place, in words.
    """
    verdict = judge(experiment, state)
    seen = verdict.recovery
    due = verdict.requests_per_s * (experiment.fault_s + experiment.recover.within_s)
    telling = seen.state != "unknown" and due > 0 and all(one.proven for one in verdict.faults)
    return Cell(
        fault=fault,
        trial=trial_of(experiment, state, level),
        recovery=seen.state,
        time_s=seen.time_s,
        lost=seen.lost,
        score=100 * max(0.0, 1 - seen.lost / due) if telling else None,
    )


def score_of(cells: Sequence[Cell]) -> Score:
    """The score of all cells together."""
    known = [cell.score for cell in cells if cell.score is not None]
    if not known:
        return Score(None, None, 0, len(cells))
    silent = len(cells) - len(known)
    return Score(sum(known) / len(cells), (sum(known) + 100 * silent) / len(cells), len(known), len(cells))
