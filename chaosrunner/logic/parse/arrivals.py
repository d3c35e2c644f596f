"""Who comes: `arrivals` of the open model and `users` of the closed one, and how long what they ask for lasts.

arrivals = line [", at random"]
users    = line [", each user every" duration]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from chaosrunner.logic.crowd import spread_s
from chaosrunner.logic.parse.fields import some_time
from chaosrunner.logic.parse.scalars import duration_text
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.parse.stages import HEADS, RATE, parse_stages, render_stages
from chaosrunner.model.load import Closed, LoadProfile, Shape, Stream

MOST_PER_S = 100_000.0
"""Journeys a second, or users; more is a slip of the pen."""

DEFAULT_WARMUP_S = 3.0


@dataclass(frozen=True, slots=True)
class Coming:
    """Who comes, when."""

    stages: tuple[Shape, ...]
    at_random: bool = False
    closed: Closed | None = None


def parse_arrivals(text: str) -> Coming:
    """Stages in journeys per second, evenly or at random. Raises ReadingError."""
    line, at_random = re.subn(r"\s*,\s*at\s+random\s*$", "", text)
    if re.search(r",\s*each\s+user\s", line):
        raise ReadingError("'each user every' is for 'users': who arrives makes one journey and is gone")
    stages = parse_stages(line, RATE)
    _check(stages)
    return Coming(stages, at_random=bool(at_random))


def parse_users(text: str) -> Coming:
    """Stages in users, with their pacing. Raises ReadingError."""
    line, _, every = re.sub(r"\s*,\s*each\s+user\s+every\s+", "\n", text, count=1).partition("\n")
    if re.search(r",\s*at\s+random\s*$", text):
        raise ReadingError("'at random' is for 'arrivals': users come when the one line says, and go on by themselves")
    if re.search(r"users?/", text):
        raise ReadingError("'users' says how many there are; a rate belongs to 'arrivals'")
    stages = parse_stages(line, HEADS)
    if any(part != int(part) for stage in stages for part in (stage.start, stage.end)):
        raise ReadingError("expected whole numbers of users")
    _check(stages)
    return Coming(stages, closed=Closed(every_s=some_time(every.strip()) if every else None))


def warmup_s(coming: Coming) -> float:
    """Seconds before the first level: the ramp, or 3 s when the load begins level.

    Users with pacing come spread over one turn of it, which is added.
    """
    ramp = ramp_s(coming.stages)
    if coming.closed is not None and coming.closed.every_s is not None:
        return max(DEFAULT_WARMUP_S, ramp + spread_s(coming.closed))
    return ramp or DEFAULT_WARMUP_S


def ramp_s(stages: Sequence[Shape]) -> float:
    """Seconds before the first level; 0 when the load begins level."""
    return sum(stage.lasts_s or 0.0 for stage in takewhile(lambda stage: not level(stage), stages))


def length_s(stages: Sequence[Shape]) -> float | None:
    """How long the load lasts; None = as long as the run."""
    lengths = [stage.lasts_s for stage in stages]
    return None if lengths[-1] is None else sum(length or 0.0 for length in lengths)


def level(stage: Shape) -> bool:
    """Whether it is a plateau: flat, or a wave, which is level over whole periods."""
    return stage.start == stage.end


def plateau(stages: Sequence[Shape]) -> Shape:
    """The first plateau, neighbours of the same kind put together; open-ended when it lasts as long as the run."""
    first, *rest = [*stages[next(nth for nth, stage in enumerate(stages) if level(stage)) :]]
    same = takewhile(lambda stage: replace(stage, lasts_s=None) == replace(first, lasts_s=None), rest)
    lengths = [first.lasts_s, *(stage.lasts_s for stage in same)]
    return replace(first, lasts_s=None if None in lengths else sum(length or 0.0 for length in lengths))


def render(load: LoadProfile) -> str:
    """The canonical line of a load; of several streams with who each of them is."""
    if len(load.streams) == 1:
        return render_stream(load.streams[0])
    return "; ".join(f"{of_whom(stream)}: {render_stream(stream)}" for stream in load.streams)


def of_whom(stream: Stream) -> str:
    """The scenarios of a stream, with their weights where it has several."""
    weighted = len(stream.scenarios) > 1
    return " + ".join(f"{one.weight:g} {one.name}" if weighted else one.name for one in stream.scenarios)


def render_stream(load: Stream | Coming) -> str:
    """The canonical line of who comes, per second where it is a rate; of users, too, it says what they are."""
    after = f", after {duration_text(load.starts_s)}" if isinstance(load, Stream) and load.starts_s else ""
    return _line(load) + after


def _line(load: Stream | Coming) -> str:
    if load.closed is None:
        return render_stages(load.stages, RATE) + (", at random" if load.at_random else "")
    every = load.closed.every_s
    return render_stages(load.stages, HEADS) + (f", each user every {duration_text(every)}" if every else "")


def _check(stages: Sequence[Shape]) -> None:
    peak = max(stage.peak for stage in stages)
    if not peak:
        raise ReadingError("no user ever arrives; expected a number above zero")
    if peak > MOST_PER_S:
        raise ReadingError(f"more than {MOST_PER_S:,.0f} users a second")
    if not any(level(stage) for stage in stages):
        raise ReadingError("the load is never level, so there is no baseline; end it with ', then hold'")
    if any(stage.start == stage.end == 0 for stage in stages):
        raise ReadingError("a level of zero users measures nothing")
