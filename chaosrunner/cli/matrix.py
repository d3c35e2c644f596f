"""`chaosrunner matrix`: every fault of an experiment at several loads, and a resilience score with its formula."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaosrunner.cli.search import OPTIONS, Asking, started, with_options, wrong
from chaosrunner.errors import Exit, worst_exit

if TYPE_CHECKING:
    from chaosrunner.cli.expedition import Expedition, Stopped
    from chaosrunner.cli.interrupts import Interrupts
    from chaosrunner.logic.search.grid import Cell
    from chaosrunner.logic.search.words import Unit
    from chaosrunner.model.experiment import Experiment
    from chaosrunner.report.markup import Child
    from chaosrunner.report.search import Telling


@click.command("matrix")
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--loads", required=True, metavar="LOADS", help="Such as 50/s,100/s,200/s.")
@with_options(*OPTIONS)
def command(experiment: Path, **options: Any) -> int:
    """Play each fault of EXPERIMENT at each load, alone, and score what users keep.

    Exit codes: those of the worst cell.
    """
    return started(experiment, "matrix", options, fill)


async def fill(experiment: Experiment, asking: Asking, interrupts: Interrupts) -> Exit:
    """Play every cell and tell the whole. Raises Mistakes."""
    from chaosrunner.cli.expedition import Stopped
    from chaosrunner.logic.parse.spelling import ReadingError
    from chaosrunner.logic.search.grid import cell_of
    from chaosrunner.logic.search.vary import alone, at_load, level_of, with_only
    from chaosrunner.logic.search.words import arrivals, users

    unit = users() if experiment.load.closed else arrivals()
    loads = asking.read("--loads", "loads", lambda text: [unit.read(one.strip()) for one in text.split(",")])
    try:
        level_of(experiment)
        alone(experiment)
    except ReadingError as error:
        raise wrong(experiment.file, str(error)) from None
    if not experiment.faults:
        raise wrong(experiment.file, "there is no fault in this experiment, so there is no matrix")
    trip = asking.expedition(experiment, unit.say)
    places = [(nth, fault.title, load) for nth, fault in enumerate(experiment.faults) for load in loads]
    drafts = [with_only(at_load(experiment, load), nth) for nth, _, load in places]
    for draft in drafts:
        trip.read(draft)
    trip.begin()
    cells: list[Cell] = []
    codes: list[Exit] = []
    stopped: Stopped | None = None
    try:
        for (_, title, load), draft in zip(places, drafts, strict=True):
            played = await trip.playing(draft, load, len(places) - len(cells), interrupts)
            codes.append(played.exit)
            cells.append(cell_of(played.experiment, played.state, load, title))
            trip.view.trial(cells[-1].trial, trip.ahead(len(places) - len(cells)))
    except Stopped as stop:
        stopped = stop
        codes.append(stop.code)
    finally:
        trip.view.close()
    return _tell(trip, cells, unit, (worst_exit(codes), str(stopped or "")))


def _tell(trip: Expedition, cells: Sequence[Cell], unit: Unit, ended: tuple[Exit, str]) -> Exit:
    from chaosrunner.logic.search.grid import FORMULA, score_of
    from chaosrunner.report.search import page, section, show_telling, write_files
    from chaosrunner.report.search_curve import trials_table

    told = _telling(trip, cells, unit, ended)
    data = {
        "schema": "chaosrunner/matrix/v1",
        "exit": int(told.exit),
        "headline": told.headline,
        "formula": FORMULA,
        "score": score_of(cells),
        "seed": trip.seed,
        "cells": cells,
    }
    sections = [
        section("Every fault at every load", _table(cells, unit)),
        section("Runs", trials_table([cell.trial for cell in cells], unit.say)),
    ]
    write_files(trip.folder, data, page(told, sections), "matrix")
    if not trip.quiet:
        show_telling(told, sys.stdout)
    return told.exit


def _telling(trip: Expedition, cells: Sequence[Cell], unit: Unit, ended: tuple[Exit, str]) -> Telling:
    from chaosrunner.logic.search.grid import FORMULA, score_of
    from chaosrunner.model.units import human_duration
    from chaosrunner.report.search import Telling

    code, stopped = ended
    score = score_of(cells)
    facts = [(f"{cell.fault}", f"at {unit.say(cell.trial.level)}: {_said(cell)}") for cell in cells]
    if score.low is None or score.high is None:
        headline = "no cell says anything"
    else:
        between = f"{score.low:.1f}" if score.known == score.cells else f"{score.low:.1f} to {score.high:.1f}"
        headline = f"resilience score {between} of 100, over {score.known} of {score.cells} cells"
    system = trip.experiment.system
    where = f"{system.name} @ {system.environment}" if system.environment else system.name
    took = human_duration(round(sum(trip.took_s)))
    return Telling(
        word={Exit.HELD: "HELD", Exit.BROKEN: "BROKEN", Exit.UNKNOWN: "UNKNOWN"}.get(code, code.name),
        question=trip.experiment.question,
        where=f"{where}, {len(cells)} runs in {took}, seed {trip.seed}, {trip.folder.name}",
        facts=(*facts, ("formula", FORMULA)),
        exit=code,
        headline=f"{headline}; stopped: {stopped}" if stopped else headline,
        evidence=str(trip.folder / "matrix.html"),
    )


def _said(cell: Cell) -> str:
    from chaosrunner.report import words

    score = "no score" if cell.score is None else f"score {cell.score:.1f}"
    back = f"recovered in {words.seconds(cell.time_s)}" if cell.time_s is not None else f"recovery: {cell.recovery}"
    return f"{cell.trial.outcome.name}, {score}, {words.plural(cell.lost, 'request')} lost, {back}"


def _table(cells: Sequence[Cell], unit: Unit) -> Child:
    """Faults down, loads across."""
    from chaosrunner.report import words
    from chaosrunner.report.markup import el, table

    loads = sorted({cell.trial.level for cell in cells})
    body: list[list[Child]] = []
    for fault in dict.fromkeys(cell.fault for cell in cells):
        row: list[Child] = [words.printable(fault)]
        for load in loads:
            here = [cell for cell in cells if cell.fault == fault and cell.trial.level == load]
            row.append(el("span", *[el("small", _said(cell)) for cell in here]) if here else words.NOTHING)
        body.append(row)
    return table(["fault", *map(unit.say, loads)], body, caption="outcome, score, what was lost, and recovery")
