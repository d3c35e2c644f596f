"""Reading back: does the server still have every write that it acknowledged?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from chaosrunner.load.postgres.asking import Ask
    from chaosrunner.load.postgres.lines import Connection
    from chaosrunner.load.postgres.numbers import Findings, Numbers
    from chaosrunner.load.postgres.place import Place

AT_ONCE = 50_000
"""Numbers read back by one query."""

NAMED = 20
"""How many lost numbers a note names."""

MISSING = """
SELECT n FROM generate_series($2::bigint, $3::bigint) AS n
WHERE NOT EXISTS (SELECT FROM {table} t WHERE t.writer = $1 AND t.number = n)
"""


async def read_back(place: Place, seconds: float, *, since_ns: int = 0) -> None:
    """Look for every acknowledged write, or for those since an instant, and book what was found.

    At the end (`since_ns` = 0) all is booked: what is there as OK, and what could not be looked for as UNFINISHED,
    because not knowing is no pass. Before the end only the lost ones are.
    """
    deadline = time.monotonic() + seconds
    for ask, numbers in place.numbers:
        reading = Reading(place, ask, numbers, final=not since_ns)
        await reading.run(max(1, numbers.before(since_ns)) if since_ns else 1, deadline)


@dataclass(frozen=True, slots=True)
class Reading:
    """Of the numbers of one step."""

    place: Place
    ask: Ask
    numbers: Numbers
    final: bool

    async def run(self, first: int, deadline: float) -> None:
        """Read back from a number on, in pieces, until all are or a deadline (time.monotonic) has passed."""
        last = self.numbers.last
        while first <= last:
            upto = min(last, first + AT_ONCE - 1)
            missing = await self._missing(first, upto, deadline)
            if missing is None:
                break
            self._book(self.numbers.compare(first, upto, missing))
            first = upto + 1
        if self.final and first <= last:
            self.place.note("postgres writes not read back", step=self.ask.name, first=first, last=last)
            self._observe(last + 1 - first, Outcome.UNFINISHED)

    async def _missing(self, first: int, last: int, deadline: float) -> list[int] | None:
        """Numbers that the table does not have; None when it could not be asked."""
        found: list[int] = []

        async def ask(connection: Connection) -> None:
            assert self.place.schema is not None
            sql = MISSING.format(table=self.place.schema.table)
            found[:] = [row["n"] for row in await connection.fetch(sql, self.numbers.writer, first, last)]

        return found if await self.place.watch.use(ask, deadline - time.monotonic()) else None

    def _book(self, found: Findings) -> None:
        new = [number for number in found.lost if number not in self.numbers.lost]
        self.numbers.lost.update(new)
        self._observe(len(new), Outcome.LOST)
        if new:
            self._name(new)
        if self.final:
            self._observe(found.there, Outcome.OK)
            self.place.count(f"{self.ask.name}.in_doubt_landed", found.in_doubt_landed)
            self.place.count(f"{self.ask.name}.in_doubt_gone", found.in_doubt_gone)
            self.place.count(f"{self.ask.name}.refused_and_there", found.unasked)

    def _name(self, lost: list[int]) -> None:
        epoch_ns = self.place.bench.ledger.epoch_ns
        when = [round((self.numbers.about_when(number) - epoch_ns) / 1e6) for number in (lost[0], lost[-1])]
        self.place.note(
            "postgres acknowledged writes lost",
            step=self.ask.name,
            lost=len(lost),
            numbers=lost[:NAMED],
            acknowledged_about_ms=when,
        )

    def _observe(self, n: int, outcome: Outcome) -> None:
        assert self.ask.acknowledged is not None
        now_ns = time.monotonic_ns()
        for _ in range(n):
            self.place.observe(self.ask.acknowledged, now_ns, 0, outcome)
