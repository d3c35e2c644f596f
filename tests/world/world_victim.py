"""A runner to be killed: injects, holds and heals with the real journal, claims and watchdog.

It prints `begun` once the watchdog is ready and `ended <boundaries>` when it has come to its end alive.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from world_rig import Flag, LateFlag, experiment_on, kit_for

from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.model.events import Ended, Signalled
from chaosrunner.world.clock import RealClock
from chaosrunner.world.guarding import guarded
from chaosrunner.world.journal import Journal
from chaosrunner.world.paper import Disk
from chaosrunner.world.state_home import Registered, registered
from chaosrunner.world.undo import undoing
from chaosrunner.world.watch_orders import orders_for


class Boundaries:
    """Counts the places where a runner may die or be stopped, and is at one of them."""

    def __init__(self, dies_at: int, number: int = signal.SIGKILL):
        self.dies_at = dies_at
        self.number = number
        self.passed = 0

    def cross(self):
        """Here."""
        self.passed += 1
        if self.passed - 1 == self.dies_at:
            os.kill(os.getpid(), self.number)


class DyingDisk(Disk):
    """May die before, in the middle of and after each write, and before and after each sync."""

    def __init__(self, boundaries):
        self.boundaries = boundaries

    def write(self, fd, data):
        """In two halves."""
        self.boundaries.cross()
        done = super().write(fd, data[: len(data) // 2])
        self.boundaries.cross()
        while done < len(data):
            done += super().write(fd, data[done:])
        self.boundaries.cross()
        return done

    def fsync(self, fd):
        """As it is."""
        self.boundaries.cross()
        super().fsync(fd)
        self.boundaries.cross()


class DyingFlag(Flag):
    """May die around every call that touches."""

    boundaries = Boundaries(-1)
    undo_takes_s = 0.0

    async def inject(self, recipe, tools):
        """As it is."""
        self.boundaries.cross()
        await super().inject(recipe, tools)
        self.boundaries.cross()

    async def undo(self, recipe, tools):
        """As it is."""
        self.boundaries.cross()
        await asyncio.sleep(self.undo_takes_s)
        await super().undo(recipe, tools)
        self.boundaries.cross()


class DyingLateFlag(DyingFlag, LateFlag):
    """The same, with an effect that comes late."""

    name = "test.late"


async def until(journal, condition):
    """Wait for a fact, at most 20 s."""
    async with asyncio.timeout(20):
        while not condition(journal.state):
            await journal.news(RealClock().now() + 10**8)


def stops(state):
    """Whether there is a reason to heal at once."""
    return state.watchdog_lost or state.signals


async def play(order):
    """There, hold, and back."""
    folder, clock, boundaries = Path(order["folder"]), RealClock(), Boundaries(order["dies_at"], order["of"])
    folder.mkdir()  # noqa: ASYNC240 - nothing else runs yet
    DyingFlag.boundaries, DyingFlag.undo_takes_s = boundaries, order.get("undo_takes_s", 0.0)
    injectors = [DyingFlag(), DyingLateFlag()]
    experiment = experiment_on(folder, "test.flag", "test.late", for_s=order["hold_s"])
    kit = kit_for(experiment, folder, *injectors, clock=clock, grace_s=order["grace_s"])
    run = Registered(experiment.system.name, "r1", kit.run_dir)
    recipes = [await injectors[fault.index].prepare(fault, kit.context(fault)) for fault in experiment.faults]
    journal = Journal.create(kit.run_dir, clock, DyingDisk(boundaries))
    orders = replace(orders_for(kit.run_dir, kit.home, injectors, recipes), beat_lost_s=0.7)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, journal.write, Signalled(signal=number.name))
    try:
        with registered(kit.home, run, journal):
            async with guarded(journal, orders) as watchdog:
                await through(journal, replace(kit, guard=watchdog), order["hold_s"])
    finally:
        await journal.close()
    print("ended", boundaries.passed, flush=True)


async def through(journal, kit, hold_s):
    """One fault after the other, both at once for a while."""
    print("begun", flush=True)
    async with undoing(kit, journal) as undo:
        for index in range(2):
            undo.inject(index)
            await until(journal, lambda state, i=index: state.fault(i).proven or stops(state))
        over = kit.clock.now() + int(hold_s * 1e9)
        while kit.clock.now() < over and not stops(journal.state):
            await journal.news(over)
        undo.heal(1)
        await until(journal, lambda state: state.fault(1).status is FaultStatus.PAID or stops(state))
    journal.write(Ended(why="proven", at_ns=kit.clock.now()))


def main():
    """As `python -c 'import world_victim; world_victim.main()' JSON`, so that its injectors have a module's name."""
    asyncio.run(play(json.loads(sys.argv[1])))
