"""`chaosrunner plan` touches nothing and binds what it shows."""

from __future__ import annotations

import json
import re
import shlex

from cli_rig import Desk, Server


def shown(desk: Desk, *args: str) -> tuple[str, list[str]]:
    """A plan, and the command that plays it."""
    done = desk.run("plan", "own.yaml", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    again = shlex.split(done.stdout.splitlines()[-1])
    assert again[0] == "chaosrunner"
    return done.stdout, again[1:]


def test_a_plan_says_all_and_touches_nothing(desk: Desk) -> None:
    """Target, time, load, way back and time line fit in 80 columns; server, files and state stay as they are."""
    desk.experiment(question="Is it still there?")
    before = sorted(desk.home.rglob("*"))
    text, _ = shown(desk)
    assert sorted(desk.home.rglob("*")) == before
    assert desk.server.stat()[0] != "T"
    assert f"pid {desk.server.process.pid}" in text
    for said in ("process.pause on server for 1 s", "40 requests/s: visit", "put back by SIGCONT", "at most 8 s"):
        assert said in text
    steps = re.findall(r"^ +([\d.]+) s  (.+)$", text, re.MULTILINE)
    names = [step for _, step in steps]
    assert names[:4] == ["enter warmup", "enter baseline", "enter fault", "inject process.pause on server"]
    assert [float(at) for at, _ in steps] == sorted(float(at) for at, _ in steps)
    assert max(map(len, text.splitlines()[:-1])) <= 80


def test_a_plan_is_played_as_shown_and_refused_when_the_target_changed(desk: Desk) -> None:
    """`run --plan HASH` hits the very process that was shown; once that has been replaced it refuses and says so."""
    text, again = shown(desk)
    played = desk.run(*again)
    assert played.returncode == 0, played.stdout + played.stderr
    (prepared,) = desk.events("Prepared")
    assert str(prepared["recipe"]["says"]) in text  # type: ignore[index]
    (started,) = desk.events("RunStarted")
    assert started["plan"] == again[-1]
    desk.server.end()
    desk.server = Server.start(desk.home / "sick")
    desk.system()
    refused = desk.run(*again)
    assert refused.returncode == 2
    assert "have changed since plan" in refused.stderr
    assert len(desk.runs) == 1


def test_a_plan_of_another_system_is_played_on_it(desk: Desk) -> None:
    """The command that a plan prints names the system that was planned."""
    other = Server.start(desk.home / "sick")
    try:
        desk.system("elsewhere", other)
        _, again = shown(desk, "--system", "elsewhere")
        refused = desk.run(*[arg for arg in again if arg not in ("--system", "elsewhere")])
        assert refused.returncode == 2
        played = desk.run(*again)
        assert played.returncode == 0, played.stdout + played.stderr
        assert str(other.process.pid) in played.stdout
    finally:
        other.end()


def test_an_edited_file_is_another_plan(desk: Desk) -> None:
    """A plan binds the files: one more second of a fault is refused."""
    _, again = shown(desk)
    desk.experiment("{process.pause: {target: server}, for: 2s, accept: unguarded}")
    refused = desk.run(*again)
    assert refused.returncode == 2
    assert desk.runs == []


def test_an_unguarded_plan_says_what_is_missing(desk: Desk) -> None:
    """A plan that a run would refuse says so."""
    desk.experiment("{process.pause: {target: server}, for: 1s}")
    text, _ = shown(desk)
    assert "needs 'accept: unguarded'" in text


def test_a_closed_model_is_planned_played_and_called_one(desk: Desk) -> None:
    """With `users`, the plan, the end on the terminal and the verdict say that the model was closed."""
    path = desk.experiment(faults="", hypothesis="  before: [errors < 5%]", recover="", more="")
    text = path.read_text().replace("arrivals: 40 users/s", "users: 8, each user every 200ms\n  iterations: 50")
    path.write_text(text.replace("recover: \n", ""))
    done = desk.run("plan", "own.yaml")
    said = " ".join(done.stdout.split())
    assert "load 8 users, closed model, 50 journeys each: visit; 8 users, each user every 200ms" in said
    played = desk.run("run", "own.yaml")
    assert played.returncode == 0, played.stdout + played.stderr
    assert "8 users, closed model (40 requests/s)" in played.stdout
    assert "closed model: who waits for an answer" in played.stdout
    load = json.loads((desk.runs[-1] / "verdict.json").read_text())["load"]
    assert (load["model"], load["users"], load["iterations"], load["behind"]) == ("closed model", 8, 50, 0)
