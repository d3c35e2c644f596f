"""What keeps a fault small and ends it at once: rules, limits across runs, the abort command and its key, leftovers."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios

import pytest
from cli_rig import LONG_PAUSE, Desk, Program, Server, until

FLAG = "{stranger.flag: {}, for: 300ms}"


def rules(desk: Desk, text: str, name: str = "own") -> None:
    """Rules in a system's file, on its third line."""
    path = desk.home / f"systems/{name}.yaml"
    path.write_text(f"{path.read_text()}rules: {{{text}}}\n")


def test_a_fault_that_the_owner_does_not_allow_is_refused(desk: Desk) -> None:
    """It is exit 2 with the owner's rule, and no run begins."""
    rules(desk, "faults: proxy.*")
    refused = desk.run("run", "own.yaml")
    assert refused.returncode == 2
    assert "own.yaml:9:1: process.pause on server: 'process.pause' is not among the faults" in refused.stderr
    assert "allowed: systems/own.yaml:3: 'proxy.*'" in refused.stderr
    assert desk.runs == []


def test_outside_its_hours_a_run_is_refused_and_a_plan_is_not(desk: Desk) -> None:
    """A day on which nothing is allowed refuses the run with the rule; whoever plans is told."""
    rules(desk, "never: 2000-01-01 to 2999-12-31 UTC")
    refused = desk.run("run", "own.yaml")
    assert refused.returncode == 2
    assert "own.yaml:9:1: no fault on systems/own.yaml:3: '2000-01-01 to 2999-12-31 UTC'" in refused.stderr
    assert desk.runs == []
    planned = desk.run("plan", "own.yaml")
    assert planned.returncode == 0
    assert "not now: no fault on systems/own.yaml:3" in " ".join(planned.stdout.split())


def test_what_is_protected_is_refused_by_its_name(desk: Desk) -> None:
    """The program behind a harmless component is protected, and the plan says by which rule."""
    program = f"{sys.executable.rpartition('/')[2][:6]}*"
    rules(desk, f"protect: {{names: ['{program}']}}")
    refused = desk.run("plan", "own.yaml")
    assert refused.returncode == 2
    assert "is protected by its name 'python" in refused.stderr
    assert f"systems/own.yaml:3: '{program}'" in refused.stderr


def test_two_faults_of_a_run_on_one_resource_are_refused(desk: Desk) -> None:
    """Both want the flag at once: exit 2, nothing begins."""
    desk.experiment(FLAG, FLAG)
    refused = desk.run("run", "own.yaml")
    assert refused.returncode == 2
    met = "own.yaml:10:1: stranger.flag would begin while stranger.flag (line 9) still has stranger:flag"
    assert met in refused.stderr
    assert desk.runs == []


def test_of_two_runs_that_start_at_once_one_is_refused(desk: Desk) -> None:
    """Both want one flag: one plays, the other is exit 2 and begins nothing; then nothing is reserved any more."""
    desk.experiment("{stranger.flag: {}, for: 500ms}")
    both = [desk.start("run", "own.yaml") for _ in range(2)]
    codes = sorted(program.exit() for program in both)
    assert codes[1] == 2, [program.err for program in both]
    assert codes[0] in (0, 3), [program.out for program in both]
    assert "stranger:flag is under a fault of another run, or will be" in "".join(program.err for program in both)
    assert len(desk.runs) == 1
    assert not desk.flag
    assert [path for path in desk.state.rglob("*") if path.is_file()] == []
    assert desk.events("Residue") == []


def aborted(desk: Desk, *args: str) -> str:
    """What the abort command says; it ends with 0 and the server runs again."""
    done = desk.run("abort", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not desk.server.paused
    return done.stdout


def test_the_owners_limit_holds_over_runs_and_one_command_aborts_them_all(desk: Desk) -> None:
    """While one of two servers is under a fault the other is refused; `abort` waits until all is put back, exit 3."""
    other = Server.start(desk.home / "other-sick")
    try:
        ports = f"[{desk.server.port}, {other.port}]"
        (desk.home / "systems/own.yaml").write_text(
            f"entry: http://127.0.0.1:{desk.server.port}\nservers: {{processes: {{ports: {ports}}}}}\n"
            f"server: {{processes: {{ports: [{desk.server.port}]}}}}\nother: {{processes: {{ports: [{other.port}]}}}}\n"
            "rules: {at_most: 1 in all}\n"
        )
        program = desk.paused_run()
        desk.experiment(LONG_PAUSE.replace("server", "other"), file="other.yaml")
        refused = desk.run("run", "other.yaml")
        assert refused.returncode == 2, refused.stdout
        assert "2 instances would be under faults at once" in refused.stderr
        assert f"of run {desk.runs[0].name})" in refused.stderr
        assert "systems/own.yaml:5: '1 in all' allows" in refused.stderr
        assert not other.paused
        said = aborted(desk)
    finally:
        other.end()
    assert f"{desk.runs[0].name}: aborted, nothing of it is left" in said
    assert "put back by SIGCONT: put back" in said
    assert program.exit() == 3
    assert "exit 3: played to the end: aborted by hand, by command or key" in program.out


def test_what_cannot_be_aborted_is_said(desk: Desk) -> None:
    """No run: so it is said; a wrong name is exit 2 with the right one; a run whose directory is gone is exit 4."""
    assert desk.run("abort", "--system", "own").stdout == "nothing is under way\n"
    registered = desk.state / "systems/own/4711"
    registered.parent.mkdir(parents=True)
    registered.write_text(f"{desk.home}/runs/4711\n")
    slip = desk.run("abort", "--system", "owm")
    assert slip.returncode == 2
    assert "nothing is under way on 'owm'; did you mean 4711 on 'own'?" in slip.stderr
    said = desk.run("abort")
    assert said.returncode == 4, said.stderr
    assert "4711: NOT ABORTED" in said.stdout
    assert "chaosrunner recover --scan SYSTEM" in said.stdout


def test_a_stopped_runner_is_aborted_by_its_watchdog(desk: Desk) -> None:
    """A runner that cannot hear is killed by its watchdog at once, long before the fault's deadline."""
    program = desk.paused_run()
    program.send(signal.SIGSTOP)
    said = aborted(desk, desk.runs[0].name)
    assert "put back" in said
    assert program.exit() == -signal.SIGKILL
    assert [event["who"] for event in desk.events("OwnerChanged")] == ["watchdog"]


def on_terminal(desk: Desk, *args: str) -> tuple[Program, int]:
    """An interpreter in front of a terminal of its own, and the other end of it."""
    ours, theirs = pty.openpty()
    log = desk.home / "terminal.out"
    begin = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    with log.with_suffix(".err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", begin, *args],
            cwd=desk.home, env=desk.env | {"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=err,
        )  # fmt: skip
    log.touch()
    os.close(theirs)
    desk.started.append(Program(process, log))
    return desk.started[-1], ours


def drain(terminal: int) -> str:
    """What the program has drawn by now."""
    os.set_blocking(terminal, False)
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:
        pass  # nothing more for now
    return shown.decode(errors="replace")


@pytest.mark.parametrize("way", ["key", "signal"])
def test_one_key_aborts_everything(desk: Desk, way: str) -> None:
    """The screen names the key, pressing it puts everything back; on every way out the terminal is as it was."""
    desk.experiment(LONG_PAUSE)
    program, terminal = on_terminal(desk, "-m", "chaosrunner", "run", "own.yaml")
    shown = [drain(terminal)]
    before = termios.tcgetattr(terminal)
    try:

        def proven() -> object:
            shown.append(drain(terminal))
            return desk.events("Verified") or program.ended

        if way == "key":
            until(proven, "a pause")
        until(lambda: shown.append(drain(terminal)) or "press a to abort" in "".join(shown), "the key is said")
        assert not termios.tcgetattr(terminal)[3] & (termios.ICANON | termios.ECHO)
        os.write(terminal, b"xyA") if way == "key" else program.send(signal.SIGINT)
        until(lambda: shown.append(drain(terminal)) or program.ended, "its end")
        assert program.exit() == (3 if way == "key" else 130), program.err
        assert not desk.server.paused
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(terminal)


WAITS = """
import asyncio
from chaosrunner.cli.abort_key import abort_key

async def wait():
    pressed = asyncio.Event()
    with abort_key(pressed.set):
        await asyncio.wait_for(pressed.wait(), 30)

asyncio.run(wait())
"""


def test_the_key_is_there_again_after_a_shell_has_had_the_terminal(desk: Desk) -> None:
    """Brought from the background to the front, with the shell's settings and without a signal, it hears the key."""
    program, terminal = on_terminal(desk, "-c", WAITS)
    shells, keys = termios.tcgetattr(terminal), termios.ICANON | termios.ECHO
    try:
        for _ in range(2):
            until(lambda: not termios.tcgetattr(terminal)[3] & keys or program.ended, "the key works")
            termios.tcsetattr(terminal, termios.TCSANOW, shells)
        until(lambda: not termios.tcgetattr(terminal)[3] & keys or program.ended, "the key works again")
        os.write(terminal, b"a")
        assert program.exit() == 0, program.err
        assert termios.tcgetattr(terminal) == shells
    finally:
        os.close(terminal)


def test_a_fault_that_is_there_again_is_exit_4(desk: Desk) -> None:
    """An external hand raises the flag after it was lowered: found at the end of the run, with the one repair."""
    desk.experiment(FLAG, recover="within 4s, hold 2s")
    program = desk.start("run", "own.yaml")
    until(lambda: desk.events("Undone") or program.ended, "the flag is lowered")
    (desk.home / "stranger/stuck").touch()
    (desk.home / "stranger/flag").touch()
    assert program.exit() == 4, program.out
    (found,) = desk.events("Residue")
    assert found["fault"] == 0
    assert "it was undone, but is there again: the flag is up" in str(found["says"])
    run = desk.runs[0]
    ending = f"exit 4: stranger.flag may still be in place; repair with: chaosrunner recover {run.name}"
    assert ending in " ".join(program.out.split())
    refused = desk.run("run", "own.yaml")
    assert (refused.returncode, desk.runs) == (4, [run]), refused.stdout
    (desk.home / "stranger/stuck").unlink()
    until(lambda: len(desk.events("Undone")) == 2, "its watchdog lowers it and says so")
    assert not desk.flag
