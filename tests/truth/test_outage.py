"""The measured outage against the truth, told by the app that had it. CHAOSRUNNER_TRUTH_RUNS=20 for a distribution."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from outage import ENDS_WITHIN_S, Measured, compare, truth_demo

RUNS = int(os.environ.get("CHAOSRUNNER_TRUTH_RUNS", "3"))

pytestmark = [pytest.mark.e2e, pytest.mark.postgres, pytest.mark.timeout(60 + RUNS * ENDS_WITHIN_S)]


async def test_the_measured_outage_of_a_database_away_for_five_seconds_is_true(tmp_path: Path) -> None:
    """Outage and time to recover are true to two requests and the stated bounds, and the bounds hold the truth."""
    async with truth_demo() as demo:
        for run in range(RUNS):
            directory = tmp_path / str(run)
            directory.mkdir()
            # Every other app takes a second to serve again: then there is a time to recover that is not near zero.
            reaction_s = run % 2 * 1.0
            seen = await compare(demo, directory, reaction_s=reaction_s)
            assert seen.outage.truth_s == pytest.approx(5.0 + reaction_s, abs=0.5), f"the outage itself: {seen}"
            for measured in (seen.outage, seen.recovery):
                _assert_true(measured)


def _assert_true(measured: Measured) -> None:
    assert measured.inside, measured
    assert abs(measured.error_s) <= measured.allowed_s, measured
    assert measured.allowed_s < 0.5, f"bounds that say nothing: {measured}"
