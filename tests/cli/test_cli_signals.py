"""SIGINT, SIGTERM and SIGHUP, once or many times, in each phase; readers that go away; terminals and closed outputs."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from cli_rig import DEADLINE_S, LONG_PAUSE, PAUSE, Desk, until

MANY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


def phase(desk: Desk, name: str) -> bool:
    """Whether the youngest run is in a phase."""
    return any(event["phase"] == name for event in desk.events("PhaseEntered"))


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGHUP,), MANY])
def test_signals_in_a_fault_put_it_back_first(desk: Desk, signals: tuple[signal.Signals, ...]) -> None:
    """Whatever arrives while the server is paused, it is continued, the verdict is printed, and the exit is 130."""
    program = desk.paused_run()
    program.send(*signals)
    for one in signals[1:]:
        program.send(one)
        time.sleep(0.05)
    assert program.exit() == 130, program.out + program.err
    assert not desk.server.paused
    assert program.out.splitlines()[-1].startswith("exit 130: interrupted by ")
    assert "Undone" in [event["kind"] for event in desk.events()]
    assert desk.verdict()["exit"] == 130
    assert desk.run("judge", str(desk.runs[0])).returncode == 130


@pytest.mark.parametrize("name", ["warmup", "baseline", "recovery"])
def test_signals_in_other_phases_end_the_run(desk: Desk, name: str) -> None:
    """Before and after the fault an interrupt ends the run with 130, and nothing was or is left broken."""
    desk.experiment(PAUSE.replace("1s", "200ms"), baseline="3s", recover="within 9s, hold 8s")
    program = desk.start("run", "own.yaml")
    until(lambda: phase(desk, name) or program.ended, name)
    program.send(signal.SIGTERM)
    assert program.exit() == 130, program.out + program.err
    assert "exit 130" in program.out
    assert not desk.server.paused
    assert bool(desk.events("Injecting")) == (name == "recovery")


@pytest.mark.parametrize("one", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_before_the_journal_touch_nothing(desk: Desk, one: signal.Signals) -> None:
    """A signal while targets are still being looked at is 130 as well, not a death by that signal."""
    desk.experiment("{stranger.flag: {wrong: wait}, for: 1s}")
    program = desk.start("run", "own.yaml")
    until((desk.home / "stranger/waiting").exists, "a long look")
    program.send(one)
    assert program.exit() == 130, program.err
    assert "interrupted" in program.err
    assert desk.runs == []


def test_nohup_survives_the_terminal(desk: Desk) -> None:
    """Under `nohup` a hang-up is ignored, as its user asked."""
    desk.experiment(PAUSE.replace("1s", "200ms"))
    command = ["nohup", sys.executable, "-m", "chaosrunner", "run", "own.yaml"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=desk.home, env=desk.env, **quiet)
    try:
        until(lambda: phase(desk, "baseline"), "a baseline")
        process.send_signal(signal.SIGHUP)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()


def test_a_reader_that_goes_away_leaves_no_harm(desk: Desk) -> None:
    """`chaosrunner run | head -1` plays to its end, restores, and exits by its verdict."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "chaosrunner", "run", "own.yaml"]
    with (desk.home / "err").open("wb") as err:
        process = subprocess.Popen(command, cwd=desk.home, env=desk.env, stdout=write, stderr=err)
    os.close(write)
    assert os.read(read, 10)
    os.close(read)
    try:
        assert process.wait(DEADLINE_S) == 0, (desk.home / "err").read_text()
    finally:
        process.kill()
    assert not desk.server.paused
    assert (desk.home / "err").read_text() == ""
    assert desk.verdict()["exit"] == 0


@pytest.mark.parametrize("verb", ["faults", "schema", "doctor"])
def test_a_short_reader_gets_no_traceback(desk: Desk, verb: str) -> None:
    """Verbs that only print end quietly, and never as BROKEN, when nobody reads on."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "chaosrunner", verb]
    done = subprocess.run(
        command, cwd=desk.home, env=desk.env, stdout=write, stderr=subprocess.PIPE, timeout=DEADLINE_S, check=False
    )
    os.close(write)
    assert done.returncode == 0
    assert done.stderr == b""


def test_closed_descriptors_change_nothing(desk: Desk) -> None:
    """Without stdin, stdout and stderr a run is played, restored and written down as ever."""
    desk.experiment(PAUSE.replace("1s", "200ms"))
    line = f"exec {sys.executable} -m chaosrunner run own.yaml <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", line], cwd=desk.home, env=desk.env, timeout=60, check=False)
    assert done.returncode == 0
    assert desk.verdict()["exit"] == 0
    assert not desk.server.paused
    assert desk.run("judge", str(desk.runs[0])).returncode == 0


def test_a_terminal_gets_a_picture_and_ctrl_c_works(desk: Desk) -> None:
    """On a terminal the live view is drawn in place, Ctrl-C restores, and the verdict stays on the screen."""
    desk.experiment(LONG_PAUSE)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "chaosrunner", "run", "own.yaml"]
    process = subprocess.Popen(
        command,
        cwd=desk.home,
        env=desk.env | {"TERM": "xterm"},
        stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        os.set_blocking(ours, False)
        sent = False
        ends = time.monotonic() + DEADLINE_S
        while time.monotonic() < ends and process.poll() is None:
            seen += drained(ours)
            if not sent and desk.events("Verified") and b"process.pause" in seen:
                process.send_signal(signal.SIGINT)
                sent = True
            time.sleep(0.05)
        seen += drained(ours)
        assert process.wait(DEADLINE_S) == 130, seen.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    text = seen.decode(errors="replace")
    assert "\x1b[2K" in text, "drawn in place"
    assert "requests/s" in text
    assert "exit 130: interrupted by SIGINT; everything was restored" in text
    assert not desk.server.paused


def drained(fd: int) -> bytes:
    """What a terminal has been sent; an end of it is nothing more."""
    try:
        return os.read(fd, 1 << 16)
    except OSError:
        return b""
