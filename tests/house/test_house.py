"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from generated import ROOT, code_map, experiments_table

MODULES = sorted([*ROOT.glob("chaosrunner/**/*.py"), *ROOT.glob("fault_injectors/**/*.py")])
BIN = Path(sys.executable).parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["ruff", "check", "."], id="ruff check"),
        pytest.param(["ruff", "format", "--check", "."], id="ruff format"),
        pytest.param(["mypy"], id="mypy --strict"),
        pytest.param(["lint-imports"], id="import contracts"),
    ],
)
def test_the_checkers_are_content(command: list[str]) -> None:
    """Lint, format, types and import directions have nothing to say."""
    done = run(str(BIN / command[0]), *command[1:])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_stays_small_and_says_what_it_is(path: Path) -> None:
    """A module has at most 400 lines and begins with a docstring."""
    text = path.read_text()
    assert text.count("\n") <= 400
    assert ast.get_docstring(ast.parse(text))


def test_no_room_for_leftovers() -> None:
    """No module is called after not having a name."""
    assert not [p for p in MODULES if p.stem in {"utils", "helpers", "common", "manager", "base"}]


def test_the_map_is_current() -> None:
    """docs/map.md is what the docstrings say today."""
    assert (ROOT / "docs/map.md").read_text() == code_map(), "run: python tests/house/generated.py"


def test_the_table_of_experiments_is_current() -> None:
    """experiments/README.md lists every question that ships."""
    assert (ROOT / "experiments/README.md").read_text() == experiments_table(), "run: python tests/house/generated.py"


def test_tests_replace_no_collaborators() -> None:
    """No test patches a collaborator: it is passed in."""
    banned = re.compile(r"mock\.patch|MagicMock|monkeypatch\.setattr")
    found = [p.name for p in ROOT.glob("tests/**/*.py") if p != Path(__file__) and banned.search(p.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("tests/**/test_*.py")), ids=lambda path: str(path.relative_to(ROOT / "tests"))
)
def test_every_test_says_what_is_true(path: Path) -> None:
    """Each test function has a docstring."""
    tests = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert [test.name for test in tests if not ast.get_docstring(test)] == []


def test_entry_points_agree() -> None:
    """pyproject, the installed metadata and the modules name the same injectors."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["chaosrunner.injectors"]
    installed = {point.name: point.value for point in entry_points(group="chaosrunner.injectors")}
    assert declared == {name: installed.get(name) for name in declared}
    for name in declared:
        injector = next(point for point in entry_points(group="chaosrunner.injectors", name=name)).load()
        assert injector.name == name


def test_nothing_of_this_machine_is_in_the_project() -> None:
    """No file holds a machine's path or a registry's host."""
    words = ["/wo" + "rk/", "/fa" + "rm/", "deb.deb" + "ian.org", "files.python" + "hosted", "registry.npm" + "js"]
    tracked = run("git", "ls-files").stdout.split()
    guilty = []
    for name in tracked:
        path = ROOT / name
        if path.is_file() and any(word in path.read_text(errors="ignore") for word in words):
            guilty.append(name)
    assert guilty == []


def test_help_is_instant() -> None:
    """`chaosrunner --help` needs less than 0.3 s of CPU, at best of five."""
    code = (
        "import resource, subprocess, sys; "
        "subprocess.run([sys.executable, '-m', 'chaosrunner', '--help'], stdout=subprocess.DEVNULL, check=True); "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime + u.ru_stime)"
    )
    seconds = min(float(run(sys.executable, "-c", code).stdout) for _ in range(5))
    assert seconds < 0.3
