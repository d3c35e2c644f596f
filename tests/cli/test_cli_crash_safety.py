"""What becomes of the server when the program dies: killed, frozen, and its watchdog with it."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from cli_rig import Desk, Program, Server, end_watchdog, until


def killed_with_its_watchdog(desk: Desk) -> None:
    """A run of which nobody is left to put the server back."""
    program = desk.paused_run()
    (ready,) = desk.events("WatchdogReady")
    end_watchdog(int(str(ready["pid"])), desk.runs[-1])
    program.process.send_signal(signal.SIGKILL)
    program.process.wait()


def test_a_killed_runner_leaves_nothing(desk: Desk) -> None:
    """The watchdog continues the server, the journal can be judged, and nothing is left to recover."""
    program = desk.paused_run()
    program.process.send_signal(signal.SIGKILL)
    program.process.wait()
    until(lambda: not desk.server.paused, "the server continued", 10)
    until(lambda: desk.events("Ended"), "the watchdog's last word")
    run = desk.runs[0]
    judged = desk.run("judge", str(run))
    assert judged.returncode == 3, judged.stdout + judged.stderr
    said = " ".join(judged.stdout.split())
    assert "its owner died; the watchdog looked after what it owed" in said
    assert "nothing of ours left" in said
    until(lambda: not any(path.is_file() for path in desk.state.rglob("*")), "a state directory without debts")
    for args in (["recover", str(run)], ["recover", "--all"]):
        nothing = desk.run(*args)
        assert (nothing.returncode, nothing.stdout) == (0, "nothing to recover\n"), nothing.stderr


def test_a_frozen_runner_is_ended_before_it_can_wake(desk: Desk) -> None:
    """A runner that is stopped past a fault's deadline is killed by its watchdog, and waking it harms nobody."""
    desk.experiment("{process.pause: {target: server}, for: 500ms, accept: unguarded}")
    program = desk.start("run", "own.yaml", env={"PYTHONPATH": f"{desk.env['PYTHONPATH']}{os.pathsep}{hasty(desk)}"})
    until(lambda: desk.events("Injected"), "a pause")
    program.send(signal.SIGSTOP)
    until(lambda: not desk.server.paused, "the server continued", 30)
    program.send(signal.SIGCONT)
    assert program.exit() == -signal.SIGKILL
    assert not desk.server.paused
    until(lambda: desk.events("Ended"), "the watchdog's last word")
    assert desk.run("recover", "--all").stdout == "nothing to recover\n"


def hasty(desk: Desk) -> str:
    """A folder that, on the module path, makes deadlines short enough for a test."""
    folder = desk.home / "hasty"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "if any('chaosrunner' == one for one in sys.orig_argv):\n"
        "    import chaosrunner.world.injection as injection\n"
        "    injection.UndoKit.__init__.__kwdefaults__['grace_s'] = 1.0\n"
    )
    return str(folder)


def test_orphaned_debts_stop_new_runs_until_they_are_paid(desk: Desk) -> None:
    """With runner and watchdog dead, a run or plan is exit 4 with one command; that command pays; then a run starts."""
    killed_with_its_watchdog(desk)
    assert desk.server.paused
    run = desk.runs[0]
    desk.experiment()
    refused = desk.run("run", "own.yaml")
    assert refused.returncode == 4
    command = refused.stderr.splitlines()[-1]
    assert command == f"chaosrunner recover {run}"
    assert desk.runs == [run]
    desk.system("twin")
    planned = [desk.run("plan", "own.yaml"), desk.run("plan", "own.yaml", "--system", "twin")]
    assert [(one.returncode, one.stderr.splitlines()[-1]) for one in planned] == [(4, command), (4, command)]
    assert "is stopped already: process:" in planned[1].stderr
    judged = desk.run("judge", str(run))
    assert judged.returncode == 4
    paid = desk.run(*command.split()[1:])
    assert paid.returncode == 0, paid.stdout + paid.stderr
    assert paid.stdout.endswith("put back by SIGCONT: put back\n")
    assert not desk.server.paused
    assert desk.run("judge", str(run)).returncode == 3
    assert desk.run("run", "own.yaml").returncode == 0


def test_recover_knows_runs_by_their_id(desk: Desk) -> None:
    """The id in a verdict's repair command is enough, wherever the run directory is; `--all` finds it as well."""
    killed_with_its_watchdog(desk)
    run = desk.runs[0].rename(desk.home / "runs" / desk.runs[0].name)
    paid = desk.run("recover", run.name)
    assert paid.returncode == 0, paid.stdout + paid.stderr
    assert not desk.server.paused
    assert desk.run("recover", "--all").stdout == "nothing to recover\n"


@pytest.mark.alone
def test_a_lost_journal_is_said_and_scanned_for(desk: Desk) -> None:
    """When the journal is deleted, a new run names the scan as its one command, which finds what was claimed."""
    killed_with_its_watchdog(desk)
    shutil.rmtree(desk.runs[0])
    desk.experiment()
    refused = desk.run("run", "own.yaml")
    assert refused.returncode == 4, refused.stdout + refused.stderr
    command = refused.stderr.splitlines()[-1]
    assert command.startswith("chaosrunner recover --scan ")
    scanned = desk.run(*command.split()[1:])
    assert scanned.returncode == 0, scanned.stdout + scanned.stderr
    assert "put back by SIGCONT: put back" in scanned.stdout
    assert not desk.server.paused
    assert [path for path in desk.state.rglob("*") if path.is_file()] == []
    assert desk.run("plan", "own.yaml").returncode == 0


@pytest.mark.alone
def test_a_scan_leaves_what_a_stranger_stopped(desk: Desk) -> None:
    """A server that somebody else has stopped is not continued, whatever is scanned for."""
    desk.server.process.send_signal(signal.SIGSTOP)
    until(lambda: desk.server.paused, "a stopped server")
    scanned = desk.run("recover", "--scan", "own")
    assert (scanned.returncode, scanned.stdout) == (0, "nothing to recover\n")
    assert desk.server.paused
    planned = desk.run("plan", "own.yaml")
    assert planned.returncode == 2
    assert "is stopped already; no run of this state directory has done that" in planned.stderr


def test_an_outside_guard_pays_when_all_of_a_run_died(desk: Desk) -> None:
    """While `chaosrunner watchdog` stands guard, no risk need be accepted, and it outlives runner, watchdog and HUP."""
    guard = guarding(desk)
    desk.experiment("{process.pause: {target: server}, for: 60s}")
    program = desk.start("run", "own.yaml")
    until(lambda: desk.events("Verified") or program.ended, "a pause")
    assert desk.server.paused, program.out + program.err
    guard.send(signal.SIGHUP)
    (ready,) = desk.events("WatchdogReady")
    end_watchdog(int(str(ready["pid"])), desk.runs[-1])
    program.process.send_signal(signal.SIGKILL)
    program.process.wait()
    until(lambda: not desk.server.paused, "the server continued", 15)
    until(lambda: "put back by SIGCONT: put back" in guard.out, "the guard's word")
    guard.send(signal.SIGTERM)
    assert guard.exit() == 0
    refused = desk.run("run", "own.yaml")
    assert refused.returncode == 2, "without a guard the risk must be accepted again"


def guarding(desk: Desk) -> Program:
    """The outside watchdog, at its post."""
    guard = desk.start("watchdog", "--state", str(desk.state))
    until(lambda: "guarding" in guard.out or guard.ended, f"a guard: {guard.err}")
    return guard


def test_a_server_that_was_replaced_owes_nothing(desk: Desk) -> None:
    """A debt on a process that is gone is paid: its replacement has nothing of ours."""
    killed_with_its_watchdog(desk)
    desk.server.end()
    desk.server = Server.start(desk.home / "sick")
    paid = desk.run("recover", "--all")
    assert paid.returncode == 0, paid.stdout + paid.stderr
    assert "put back" in paid.stdout
