"""The `rules` of a system or an experiment, and its `environments`: what may break, how much at once, and when."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, date, tzinfo
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from chaosrunner.errors import Mistake
from chaosrunner.logic import rules as held_against
from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import Fields, table, whole
from chaosrunner.logic.parse.scalars import PERCENT, share
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, quoted
from chaosrunner.logic.parse.target import COMPONENT, how_many
from chaosrunner.logic.parse.yaml_nodes import Node
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.fault import Injector
from chaosrunner.model.rules import EACH, IN_ALL, AtMost, Dates, Hours, Pattern, Protections, Rule, Rules

KEYS = ("faults", "at_most", "only", "never", "protect")
PROTECT_KEYS = ("names", "labels", "namespaces")
EMPTY = dict.fromkeys(PROTECT_KEYS, "protect nothing") | {"never": "forbid nothing"}
"""What an empty list would do; any other would allow nothing."""
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

DAY = "|".join(DAYS)
SOME_DAYS = rf"(?:{DAY})(?:-(?:{DAY}))?"
WEEK = rf"{SOME_DAYS}(?:(?:, ?| and ){SOME_DAYS})*"
TIME = r"[0-2][0-9]:[0-5][0-9]"
ZONE = r"[A-Za-z][A-Za-z0-9_+/-]*"
DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
HOURS = rf"(?:({WEEK}) )?(?:({TIME})-({TIME}) )?({ZONE})"
DATES = rf"({DATE})(?: to ({DATE}))? ({ZONE})"
AT_MOST = rf"({PERCENT}|[0-9]+) of ({COMPONENT})|([0-9]+) in all"

R = TypeVar("R", bound=Rule)
Read = Callable[[str, str, int], R]
"""(text, file, line) → the rule."""


def read_rules(desk: Desk, node: Node | None, components: Collection[str]) -> Rules:
    """The rules that stand under `rules`; mistakes are noted at the desk.

    Args:
        desk: the file's.
        node: what stands there.
        components: names of the system's components, for limits; empty when they are not known.
    """
    mapping = table(desk, node, "rules") if node else None
    if mapping is None:
        return Rules()
    fields = Fields(desk, mapping, "rules").only(KEYS)

    def at_most(text: str, file: str, line: int) -> AtMost:
        return parse_at_most(text, file, line, components)

    return Rules(
        faults=_each(fields, "faults", parse_pattern),
        at_most=_each(fields, "at_most", at_most),
        only=_each(fields, "only", parse_hours),
        never=_each(fields, "never", parse_dates),
        protect=_protections(desk, fields.node("protect")),
    )


def read_environments(fields: Fields) -> tuple[Pattern, ...]:
    """The only environments an experiment may run in."""
    return _each(fields, "environments", parse_pattern)


def check_rules(desk: Desk, experiment: Experiment, injectors: Callable[[str], Injector | None]) -> None:
    """Note what the rules forbid in any case, before anybody has looked at a target.

    A journal is read without this: rules are about what may be done, not about what was.
    """
    if desk.lenient:
        return
    if why := held_against.not_here(experiment):
        desk.mistakes.append(Mistake(desk.file, experiment.rules.environments[0].line, 1, why))
    for fault in experiment.faults:
        why, target = held_against.not_this(experiment.all_rules, fault), fault.target
        component = experiment.system.components.get(target.component) if target else None
        if not why and target is not None and component is not None:
            injector = injectors(fault.injector)
            named = how_many(component, injector.needs[0]) if injector and len(injector.needs) == 1 else None
            why = held_against.surely_too_much(experiment.all_rules, target, named)
        if why:
            desk.mistakes.append(Mistake(desk.file, fault.line, 1, f"{fault.title}: {why}"))


def parse_pattern(text: str, file: str, line: int) -> Pattern:
    """A name, or a part of one with `*`. Raises ReadingError."""
    if not re.fullmatch(r"[A-Za-z0-9_.*/=:@-]+", text):
        raise ReadingError("expected a name, or a part of one with '*', such as 'proxy.*'")
    return Pattern(text=text, file=file, line=line)


def parse_at_most(text: str, file: str, line: int, components: Collection[str]) -> AtMost:
    """`30% of api`, `1 of each` or `3 in all`. Raises ReadingError."""
    found = re.fullmatch(AT_MOST, text)
    if not found:
        raise ReadingError("expected '30% of api', '1 of each' or '3 in all'")
    amount, name, in_all = found.groups()
    if in_all:
        return AtMost(text=text, file=file, line=line, component=IN_ALL, count=whole(in_all, 1, 100_000))
    if name != "each" and components and name not in components:
        raise ReadingError(f"no component of that name{did_you_mean(name, components)}")
    component = EACH if name == "each" else name
    if amount.endswith("%"):
        return AtMost(text=text, file=file, line=line, component=component, share=share(amount))
    return AtMost(text=text, file=file, line=line, component=component, count=whole(amount, 1, 100_000))


def parse_hours(text: str, file: str, line: int) -> Hours:
    """`Mon-Fri 09:00-17:00 Europe/Berlin`, days or hours left out. Raises ReadingError."""
    found = re.fullmatch(HOURS, text)
    if not found or not (found[1] or found[2]):
        raise ReadingError("expected days, hours and a time zone, such as 'Mon-Fri 09:00-17:00 Europe/Berlin'")
    days = _days(found[1]) if found[1] else frozenset(range(7))
    begin, end = _second(found[2] or "00:00"), _second(found[3] or "24:00")
    if begin == end:
        raise ReadingError("these hours end when they begin; '00:00-24:00' is a whole day")
    return Hours(text=text, file=file, line=line, days=days, begin_s=begin, end_s=end, zone=zone(found[4]))


def parse_dates(text: str, file: str, line: int) -> Dates:
    """`2026-12-24 to 2027-01-01 Europe/Berlin`, or one date. Raises ReadingError."""
    found = re.fullmatch(DATES, text)
    if not found:
        raise ReadingError("expected dates and a time zone, such as '2026-12-24 to 2027-01-01 Europe/Berlin'")
    first, last = _date(found[1]), _date(found[2] or found[1])
    if last < first:
        raise ReadingError("the last of these dates comes before the first")
    return Dates(text=text, file=file, line=line, first=first, last=last, zone=zone(found[3]))


def zone(name: str, known: Callable[[], Collection[str]] = available_timezones) -> tzinfo:
    """A time zone of the IANA's list. Raises ReadingError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        names = sorted(known())
    if not names:
        raise ReadingError(f"{quoted(name)} is no time zone; this host has no list of them, so it knows only UTC")
    # Abbreviations are near to others of another meaning: CEST is not EST, and not the whole year either.
    near = "" if name.isupper() else did_you_mean(name, names)
    raise ReadingError(
        f"{quoted(name)} is no time zone{near if near.endswith('?') else '; expected UTC or one such as Europe/Berlin'}"
    )


def _protections(desk: Desk, node: Node | None) -> Protections:
    mapping = table(desk, node, "protect") if node else None
    if mapping is None:
        return Protections()
    fields = Fields(desk, mapping, "protect").only(PROTECT_KEYS)
    return Protections(
        names=_each(fields, "names", parse_pattern),
        labels=_each(fields, "labels", parse_pattern),
        namespaces=_each(fields, "namespaces", parse_pattern),
    )


def _each(fields: Fields, key: str, parse: Read[R]) -> tuple[R, ...]:
    desk, node, found = fields.desk, fields.node(key), []
    texts = fields.texts(key)
    if node is not None and not texts and not desk.mistakes:
        desk.wrong(node, f"{key} is empty, and would {EMPTY.get(key, 'allow nothing')}; leave it out")
    for scalar in texts:
        try:
            found.append(parse(scalar.text, desk.file, scalar.line))
        except ReadingError as bad:
            desk.wrong(scalar, f"{key} {quoted(scalar.source)}: {desk.shown(scalar, str(bad))}")
    return tuple(found)


def _days(text: str) -> frozenset[int]:
    """`Mon-Wed, Fri` as numbers; a range may lead over Sunday."""
    found: set[int] = set()
    for part in re.split(r", ?| and ", text):
        first, _, last = part.partition("-")
        begin = DAYS.index(first)
        found |= {day % 7 for day in range(begin, begin + (DAYS.index(last or first) - begin) % 7 + 1)}
    return frozenset(found)


def _second(text: str) -> int:
    hour, minute = map(int, text.split(":"))
    if (hour, minute) > (24, 0):
        raise ReadingError(f"{quoted(text)} is no time of day")
    return hour * 3600 + minute * 60


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ReadingError(f"{quoted(text)} is no date") from None
