"""THE PROGRAM on one screen: play an experiment, then have it judged.

1. `world.load` starts its workers and begins to send; `world.observers` watch (probes, host pressure, heartbeat).
2. `decide` looks at what is known, the fold of the journal, and names the next step.
3. The step is written down before it is acted on.
4. Injects and heals are tasks: their way back is on disk before any harm, and their answers come back as facts.
5. Signals, crashed children and failed injects are facts too: `decide` reads them, nothing is ever cancelled into.
6. On every way out harm is undone first; only then does the load stop.
7. What was written is judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from chaosrunner.logic.decide import decide
from chaosrunner.logic.judge import judge
from chaosrunner.model.events import Crashed, Decided, Ended, PhaseEntered
from chaosrunner.model.steps import Abort, Done, Enter, Heal, Inject, Wait, name_of, why_of
from chaosrunner.world.undo import UndoKit, undoing

if TYPE_CHECKING:
    from chaosrunner.load.driver import LoadDriver
    from chaosrunner.model.experiment import Experiment
    from chaosrunner.model.verdict import Verdict
    from chaosrunner.world.clock import Clock
    from chaosrunner.world.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that can be touched, built in one place (`cli`) and passed down."""

    clock: Clock
    load: LoadDriver
    undo: UndoKit
    observers: tuple[Callable[[Journal], Awaitable[None]], ...] = ()
    """Each runs for the whole play and writes facts; a crash of one is a fact as well."""


async def run(experiment: Experiment, world: World, journal: Journal) -> Verdict:
    """Play the experiment, then judge what was written; a bug of ours is a fact as well, and everything is healed."""
    try:
        await play(experiment, world, journal)
    except Exception as error:
        journal.write(Crashed(where="engine", why=f"{type(error).__name__}: {error}"))
    return judge(experiment, journal.state)


async def play(experiment: Experiment, world: World, journal: Journal) -> None:
    """Play the experiment in the world and write down what happens."""
    async with meanwhile(journal, world), undoing(world.undo, journal) as undo:
        while not isinstance(step := decide(experiment, journal.state, now := world.clock.now()), Done):
            if not isinstance(step, Wait):
                journal.write(Decided(step=name_of(step), why=why_of(step), now_ns=now))  # folds at once, never waits
            match step:
                case Wait(until):
                    await journal.news(until)
                case Enter(phase, at):
                    journal.write(PhaseEntered(phase=phase, at_ns=at))
                case Inject(fault):
                    undo.inject(fault)  # starts a task; the way back is written first
                case Heal(fault):
                    undo.heal(fault)
                case Abort():
                    undo.hurry()  # from now on `decide` only heals
                case _:
                    assert_never(step)
        journal.write(Decided(step=name_of(step), why=step.why, now_ns=now))
        journal.write(Ended(why=step.why, at_ns=now))


@asynccontextmanager
async def meanwhile(journal: Journal, world: World) -> AsyncIterator[None]:
    """Send the load and run the observers for as long as the body lasts; stop the load gently afterwards."""

    async def as_fact(name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            journal.write(Crashed(where=name, why=f"{type(error).__name__}: {error}"))

    load = asyncio.create_task(as_fact("load", world.load.run(journal.write)), name="load")
    observers = [
        asyncio.create_task(as_fact(getattr(watch, "__name__", "observer"), watch(journal)))
        for watch in world.observers
    ]
    try:
        yield
    finally:
        world.load.stop()
        await load
        for task in observers:
            task.cancel()
        await asyncio.gather(*observers, return_exceptions=True)
