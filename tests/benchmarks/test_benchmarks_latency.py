"""The tables of latencies measure what they say; how fast anything is, is not asked here."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from network_rig import HERE, NETEM, WHY_NOT
from resources_rig import may_mount

TIMEOUT_S = 200
SCRIPT = str(Path(__file__).with_name("latency.py"))
PAGE = Path(__file__).parents[2] / "docs/reference/fault-latency.md"
FAULTS = {fault.name for fault in entry_points(group="chaosrunner.injectors")}
OTHER_HOSTS = Path(SCRIPT).with_name("latency_hosts.py")
"""Makes faults of other families, once more."""
NETEMS = ("network.duplicate", "network.latency", "network.reorder")
ONE_OF_EACH = {
    "http.status": {"chaosrunner", "no plain tool"},
    "resources.disk": {"chaosrunner", "fallocate"},
    "postgres.lock_table": {"chaosrunner", "psql"},
    "postgres.connection_limit": {"chaosrunner", "psql"},
    "redis.kill_connections": {"chaosrunner", "redis-cli"},
    "redis.out_of_memory": {"chaosrunner", "redis-cli"},
}
"""A fault of each family and manner, and who makes it."""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    return subprocess.run(
        [sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def rows_of(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The cells of its rows, without those of the heads."""
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line] for line in lines]


def test_every_fault_has_its_ways() -> None:
    """Each registered fault is a key of a dictionary of ways in the modules of the families, and nothing else is."""
    written: set[str] = set()
    for module in set(Path(SCRIPT).parent.glob("latency_*.py")) - {OTHER_HOSTS}:
        found = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Dict)]
        written |= {key.value for node in found for key in node.keys if isinstance(key, ast.Constant)}
    assert {name for name in written if name in FAULTS or "." in name} == FAULTS


def test_the_page_tells_of_every_fault() -> None:
    """Each registered fault has a row on the page, or is named in one of its lines that say what is not measured."""
    lines = PAGE.read_text().splitlines()
    rows = {line.split("`")[1] for line in lines if line.startswith("| `")}
    reasons = {name for line in lines if line.startswith("Not measured") for name in re.findall(r"`([\w.]+)`", line)}
    assert rows | (reasons & FAULTS) == FAULTS


@pytest.mark.skipif(not HERE, reason=WHY_NOT)
def test_every_way_has_its_row() -> None:
    """Each fault is made and taken back by us and by the plain tool, once, and all that can be timed is told."""
    rows = rows_of(run("noop", "network", "process", "--times", "1"))
    by: dict[str, set[str]] = {}
    for fault, tool, *numbers, times in rows:
        by.setdefault(fault.strip("`"), set()).add(tool.partition(",")[0])
        told = [float(number) for number in numbers if number not in ("–", "nothing to undo")]
        lasts = not fault.strip("`").endswith((".kill", ".reset"))
        assert len(told) == (0 if tool == "no plain tool" else 4 if lasts else 2), (fault, tool, numbers)
        assert all(number > 0 for number in told)
        assert times == ("–" if tool == "no plain tool" else "1")
    families = {name for name in FAULTS if name.partition(".")[0] in ("noop", "network", "process")}
    assert by.keys() == families.difference(() if NETEM else NETEMS)
    assert all(len(tools) == 2 and "chaosrunner" in tools for tools in by.values())


@pytest.mark.skipif(not HERE, reason=WHY_NOT)
def test_what_the_kernel_refuses_is_said() -> None:
    """What needs netem has rows where the kernel has it; where not, none, and one line that names each and says why."""
    done = run(*NETEMS, "--times", "1")
    refused = [line for line in done.stdout.splitlines() if line.startswith("Not measured here: ")]
    assert {row[0].strip("`") for row in rows_of(done)} == set(NETEMS if NETEM else ())
    assert [line.count("netem") for line in refused] == ([] if NETEM else [len(NETEMS)])
    assert all(f"`{name}` (" in line for line in refused for name in NETEMS)


@pytest.mark.skipif(not may_mount(), reason="needs root with CAP_SYS_ADMIN: file systems of our own are filled")
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed; make packages does it")
def test_a_fault_that_is_named_is_measured_alone() -> None:
    """The faults that are named have rows; a tool that is not there, or has nothing to undo, has no number."""
    rows = rows_of(run(*ONE_OF_EACH, "--times", "1"))
    found: dict[str, set[str]] = {}
    for fault, tool, *numbers, times in rows:
        found.setdefault(fault.strip("`"), set()).add(tool)
        told = [float(number) for number in numbers if number not in ("–", "nothing to undo")]
        kills = "kill" in fault and tool != "chaosrunner"
        assert len(told) == (0 if tool == "no plain tool" else 2 if kills else 4), (fault, tool, numbers)
        assert all(number > 0 for number in told)
        assert times == ("–" if tool == "no plain tool" else "1")
    assert found == ONE_OF_EACH


def test_a_fault_that_is_not_measured_is_said() -> None:
    """A name that is no fault of its family ends the command without a row, and those that there are are said."""
    done = run("http.teapot", "--times", "1")
    assert done.returncode != 0
    assert "not measured: http.teapot; there are http.status" in done.stderr
    assert "| `" not in done.stdout
