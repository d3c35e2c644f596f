"""Children: on a leash, and surely ended."""

import asyncio
import os
import signal
import sys
import time

import psutil
import pytest

from chaosrunner.demo.leash import leashed
from chaosrunner.demo.processes import Child, Command

SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
)


async def started(argv, tmp_path, **more):
    child = Child(Command(name="sleeper", argv=argv, log=tmp_path / "log", **more))
    await child.start()
    await until(lambda: "up" in (tmp_path / "log").read_text())
    return child


async def until(condition, *, within_s=10.0):
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"
        await asyncio.sleep(0.02)


async def test_a_child_keeps_the_pid_it_was_started_with(tmp_path):
    """The leash becomes the command, so the pid we know is the command's."""
    child = await started(SLEEPER, tmp_path)
    assert psutil.Process(child.pid).cmdline() == list(SLEEPER)
    await child.stop()
    assert child.pid is None


@pytest.mark.parametrize("argv", [SLEEPER, DEAF])
async def test_stopping_ends_a_child_that_is_paused_or_deaf(tmp_path, argv):
    """A paused child and one that ignores the request are both gone when `stop` returns."""
    child = await started(argv, tmp_path)
    pid = child.pid
    os.kill(pid, signal.SIGSTOP)
    await child.stop(grace_s=0.3)
    assert not psutil.pid_exists(pid)
    await child.stop()


async def test_a_child_may_be_started_again(tmp_path):
    """After its end the same child starts as a new process, and its return code was told."""
    child = await started(SLEEPER, tmp_path)
    first = child.pid
    os.kill(first, signal.SIGKILL)
    assert await child.ended() == -signal.SIGKILL
    await child.start()
    assert child.pid not in (None, first)
    await child.stop()


async def test_the_last_words_of_a_child_are_on_one_line(tmp_path):
    """The end of the log, without empty lines, fits into an error message."""
    child = await started((sys.executable, "-c", "print('up', flush=True); raise SystemExit('no way')"), tmp_path)
    await child.ended()
    assert child.last_words() == "up | no way"


async def test_a_leashed_process_dies_with_its_parent_even_by_sigkill(tmp_path):
    """When the parent is killed so that it can do nothing, the kernel ends the child."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"""
import asyncio, sys
from pathlib import Path
from chaosrunner.demo.processes import Child, Command
async def main():
    child = Child(Command(name="x", argv={SLEEPER!r}, log=Path({str(tmp_path / "log")!r})))
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
""",
        stdout=asyncio.subprocess.PIPE,
    )
    orphan = psutil.Process(int(await parent.stdout.readline()))
    await until(lambda: "up" in (tmp_path / "log").read_text())
    parent.kill()
    await parent.wait()
    await until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)


async def test_a_leash_whose_holder_is_gone_already_runs_nothing(tmp_path):
    """If the parent died before the kernel could be asked, the command never starts."""
    mark = tmp_path / "ran"
    command = leashed(["touch", str(mark)], death_signal=signal.SIGKILL)
    command[command.index(str(os.getpid()))] = "1"  # as if another process had been the parent
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 1
    assert not mark.exists()
