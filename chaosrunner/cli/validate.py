"""`chaosrunner validate`: every mistake in experiment and system files, at once; touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from chaosrunner.cli.results import tell
from chaosrunner.errors import Exit, Mistake, Mistakes


def validate(paths: Sequence[Path], system: str | None, out: Callable[[str], object]) -> Exit:
    """Check files; a folder stands for every .yaml file in it and below.

    Args:
        paths: experiments, systems, or folders of them.
        system: replaces the system that each experiment names.
        out: takes a line for each file that is right.

    Raises:
        Mistakes: all mistakes of all files.
    """
    from chaosrunner.logic.parse import is_system, load_experiment, load_system
    from chaosrunner.world.files import around_here

    around = around_here()
    mistakes: list[Mistake] = []
    for path in _files(paths, mistakes):
        try:
            if is_system(path, around):
                found = load_system(path, around)
                out(f"{path}: fine, {len(found.components)} components")
            else:
                experiment = load_experiment(path, around, system=system)
                out(f"{path}: fine, on {experiment.system.name}")
        except Mistakes as error:
            mistakes += error.mistakes
    if mistakes:
        raise Mistakes(mistakes)
    return Exit.HELD


def _files(paths: Sequence[Path], mistakes: list[Mistake]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
        if not inside:
            mistakes.append(Mistake(str(path), 0, 0, "no .yaml file in this folder"))
        yield from inside


@click.command("validate")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--system", metavar="NAME|FILE", help="Check experiments against this system instead of their own.")
def command(paths: tuple[Path, ...], system: str | None) -> int:
    """Check experiment and system files. Touches nothing."""
    return validate(paths, system, tell)
