"""Aborting runs from outside: ask, wait until all is put back, and end a runner that does not hear.

Asking is a file in the run directory. The runner looks for it and gives up as if a key had been pressed; its watchdog
looks for it, too, and takes over at once from a runner that has stopped beating. When neither answers, the runner is
killed by whoever asks, who then pays what the run owes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.errors import Busy, ChaosrunnerError
from chaosrunner.model.events import ABORT, Signalled
from chaosrunner.model.fault import recipe_from_json
from chaosrunner.model.units import NANOS
from chaosrunner.world.lock import OWNER, held, said
from chaosrunner.world.orphans import known
from chaosrunner.world.runner_process import RunnerProcess, started_at
from chaosrunner.world.succession import Payment, succeed

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaosrunner.logic.fold import State
    from chaosrunner.model.events import Event
    from chaosrunner.world.clock import Clock
    from chaosrunner.world.succession import Heir

REQUEST = "abort.request"
"""In a run directory: somebody has asked to abort."""
LOOK_EVERY_S = 0.2
DEAF_S = 8.0
"""A runner that has not begun to give up by then, and has no watchdog that took over, is killed."""
SLOW_S = 120.0
"""Heals may need this long beside the budget of their undo; then it is reported that they have not ended."""


def ask(run_dir: Path) -> None:
    """Ask whoever owns a run to abort it, once or many times.

    Raises:
        ChaosrunnerError: nothing may be written there.
    """
    try:
        (run_dir / REQUEST).touch()
    except OSError as error:
        raise ChaosrunnerError(f"{run_dir} takes no request to abort: {error.strerror}") from error


def asked(run_dir: Path) -> bool:
    """Whether somebody has asked."""
    return (run_dir / REQUEST).exists()


async def watch_requests(run_dir: Path, *, clock: Clock, report: Callable[[Event], object]) -> None:
    """Report, once, that somebody has asked; return then."""
    while not asked(run_dir):
        await clock.sleep_until(clock.now() + int(LOOK_EVERY_S * NANOS))
    report(Signalled(signal=ABORT))


async def abort(run_dir: Path, heir: Heir, *, deaf_s: float = DEAF_S) -> list[Payment]:
    """Abort a run and return when everything is put back, or cannot be; a run that is over is only looked at.

    Args:
        run_dir: of the run.
        heir: pays in its place, should nobody else be left.
        deaf_s: how long the runner and its watchdog have to begin.

    Returns:
        One payment for each fault that was prepared and can be undone.

    Raises:
        ChaosrunnerError: nothing may be written into its directory.
        JournalBroken: there is no journal.
    """
    clock, began = heir.clock, heir.clock.now()
    if held(run_dir / OWNER):
        ask(run_dir)
    while True:
        waited_s = (clock.now() - began) / NANOS
        state = known(run_dir)
        if state.ended and not state.debts():
            return _payments(run_dir, state)  # all is put back; what may still go on is writing the reports
        if not held(run_dir / OWNER):
            try:
                await succeed(run_dir, heir)
            except Busy:
                continue  # its watchdog was quicker
            return _payments(run_dir, known(run_dir))
        if waited_s > deaf_s and not state.aborted and not state.ended and not state.epoch:
            _kill_owner(run_dir)
        if waited_s > heir.budget_s + SLOW_S:
            return _payments(run_dir, state)
        await clock.sleep_until(clock.now() + int(LOOK_EVERY_S * NANOS))


def _payments(run_dir: Path, state: State) -> list[Payment]:
    left = set(state.debts())
    return [
        Payment(run_dir, index, recipe_from_json(fault.recipe).says, index not in left, fault.why or str(fault.status))
        for index, fault in sorted(state.faults.items())
        if fault.recipe is not None and fault.reversible
    ]


def _kill_owner(run_dir: Path) -> None:
    """Kill the process that holds a run's lock, if it can be told for sure."""
    word = re.search(r"pid (\d+)", said(run_dir / OWNER))
    if word is None:
        return
    pid = int(word[1])
    try:
        owner = RunnerProcess(pid, started_at(pid))
    except OSError:
        return  # it has just ended, or lives where we cannot see it
    try:
        if _has_open(pid, run_dir / OWNER):  # after opening: the number cannot have become another process's
            owner.kill()
    finally:
        os.close(owner.fd)


def _has_open(pid: int, file: Path) -> bool:
    wanted = file.stat()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = entry.stat()
        except OSError:
            continue  # closed meanwhile
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False
