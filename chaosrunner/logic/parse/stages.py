"""The one-line language of loads, clause by clause: how much, and then what.

line  = first {", then" next}
first = [number "to"] amount ["in waves of" duration] ["over" duration] | "soak at" amount ["for" duration]
next  = "hold" [duration] | "to" number "over" duration | "at" number ["for" duration]
      | "step by" number "every" duration "to" number | "spike to" number "for" duration
      | "waves of" duration "between" number "and" number ["over" duration]

An amount is `10 users/s` where users arrive, and `10` or `10 users` where so many are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil

from chaosrunner.logic.parse import scalars
from chaosrunner.logic.parse.fields import some_time
from chaosrunner.logic.parse.scalars import NUMBER, duration_text, number_text
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, quoted
from chaosrunner.model.load import Shape, Stage, Wave

SOAK_S = 60.0
"""A soak begins with a ramp from nothing this long."""

MOST_STEPS = 1000

PER = {"s": 1, "min": 60}


@dataclass(frozen=True, slots=True)
class Unit:
    """What a line counts."""

    amount: str
    """Pattern of what follows a number; its group `per`, if any, names the time."""
    written: str
    """The same as a line writes it."""
    ending: str
    """What a line may end with, beside clauses; read by whoever hands over the line."""


RATE = Unit(r"\s+users?/(?P<per>s|min)", " users/s", "at random")
HEADS = Unit(r"(?:\s+users?)?", " users", "each user every 10s")


@dataclass(slots=True)
class Line:
    """What is known while the clauses are read one after the other."""

    unit: Unit
    per: int = 1
    level: float = 0.0
    """What a following `hold` holds."""
    shapes: list[Shape] = field(default_factory=list)

    def add(self, start: float, end: float, lasts_s: float | None) -> None:
        """One more stage, which the level follows."""
        self.shapes.append(Stage(start=start, end=end, lasts_s=lasts_s))
        self.level = end

    def number(self, text: str) -> float:
        """A number of the line, per second where it is a rate."""
        return scalars.number(text) / self.per


def parse_stages(text: str, unit: Unit) -> tuple[Shape, ...]:
    """The stages that a line spells. Raises ReadingError."""
    first, *rest = re.split(r"\s*,\s*", text.strip())
    line = Line(unit)
    _first(line, first)
    for nth, words in enumerate(rest, 1):
        _then(line, words, last=nth == len(rest))
    return tuple(line.shapes)


def render_stages(stages: Sequence[Shape], unit: Unit) -> str:
    """The canonical line of stages that `parse_stages` could have given."""
    first = stages[0]
    if isinstance(first, Wave):
        text = f"{number_text(first.low)} to {number_text(first.high)}{unit.written} in waves of "
        text += duration_text(first.period_s)
    else:
        text = f"{number_text(first.end)}{unit.written}"
        text = f"{number_text(first.start)} to {text}" if first.start != first.end else text
    text += _lasting(first, "over")
    return ", then ".join([text, *(_next(before, stage) for before, stage in pairwise(stages))])


def _next(before: Shape, stage: Shape) -> str:
    if isinstance(stage, Wave):
        between = f"between {number_text(stage.low)} and {number_text(stage.high)}"
        return f"waves of {duration_text(stage.period_s)} {between}{_lasting(stage, 'over')}"
    if stage.start != stage.end:
        return f"to {number_text(stage.end)}{_lasting(stage, 'over')}"
    return (
        f"hold{_lasting(stage)}" if stage.end == before.end else f"at {number_text(stage.end)}{_lasting(stage, 'for')}"
    )


def _lasting(stage: Shape, word: str = "") -> str:
    return "" if stage.lasts_s is None else f" {word} {duration_text(stage.lasts_s)}".replace("  ", " ")


def _first(line: Line, words: str) -> None:
    soak = re.fullmatch(rf"soak\s+at\s+({NUMBER}){line.unit.amount}(?:\s+for\s+(.*))?", words)
    amount = rf"(?:({NUMBER})\s+to\s+)?({NUMBER}){line.unit.amount}"
    found = re.fullmatch(rf"{amount}(?:\s+in\s+waves\s+of\s+(?P<wave>.*?))?(?:\s+over\s+(?P<lasts>.*))?", words)
    either = soak or found
    if not either:
        raise ReadingError(_expected_first(line.unit, words))
    line.per = PER[either.groupdict().get("per") or "s"]
    if either is soak:
        line.add(0.0, line.number(either[1]), SOAK_S)
        line.add(line.level, line.level, _lasts(either[either.re.groups]))
    elif either["wave"] is not None:
        if not either[1]:
            raise ReadingError(f"a wave needs its lowest and its highest; write '5 to {words}'")
        _wave(line, (either[1], either[2]), either["wave"], either["lasts"])
    else:
        end, lasts = line.number(either[2]), _lasts(either["lasts"])
        start = line.number(either[1]) if either[1] else end
        if lasts is None and start != end:
            raise ReadingError(f"a ramp needs its length; write '{words} over 60s'")
        line.add(start, end, lasts)


def _expected_first(unit: Unit, words: str) -> str:
    examples = "'10 users/s' or '10 to 200 users/s over 60s'" if unit is RATE else "'50' or '10 to 200 over 60s'"
    return f"expected {examples} instead of {quoted(words)}"


def _then(line: Line, words: str, *, last: bool) -> None:
    key = re.match(r"then\s+(\S+)", words)
    clause = THEN.get(key[1]) if key else None
    if not key:
        known = f"'then hold', 'then hold 60s' or 'then to 100 over 10s', or {quoted(line.unit.ending)} at the end"
        raise ReadingError(f"expected {known} instead of {quoted(words)}")
    if clause is None:
        raise ReadingError(f"{quoted(key[1])} is nothing that can come after 'then'{did_you_mean(key[1], THEN)}")
    if line.shapes[-1].lasts_s is None and clause is not THEN["step"]:
        raise ReadingError(f"nothing can come after an open end; say how long before {quoted(words)}")
    found = re.fullmatch(clause.pattern, words.removeprefix("then").strip())
    if not found:
        raise ReadingError(f"expected {quoted(f'then {clause.example}')} instead of {quoted(words)}")
    clause.read(line, found, last)


def _hold(line: Line, found: re.Match[str], _last: bool) -> None:
    line.add(line.level, line.level, _lasts(found[1]))


def _to(line: Line, found: re.Match[str], _last: bool) -> None:
    line.add(line.level, line.number(found[1]), _lasts(found[2]))


def _at(line: Line, found: re.Match[str], _last: bool) -> None:
    level = line.number(found[1])
    line.add(level, level, _lasts(found[2]))


def _spike(line: Line, found: re.Match[str], last: bool) -> None:
    """Up at once, and back at once: to what was before, until the end or as the next clause says."""
    before, high = line.level, line.number(found[1])
    line.add(high, high, _lasts(found[2]))
    line.level = before
    if last:
        line.add(before, before, None)


def _step(line: Line, found: re.Match[str], last: bool) -> None:
    """Levels of the same length; the last one is open-ended unless a clause follows."""
    by, every, goal = line.number(found[1]), some_time(found[2]), line.number(found[3])
    before = line.shapes[-1]
    if before.lasts_s is None:
        line.shapes[-1] = replace(before, lasts_s=every)
    away = goal - line.level
    if not by or not away:
        raise ReadingError("a staircase needs steps and somewhere to go, such as 'step by 10 every 30s to 100'")
    count = ceil(abs(away) / by - 1e-9)
    if count > MOST_STEPS:
        raise ReadingError(f"more than {MOST_STEPS:,} steps")
    begin, up = line.level, by if away > 0 else -by
    for nth in range(1, count + 1):
        level = goal if nth == count else _tidy(begin + nth * up)
        line.add(level, level, None if last and nth == count else every)


def _waves(line: Line, found: re.Match[str], _last: bool) -> None:
    _wave(line, (found[2], found[3]), found[1], found[4])


def _wave(line: Line, between: tuple[str, str], period: str, lasts: str | None) -> None:
    if line.unit is not RATE:
        raise ReadingError("waves are for arrivals, such as 'arrivals: 60 to 140 users/s in waves of 30s'")
    low, high = map(line.number, between)
    if low >= high:
        raise ReadingError(
            f"a wave goes from its lowest to its highest; write {quoted(' to '.join(reversed(between)))}"
        )
    wave = Wave(low=low, high=high, period_s=some_time(period), lasts_s=_lasts(lasts))
    if wave.lasts_s is not None and part_of_a_wave(wave, wave.lasts_s):
        raise ReadingError(f"a wave lasts whole periods; write 'over {whole_waves(wave, wave.lasts_s)}'")
    line.shapes.append(wave)
    line.level = wave.mean


def part_of_a_wave(wave: Wave, seconds: float) -> bool:
    """Whether so many seconds are no whole number of periods."""
    periods = seconds / wave.period_s
    return abs(periods - round(periods)) > 1e-9 or round(periods) < 1


def whole_waves(wave: Wave, seconds: float) -> str:
    """The next longer duration that is whole periods."""
    return duration_text(_tidy(max(1, ceil(seconds / wave.period_s)) * wave.period_s))


def _tidy(value: float) -> float:
    """Without the dust of adding up decimals in binary."""
    return round(value, 9)


def _lasts(text: str | None) -> float | None:
    return None if text is None else some_time(text.strip())


@dataclass(frozen=True, slots=True)
class Clause:
    """What may follow `then`."""

    pattern: str
    example: str
    read: Callable[[Line, re.Match[str], bool], None]


_N = rf"({NUMBER})(?:\s+users?(?:/s|/min)?)?"

THEN = {
    "hold": Clause(r"hold(?:\s+(?:for\s+)?(.*))?", "hold 60s", _hold),
    "to": Clause(rf"to\s+{_N}\s+over\s+(.*)", "to 100 over 10s", _to),
    "at": Clause(rf"at\s+{_N}(?:\s+for\s+(.*))?", "at 100 for 10s", _at),
    "step": Clause(rf"step\s+by\s+{_N}\s+every\s+(.*?)\s+to\s+{_N}", "step by 10 every 30s to 100", _step),
    "spike": Clause(rf"spike\s+to\s+{_N}\s+for\s+(.*)", "spike to 500 for 10s", _spike),
    "waves": Clause(
        rf"waves\s+of\s+(.*?)\s+between\s+{_N}\s+and\s+{_N}(?:\s+over\s+(.*))?",
        "waves of 30s between 60 and 140",
        _waves,
    ),
}
"""The word after `then` → what it begins."""
