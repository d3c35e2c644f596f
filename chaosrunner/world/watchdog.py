"""The watchdog process (`python -m chaosrunner.world.watchdog`): undoes what a runner owes when it is dead or hung.

It is its own session and ignores HUP, INT and TERM. Before it says READY it has imported every injector in use,
resolved their secrets and looked at their targets, so that undoing needs nothing it does not have yet. It survives the
death of the runner; not of its container, cgroup or host.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.errors import Busy, InjectorError
from chaosrunner.model.secret import Secret
from chaosrunner.world.abort import asked
from chaosrunner.world.clock import RealClock
from chaosrunner.world.injectors import RealTools
from chaosrunner.world.lock import OWNER, held
from chaosrunner.world.orphans import debts_of
from chaosrunner.world.runner_process import RunnerProcess
from chaosrunner.world.state_home import StateHome
from chaosrunner.world.succession import Heir, succeed
from chaosrunner.world.watch_orders import BEAT_EVERY_S, GO, READY, REFUSED, WatchOrders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaosrunner.model.fault import Injector, Recipe, Tools

LOOK_S = 10.0
"""Looking at a target before READY may take this long."""
LEAVES_S = 10.0
"""A runner that has given its journal up while it still owes may live this much longer, to say so."""
AGAIN_S = 0.1
"""Somebody else who has taken the run over is waited for, this long at a time."""


def main() -> int:
    """Watch the runner that the orders on stdin name.

    Returns:
        0 when there was nothing to do or all was undone, 1 when it could not get ready, 4 when something may be left.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    voice = _own_voice()
    try:
        orders = WatchOrders.of(_first_line(0))
        runner = RunnerProcess(orders.runner_pid, orders.runner_started)
        tools = RealTools()
        injectors = asyncio.run(_get_ready(orders, tools))
    except Exception as error:  # whatever it is, the runner must hear it
        _say(voice, f"{REFUSED} {str(error) or type(error).__name__}")
        return 1
    _say(voice, READY)
    if not _must_act(orders, runner):
        return 0
    heir = Heir(
        who="watchdog",
        clock=RealClock(),
        tools=tools,
        home=StateHome(Path(orders.home)),
        injector=injectors.__getitem__,
        budget_s=orders.budget_s,
        pending=lambda _: not runner.dead(),
    )
    return asyncio.run(_act(Path(orders.run_dir), runner, heir))


async def _get_ready(orders: WatchOrders, tools: Tools) -> dict[str, Injector]:
    injectors = {name: orders.injector(name) for name in orders.injectors}
    await asyncio.gather(*(_try_out(injectors[it.injector], it, tools) for it in orders.all_recipes() if it.reversible))
    return injectors


async def _try_out(injector: Injector, recipe: Recipe, tools: Tools) -> None:
    """Resolve its secrets, so that they are remembered, and look at its target, which needs all that an undo needs."""
    for template in secrets_in(recipe.data):
        tools.reveal(Secret(template))
    try:
        async with asyncio.timeout(LOOK_S):
            await injector.absent(recipe, tools)
    except Exception as error:  # a stranger's injector may raise anything
        why = str(error) or type(error).__name__
        raise InjectorError(f"{recipe.injector}: the way back cannot be gone: {why}") from error


def secrets_in(value: object) -> Iterator[str]:
    """The templates of all `{"secret": template}` in JSON values."""
    if isinstance(value, dict):
        if set(value) == {"secret"} and isinstance(value["secret"], str):
            yield value["secret"]
        for inner in value.values():
            yield from secrets_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from secrets_in(inner)


def _must_act(orders: WatchOrders, runner: RunnerProcess) -> bool:
    """Wait until the runner needs us, or says that it does not."""
    poll = select.poll()
    poll.register(runner.fd, select.POLLIN)
    poll.register(0, select.POLLIN)
    lock = Path(orders.run_dir) / OWNER
    # The monotonic clock stands still while the host sleeps: a runner that slept with us is not hung.
    heard, left = time.monotonic(), False
    while True:
        for fd, _ in poll.poll(int((AGAIN_S if left else BEAT_EVERY_S) * 1000)):
            if fd == runner.fd:
                return True
            said = os.read(0, 4096)
            if GO in said:
                return False
            if said:
                heard = time.monotonic()
            else:
                poll.unregister(0)
                left = True
        if left and not held(lock):
            return True
        run_dir = Path(orders.run_dir)
        if time.monotonic() - heard > orders.beat_lost_s and (asked(run_dir) or _overdue(run_dir)):
            # First it must not be able to act any more, even if somebody wakes it up later; then we act.
            runner.kill()


def _overdue(run_dir: Path) -> bool:
    now = RealClock().now()
    return any(debt.deadline_ns <= now for debt in debts_of(run_dir))


async def _act(run_dir: Path, runner: RunnerProcess, heir: Heir) -> int:
    """Take the run over and pay."""
    reaper = asyncio.create_task(_end_eventually(runner))
    try:
        until = time.monotonic() + heir.budget_s
        while time.monotonic() < until:
            try:
                payments = await succeed(run_dir, heir)
            except Busy:
                await asyncio.sleep(AGAIN_S)  # another heir was quicker; if it fails, it is our turn again
                continue
            for payment in payments:
                print(payment, file=sys.stderr)
            return 0 if all(payment.paid for payment in payments) else 4
        return 4
    finally:
        reaper.cancel()


async def _end_eventually(runner: RunnerProcess) -> None:
    """A runner that owes and does not end may hold a call that still lands: end it, so that an undo can be final."""
    await asyncio.sleep(LEAVES_S)
    runner.kill()


def _own_voice() -> int:
    """Our end of the pipe to the runner; whatever an injector starts or prints must not keep it open or speak on it."""
    voice = os.dup(1)
    os.dup2(2, 1)
    return voice


def _first_line(fd: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)  # not more: what follows are beats
        if not byte:
            raise EOFError("no orders came")
        line += byte
    return line


def _say(voice: int, text: str) -> None:
    try:
        os.write(voice, text.replace("\n", " ").encode() + b"\n")
    except BrokenPipeError:
        pass  # the runner is gone; whether it owes anything is in the journal


if __name__ == "__main__":
    sys.exit(main())
