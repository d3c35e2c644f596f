"""`chaosrunner demo`: start the bundled system and play an experiment on it, or only serve it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosrunner.errors import Mistake, Mistakes

if TYPE_CHECKING:
    from chaosrunner.cli.interrupts import Interrupts

FLAGSHIP = "experiments/lost-replica-slow-database.yaml"


@click.command("demo")
@click.argument("experiment", type=click.Path(path_type=Path), required=False)
@click.option("--fragile", is_flag=True, help="With everyday defects: constant health, leaking sessions, …")
@click.option("--isolated", is_flag=True, help="The model in a network namespace of its own; needs root.")
@click.option("--own-disk", is_flag=True, help="Audit trails, on a small disk that only the demo has.")
@click.option("--cache", is_flag=True, help="Replicas read through a cache, in a Redis that only the demo has.")
@click.option("--serve", is_flag=True, help="Only start the system and keep it until SIGINT or SIGTERM.")
@click.option("--base-port", type=int, default=None, help="First of the demo's ports (18080).")
@click.option("--dsn", default="", help="Use this Postgres instead of starting one.")
@click.option(
    "--pg-bin", type=click.Path(path_type=Path), default=None, help="Start Postgres from this directory of binaries."
)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where run directories go.")
@click.option("--quiet", is_flag=True, help="Print nothing but what went wrong.")
def command(experiment: Path | None, serve: bool, **options: object) -> int:
    """Start the bundled system, play EXPERIMENT on it, and stop it again.

    Without EXPERIMENT: a replica dies while the database is slow.
    """
    from chaosrunner.cli.diagnostics import configure
    from chaosrunner.cli.interrupts import run_interruptibly

    configure()
    if serve:
        return _serve(options)
    path = experiment or shipped(FLAGSHIP)
    return run_interruptibly(lambda interrupts: _play(path, options, interrupts))


def shipped(name: str) -> Path:
    """A file of the checkout this package is installed from, or of the working directory. Raises Mistakes."""
    import chaosrunner

    for root in (Path(), Path(chaosrunner.__file__).resolve().parents[1]):
        if (root / name).is_file():
            return root / name
    raise Mistakes([Mistake("demo", 0, 0, f"{name} is not here; name an experiment file, or run it in a checkout")])


def _serve(options: dict[str, object]) -> int:
    from chaosrunner.demo import serve

    args = [f"--base-port={options['base_port']}"] if options["base_port"] else []
    args += [f"--dsn={options['dsn']}"] if options["dsn"] else []
    args += [f"--pg-bin={options['pg_bin']}"] if options["pg_bin"] else []
    args += [f"--{flag.replace('_', '-')}" for flag in ("fragile", "isolated", "own_disk", "cache") if options[flag]]
    return serve(args)


async def _play(path: Path, options: dict[str, object], interrupts: Interrupts) -> int:
    from chaosrunner.cli.compose import read_experiment
    from chaosrunner.cli.perform import Wishes, perform
    from chaosrunner.demo.options import DISK_VARIABLE, DemoOptions
    from chaosrunner.demo.running import running_demo

    names = ("fragile", "isolated", "own_disk", "cache", "base_port", "dsn", "pg_bin")
    given = {name: options[name] for name in names if options[name]}
    wishes = Wishes(runs=Path(str(options["runs"])), quiet=bool(options["quiet"]))
    read_experiment(path, None)  # mistakes first: a system need not be started to find them
    async with running_demo(DemoOptions(**given)) as demo:  # type: ignore[arg-type]
        if demo.options.own_disk:
            os.environ[DISK_VARIABLE] = str(demo.disk)
        return await perform(read_experiment(path, str(demo.system_file)), wishes, interrupts)
