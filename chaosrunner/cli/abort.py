"""`chaosrunner abort`: give up runs that are under way, now, and put everything back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosrunner.cli.results import tell
from chaosrunner.errors import Exit, Mistake, Mistakes, worst_exit

if TYPE_CHECKING:
    from chaosrunner.cli.interrupts import Interrupts
    from chaosrunner.world.state_home import Registered, StateHome
    from chaosrunner.world.succession import Payment


@click.command("abort")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--system", metavar="NAME", help="Every run that is under way on this system.")
@click.option("--all", "every", is_flag=True, help="Every run that is under way, as without any argument.")
def command(runs: tuple[str, ...], system: str | None, every: bool) -> int:
    """Abort RUN, or every run under way of this state directory, and wait until everything is put back.

    A runner that is stopped or hangs is ended by its watchdog, or by this command, and what it owes is paid in its
    place. The aborted runs themselves end with exit code 3. Exit code 0 here when nothing is left, 4 when something
    may be.
    """
    from chaosrunner.cli.diagnostics import configure
    from chaosrunner.cli.interrupts import run_interruptibly

    if every and (runs or system):
        raise Mistakes([Mistake("abort", 0, 0, "'--all' means every run; leave out the others, or '--all'")])
    configure()
    return run_interruptibly(lambda interrupts: _abort(runs, system, interrupts))


async def _abort(runs: tuple[str, ...], system: str | None, interrupts: Interrupts) -> int:
    from chaosrunner.cli.recover import new_heir, run_dir_of
    from chaosrunner.world.abort import abort
    from chaosrunner.world.orphans import advice

    heir = new_heir("abort")
    chosen = [run_dir_of(run, heir.home) for run in runs]
    if system or not runs:
        chosen += [run.run_dir for run in _under_way(heir.home, system)]
    if not chosen:
        if system and (others := _under_way(heir.home, None)):
            raise _not_that(system, others)
        tell("nothing is under way")
    signals: list[str] = []
    with interrupts.answered_by(signals.append):
        found = await asyncio.gather(*(abort(run_dir, heir) for run_dir in chosen), return_exceptions=True)
    codes = [_told(run_dir, came, advice([run_dir])) for run_dir, came in zip(chosen, found, strict=True)]
    return worst_exit([*codes, Exit.INTERRUPTED] if signals else codes)


def _under_way(home: StateHome, system: str | None) -> list[Registered]:
    """Runs that somebody owns, and those of which nobody has put back what they owe."""
    from chaosrunner.world.lock import OWNER, held
    from chaosrunner.world.orphans import debts_of

    def lives(run: Registered) -> bool:
        # A directory that somebody has moved or removed: nobody can tell, so it is said.
        return not run.run_dir.exists() or held(run.run_dir / OWNER) or bool(debts_of(run.run_dir))

    return [run for run in home.runs(system) if lives(run)]


def _not_that(system: str, others: list[Registered]) -> Mistakes:
    """Whoever is in a hurry must not take a slip of the pen for the end of a fault."""
    from chaosrunner.logic.parse.spelling import one_of, quoted

    there = one_of(f"{run.run_dir.name} on {quoted(run.system)}" for run in others)
    return Mistakes([Mistake("abort", 0, 0, f"nothing is under way on {quoted(system)}; did you mean {there}?")])


def _told(run_dir: Path, came: list[Payment] | BaseException, repair: str) -> Exit:
    """Say what became of one run."""
    if isinstance(came, FileNotFoundError):
        tell(f"{run_dir.name}: NOT ABORTED: {run_dir} is gone; end its runner with SIGTERM, should it live, and look")
        tell("  what is left with: chaosrunner recover --scan SYSTEM")
        return Exit.NOT_RESTORED
    if isinstance(came, BaseException):
        tell(f"{run_dir.name}: NOT ABORTED: {came}")
        return Exit.NOT_RESTORED
    left = [payment for payment in came if not payment.paid]
    tell(f"{run_dir.name}: " + ("aborted, but not restored" if left else "aborted, nothing of it is left"))
    for payment in came:
        tell(f"  {payment}")
    if left:
        tell(f"  repair with: {repair}")
    return Exit.NOT_RESTORED if left else Exit.HELD
