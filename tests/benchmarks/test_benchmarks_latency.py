"""The table of latencies measures what it says; how fast anything is, is not asked here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from network_rig import HERE, WHY_NOT


@pytest.mark.skipif(not HERE, reason=WHY_NOT)
def test_every_way_has_its_row() -> None:
    """Each fault is made and taken back by us and by the plain tool, once, and all four numbers are told."""
    script = str(Path(__file__).with_name("latency.py"))
    done = subprocess.run(
        [sys.executable, script, "network", "process", "--times", "1"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 18, done.stdout + done.stderr
    tools = {"iptables", "tc", "ip", "kill", "renice", "prlimit"}
    assert {fault: tool for fault, tool, *_ in rows if tool != "chaosrunner"}.keys() == {row[0] for row in rows}
    assert {tool for _, tool, *_ in rows} == {"chaosrunner", *tools}
    assert all(float(number) > 0 for row in rows for number in row[2:6])
    assert {row[6] for row in rows} == {"1"}
