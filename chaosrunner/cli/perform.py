"""Playing one experiment for real: build the world, play, judge, report, and leave nothing behind."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner import __version__
from chaosrunner.cli import insist
from chaosrunner.errors import Exit, JournalBroken, Mistake, Mistakes, worst_exit
from chaosrunner.model.events import ABORT, Crashed, RunStarted, Signalled

if TYPE_CHECKING:
    from chaosrunner.cli.compose import Plan
    from chaosrunner.cli.interrupts import Interrupts
    from chaosrunner.load.crew import Crew
    from chaosrunner.logic.fold import State
    from chaosrunner.model.experiment import Experiment
    from chaosrunner.model.fault import Context, Fault, Injector
    from chaosrunner.model.verdict import Verdict
    from chaosrunner.report.live import View
    from chaosrunner.run import World
    from chaosrunner.world.guarding import Watchdog
    from chaosrunner.world.journal import Journal
    from chaosrunner.world.reservations import Reservation
    from chaosrunner.world.state_home import StateHome

AFTERWARDS_S = 60.0
"""The load may live this much longer than the longest run, for heals that need retries; then it ends by itself."""

VIEW_EVERY_NS = 250_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line may ask for."""

    runs: Path = Path("runs")
    plan: str = ""
    seed: int | None = None
    quiet: bool = False
    cluster: str | None = None
    """Address of a Dask scheduler whose workers send the load; None: processes on this host do."""
    control: bool = False
    """Break nothing; of several runs only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One run about to be played: where, by which seed, with which injectors."""

    experiment: Experiment
    injectors: dict[str, Injector]
    run: str
    run_dir: Path
    plan: Plan
    home: StateHome
    crew: Crew
    reservation: Reservation


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One run that is over."""

    exit: Exit
    experiment: Experiment
    """As it was played: what was left to chance is drawn."""
    state: State
    run_dir: Path


async def perform(experiment: Experiment, wishes: Wishes, interrupts: Interrupts) -> Exit:
    """Play an experiment once and say what came of it. Raises what `performed` raises."""
    return (await performed(experiment, wishes, interrupts)).exit


async def performed(experiment: Experiment, wishes: Wishes, interrupts: Interrupts) -> Played:
    """Play an experiment once.

    From the journal's first event to its last, SIGINT, SIGTERM and SIGHUP, once or many times, are facts for `decide`;
    none of them interrupts an undo. Once all is undone there is nothing to interrupt any more.

    Raises:
        Mistakes: a target is not as the experiment says, the plan's targets changed, or there is no such cluster;
            nothing was touched.
        Orphaned: an earlier run left debts on this system; nothing was touched.
        Busy: another active run holds a claim; nothing was touched.
        Unavailable: no watchdog can get ready; nothing was touched.
    """
    from chaosrunner.cli.compose import injectors_of, new_run_id, resolve
    from chaosrunner.cli.hands import crew_of
    from chaosrunner.logic.composite import drawn
    from chaosrunner.world.claims import refuse_held
    from chaosrunner.world.orphans import refuse_orphans
    from chaosrunner.world.reservations import reserving
    from chaosrunner.world.state_home import StateHome

    seed = _seed(experiment, wishes)
    experiment = drawn(experiment, seed)
    injectors = injectors_of(experiment)
    home = StateHome.find()
    insist.on_state(home)
    insist.on_hours(experiment)
    refuse_orphans(experiment.system.name, home, scan=experiment.system.file)
    plan = await resolve(experiment, injectors, seed)
    insist.on_plan(wishes.plan, plan)
    insist.on_guard(experiment, plan, home)
    refuse_held(home, (claim for recipe in plan.recipes for claim in recipe.claims))
    run = new_run_id()
    run_dir = wishes.runs / run
    with reserving(home, experiment, run_dir) as reservation:
        if experiment.faults:
            await reservation.take(plan.recipes)
        async with crew_of(experiment.system, wishes.cluster) as crew:
            stage = Stage(
                experiment=experiment,
                injectors=injectors,
                run=run,
                run_dir=run_dir,
                plan=plan,
                home=home,
                crew=crew,
                reservation=reservation,
            )
            async with journalling(stage) as journal:
                with interrupts.answered_by(lambda name: journal.write(Signalled(signal=name))):
                    await _play(stage, journal, wishes)
                with interrupts.answered_by(lambda name: None):
                    code = await _report(stage, journal, wishes)
                return Played(exit=code, experiment=experiment, state=journal.state, run_dir=stage.run_dir)


async def _play(stage: Stage, journal: Journal, wishes: Wishes) -> None:
    from chaosrunner.cli.abort_key import abort_key, seen_by_somebody
    from chaosrunner.run import play
    from chaosrunner.world.injectors import scanners
    from chaosrunner.world.residue import sweep

    def pressed() -> None:
        journal.write(Signalled(signal=ABORT))

    keyboard = 0 if seen_by_somebody() and not wishes.quiet else -1
    async with guarding(stage, journal) as watchdog:
        with abort_key(pressed, fd=keyboard) as hint:
            view = _view(stage, wishes, hint)
            world = _world(stage, journal, watchdog, view)
            try:
                with view:
                    await play(stage.experiment, world, journal)
            except Exception as error:
                # A bug of ours. `play` has put everything back on its way out, or the journal says what is left.
                journal.write(Crashed(where="engine", why=f"{type(error).__name__}: {error}"))
                _log_bug(error)
        await sweep(world.undo, journal, scanners)


def _view(stage: Stage, wishes: Wishes, hint: str) -> View:
    """How the run is shown; the key is said where the screen is, or on stderr beside plain lines."""
    from chaosrunner.report.live import LiveView, SilentView, view_for

    if wishes.quiet:
        return SilentView()
    view = view_for(stage.experiment, stage.run, sys.stdout, os.environ, hint=hint)
    if hint and not isinstance(view, LiveView):
        print(hint, file=sys.stderr)
    return view


def _log_bug(error: Exception) -> None:
    import structlog

    structlog.get_logger().error("the engine failed", exc_info=error)


def _world(stage: Stage, journal: Journal, watchdog: Watchdog | None, view: View) -> World:
    """Everything that can be touched, built here and nowhere else."""
    from chaosrunner.cli.compose import context_for
    from chaosrunner.load.driver import LoadDriver
    from chaosrunner.run import World
    from chaosrunner.world.abort import watch_requests
    from chaosrunner.world.clock import RealClock
    from chaosrunner.world.hours import watch_hours
    from chaosrunner.world.injectors import RealTools
    from chaosrunner.world.pressure import watch_pressure
    from chaosrunner.world.probes import ask_on_schedule
    from chaosrunner.world.spare import spare, targets_here
    from chaosrunner.world.undo import UndoKit

    experiment, clock, tools = stage.experiment, RealClock(), RealTools()
    load = LoadDriver(
        experiment.load,
        entry=experiment.system.entry,
        places={
            place: dsn
            for place in experiment.load.places
            if (dsn := experiment.system.components[place].dsn) is not None
        },
        run=stage.run,
        seed=stage.plan.seed,
        longest_s=experiment.longest_s + AFTERWARDS_S,
        clock=clock,
        tools=tools,
        crew=stage.crew,
    )

    def started() -> frozenset[int]:
        return load.pids() | ({watchdog.pid} if watchdog else frozenset())

    def context(fault: Fault) -> Context:
        ours = spare(experiment.system, started)
        seen = context_for(experiment, fault, run=stage.run, seed=stage.plan.seed, tools=tools, spare=ours)
        return replace(seen, keep=(*seen.keep, str(stage.run_dir)))

    async def show(journal: Journal) -> None:
        while True:
            view.update(journal.state, clock.now())
            await clock.sleep_until(clock.now() + VIEW_EVERY_NS)

    async def probe(journal: Journal) -> None:
        await ask_on_schedule(experiment.probes, entry=experiment.system.entry, clock=clock, report=journal.write)

    async def pressure(journal: Journal) -> None:
        await watch_pressure(targets_here(experiment.system), clock=clock, report=journal.write)

    async def hours(journal: Journal) -> None:
        await watch_hours(experiment, clock=clock, report=journal.write)

    async def requests(journal: Journal) -> None:
        await watch_requests(stage.run_dir, clock=clock, report=journal.write)

    observers: list[Callable[[Journal], Awaitable[None]]] = [show, probe, pressure, hours, requests]
    kit = UndoKit(
        experiment=experiment,
        injectors=stage.injectors,
        tools=tools,
        clock=clock,
        home=stage.home,
        run_dir=stage.run_dir,
        context=context,
        reservation=stage.reservation,
        guard=watchdog,
    )
    return World(clock=clock, load=load, undo=kit, observers=tuple(observers))


@asynccontextmanager
async def journalling(stage: Stage) -> AsyncIterator[Journal]:
    """A journal of its own run directory, signed on in the state home while it may owe something."""
    from chaosrunner.cli.diagnostics import log_entry
    from chaosrunner.world.clock import RealClock
    from chaosrunner.world.journal import Journal
    from chaosrunner.world.state_home import Registered, registered

    experiment, clock = stage.experiment, RealClock()
    try:
        journal = Journal.create(stage.run_dir, clock)
    except JournalBroken as error:
        raise Mistakes([Mistake("--runs", 0, 0, str(error))]) from error
    journal.on_entry = log_entry
    try:
        journal.write(
            RunStarted(
                run=stage.run,
                question=experiment.question,
                file=experiment.file,
                source=experiment.source,
                system=experiment.system.name,
                system_file=experiment.system.file,
                system_source=experiment.system_source,
                seed=stage.plan.seed,
                boot=clock.boot(),
                version=__version__,
                plan=stage.plan.hash,
                variables=experiment.variables,
            )
        )
        with registered(stage.home, Registered(experiment.system.name, stage.run, stage.run_dir), journal):
            yield journal
    finally:
        await journal.close()


@asynccontextmanager
async def guarding(stage: Stage, journal: Journal) -> AsyncIterator[Watchdog | None]:
    """A watchdog for as long as the body lasts; none when there is nothing to break."""
    from chaosrunner.world.guarding import guarded
    from chaosrunner.world.watch_orders import orders_for

    if not stage.experiment.faults:
        yield None
        return
    orders = orders_for(stage.run_dir, stage.home, stage.injectors.values(), stage.plan.recipes)
    async with guarded(journal, orders) as watchdog:
        yield watchdog


async def _report(stage: Stage, journal: Journal, wishes: Wishes) -> Exit:
    """Judge what was written, write every report, print the end, and choose the exit code."""
    from chaosrunner.logic.judge import judge
    from chaosrunner.report.console import show
    from chaosrunner.report.terminal import final
    from chaosrunner.world.orphans import advice

    verdict = judge(stage.experiment, journal.state)
    evidence, problem = await _write(stage, journal, verdict)
    repair = advice([stage.run_dir]) if verdict.exit is Exit.NOT_RESTORED else ""
    if verdict.residue:
        repair = f"{repair} --scan {shlex.quote(stage.experiment.system.file)}"
    if not wishes.quiet:
        show(final(verdict, stage.experiment, evidence=evidence, repair=repair), sys.stdout)
    elif repair:
        print(repair, file=sys.stderr)
    return worst_exit([verdict.exit, problem])


async def _write(stage: Stage, journal: Journal, verdict: Verdict) -> tuple[str, Exit]:
    """The report's place, empty when there is none, and an exit code for a bug on the way there."""
    from chaosrunner.report.write import write_all
    from chaosrunner.world.journal import read

    try:
        await journal.durable(journal.state.n)  # reports are written from what a later reader will find
        entries = list(read(stage.run_dir))
        return str(write_all(stage.run_dir, verdict, stage.experiment, journal.state, entries)["html"]), Exit.HELD
    except (OSError, JournalBroken) as error:
        print(f"chaosrunner: the reports could not be written: {error}", file=sys.stderr)
        return "", Exit.HELD
    except Exception as error:
        _log_bug(error)
        return "", Exit.INTERNAL


def _seed(experiment: Experiment, wishes: Wishes) -> int:
    from chaosrunner.cli.compose import new_seed, seed_of

    if wishes.plan:
        return seed_of(wishes.plan)
    return next((seed for seed in (wishes.seed, experiment.seed) if seed is not None), new_seed())
