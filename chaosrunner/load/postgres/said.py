"""A statement made ready: its arguments filled and fitted, its rows judged, its slowest run remembered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chaosrunner.load.postgres.arguments import filler, fitted, plain
from chaosrunner.load.postgres.failures import NotAsExpected
from chaosrunner.load.template import json_path, look_up

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    import asyncpg

    from chaosrunner.load.postgres.lines import Line
    from chaosrunner.model.postgres_step import Rows, Statement


class Slowest:
    """The slowest run of a statement so far."""

    __slots__ = ("args", "took_ns")

    def __init__(self) -> None:
        self.took_ns = 0
        self.args: Sequence[object] = ()


class Said:
    """One statement of a step."""

    __slots__ = ("_expect", "_fill", "_keep", "slowest", "sql")

    def __init__(self, statement: Statement, chance: Random) -> None:
        """Raises ValueError for a path that is none."""
        self.sql = statement.sql
        self._fill = filler(statement.args, chance) if statement.args else None
        self._expect = statement.expect
        self._keep = tuple((variable, json_path(path)) for variable, path in statement.keep.items())
        self.slowest = Slowest()

    async def say(self, line: Line, variables: dict[str, object]) -> None:
        """Execute it, judge what came, and keep what is to be kept.

        Raises:
            BadArgument: a value that its parameter cannot take.
            NotAsExpected: other rows than the step expects, or nothing where it keeps something.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError: it failed.
        """
        known = line.prepared.get(self.sql)
        state, convert = known if known is not None else await line.ready(self.sql)
        args = fitted(self._fill(variables) if self._fill else (), convert) if self._fill or convert else ()
        began_ns = time.monotonic_ns()
        rows, status, _ = await line.execute(state, args, "", 0, True, None)
        took_ns = time.monotonic_ns() - began_ns
        if took_ns > self.slowest.took_ns:
            self.slowest.took_ns, self.slowest.args = took_ns, args
        if self._expect is not None and not _fits(self._expect, _touched(rows, status)):
            raise NotAsExpected
        if self._keep:
            self._keep_from(rows, variables)

    def _keep_from(self, rows: list[asyncpg.Record], variables: dict[str, object]) -> None:
        found = [{name: plain(value) for name, value in row.items()} for row in rows]
        try:
            kept = {variable: look_up(found, path) for variable, path in self._keep}
        except LookupError:
            raise NotAsExpected from None
        variables.update(kept)


def _fits(expect: Rows, count: int) -> bool:
    return expect.least <= count and (expect.most is None or count <= expect.most)


def _touched(rows: Sequence[object], status: bytes | None) -> int:
    """How many rows came, or, if the statement gives none, how many it says it touched: `UPDATE 3`."""
    last = (status or b"").rpartition(b" ")[2]
    return len(rows) if rows or not last.isdigit() else int(last)
