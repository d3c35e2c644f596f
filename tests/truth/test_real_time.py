"""One run of the lie detector in real time: the whole program before a scripted target."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_cells import Live
from real_time import ENDS_WITHIN_S, insist

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2 * ENDS_WITHIN_S)]


async def test_a_real_outage_is_timed_right(tmp_path: Path) -> None:
    """Connections that are reset for a second after the fault: HELD, and the interval holds what the target says."""
    live = Live(script="connection reset", rate=100, seed=4, longest_s=2.0, baseline_s=3.0, fault_s=1.0, hold_s=2.0)
    rows: list[str] = []
    seen = (await insist(live, rows.append))[-1]
    assert seen is not None, rows
    assert (seen.outcome, seen.inside, seen.wrongs()) == ("HELD", True, []), rows
