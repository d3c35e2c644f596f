"""`chaosrunner run`: play an experiment, judge it, report it, and exit by the published code."""

from __future__ import annotations

from pathlib import Path

import click

from chaosrunner.errors import Mistake, Mistakes


@click.command("run")
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--system", help="Another system: a file, or a name in systems/ beside the experiment.")
@click.option("--plan", default="", metavar="HASH", help="Refuse if files or live targets differ from this plan.")
@click.option("--seed", type=int, help="Fix every choice of targets.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where run directories go.")
@click.option(
    "--cluster", metavar="URL", help="Send the load from the workers of this Dask scheduler: tcp:// or tls://."
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Play it N times, and tell the time to recover over all. [the file's `repeat`, else 1]",
)
@click.option("--control", is_flag=True, help="Break nothing: every fault is a noop of its length. Shows the noise.")
@click.option("--quiet", is_flag=True, help="Print nothing but what went wrong.")
def command(experiment: Path, system: str | None, repeat: int | None, **options: object) -> int:
    """Play EXPERIMENT on its system and judge it."""
    from chaosrunner.cli.compose import read_experiment
    from chaosrunner.cli.diagnostics import configure
    from chaosrunner.cli.interrupts import run_interruptibly
    from chaosrunner.cli.perform import Wishes, perform

    configure()
    value, wishes = read_experiment(experiment, system), Wishes(**options)  # type: ignore[arg-type]
    runs = value.repeat if repeat is None else repeat
    if runs > 1 or wishes.control:
        from chaosrunner.cli.repeats import repeat as play_repeatedly

        if wishes.plan:
            raise Mistakes([Mistake("--plan", 0, 0, "a plan is of one run; leave out --control, and say --repeat 1")])
        return run_interruptibly(lambda interrupts: play_repeatedly(value, wishes, runs, interrupts))
    return run_interruptibly(lambda interrupts: perform(value, wishes, interrupts))
