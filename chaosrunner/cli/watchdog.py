"""`chaosrunner watchdog`: stand guard outside, where the death of a runner's container or cgroup does not reach."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosrunner.cli.results import tell
from chaosrunner.errors import Exit

if TYPE_CHECKING:
    from chaosrunner.world.succession import Heir, Payment


@click.command("watchdog")
@click.option("--state", type=click.Path(path_type=Path), help="State directory to guard (default: this user's own).")
def command(state: Path | None) -> int:
    """Undo what any run of a state directory leaves behind, as soon as it is dead, until SIGINT or SIGTERM.

    While it stands guard, faults that only a runner's host can end need no 'accept: unguarded'.
    """
    from chaosrunner.cli.compose import OUTSIDE
    from chaosrunner.cli.recover import new_heir
    from chaosrunner.world.lock import FileLock
    from chaosrunner.world.state_home import StateHome

    heir = new_heir("outside watchdog")
    if state:
        heir = replace(heir, home=StateHome(state.absolute()))
    heir.home.folder("systems")
    lock = FileLock.take(heir.home.path / OUTSIDE, says="chaosrunner watchdog")
    try:
        asyncio.run(_guard(heir))
    finally:
        lock.release(remove=True)
    return Exit.HELD


async def _guard(heir: Heir) -> None:
    from chaosrunner.world.guard import guard

    stop = asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(one, stop.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal that goes away must not take the guard with it
    tell(f"guarding {heir.home.path}")

    def report(payment: Payment) -> None:
        tell(str(payment))

    await guard(heir, stop, report)
