"""How a search goes: which trial comes next is pure; here it is played, written down and told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaosrunner.cli.expedition import Stopped
from chaosrunner.cli.search import required, wrong
from chaosrunner.errors import Exit
from chaosrunner.logic.foresight import foresee
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.search.boundary import Ladder, left, next_level, so_far
from chaosrunner.logic.search.boundary import found as boundary_found
from chaosrunner.logic.search.crossing import told
from chaosrunner.logic.search.curve import Curve, curve_of, next_point, points_left
from chaosrunner.logic.search.draft import Draft
from chaosrunner.logic.search.outcome import trial_of
from chaosrunner.logic.search.room import without_room
from chaosrunner.logic.search.vary import (
    alone,
    at_load,
    capacity_tolerances,
    dosed,
    healthy,
    level_of,
    looking,
    texts_of,
    with_only,
)
from chaosrunner.logic.search.words import arrivals, dose_of, users
from chaosrunner.model.search import Boundary, Known, Trial
from chaosrunner.model.units import human_duration
from chaosrunner.report.search import Fact, Telling, page, section, show_telling, write_files
from chaosrunner.report.search_curve import curve_figure, trials_table
from chaosrunner.report.search_words import boundary_facts, capacity_facts, cost_fact, headline_of

if TYPE_CHECKING:
    from chaosrunner.cli.expedition import Expedition
    from chaosrunner.cli.interrupts import Interrupts
    from chaosrunner.cli.search import Asking
    from chaosrunner.logic.search.words import Unit
    from chaosrunner.model.experiment import Experiment

ANSWERS = (Known.BETWEEN, Known.BELOW, Known.BEYOND)
"""What is an answer as sure as was asked."""


@dataclass(slots=True, kw_only=True)
class Quest:
    """One boundary that is looked for."""

    title: str
    """What is in place meanwhile; empty: nothing."""
    ladder: Ladder
    draft: Callable[[float], Draft]
    """The experiment at a level."""
    of_load: bool = True
    """Levels are loads; False: doses, of which a baseline says nothing."""
    trials: list[Trial] = field(default_factory=list)
    extra: list[Trial] = field(default_factory=list)
    """Trials beside the search, that draw its curve."""

    @property
    def boundary(self) -> Boundary:
        """What is known of it; of one that was cut short, as far as it came."""
        seen = boundary_found(self.ladder, self.trials) or so_far(self.ladder, self.trials)
        return told(self.ladder, self.trials, seen)

    @property
    def known(self) -> bool:
        """Whether there is an answer, as sure as was asked."""
        return self.boundary.known in ANSWERS

    @property
    def all(self) -> tuple[Trial, ...]:
        """Every trial, in the order of time."""
        return (*self.trials, *self.extra)


@dataclass(slots=True, kw_only=True)
class Search:
    """A search under way: its quests, and how it is told."""

    trip: Expedition
    kind: str
    unit: Unit
    what: str
    """What holds, in the headline: `the load`, `add of proxy.latency on database`."""
    asked: str
    """What must hold, in words."""
    at_least: float | None = None
    up: bool = True
    """More is better: of a load and of a dose that the system survives. False: a dose that harms by being small."""
    quests: list[Quest] = field(default_factory=list)
    follow_up: int = 0
    """Boundaries that are looked for after the first one."""
    stopped: Stopped | None = None

    async def follow(self, quest: Quest, interrupts: Interrupts) -> None:
        """Play trials until the boundary is known. Raises Stopped."""
        self.quests.append(quest)
        if quest.title:
            self.trip.view.line(f"under {quest.title}")
        while (level := next_level(quest.ladder, quest.trials)) is not None:
            quest.trials.append(await self._trial(quest, level, interrupts))
            self.trip.view.trial(quest.trials[-1], self.trip.ahead(self._left(quest)))
            self.write()

    async def draw(self, quest: Quest, interrupts: Interrupts) -> None:
        """Look at levels that the search did not need, for the curve. Raises Stopped."""
        while quest.known and (level := next_point(quest.ladder, quest.all, quest.boundary)) is not None:
            quest.extra.append(await self._trial(quest, level, interrupts))
            self.trip.view.trial(quest.extra[-1], self.trip.ahead(self._left(quest)))
            self.write()

    def _left(self, quest: Quest) -> int:
        """About how many trials are still to come: of this boundary, its curve, and others yet to be looked for."""
        more = left(quest.ladder, quest.trials)
        drawn = self.kind == "capacity" and quest is self.quests[0] and (more or quest.known)
        curve = points_left(quest.ladder, quest.all, quest.boundary) if drawn else 0
        return more + curve + (self.follow_up - len(self.quests) + 1) * (len(quest.trials) + more)

    async def _trial(self, quest: Quest, level: float, interrupts: Interrupts) -> Trial:
        played = await self.trip.playing(quest.draft(level), level, self._left(quest), interrupts)
        trial = trial_of(played.experiment, played.state, level, of_load=quest.of_load)
        return without_room(trial, quest.all, played.experiment.load.connections) if quest.of_load else trial

    def curve(self) -> Curve:
        """Of the first quest."""
        return curve_of(self.quests[0].all)

    def telling(self) -> Telling:
        """What is to be said, now."""
        code, headline = self._exit()
        first = self.quests[0]
        facts: list[Fact] = [("asked", self.asked), *boundary_facts(first.boundary, first.all, self.unit.say)]
        if self.kind == "capacity":
            facts += capacity_facts(self.curve(), self.unit.say)
        for quest in self.quests[1:]:
            facts.append(cost_fact(quest.title, first.boundary, quest.boundary, self.unit.say))
        runs = sum(len(quest.all) for quest in self.quests)
        took = human_duration(round(sum(self.trip.took_s)))
        system = self.trip.experiment.system
        where = f"{system.name} @ {system.environment}" if system.environment else system.name
        return Telling(
            word={Exit.HELD: "FOUND", Exit.BROKEN: "BROKEN", Exit.UNKNOWN: "UNKNOWN"}.get(code, code.name),
            question=self.trip.experiment.question,
            where=f"{where}, {self.kind}, {runs} runs in {took}, seed {self.trip.seed}, {self.trip.folder.name}",
            facts=tuple(facts),
            exit=code,
            headline=headline,
            evidence=str(self.trip.folder / "search.html"),
        )

    def write(self) -> None:
        """Write down what is known so far: a search that is killed leaves what it had."""
        told, say = self.telling(), self.unit.say
        first = self.quests[0]
        sections = [
            section("The curve", *curve_figure(self.curve().levels, first.boundary, say)),
            *(
                section(f"Trials under {quest.title}" if quest.title else "Trials", trials_table(quest.all, say))
                for quest in self.quests
            ),
        ]
        data = {
            "schema": "chaosrunner/search/v1",
            "kind": self.kind,
            "question": told.question,
            "exit": int(told.exit),
            "headline": told.headline,
            "asked": self.asked,
            "unit": self.unit.say(1.0).replace("1", "", 1).strip(),
            "seed": self.trip.seed,
            "quests": [
                {
                    "under": quest.title,
                    "boundary": quest.boundary,
                    "asked": quest.ladder.asked,
                    "from": quest.ladder.rungs[0],
                    "to": quest.ladder.rungs[-1],
                    "trials": [{**_fields(trial), "level_text": say(trial.level)} for trial in quest.all],
                }
                for quest in self.quests
            ],
            "curve": self.curve() if self.kind == "capacity" else None,
        }
        write_files(self.trip.folder, data, page(told, sections), "search")

    def _exit(self) -> tuple[Exit, str]:
        boundary = self.quests[0].boundary
        headline = headline_of(boundary, self.unit.say, self.what)
        if self.stopped is not None:
            return self.stopped.code, f"{headline}; stopped: {self.stopped}"
        if self.at_least is not None:
            code = required(boundary.holds, boundary.breaks, self.at_least, up=self.up)
            return code, f"{headline}; at least {self.unit.say(self.at_least)} was asked for"
        return (Exit.HELD if all(quest.known for quest in self.quests) else Exit.UNKNOWN), headline


def _fields(trial: Trial) -> dict[str, object]:
    return {name: getattr(trial, name) for name in trial.__slots__}


async def seek_capacity(experiment: Experiment, asking: Asking, interrupts: Interrupts) -> Exit:
    """The highest load that holds without faults, and under each of them where that is asked. Raises Mistakes."""
    unit = users() if experiment.load.closed else arrivals()
    try:
        usual = level_of(experiment)
        ends = [
            asking.read(f"--{name}", key, unit.read) if asking[key] else _tidy(usual * times, unit)
            for name, key, times in (("from", "first", 0.25), ("to", "last", 16.0))
        ]
        lasts_s = asking.read("--for", "lasts", _some_time) if asking["lasts"] else None
        ladder = asking.ladder(unit, (ends[0], ends[1]))
        if ends[1] < ends[0]:
            raise wrong("--to", "expected a higher load than --from")
        healthy(Draft(experiment.source), experiment)
        if asking["with_faults"]:
            alone(experiment)
    except ReadingError as error:
        raise wrong(experiment.file, str(error)) from None
    quest = Quest(title="", ladder=ladder, draft=lambda level: healthy(at_load(experiment, level), experiment, lasts_s))
    search = Search(
        trip=asking.expedition(experiment, unit.say),
        kind="capacity",
        unit=unit,
        what="the load",
        asked=texts_of(capacity_tolerances(experiment)),
        at_least=asking.read("--at-least", "at_least", unit.read) if asking["at_least"] else None,
        follow_up=len(experiment.faults) if asking["with_faults"] else 0,
    )
    _check(search, quest)

    async def work() -> None:
        await search.follow(quest, interrupts)
        await search.draw(quest, interrupts)
        if asking["with_faults"]:
            for nth, title in enumerate(_titles(experiment)):
                await search.follow(
                    Quest(
                        title=title,
                        ladder=_below(ladder, quest.boundary),
                        draft=lambda level, nth=nth: looking(with_only(at_load(experiment, level), nth), lasts_s),  # type: ignore[misc]
                    ),
                    interrupts,
                )

    return await _pursue(search, work)


async def seek_dose(experiment: Experiment, asking: Asking, interrupts: Interrupts) -> Exit:
    """The smallest dose of a fault that breaks. Raises Mistakes."""
    from chaosrunner.world.injectors import load

    dose = asking.read("--of", "of", lambda text: dose_of(experiment, text, load))
    unit = dose.unit
    ends = (asking.read("--from", "first", unit.read), asking.read("--to", "last", unit.read))
    place = Draft(experiment.source).find(dose.fault.injector, dose.fault.line)
    quest = Quest(
        title="",
        ladder=asking.ladder(unit, ends),
        of_load=False,
        draft=lambda level: dosed(experiment, (*place, dose.parameter), unit.write(level)),
    )
    search = Search(
        trip=asking.expedition(experiment, unit.say),
        kind="dose",
        unit=unit,
        what=dose.title,
        asked=_all_asked(experiment),
        at_least=asking.read("--at-least", "at_least", unit.read) if asking["at_least"] else None,
        up=ends[0] < ends[1],
    )
    _check(search, quest)
    return await _pursue(search, lambda: search.follow(quest, interrupts))


def _titles(experiment: Experiment) -> list[str]:
    """What each fault is called; the same name twice gets a number."""
    titles = [fault.title for fault in experiment.faults]
    return [f"{one} ({nth})" if titles.count(one) > 1 else one for nth, one in enumerate(titles, 1)]


def _all_asked(experiment: Experiment) -> str:
    """Everything a run is judged by, in words."""
    asked = experiment.hypothesis
    parts = {"before": asked.before, "during": asked.during, "after": asked.after}
    said = [f"{phase} {texts_of(tolerances)}" for phase, tolerances in parts.items() if tolerances]
    return "; ".join([*said, f"recovery within {human_duration(experiment.recover.within_s)}"])


def _check(search: Search, quest: Quest) -> None:
    """Read the experiment at both ends of the ladder, so that what is wrong there is said before anything is touched.

    Raises:
        Mistakes: a level makes a file that is wrong, or the lowest load is looked at for too short to say anything.
    """
    try:
        first, _ = [search.trip.read(quest.draft(level)) for level in (quest.ladder.rungs[0], quest.ladder.rungs[-1])]
    except KeyError as error:
        raise wrong(
            search.trip.experiment.file, f"{error.args[0]!r} must be written in the file to be varied"
        ) from None
    short = next((need for need in foresee(first) if need.short and need.phase == "before"), None)
    if quest.of_load and short is not None:
        where = f"at {search.unit.say(quest.ladder.rungs[0])} {short.what!r} {short.says}"
        raise wrong("--for", f"{where}; look longer, or begin higher")


async def _pursue(search: Search, work: Callable[[], object]) -> Exit:
    """Play it, tell it, and choose the exit code. Raises Mistakes when there is no place for it."""
    search.trip.begin()
    try:
        await work()  # type: ignore[misc]
    except Stopped as stopped:
        search.stopped = stopped
    finally:
        search.trip.view.close()
    search.write()
    told = search.telling()
    if not search.trip.quiet:
        show_telling(told, sys.stdout)
    return told.exit


def _below(ladder: Ladder, healthy: Boundary) -> Ladder:
    """The same ladder as far as a healthy system holds: with a fault in place nothing more will."""
    rungs: Sequence[float] = ladder.rungs
    if healthy.breaks is not None:
        rungs = [rung for rung in rungs if rung <= healthy.breaks]
    return Ladder(tuple(rungs), ladder.asked)


def _tidy(level: float, unit: Unit) -> float:
    return float(max(1, round(level))) if unit.whole else float(f"{level:.4g}")


def _some_time(text: str) -> float:
    from chaosrunner.logic.parse.fields import some_time

    return some_time(text)
