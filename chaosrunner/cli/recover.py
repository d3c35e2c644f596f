"""`chaosrunner recover`: undo what dead runs left behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosrunner.cli.results import tell
from chaosrunner.errors import Exit, Mistake, Mistakes, worst_exit
from chaosrunner.world.paper import EVENTS

if TYPE_CHECKING:
    from chaosrunner.cli.interrupts import Interrupts
    from chaosrunner.model.system import System
    from chaosrunner.world.state_home import StateHome
    from chaosrunner.world.succession import Heir, Payment

BUDGET_S = 60.0
"""Every debt is tried again for this long."""


@click.command("recover")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--all", "every", is_flag=True, help="Every dead run of the state directory.")
@click.option(
    "--scan", metavar="SYSTEM", help="Pay what dead runs owe on a system, even without journals, and find our tag."
)
def command(runs: tuple[str, ...], every: bool, scan: str | None) -> int:
    """Undo what the dead run RUN left behind. Never touches an active run.

    RUN is a run directory, or the id of a run that the state directory knows. Signals wait until all has been tried.
    On other hosts --scan leaves alone what goes on there for runs unknown here, and says so.
    Exit code 0 when nothing of ours is left, 4 when something may be.
    """
    from chaosrunner.cli.diagnostics import configure
    from chaosrunner.cli.interrupts import run_interruptibly

    if not (runs or every or scan):
        raise Mistakes([Mistake("recover", 0, 0, "say what to recover: a run directory, --all, or --scan SYSTEM")])
    configure()
    return run_interruptibly(lambda interrupts: _recover(runs, every, scan, interrupts))


async def _recover(runs: tuple[str, ...], every: bool, scan: str | None, interrupts: Interrupts) -> int:
    """Pay, then tell: whatever becomes of our reader, it has been done."""
    heir = new_heir("recover")
    run_dirs = [run_dir_of(run, heir.home) for run in runs]
    system = _system(scan) if scan else None
    signals: list[str] = []
    with interrupts.answered_by(signals.append):
        payments = await _pay(run_dirs, every, system, heir)
    for payment in payments:
        tell(str(payment))
    if not payments:
        tell("nothing to recover")
    codes = [Exit.HELD if payment.paid else Exit.NOT_RESTORED for payment in payments]
    return worst_exit([*codes, Exit.INTERRUPTED] if signals else codes)


async def _pay(run_dirs: list[Path], every: bool, system: System | None, heir: Heir) -> list[Payment]:
    from chaosrunner.world import recover
    from chaosrunner.world.injectors import load, names

    payments = [payment for run_dir in run_dirs for payment in await recover.recover(run_dir, heir)]
    if every:
        payments += await recover.recover_all(heir)
    if system is not None:
        payments += await recover.scan(system, map(load, names()), heir)
    return payments


def run_dir_of(run: str, home: StateHome) -> Path:
    """A run directory, also by the id of its run. Raises Mistakes when neither is known."""
    path = Path(run)
    if (path / EVENTS).is_file():
        return path
    if path.name == EVENTS and path.is_file():
        return path.parent
    known = [one.run_dir for one in home.runs() if one.run == run]
    if not known:
        known = [folder for folder in (Path("runs") / run,) if (folder / EVENTS).is_file()]
    if not known:
        why = "no journal is here, and no run of that id owes anything (any more); name its directory, or see --scan"
        raise Mistakes([Mistake(run, 0, 0, why)])
    return known[0]


def new_heir(who: str) -> Heir:
    """Someone who may take over a dead run's journal and pay, with this process's environment."""
    from chaosrunner.world.clock import RealClock
    from chaosrunner.world.injectors import RealTools, load
    from chaosrunner.world.state_home import StateHome
    from chaosrunner.world.succession import Heir

    home = StateHome.find()
    return Heir(who=who, clock=RealClock(), tools=RealTools(), home=home, injector=load, budget_s=BUDGET_S)


def _system(name: str) -> System:
    from chaosrunner.logic.parse import load_system
    from chaosrunner.world.files import around_here

    candidates = [Path(name), Path(f"experiments/systems/{name}.yaml"), Path(f"systems/{name}.yaml")]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise Mistakes([Mistake("--scan", 0, 0, f"no system file '{name}'; expected a path or a name in systems/")])
    return load_system(found, around_here())
