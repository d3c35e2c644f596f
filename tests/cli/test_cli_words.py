"""What the program says of itself and of mistakes: help, spelling, diagnostics, in 80 columns."""

from __future__ import annotations

import json

import pytest
from cli_rig import Desk

from chaosrunner.cli import VERBS


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_verb_explains_itself(desk: Desk, verb: str) -> None:
    """`--help` of every verb is exit 0, on stdout, in 80 columns."""
    done = desk.run(*([verb] if verb else []), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "sage: " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(("verb", "nearest"), [("rnu", "run"), ("recoverr", "recover"), ("fault", "faults")])
def test_2_an_unknown_verb_is_answered_with_the_nearest(desk: Desk, verb: str, nearest: str) -> None:
    """A misspelt verb is exit 2 and names the one that was probably meant."""
    done = desk.run(verb)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"did you mean '{nearest}'?" in done.stderr


def test_json_diagnostics_are_lines_on_stderr(desk: Desk) -> None:
    """With `--log-format json` each line on stderr is an object, and stdout has results alone."""
    for args in (["rnu"], ["run", "none.yaml"], ["judge", "nowhere"]):
        done = desk.run("--log-format", "json", *args)
        assert done.returncode == 2
        assert done.stdout == ""
        assert all(json.loads(line)["exit"] == 2 for line in done.stderr.splitlines())
    done = desk.run("--log-format", "json", "-v", "run", "own.yaml")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stderr.splitlines()]
    kinds = [line["event"] for line in told]
    assert {"RunStarted", "Prepared", "Injected", "Verified", "Undone", "Ended"} <= set(kinds)
    assert "{" not in done.stdout
    assert any(line.startswith("exit 0") for line in done.stdout.splitlines())  # the last one, which may be broken


def test_quiet_says_nothing_but_trouble(desk: Desk) -> None:
    """`--quiet` prints nothing when all is well."""
    done = desk.run("run", "own.yaml", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_lists_fit_in_80_columns(desk: Desk) -> None:
    """`faults` keeps to 80 columns, and what is optional does not shout in `doctor`."""
    assert max(map(len, desk.run("faults").stdout.splitlines())) <= 80
    doctor = desk.run("doctor")
    assert doctor.returncode == 0
    assert "NO  " not in doctor.stdout


def test_places_that_cannot_be_used_are_mistakes(desk: Desk) -> None:
    """A runs or state directory that cannot be made is exit 2 before anything is touched."""
    runs = desk.run("run", "own.yaml", "--runs", "/proc/none")
    assert runs.returncode == 2
    assert "--runs" in runs.stderr
    state = desk.run("run", "own.yaml", env={"CHAOSRUNNER_STATE": "/proc/none"})
    assert state.returncode == 2
    assert "CHAOSRUNNER_STATE" in state.stderr
    assert desk.runs == []


def test_the_proxys_command_line_is_its_own(desk: Desk) -> None:
    """`proxy` says its version on a pipe, too, and an option that it does not have is exit 2."""
    version = desk.run("proxy", "-version")
    assert (version.returncode, version.stdout != "") == (0, True)
    wrong = desk.run("proxy", "--pott", "1")
    assert (wrong.returncode, "--pott" in wrong.stderr) == (2, True)
