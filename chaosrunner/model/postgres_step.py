"""Steps that ask a Postgres: a statement, a transaction, or one of several by weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chaosrunner.model.journey import Action

Isolation = Literal["", "read committed", "repeatable read", "serializable"]
"""Of a transaction; empty = the server's own default."""

Way = Literal["pooled", "each time", "of the journey"]
"""Where a step's connection comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """An argument drawn anew for each statement: a whole number, evenly from `low` to `high`, both included."""

    low: int
    high: int


Argument = str | int | float | bool | Draw | None
"""What stands for `$1`: a text with placeholders, a value as it is, or a draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """How many rows a statement must give (or, without a result, touch)."""

    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement and what its result must be."""

    sql: str
    args: tuple[Argument, ...] = ()
    expect: Rows | None = None
    keep: Mapping[str, str] = field(default_factory=dict)
    """Variable → JSON path in the rows, an array of objects: `$[0].balance`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The connections that the steps of one component share."""

    size: int = 10
    """Over all workers."""
    wait_s: float | None = None
    """Who has no connection after this long is told POOL; None = as long as the step's own timeout."""
    statement_timeout_s: float | None = None
    """The server ends a statement that lasts longer; None = the server's own default."""
    leak_s: float = 10.0
    """A connection that somebody keeps longer than this is named as a leak, with the stack that took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Action):
    """A statement on its own, or a transaction of several."""

    kind: Literal["postgres"] = "postgres"
    statements: tuple[Statement, ...]
    transaction: bool = False
    isolation: Isolation = ""
    retry: int = 0
    """How often it is tried again after a serialization failure (40001) or a deadlock (40P01)."""
    on: str
    """The component whose `dsn` it uses."""
    pool: Pool | None = None
    """Of its component; None = another step of it says so, or nobody does."""
    connection: Way = "pooled"
    """The pool's, back after the step; a new one, closed after the step; the pool's, kept by its journey until that
    ends."""
    numbered: bool = False
    """Each commit also writes its number to a table of ours, where it is looked for again at the end."""
    setup: tuple[str, ...] = ()
    """Statements that prepare tables in our own schema before the load begins."""

    @property
    def writes(self) -> bool:
        """Whether it may change anything: judged by its first words, and doubtful cases count as writes."""
        return self.numbered or any(not reads(statement.sql) for statement in self.statements)

    @property
    def series(self) -> tuple[str, ...]:
        """What is measured beside its hits; see docs/reference/load-postgres.md."""
        more = ("outage",) if self.writes else ()
        last = ("acknowledged",) if self.numbered else ()
        return tuple(f"{self.name}.{what}" for what in ("acquire", "connect", "lock_wait", *more, *last))

    @property
    def places(self) -> tuple[str, ...]:
        """The component that it asks."""
        return (self.on,)

    @property
    def keeps(self) -> tuple[str, ...]:
        """The variables that later steps may use."""
        return tuple(variable for statement in self.statements for variable in statement.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix(Action):
    """One of several queries each time, chosen at random by weight."""

    kind: Literal["postgres.mix"] = "postgres.mix"
    queries: tuple[Query, ...]
    """Their names begin with the mix's own: `traffic.read`."""
    weights: tuple[int, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """Each query's hits once more under its own name, and what is measured beside them."""
        return tuple(name for query in self.queries for name in (query.name, *query.series))

    @property
    def places(self) -> tuple[str, ...]:
        """The components that its queries ask."""
        return tuple(dict.fromkeys(query.on for query in self.queries))


def reads(sql: str) -> bool:
    """Whether a statement surely changes nothing but by the functions it calls: it begins like a query."""
    first = sql.lstrip(" \t\n(").split(maxsplit=1)
    return bool(first) and first[0].lower() in ("select", "values", "table", "show")
