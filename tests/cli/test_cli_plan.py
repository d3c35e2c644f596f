"""`chaosrunner plan` touches nothing and binds what it shows."""

from __future__ import annotations

import json
import re
import shlex

from cli_rig import PAUSE, Desk, Server


def shown(desk: Desk, *args: str) -> tuple[str, list[str]]:
    """A plan, and the command that plays it."""
    done = desk.run("plan", "own.yaml", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    again = shlex.split(done.stdout.splitlines()[-1])
    assert again[0] == "chaosrunner"
    return done.stdout, again[1:]


def test_a_plan_says_all_and_touches_nothing(desk: Desk) -> None:
    """Target, time, load, way back and time line fit in 80 columns; server, files and state stay as they are."""
    desk.experiment(question="Is it still there?", more="repeat: 3")
    before = sorted(desk.home.rglob("*"))
    text, again = shown(desk)
    assert "repeat  3 runs, each with a seed of its own, in at most 24 s" in text
    assert again[2:5] == ["--repeat", "1", "--plan"], "a plan is of one run"
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


CHANCE = (
    "{random: {choose: 2, of: [{noop: {}, for: 400ms}, {noop: {}, for: 600ms}, {noop: {}, for: 800ms}], within: 3s}}"
)
TWICE = "{process.pause: {target: server}, for: 500ms, every: 2s, times: 2, accept: unguarded}"


def test_a_composite_is_planned_played_and_judged_by_one_seed(desk: Desk) -> None:
    """What a seed chooses is what the plan shows, what the run does and what judging again finds; one line tells it."""
    desk.experiment(CHANCE, TWICE)
    text, again = shown(desk, "--seed", "11")
    planned = re.findall(r"noop at ([\d.]+ m?s|[\d.]+ s) for ([\d.]+) ms", text)
    assert len(planned) == 2
    played = desk.run(*again)
    assert played.returncode == 0, played.stdout + played.stderr
    verdict = desk.verdict()
    assert [fault["proven"] for fault in verdict["faults"]] == [True] * 4  # type: ignore[attr-defined]
    chosen = [
        recipe["lasts_s"] for event in desk.events("Prepared") if (recipe := event["recipe"])["injector"] == "noop"
    ]  # type: ignore[index]
    assert [f"{1000 * lasts_s:g}" for lasts_s in chosen] == [lasts for _, lasts in planned]
    assert played.stdout.count("2 of 2 proven") == 2
    judged = desk.run("judge", str(desk.runs[-1]))
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert judged.stdout.count("2 of 2 proven") == 2


def test_two_faults_on_one_resource_are_refused_before_anything_is_touched(desk: Desk) -> None:
    """A fault that would begin while another has its target is a mistake of its line; in turn they are fine."""
    desk.experiment(PAUSE, PAUSE.replace("for: 1s", "for: 1s, at: 500ms"))
    for verb in ("plan", "run"):
        refused = desk.run(verb, "own.yaml")
        assert refused.returncode == 2
        assert re.search(
            r"own.yaml:\d+:1: process.pause on server would begin while process.pause on server", refused.stderr
        )
        assert "put both 'in turn'" in refused.stderr
    assert desk.runs == []
    desk.experiment(f"{{in turn: [{PAUSE}, {PAUSE}]}}")
    shown(desk)


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
