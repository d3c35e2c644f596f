"""Searches before targets whose boundary is known, a reduced set; seeds are fixed."""

from __future__ import annotations

import pytest
from queue_target import beyond, capacity
from scripted_target import NOISY
from search_truth import seek_dose, seek_load

from chaosrunner.model.search import Known


def test_the_capacity_of_a_known_queue_is_found() -> None:
    """M/M/4 by script: the load up to which p95 ≤ 150 ms is found within 5 % of what Erlang says."""
    seen, trials, truth = seek_load(1, lasts_s=30.0)
    assert seen.known is Known.BETWEEN
    assert seen.best == pytest.approx(truth, rel=0.05)
    assert len(trials) < 40


def test_the_smallest_breaking_dose_is_found() -> None:
    """Added latency before a noisy target: within 10 % of the dose that breaks the bound."""
    seen, trials, truth = seek_dose(2, NOISY)
    assert seen.known is Known.BETWEEN
    assert seen.best == pytest.approx(truth, rel=0.1)
    assert max(trial.level for trial in trials) <= 4 * truth


def test_what_theory_says_of_the_queue() -> None:
    """One server: P(T > t) = exp(−(μ − λ)t); above capacity all wait for ever; without load service alone counts."""
    assert beyond(50.0, 1, 0.01, 0.05) == pytest.approx(2.718281828 ** (-50 * 0.05), rel=1e-6)
    assert beyond(101.0, 1, 0.01, 0.05) == 1.0
    assert beyond(1e-9, 4, 0.02, 0.06) == pytest.approx(2.718281828**-3, rel=1e-4)
    assert beyond(capacity(4, 0.02, 0.95, 0.15), 4, 0.02, 0.15) == pytest.approx(0.05, rel=1e-6)
