"""`chaosrunner search`: the same experiment again and again, until it is known where it stops holding."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chaosrunner.errors import Exit, Mistake, Mistakes

if TYPE_CHECKING:
    from chaosrunner.cli.expedition import Expedition
    from chaosrunner.logic.search.boundary import Ladder
    from chaosrunner.logic.search.words import Unit
    from chaosrunner.model.experiment import Experiment

T = TypeVar("T")
Command = Callable[..., Any]

OPTIONS = (
    click.option("--system", help="Another system: a file, or a name in systems/ beside the experiment."),
    click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where the search goes."),
    click.option("--seed", type=int, help="Fix every choice: of targets, of arrivals at random."),
    click.option("--cluster", metavar="URL", help="Send the load from the workers of this Dask scheduler."),
    click.option("--rest", default="2s", show_default=True, help="Pause between runs, for queues to empty."),
    click.option("--quiet", is_flag=True, help="Print nothing but what went wrong."),
)

ASKED = (
    click.option("--precision", default="5%", show_default=True, help="How narrow the interval is to be."),
    click.option("--confidence", default="95%", show_default=True, help="How sure it is to be."),
    click.option(
        "--most",
        type=click.IntRange(1, 1000),
        default=40,
        show_default=True,
        metavar="N",
        help="Trials after which it is given up.",
    ),
    click.option("--at-least", default="", metavar="LEVEL", help="Exit 1 if less holds, 0 if this or more does."),
)


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """A decorator for several options, in the order of the help."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group("search")
def command() -> None:
    """Repeat an experiment until it is known where it stops holding.

    Every trial is a whole run in the search's own directory. Exit codes: 0 found (or --at-least holds), 1 less than
    --at-least holds, 3 not found; 2, 4, 70 and 130 as for a run.
    """


@command.command("capacity")
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option(
    "--from", "first", default="", metavar="LOAD", help="The lowest load, e.g. 50/s. [a quarter of the file's]"
)
@click.option("--to", "last", default="", metavar="LOAD", help="The highest load. [16 times the file's]")
@click.option("--for", "lasts", default="", metavar="TIME", help="How long each load is looked at. [the baseline]")
@click.option("--with-faults", is_flag=True, help="Then the capacity under each of the faults, and what they cost.")
@with_options(*ASKED, *OPTIONS)
def capacity(experiment: Path, **options: Any) -> int:
    """Find the highest load at which EXPERIMENT's hypothesis holds without a fault, its knee and its collapse.

    What must hold is `before`, and of `during` what is absolute and not bounded by `before`.
    """
    from chaosrunner.cli.seeking import seek_capacity

    return started(experiment, "capacity", options, seek_capacity)


@command.command("dose")
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--of", required=True, metavar="DOSE", help="Which: 'database add', 'proxy.latency add' or 'add'.")
@click.option("--from", "first", required=True, metavar="DOSE", help="The most harmless dose.")
@click.option(
    "--to", "last", required=True, metavar="DOSE", help="The most harmful one; smaller, where less harms more."
)
@with_options(*ASKED, *OPTIONS)
def dose(experiment: Path, **options: Any) -> int:
    """Find the smallest dose of a fault at which EXPERIMENT breaks.

    No dose is ever more than twice the largest that has held.
    """
    from chaosrunner.cli.seeking import seek_dose

    return started(experiment, "dose", options, seek_dose)


@command.command("hysteresis")
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--from", "first", required=True, metavar="LOAD", help="Where the ramp begins and ends.")
@click.option("--to", "last", required=True, metavar="LOAD", help="Where it turns.")
@click.option("--over", default="30s", show_default=True, metavar="TIME", help="How long each ramp takes.")
@with_options(*OPTIONS)
def hysteresis(experiment: Path, **options: Any) -> int:
    """Ramp the load up and down again: does goodput come back when the overload is gone?"""
    from chaosrunner.cli.overloading import seek_hysteresis

    return started(experiment, "hysteresis", options, seek_hysteresis)


def started(path: Path, kind: str, options: dict[str, Any], work: Any) -> int:
    """Read the experiment, then do the work of a verb that plays it many times. Raises Mistakes."""
    from chaosrunner.cli.compose import new_seed, read_experiment
    from chaosrunner.cli.diagnostics import configure
    from chaosrunner.cli.interrupts import run_interruptibly

    configure()
    value = read_experiment(path, options.pop("system"))
    seed = next((seed for seed in (options.pop("seed"), value.seed) if seed is not None), new_seed())
    return run_interruptibly(lambda interrupts: work(value, Asking(kind, seed, options), interrupts))


class Asking:
    """What the command line asks for, read piece by piece; each mistake is one line."""

    def __init__(self, kind: str, seed: int, options: dict[str, Any]) -> None:
        self.kind = kind
        self.seed = seed
        self._options = options

    def __getitem__(self, name: str) -> Any:
        return self._options[name]

    def read(self, option: str, name: str, reader: Callable[[str], T]) -> T:
        """An option by a pure reader of its text. Raises Mistakes."""
        from chaosrunner.logic.parse.spelling import ReadingError

        try:
            return reader(str(self._options[name]))
        except (ReadingError, ValueError) as error:
            raise wrong(option, str(error)) from None

    def ladder(self, unit: Unit, ends: tuple[float, float]) -> Ladder:
        """The levels between two ends, and how well the boundary is to be known. Raises Mistakes."""
        from chaosrunner.logic.parse.scalars import share
        from chaosrunner.logic.search.boundary import Asked, Ladder

        precision = self.read("--precision", "precision", share)
        confidence = self.read("--confidence", "confidence", share)
        if not 0 < precision <= 0.5:
            raise wrong("--precision", "expected more than 0% and at most 50%")
        if not 0.5 < confidence < 1:
            raise wrong("--confidence", "expected more than 50% and less than 100%")
        asked = Asked(precision=precision, confidence=confidence, most=self["most"])
        try:
            return Ladder.between(*ends, asked, whole=unit.whole)
        except ValueError as error:
            raise wrong("--from", str(error)) from None

    def expedition(self, experiment: Experiment, say: Callable[[float], str]) -> Expedition:
        """A new directory, and a view of what happens in it. Raises Mistakes."""
        from chaosrunner.cli.expedition import Expedition, folder_for
        from chaosrunner.logic.parse.scalars import duration
        from chaosrunner.report.searching import SearchView

        rest_s = self.read("--rest", "rest", duration)
        folder = folder_for(self["runs"], self.kind)
        view = SearchView(None if self["quiet"] else sys.stdout, os.environ, say)
        return Expedition(
            experiment=experiment,
            folder=folder,
            seed=self.seed,
            rest_s=rest_s,
            cluster=self["cluster"],
            view=view,
            quiet=self["quiet"],
        )


def wrong(option: str, why: str) -> Mistakes:
    """A mistake on the command line."""
    return Mistakes([Mistake(option, 0, 0, why)])


def required(holds: float | None, breaks: float | None, at_least: float, *, up: bool) -> Exit:
    """What a requirement comes to: 0 if so much holds, 1 if it breaks, 3 if that is not known."""
    sign = 1 if up else -1
    if holds is not None and sign * holds >= sign * at_least:
        return Exit.HELD
    if breaks is not None and sign * breaks <= sign * at_least:
        return Exit.BROKEN
    return Exit.UNKNOWN
