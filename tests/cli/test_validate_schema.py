"""`chaosrunner validate` and `chaosrunner schema`, as a user calls them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chaosrunner.cli.schema import schema
from chaosrunner.cli.validate import validate
from chaosrunner.errors import Exit, Mistakes

ROOT = Path(__file__).resolve().parents[2]


def chaosrunner(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The installed program."""
    command = [sys.executable, "-m", "chaosrunner", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of the shipped experiments."""
    return Path(shutil.copytree(ROOT / "experiments", tmp_path / "experiments"))


def test_everything_that_ships_is_right() -> None:
    """All shipped experiments and systems are fine, each with a line that says so."""
    said: list[str] = []
    assert validate([ROOT / "experiments"], None, said.append) is Exit.HELD
    assert len(said) == len(list((ROOT / "experiments").rglob("*.yaml")))
    assert all(": fine, " in line for line in said)


def test_mistakes_of_all_files_come_together(shipped: Path) -> None:
    """The program names every mistake of every file at its place, counts them and exits with 2."""
    control, slow = shipped / "control.yaml", shipped / "slow-database.yaml"
    control.write_text(control.read_text().replace("baseline: 15s", "baseline: 15"))
    slow.write_text(slow.read_text().replace("proxy.latency", "proxy.latancy").replace("within 20s", "within 20"))
    done = chaosrunner("validate", ".", cwd=shipped)
    assert done.returncode == Exit.MISTAKE
    lines = done.stderr.splitlines()
    wrong = {"control": (control, "baseline: 15"), "fault": (slow, "latancy"), "within": (slow, "recover: ")}
    at = {name: line_of(path, text) for name, (path, text) in wrong.items()}
    assert lines[0].startswith(f"control.yaml:{at['control']}:11: baseline '15': a duration needs a unit")
    misspelt = f"slow-database.yaml:{at['fault']}:5: 'proxy.latancy' is no fault; did you mean 'proxy.latency'?"
    assert lines[1] == misspelt
    expected = f"slow-database.yaml:{at['within']}:10: recover 'within 20, hold 10s': a duration needs a unit"
    assert lines[2].startswith(expected)
    assert lines[3:] == ["3 mistakes, nothing was touched (exit 2)"]
    assert "control.yaml" not in done.stdout
    assert "lost-replica.yaml: fine, on demo" in done.stdout


def line_of(path: Path, text: str) -> int:
    """The number of the first line that holds a text, from 1."""
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_another_system_may_be_checked(shipped: Path) -> None:
    """`--system` replaces the system of each experiment, by name or by path."""
    done = chaosrunner("validate", "slow-database.yaml", "--system", "own-server", cwd=shipped)
    assert done.returncode == Exit.MISTAKE
    assert "systems/own-server.yaml has no component 'database'" in done.stderr
    said: list[str] = []
    assert validate([shipped / "control.yaml"], str(shipped / "systems" / "demo.yaml"), said.append) is Exit.HELD


def test_a_folder_without_files_is_a_mistake(tmp_path: Path) -> None:
    """Nothing to check is not fine."""
    with pytest.raises(Mistakes, match=r"no \.yaml file in this folder"):
        validate([tmp_path], None, print)
    with pytest.raises(Mistakes, match="No such file or directory"):
        validate([tmp_path / "none.yaml"], None, print)


def test_a_system_is_checked_as_one(shipped: Path) -> None:
    """A system file on its own is checked as a system."""
    said: list[str] = []
    alone = shipped / "elsewhere.yaml"
    alone.write_text("entry: http://127.0.0.1:1\napi: {at: 127.0.0.1:1}\n".replace("127.0.0.1:1}", "'127.0.0.1:1'}"))
    assert validate([alone], None, said.append) is Exit.HELD
    assert said == [f"{alone}: fine, 1 components"]


@pytest.mark.parametrize("which", ["experiment", "system"])
def test_schema_prints_json(which: str) -> None:
    """The program prints the schema and nothing else."""
    done = chaosrunner("schema", which)
    assert done.returncode == Exit.HELD
    assert done.stdout == schema(which)
    assert json.loads(done.stdout)["title"] == f"chaosrunner {which}"
