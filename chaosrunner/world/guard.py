"""The outside guard: `chaosrunner watchdog --state DIR`, in another container or session than the runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chaosrunner.errors import Busy, ChaosrunnerError
from chaosrunner.model.units import NANOS
from chaosrunner.world.orphans import orphaned
from chaosrunner.world.succession import Payment, succeed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chaosrunner.world.state_home import Registered
    from chaosrunner.world.succession import Heir

EVERY_S = 1.0
RESTS_S = 30.0
"""After a debt could not be paid, that run is left alone for this long: somebody else may want to try."""


async def guard(heir: Heir, stop: asyncio.Event, report: Callable[[Payment], object]) -> None:
    """Pay the debts of every run of the state directory as soon as its owner is gone, until told to stop.

    It outlives what a run's own watchdog does not: the death of the runner's container, cgroup or session.
    """
    rests: dict[Path, int] = {}
    while not stop.is_set():
        for run in orphaned(heir.home):
            if heir.clock.now() < rests.get(run.run_dir, 0):
                continue
            payments = await _pay(run, heir)
            for payment in payments:
                report(payment)
            if not all(payment.paid for payment in payments):
                rests[run.run_dir] = heir.clock.now() + int(RESTS_S * NANOS)
        try:
            async with asyncio.timeout(EVERY_S):
                await stop.wait()
        except TimeoutError:
            continue


async def _pay(run: Registered, heir: Heir) -> list[Payment]:
    try:
        return await succeed(run.run_dir, heir)
    except Busy:
        return []  # its own watchdog was quicker
    except ChaosrunnerError as error:
        return [Payment(run.run_dir, -1, f"run {run.run} on {run.system}", False, str(error))]
