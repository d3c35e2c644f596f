"""Searches, repeats, comparisons and matrices, by the program as a user starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_rig import Desk, Server

from chaosrunner.cli import cli
from chaosrunner.cli.search import required
from chaosrunner.errors import Exit, Mistakes

LIMIT = Path(__file__).with_name("limited_server.py")
PER_S = 120.0
SHORT = "within 2s, hold 1s"


@pytest.fixture
def limited(desk: Desk) -> Iterator[Desk]:
    """A desk whose server serves 120 requests a second, and no more."""
    process = subprocess.Popen([sys.executable, LIMIT, str(PER_S)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    server = Server(process, int(process.stdout.readline()))
    try:
        desk.system(server=server)
        yield desk
    finally:
        server.end()


def left(desk: Desk, kind: str, name: str) -> tuple[Path, dict[str, Any]]:
    """The directory of the only search of a kind, and what it wrote down."""
    [folder] = (desk.home / "runs").glob(f"{kind}-*")
    return folder, json.loads((folder / f"{name}.json").read_text())


def test_a_capacity_is_found_between_two_loads(limited: Desk) -> None:
    """A server of 120 requests a second holds up to about that; each trial is a run, none far beyond what held."""
    limited.experiment(hypothesis="  before: [errors < 10%]\n  after: [errors < 10%]", baseline="1s")
    words = ("--from", "80/s", "--to", "320/s", "--precision", "50%", "--confidence", "60%", "--most", "7")
    done = limited.run("search", "capacity", "own.yaml", *words, "--rest", "0s", "--at-least", "60/s")
    folder, data = left(limited, "capacity", "search")
    assert done.returncode == data["exit"] == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0].split()[:3] == ["1", "80/s", "HELD"]
    assert "at least 60/s was asked for" in " ".join(done.stdout.split())
    [quest] = data["quests"]
    boundary = quest["boundary"]
    assert boundary["known"] == "between"
    assert boundary["holds"] < PER_S * 1.3
    assert boundary["breaks"] > PER_S * 0.9
    held = [trial["level"] for trial in quest["trials"] if trial["outcome"] == "HELD"]
    assert max(trial["level"] for trial in quest["trials"]) <= 2 * max(held) + 1e-9
    for trial in quest["trials"]:
        assert (folder / trial["run"] / "verdict.json").exists()
        assert trial["goodput"] <= PER_S * 1.25
    assert data["curve"]["best"]["goodput"] <= PER_S * 1.25
    assert done.stdout.count("(done)") == 1, "the trials that draw the curve are foretold, too"
    assert "<svg" in (folder / "search.html").read_text()
    again = limited.run("judge", str(folder / quest["trials"][0]["run"]))
    assert again.returncode == 0, again.stdout  # its journal holds the load it was played at


def test_a_repeated_control_is_compared_with_itself(desk: Desk) -> None:
    """`repeat: 2` in the file and `--control` break nothing, tell all runs together, and two are too few to compare."""
    fault = "{process.pause: {target: server}, for: 300ms, accept: unguarded}"
    desk.experiment(fault, baseline="1s", recover=SHORT, more="repeat: 2")
    done = desk.run("run", "own.yaml", "--control", "--seed", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    folder, data = left(desk, "control", "repeats")
    assert [run["outcome"] for run in data["runs"]] == ["HELD", "HELD"]
    assert "Kaplan–Meier, 2 runs" in done.stdout
    verdicts = [json.loads(file.read_text()) for file in folder.glob("*/verdict.json")]
    assert {fault["title"] for verdict in verdicts for fault in verdict["faults"]} == {"noop"}
    assert len({verdict["experiment"]["seed"] for verdict in verdicts}) == 2
    compared = desk.run("compare", str(folder), str(folder), "--json")
    assert compared.returncode == 3, compared.stdout + compared.stderr
    assert "it takes 5 and 5" in json.loads(compared.stdout)["headline"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["search", "capacity", "own.yaml", "--from", "50"], "--from: '50' is no load; expected journeys a second"),
        (["search", "capacity", "own.yaml", "--from", "50/s", "--to", "20/s"], "--to: expected a higher load"),
        (["search", "capacity", "own.yaml", "--precision", "5"], "--precision: a share needs a percent sign"),
        (["search", "capacity", "own.yaml", "--precision", "90%"], "--precision: expected more than 0%"),
        (["search", "capacity", "own.yaml", "--confidence", "20%"], "--confidence: expected more than 50%"),
        (["search", "dose", "own.yaml", "--of", "for", "--from", "1s", "--to", "2s"], "--of: 'for' is no dose"),
        (["search", "hysteresis", "own.yaml", "--from", "9/s", "--to", "5/s"], "--to: expected a higher load"),
        (["matrix", "own.yaml", "--loads", "5/s,many"], "--loads: 'many' is no load"),
        (["compare", "nowhere", "nowhere"], "nowhere: no run is here"),
        (["search", "capacity", "own.yaml", "--from", "1/s"], "--for: at 1/s 'errors < 5%' needs "),
        (["run", "own.yaml", "--repeat", "2", "--plan", "x"], "--plan: a plan is of one run"),
        (["run", "thrice.yaml", "--plan", "x"], "--plan: a plan is of one run"),
        (["run", "thrice.yaml", "--repeat", "1", "--plan", "x"], "--plan: 'x' is no plan hash"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_one_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, words: list[str], why: str
) -> None:
    """A mistake is said before anything is touched: no directory is made."""
    monkeypatch.chdir(desk.home)
    desk.experiment(file="thrice.yaml", more="repeat: 3")
    with pytest.raises(Mistakes) as caught:
        cli.main(args=words, standalone_mode=False)
    assert str(caught.value).startswith(why)
    assert "\n" not in str(caught.value)
    assert not (desk.home / "runs").exists()


@pytest.mark.parametrize(
    ("holds", "breaks", "up", "code"),
    [
        (100.0, 105.0, True, Exit.HELD),
        (80.0, 90.0, True, Exit.BROKEN),
        (80.0, 120.0, True, Exit.UNKNOWN),
        (None, 50.0, True, Exit.BROKEN),
        (None, None, True, Exit.UNKNOWN),
        (90.0, 80.0, False, Exit.HELD),
        (120.0, 110.0, False, Exit.BROKEN),
    ],
)
def test_a_requirement_is_met_missed_or_not_known(
    holds: float | None, breaks: float | None, up: bool, code: Exit
) -> None:
    """`--at-least 100` is met if 100 hold, missed if they break, and unknown in between; downwards alike."""
    assert required(holds, breaks, 100.0, up=up) is code
