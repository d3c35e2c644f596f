"""`run --repeat`: the same experiment several times, and what the runs say together of the time to recover."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chaosrunner.cli.expedition import Expedition, Stopped, folder_for
from chaosrunner.errors import Exit, worst_exit
from chaosrunner.logic.search.draft import Draft
from chaosrunner.logic.search.figures import Figures, figures_of, times, values
from chaosrunner.logic.search.permute import noise_floor
from chaosrunner.logic.search.survival import Median, curve, median
from chaosrunner.logic.search.vary import control
from chaosrunner.model.units import human_duration
from chaosrunner.report import words
from chaosrunner.report.markup import Child, el, table
from chaosrunner.report.search import Fact, Telling, page, section, show_telling, write_files
from chaosrunner.report.searching import SearchView

if TYPE_CHECKING:
    from chaosrunner.cli.interrupts import Interrupts
    from chaosrunner.cli.perform import Wishes
    from chaosrunner.model.experiment import Experiment


async def repeat(experiment: Experiment, wishes: Wishes, runs: int, interrupts: Interrupts) -> Exit:
    """Play it so many times, each with a seed of its own, and tell what the runs say together.

    Raises:
        ChaosrunnerError: the first run could not be played; nothing was touched.
    """
    from chaosrunner.cli.compose import new_seed

    seed = next((seed for seed in (wishes.seed, experiment.seed) if seed is not None), new_seed())
    trip = Expedition(
        experiment=experiment,
        folder=folder_for(wishes.runs, "control" if wishes.control else "repeat"),
        seed=seed,
        cluster=wishes.cluster,
        view=SearchView(None if wishes.quiet else sys.stdout, os.environ, lambda nth: f"run {nth:.0f}"),
        quiet=wishes.quiet,
    )
    draft = control(experiment) if wishes.control else Draft(experiment.source)
    trip.read(draft)
    trip.begin()
    seen: list[Figures] = []
    codes: list[Exit] = []
    stopped: Stopped | None = None
    try:
        for nth in range(1, runs + 1):
            played = await trip.playing(draft, nth, runs - nth + 1, interrupts)
            codes.append(played.exit)
            seen.append(figures_of(json.loads((played.run_dir / "verdict.json").read_text())))
            trip.view.line(f"{nth:3}  {seen[-1].outcome:7}  recovered {_time(seen[-1])}  {seen[-1].headline}")
    except Stopped as stop:
        stopped = stop
        codes.append(stop.code)
    finally:
        trip.view.close()
    told = _telling(trip, seen, worst_exit(codes), stopped)
    data = {
        "schema": "chaosrunner/repeats/v1",
        "exit": int(told.exit),
        "headline": told.headline,
        "control": wishes.control,
        "seed": seed,
        "median_time_to_recover_s": median(times(seen)),
        "not_recovered": curve(times(seen)),
        "runs": seen,
    }
    write_files(trip.folder, data, page(told, _sections(seen)), "repeats")
    if not trip.quiet:
        show_telling(told, sys.stdout)
    return told.exit


def _telling(trip: Expedition, seen: Sequence[Figures], code: Exit, stopped: Stopped | None) -> Telling:
    counts = Counter(one.outcome for one in seen)
    said = ", ".join(f"{counts[word]} {word}" for word in ("HELD", "UNKNOWN", "BROKEN") if counts[word])
    facts: list[Fact] = [("outcomes", said or "none"), ("recovered", recovered(seen))]
    facts += [(name, _spread(name, found)) for name in ("goodput", "errors", "p95") if (found := values(seen, name))]
    headline = f"{len(seen)} runs: {said}" + (f"; stopped: {stopped}" if stopped else "")
    system = trip.experiment.system
    where = f"{system.name} @ {system.environment}" if system.environment else system.name
    took = human_duration(round(sum(trip.took_s)))
    return Telling(
        word={Exit.HELD: "HELD", Exit.BROKEN: "BROKEN", Exit.UNKNOWN: "UNKNOWN"}.get(code, code.name),
        question=trip.experiment.question,
        where=f"{where}, {len(seen)} runs in {took}, seed {trip.seed}, {trip.folder.name}",
        facts=tuple(facts),
        exit=code,
        headline=headline,
        evidence=str(trip.folder / "repeats.html"),
    )


def recovered(seen: Sequence[Figures]) -> str:
    """The median time to recover with its interval, and what it rests on."""
    found = times(seen)
    if not found:
        return "not known of any run" if any(run.faults for run in seen) else "nothing was broken"
    cut = sum(not one.seen for one in found)
    text = f"{_median(median(found))}, half of all runs (Kaplan–Meier, {words.plural(len(found), 'run')}"
    return text + (f", {cut} cut off before)" if cut else ")")


def _median(seen: Median) -> str:
    middle = human_duration(seen.seconds) if seen.seconds is not None else "not within what was watched"
    if seen.low is None and seen.high is None:
        return f"{middle} (too few runs for an interval)"
    low = human_duration(seen.low) if seen.low is not None else "0 s"
    return f"{middle} ({low}–{human_duration(seen.high) if seen.high is not None else 'longer than was watched'})"


def _time(run: Figures) -> str:
    if run.time is None:
        return "not known" if run.faults else "from nothing"
    return human_duration(run.time.seconds) if run.time.seen else f"not within {human_duration(run.time.seconds)}"


def _spread(name: str, found: Sequence[float]) -> str:
    say = {"goodput": words.rate, "errors": words.share}.get(name, words.seconds)
    text = f"{say(min(found))} to {say(max(found))} during the faults"
    floor = noise_floor([found]) if max(found) < float("inf") else None
    return text if floor is None else f"{text}; alike halves differ by up to {say(round(floor, 9))}"


def _sections(seen: Sequence[Figures]) -> list[Child]:
    runs: list[list[Child]] = [
        [el("a", one.run, href=f"{one.run}/report.html"), one.outcome, _time(one), words.printable(one.headline)]
        for one in seen
    ]
    steps: list[list[Child]] = [
        [human_duration(step.seconds), words.share(step.share), f"{words.share(step.low)}–{words.share(step.high)}"]
        for step in curve(times(seen))
    ]
    return [
        section("Not recovered yet", table(["after", "share of runs", "95 % interval"], steps) if steps else None),
        section("Runs", table(["run", "outcome", "recovered", "why"], runs)),
    ]
