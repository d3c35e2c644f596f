"""`chaosrunner recover`: undo what dead runs left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosrunner.errors import Exit, Mistake, Mistakes

if TYPE_CHECKING:
    from chaosrunner.model.system import System
    from chaosrunner.world.succession import Heir, Payment

BUDGET_S = 60.0
"""Every debt is tried again for this long."""


@click.command("recover")
@click.argument("run_dirs", nargs=-1, metavar="[RUN_DIR]...", type=click.Path(path_type=Path))
@click.option("--all", "every", is_flag=True, help="Every dead run of the state directory.")
@click.option("--scan", metavar="SYSTEM", help="The journal is gone: find what carries our tag on a system.")
def command(run_dirs: tuple[Path, ...], every: bool, scan: str | None) -> int:
    """Undo what the dead run in RUN_DIR left behind. Never touches an active run.

    Exit code 0 when nothing is left, 4 when something may be.
    """
    if not (run_dirs or every or scan):
        raise Mistakes([Mistake("recover", 0, 0, "say what to recover: a run directory, --all, or --scan SYSTEM")])
    payments = asyncio.run(_pay(run_dirs, every, scan))
    for payment in payments:
        outcome = "put back" if payment.paid else f"MAY STILL BE IN PLACE: {payment.why}"
        click.echo(f"{payment.says}: {outcome}")
    if not payments:
        click.echo("nothing to recover")
    return Exit.HELD if all(payment.paid for payment in payments) else Exit.NOT_RESTORED


async def _pay(run_dirs: tuple[Path, ...], every: bool, scan: str | None) -> list[Payment]:
    from chaosrunner.world import recover
    from chaosrunner.world.injectors import load, names

    heir = new_heir("recover")
    payments = [payment for run_dir in run_dirs for payment in await recover.recover(run_dir, heir)]
    if every:
        payments += await recover.recover_all(heir)
    if scan:
        payments += await recover.scan(_system(scan), map(load, names()), heir)
    return payments


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
