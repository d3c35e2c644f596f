"""How `search hysteresis` goes: one run, a ramp of load up and down, and what it says of both ways."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from chaosrunner.cli.expedition import Stopped
from chaosrunner.cli.search import wrong
from chaosrunner.errors import Exit
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.search.ramp import Ramps, ramps_of
from chaosrunner.logic.search.vary import capacity_tolerances, overload, texts_of
from chaosrunner.logic.search.words import arrivals
from chaosrunner.logic.traffic import Traffic
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import Recovery, Verdict
from chaosrunner.report import words
from chaosrunner.report.markup import Child, table
from chaosrunner.report.search import Fact, Telling, page, section, show_telling, write_files

if TYPE_CHECKING:
    from chaosrunner.cli.expedition import Expedition
    from chaosrunner.cli.interrupts import Interrupts
    from chaosrunner.cli.search import Asking
    from chaosrunner.model.experiment import Experiment


async def seek_hysteresis(experiment: Experiment, asking: Asking, interrupts: Interrupts) -> Exit:
    """Play one ramp up and down, and tell what is left of it. Raises Mistakes."""
    from chaosrunner.logic.judge import judge
    from chaosrunner.logic.parse.fields import some_time

    unit = arrivals()
    low, high = asking.read("--from", "first", unit.read), asking.read("--to", "last", unit.read)
    if not 0 < low < high:
        raise wrong("--to", "expected a higher load than --from, which is above zero")
    over_s = asking.read("--over", "over", some_time)
    try:
        draft = overload(experiment, (low, high), over_s)
    except ReadingError as error:
        raise wrong(experiment.file, str(error)) from None
    trip = asking.expedition(experiment, unit.say)
    trip.read(draft)
    trip.begin()
    trip.view.line(f"up from {unit.say(low)} to {unit.say(high)} and down again, {human_duration(over_s)} each way")
    try:
        played = await trip.playing(draft, high, 1, interrupts)
    except Stopped as stopped:
        print(f"chaosrunner: {stopped}", file=sys.stderr)
        return stopped.code
    finally:
        trip.view.close()
    ramps = ramps_of(Traffic(played.experiment, played.state), (low, high), over_s)
    told = _telling(trip, judge(played.experiment, played.state), ramps, texts_of(capacity_tolerances(experiment)))
    data = {
        "schema": "chaosrunner/hysteresis/v1",
        "exit": int(told.exit),
        "headline": told.headline,
        "run": played.run_dir.name,
        "from_per_s": low,
        "to_per_s": high,
        "over_s": over_s,
        "seed": trip.seed,
        "lost_share": ramps.lost,
        "strips": ramps.strips,
    }
    write_files(trip.folder, data, page(told, [section("Up and down", _table(ramps))]), "search")
    if not trip.quiet:
        show_telling(told, sys.stdout)
    return told.exit


def _telling(trip: Expedition, verdict: Verdict, ramps: Ramps, asked: str) -> Telling:
    code = Exit(verdict.exit)
    widest = ramps.widest
    facts: list[Fact] = [
        ("asked", asked),
        ("returned", _returned(verdict.recovery) if ramps.strips else "the ramp was not reached"),
    ]
    if not ramps.strips:
        facts.append(("both ways", "nothing was measured"))
    elif widest is None:
        facts.append(("both ways", "no difference at the same load that is sure and above 5 %"))
    else:
        up, down = words.share(widest.up.success), words.share(widest.down.success)
        facts.append(("both ways", f"at {widest.level:,.5g}/s {up} succeeded on the way up, {down} on the way down"))
        facts.append(("lost", f"{words.share(max(0.0, ramps.lost))} of the goodput at equal load"))
    headline = {
        Exit.HELD: "goodput returned after the overload" + (", later than the load did" if widest else ""),
        Exit.BROKEN: "what the overload broke was not well again in time after it was gone",
    }.get(code, verdict.headline)
    system = trip.experiment.system
    where = f"{system.name} @ {system.environment}" if system.environment else system.name
    return Telling(
        word={Exit.HELD: "RETURNED", Exit.BROKEN: "BROKEN", Exit.UNKNOWN: "UNKNOWN"}.get(code, code.name),
        question=trip.experiment.question,
        where=f"{where}, hysteresis, run {verdict.run}, seed {trip.seed}, {trip.folder.name}",
        facts=tuple(facts),
        exit=code,
        headline=headline,
        evidence=str(trip.folder / "search.html"),
    )


def _returned(seen: Recovery) -> str:
    target = human_duration(seen.target_s)
    match seen.state:
        case "recovered" | "late":
            return f"{human_duration(seen.time_s or 0.0)} after the load was back; target {target}"
        case "never":
            return f"not within {target} after the load was back: the failure sustains itself (metastable)"
        case "none":
            return "there was nothing to return from: users noticed no harm at the highest load"
        case _:
            return f"not known: {seen.why}" if seen.why else "not known"


def _table(ramps: Ramps) -> Child:
    body: list[list[Child]] = []
    for strip in ramps.strips:
        cells: list[Child] = [f"{strip.level:,.5g}/s"]
        for side in (strip.up, strip.down):
            cells += [words.rate(side.goodput), words.share(side.success), words.seconds(side.p95)]
        body.append(cells)
    head = ["load", "goodput up", "success up", "p95 up", "goodput down", "success down", "p95 down"]
    return table(head, body, caption="the same load on the way up and on the way down", numeric=frozenset(range(1, 7)))
