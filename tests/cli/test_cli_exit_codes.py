"""Every published exit code is reached for its own reason, by the program as a user starts it."""

from __future__ import annotations

import os
import signal

import pytest
from cli_rig import Desk, until

BEFORE = "  before: [errors < 5%]"


def facts(desk: Desk) -> list[object]:
    """The kinds of facts of the youngest run."""
    return [event["kind"] for event in desk.events()]


def test_0_a_hang_that_users_survive_holds(desk: Desk) -> None:
    """A short pause is proven, undone and held, and leaves the state directory as if nothing had been."""
    done = desk.run("run", "own.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(line.startswith("exit 0: 3 of 3 held") for line in done.stdout.splitlines())
    assert done.stderr == ""
    assert not desk.server.paused
    assert desk.verdict()["exit"] == 0
    assert [path for path in desk.state.rglob("*") if path.is_file()] == []


def test_1_a_violated_tolerance_is_broken(desk: Desk) -> None:
    """Waiting of a whole pause violates a latency tolerance during the fault."""
    desk.experiment(hypothesis="  before: [errors < 5%]\n  during: [max <= 100ms]")
    done = desk.run("run", "own.yaml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "during: max <= 100ms" in done.stdout.splitlines()[-1]
    assert not desk.server.paused


def test_1_a_server_that_never_returns_is_broken(desk: Desk) -> None:
    """A killed server that nobody starts again is an answer, not an error of ours and nothing left behind."""
    kill = "{process.kill: {target: server, comes_back: by itself}, for: 500ms}"
    desk.experiment(kill, recover="within 1500ms, hold 500ms")
    done = desk.run("run", "own.yaml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NEVER" in done.stdout.upper()


def test_2_mistakes_are_counted_and_touch_nothing(desk: Desk) -> None:
    """Every mistake of a file is named at its place, the last line counts them, and no run is begun."""
    path = desk.experiment("{process.puase: {target: server}, for: 1s}", baseline="1")
    done = desk.run("run", path.name)
    assert done.returncode == 2
    assert done.stdout == ""
    *mistakes, last = done.stderr.splitlines()
    assert len(mistakes) == 2
    assert all(line.startswith("own.yaml:") for line in mistakes)
    assert "did you mean 'process.pause'?" in done.stderr
    assert last == "2 mistakes, nothing was touched (exit 2)"
    assert desk.runs == []


def test_2_an_unaccepted_risk_is_refused(desk: Desk) -> None:
    """A fault that only this host can end needs to be accepted as such."""
    desk.experiment("{process.pause: {target: server}, for: 1s}")
    done = desk.run("run", "own.yaml")
    assert done.returncode == 2
    assert "accept: unguarded" in done.stderr
    assert desk.runs == []


def test_2_a_claim_of_an_active_run_is_refused(desk: Desk) -> None:
    """While a run holds a claim, a second one on it is refused, another claim on the same system is free to use."""
    desk.experiment("{stranger.flag: {}, for: 60s}", file="first.yaml")
    desk.experiment("{stranger.flag: {claim: another}, for: 500ms}", file="other.yaml", hypothesis=BEFORE)
    first = desk.start("run", "first.yaml")
    until(lambda: desk.events("Verified") or first.ended, "a flag")
    run = desk.runs[0]
    refused = desk.run("run", "first.yaml")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "is under a fault of another run" in refused.stderr
    busy = desk.run("recover", str(run))
    assert busy.returncode == 2, "recover never touches an active run"
    assert desk.runs == [run]
    assert desk.flag
    beside = desk.run("run", "other.yaml")
    assert beside.returncode == 0, beside.stdout + beside.stderr
    first.send(signal.SIGTERM)
    assert first.exit() == 130
    assert not desk.flag


def test_3_without_a_steady_state_nothing_is_injected(desk: Desk) -> None:
    """A server that is sick before any fault is not broken any further, and nothing is said of its resilience."""
    (desk.home / "sick").touch()
    done = desk.run("run", "own.yaml")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "before" in done.stdout.splitlines()[-1] + done.stdout.splitlines()[-2]
    assert "Prepared" not in facts(desk)
    assert "Injecting" not in facts(desk)


def test_3_too_little_data_is_no_answer(desk: Desk) -> None:
    """A tolerance on a tail that so few requests cannot show is UNKNOWN, never held."""
    desk.experiment(hypothesis="  before: [errors < 5%]\n  after: [p99.9 <= 10s]")
    done = desk.run("run", "own.yaml")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "p99.9" in done.stdout


def test_3_a_lost_load_worker_ends_the_run_restored(desk: Desk) -> None:
    """A load worker that is killed makes a gap, so the answer is unknown, and the server is continued."""
    program = desk.paused_run()
    worker = load_worker(program.process.pid)
    os.kill(worker, signal.SIGKILL)
    assert program.exit() == 3, program.out + program.err
    assert not desk.server.paused
    assert "load lost" in program.out
    assert "LoadLost" in facts(desk)


def load_worker(runner: int) -> int:
    """The one load worker of a runner."""
    import psutil

    found = [one.pid for one in psutil.Process(runner).children() if "chaosrunner.load.worker" in one.cmdline()]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("wrong", ["prepare", "inject", "verify", "answer"])
def test_a_strangers_bug_is_a_fact(desk: Desk, wrong: str) -> None:
    """An injector that raises or answers nonsense is a mistake or UNKNOWN, no crash, and is undone all the same."""
    desk.experiment(f"{{stranger.flag: {{wrong: {wrong}}}, for: 500ms}}")
    done = desk.run("run", "own.yaml")
    assert done.returncode == (2 if wrong == "prepare" else 3), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not desk.flag
    if wrong in ("prepare", "inject"):
        assert "a stranger's sum" in done.stdout + done.stderr


def test_an_injector_that_cannot_say_whether_it_runs_cannot(desk: Desk) -> None:
    """`available` that raises is a reason why not, for `faults` and for a run."""
    (desk.home / "stranger/nowhere").touch()
    desk.experiment("{stranger.flag: {}, for: 1s}")
    done = desk.run("run", "own.yaml")
    assert done.returncode == 2
    assert "a stranger cannot even say so" in done.stderr
    assert "a stranger cannot even say so" in desk.run("faults").stdout


def test_4_an_undo_that_keeps_failing_says_how_to_repair(desk: Desk) -> None:
    """What cannot be undone is exit 4 with one command, which fails too while it must, and then pays."""
    desk.experiment("{stranger.flag: {}, for: 500ms}", recover="within 1s, hold 500ms")
    (desk.home / "stranger/stuck").touch()
    program = desk.start("run", "own.yaml")
    until(lambda: desk.events("Undoing"), "a first undo")
    assert program.exit() == 4, program.out + program.err
    run = desk.runs[0]
    assert f"chaosrunner recover runs/{run.name}" in program.out
    assert "the rope is stuck" in program.out
    refused = desk.run("run", "own.yaml")
    assert refused.returncode == 4
    assert refused.stderr.splitlines()[-1] == f"chaosrunner abort {run}", "its watchdog still tries"
    assert desk.runs == [run]
    (desk.home / "stranger/stuck").unlink()
    until(lambda: not desk.flag, "the watchdog that was left behind lowers the flag")


def test_70_an_engine_that_breaks_restores_first(desk: Desk) -> None:
    """A bug of ours in the midst of a fault is exit 70, with everything put back and a verdict that says so."""
    desk.experiment("{process.pause: {target: server}, for: 60s, accept: unguarded}")
    program = desk.start("run", "own.yaml", env={"PYTHONPATH": f"{desk.env['PYTHONPATH']}{os.pathsep}{desk.broken()}"})
    assert program.exit() == 70, program.out + program.err
    assert not desk.server.paused
    assert "Undone" in facts(desk)
    assert "internal error, everything was restored" in " ".join(program.out.split())
    assert "a bug of ours" in program.err
    assert desk.verdict()["exit"] == 70
