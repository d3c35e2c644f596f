"""Rules: which faults may act on a system, on how much of it at once, and when. Each knows where it was written.

A system has rules and an experiment may have more; both hold, so an experiment can only narrow what the owner allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, tzinfo
from fnmatch import fnmatchcase

IN_ALL = "*"
"""As the component of a limit: all components of the system together."""
EACH = ""
"""As the component of a limit: every component by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule as it was written, and where."""

    text: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: '{self.text}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtMost(Rule):
    """`30% of api`, `1 of each`, `3 in all`: how much may be under faults at once. It has a `count` or a `share`."""

    component: str
    """A component's name, `EACH` or `IN_ALL`."""
    count: int | None = None
    share: float | None = None
    """0..1 of the instances that are live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours(Rule):
    """`Mon-Fri 09:00-17:00 Europe/Berlin`: faults only then. Hours over midnight belong to the day they begin on."""

    days: frozenset[int]
    """0 = Monday."""
    begin_s: int = 0
    """Seconds of the local clock after midnight."""
    end_s: int = 86_400
    """The first second that is outside; not after `begin_s`: of the next day."""
    zone: tzinfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates(Rule):
    """`2026-12-24 to 2027-01-01 Europe/Berlin`: no fault on these days, both included."""

    first: date
    last: date
    zone: tzinfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern(Rule):
    """A name, or a part of one with `*`: `proxy.*`, `*-primary`; of labels `key` or `key=value`."""

    def means(self, name: str) -> bool:
        """Whether a name is meant."""
        return fnmatchcase(name, self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protections:
    """What no fault may touch, by whatever component it is reached. A component with one of them in it is refused."""

    names: tuple[Pattern, ...] = ()
    """Of containers, proxies, namespaces and programs."""
    labels: tuple[Pattern, ...] = ()
    """Of containers."""
    namespaces: tuple[Pattern, ...] = ()

    def against(
        self, names: Iterable[str], labels: Mapping[str, str], namespaces: Iterable[str]
    ) -> tuple[str, Pattern] | None:
        """What of an instance is protected, and by which rule; None when nothing is."""
        said = {*labels, *(f"{key}={value}" for key, value in labels.items())}
        ways = (("name", self.names, names), ("label", self.labels, said), ("namespace", self.namespaces, namespaces))
        for what, patterns, words in ways:
            for word in sorted(words):
                for pattern in patterns:
                    if pattern.means(word):
                        return f"{what} '{word}'", pattern
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one file allows; without a rule of a kind everything of that kind is allowed."""

    faults: tuple[Pattern, ...] = ()
    """The only faults, by name."""
    at_most: tuple[AtMost, ...] = ()
    only: tuple[Hours, ...] = ()
    """Any of these hours."""
    never: tuple[Dates, ...] = ()
    protect: Protections = field(default_factory=Protections)
    environments: tuple[Pattern, ...] = ()
    """The only environments; of an experiment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """What one fault has under it, or will have."""

    component: str
    names: tuple[str, ...]
    """Its instances that were drawn, by names that mean the same in every fault of a kind."""
    live: int
    """Out of how many."""
    by: str
    """For people: the fault, or the run, that has it."""
