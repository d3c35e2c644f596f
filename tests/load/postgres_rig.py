"""Loads on a real Postgres, run by one worker inside the test's process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
from load_rig import Books, work

from chaosrunner.model.postgres_step import Query, Statement
from chaosrunner.model.slots import Slot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from chaosrunner.model.load import LoadProfile

RUN = "t0001"


def sql(name: str, *texts: str, args: tuple[object, ...] = (), **fields: object) -> Query:
    """A step on the component `db`; several texts are a transaction."""
    statements = tuple(Statement(sql=text, args=args) for text in texts)  # type: ignore[arg-type]
    return Query(**{"name": name, "statements": statements, "on": "db", "transaction": len(texts) > 1, **fields})  # type: ignore[arg-type]


class Account:
    """What a load's books say, by name."""

    def __init__(self, load: LoadProfile, books: Books) -> None:
        self.books = books
        self._indices = {name: index for index, name in load.names.items()}

    def of(self, name: str) -> Slot:
        """The slot of a step or of a series, all of it; an empty one when nothing was measured."""
        return self.books.by_name.get(self._indices[name], Slot())

    def outcomes(self, name: str) -> Mapping[str, int]:
        """Outcome → how many."""
        return {outcome.value: count for outcome, count in self.of(name).done.items()}

    def count(self, name: str) -> int:
        """A counter."""
        return sum(frame.counts.get(name, 0) for frame in self.books.frames)

    def counts(self) -> Mapping[str, int]:
        """All counters."""
        names = {name for frame in self.books.frames for name in frame.counts}
        return {name: self.count(name) for name in sorted(names)}

    def notes(self, about: str) -> list[Mapping[str, Any]]:
        """The facts of a kind."""
        return [note["data"] for note in self.books.notes if note["about"] == about]  # type: ignore[misc]


async def play(
    load: LoadProfile, dsn: str, *, until: Callable[[Books], bool] | None = None, **orders: object
) -> Account:
    """Run a load on the server that a DSN names until a condition, or until it ends after `longest_s`."""
    given = {"places": {"db": dsn}, "run": RUN, **orders}
    return Account(load, await work(load, "", until=until, **given))  # type: ignore[arg-type]


@asynccontextmanager
async def session(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session of the test's own."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()
