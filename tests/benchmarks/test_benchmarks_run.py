"""The benchmark of the fault proxy measures what it says; how fast anything is, is not asked here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench_peers import HAPROXY, OURS, TOXIPROXY, find
from bench_table import NOTHING, PER_S, ROWS, Board

NEEDS_WRK = ("requests/s", "· ", "new connections", "bulk")


def cells(line: str) -> list[str]:
    """What stands between the bars of a line of the table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_row_has_a_number() -> None:
    """A short run fills every cell that the installed programs can fill, and its exit code agrees with its text."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("proxy.py")), "--quick", "--rounds", "1", "--seconds", "0.1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    table = {cells(line)[0]: cells(line)[1:4] for line in done.stdout.splitlines() if line.startswith("|")}
    assert list(table)[2:] == [row.says for row in ROWS], done.stdout + done.stderr
    for says, (ours, toxiproxy, haproxy) in list(table.items())[2:]:
        if says.startswith(NEEDS_WRK) and not (find("wrk") and find("nginx")):
            assert (ours, toxiproxy, haproxy) == (NOTHING, NOTHING, NOTHING)
            continue
        assert ours != NOTHING, says
        assert (toxiproxy != NOTHING) == bool(find("toxiproxy-server")), says
        assert (haproxy != NOTHING) == (bool(find("haproxy")) and "toxic " not in says), says
    missed, unknown = "MISSED" in done.stdout, "not measured  " in done.stdout
    assert done.returncode == (1 if missed else 2 if unknown else 0)


def test_a_target_is_judged_by_the_median_of_the_rounds() -> None:
    """One bad round of three misses no target, two do, and a peer that was not there leaves it unknown."""
    board = Board()
    for ours in (95, 10, 95):
        board.put(PER_S, OURS, ours)
        board.put(PER_S, TOXIPROXY, 100)
    assert board.missed() == []
    assert f"{PER_S.says}: ≥ 0.8 × {HAPROXY}" in board.unknown()
    for ours in (10, 10):
        board.put(PER_S, OURS, ours)
        board.put(PER_S, TOXIPROXY, 100)
    assert board.missed() == [f"{PER_S.says}: ≥ 0.9 × {TOXIPROXY}"]
