"""Outcomes are ordered, so that merging is the maximum."""

from __future__ import annotations

from itertools import permutations

from chaosrunner.model.experiment import Phase
from chaosrunner.model.verdict import FaultReport, Finding, Outcome, PhaseStats, Recovery, Trust


def test_the_worst_outcome_is_the_largest() -> None:
    """HELD < UNKNOWN < BROKEN, in whichever order they come."""
    for order in permutations(Outcome):
        assert max(order) is Outcome.BROKEN
    assert max(Outcome.HELD, Outcome.UNKNOWN) is Outcome.UNKNOWN


def test_nothing_is_assumed() -> None:
    """What was not measured is None, not zero, and the recovery target is two minutes unless said."""
    recovery = Recovery(state="unknown")
    assert (recovery.time_s, recovery.detected_s, recovery.depth, recovery.target_s) == (None, None, None, 120.0)
    finding = Finding(name="x", phase=None, expected="", observed="", outcome=Outcome.HELD)
    assert (finding.value, finding.baseline, finding.evidence) == (None, None, ())
    trust = Trust(lag_p99_s=None, offered=0, fired=0, unaccounted=0)
    assert (trust.skipped, trust.notes) == (0, ())
    report = FaultReport(title="t", says="", proven=None, evidence="", lasted_s=None, restored=False)
    assert report.note == ""
    stats = PhaseStats(
        phase=Phase.FAULT, name="", seconds=1.0, hits=0, errors=0, p50=None, p95=None, p99=None, max=None, rate=0.0
    )
    assert stats.by_outcome == {}
