"""Searches before targets whose boundary is known, a reduced set; seeds are fixed."""

from __future__ import annotations

import pytest
from queue_target import beyond, capacity
from scripted_target import NOISY
from search_truth import Look, seek_dose, seek_load

from chaosrunner.model.search import Known
from chaosrunner.model.verdict import Outcome


def test_the_capacity_of_a_known_queue_is_found() -> None:
    """M/M/4 by script: the load up to which p95 ≤ 150 ms is found within 5 % of what Erlang says."""
    seen, trials, truth = seek_load(1, lasts_s=30.0)
    assert seen.known is Known.BETWEEN
    assert seen.best == pytest.approx(truth, rel=0.05)
    assert len(trials) < 40


def test_the_interval_of_brief_looks_holds_the_truth() -> None:
    """Of twenty searches with 10 s a level all but two at most (93 % are promised) say an interval that holds it."""
    many = [Look(10.0).seek(seed) for seed in range(20)]
    assert sum((seen.holds or 0.0) <= truth <= (seen.breaks or truth) for seen, _, truth in many) >= 18
    assert sum(seen.by.startswith("a line") for seen, _, _ in many) >= 15
    whole = [seek_load(seed, lasts_s=10.0) for seed in (3, 4)]
    for seen, trials, truth in whole:
        assert (seen.holds or 0.0) <= truth <= (seen.breaks or truth)
        assert all((one.outcome is Outcome.HELD) is (one.beyond <= 0.05) for one in trials if one.beyond is not None)


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
