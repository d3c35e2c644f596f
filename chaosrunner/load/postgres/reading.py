"""Reading back: does the server still have every write that it acknowledged?

About a second after a write was acknowledged it is looked for, and booked at that time. After an outage the minute
before it is looked at again, and at the end everything is: a write that is missing only then is booked at about the
time when it was acknowledged, because that is when users were told something that did not stay true.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.postgres.asking import Ask
    from chaosrunner.load.postgres.lines import Connection
    from chaosrunner.load.postgres.numbers import Findings, Numbers
    from chaosrunner.load.postgres.place import Place

AT_ONCE = 50_000
"""Numbers read back by one query."""

SETTLED_NS = NANOS
"""A write is looked for when it was acknowledged this long ago."""

NAMED = 20
"""How many lost numbers a note names."""

MISSING = """
SELECT n FROM generate_series($2::bigint, $3::bigint) AS n
WHERE NOT EXISTS (SELECT FROM {table} t WHERE t.writer = $1 AND t.number = n)
"""


async def read_on(place: Place, connection: Connection) -> None:
    """Look for what has been acknowledged since the last time. Raises one of FAILURES."""
    for ask, numbers in place.numbers:
        reading = Reading(place, ask, numbers, numbers.read + 1)
        await reading.run(connection, numbers.before(time.monotonic_ns() - SETTLED_NS))
        numbers.read = max(numbers.read, reading.next - 1)


async def read_again(place: Place, seconds: float, since_ns: int) -> None:
    """Look once more for what was acknowledged since an instant; what is missing now is booked now."""

    async def look(connection: Connection) -> None:
        """Of every step."""
        for ask, numbers in place.numbers:
            await Reading(place, ask, numbers, max(1, numbers.before(since_ns)), again=True).run(connection)

    await place.watch.use(look, seconds)


async def read_all(place: Place, seconds: float) -> None:
    """At the end: look for everything. What cannot be looked for is UNFINISHED, because not knowing is no pass."""
    readings = [Reading(place, ask, numbers, 1, final=True) for ask, numbers in place.numbers]

    async def look(connection: Connection) -> None:
        """Of every step."""
        for reading in readings:
            await reading.run(connection)

    await place.watch.use(look, seconds)
    for reading in readings:
        reading.close()


@dataclass(slots=True)
class Reading:
    """Of the numbers of one step, from one on."""

    place: Place
    ask: Ask
    numbers: Numbers
    next: int
    """The first number that was not read."""
    again: bool = False
    """All of it was booked before: only what is missing is news."""
    final: bool = False
    there: int = 0
    in_doubt_landed: int = 0
    in_doubt_gone: int = 0
    refused_and_there: int = 0

    async def run(self, connection: Connection, upto: int | None = None) -> None:
        """Read up to a number, or all, in pieces. Raises one of FAILURES; what was read by then is booked."""
        last = self.numbers.last if upto is None else upto
        assert self.place.schema is not None
        sql = MISSING.format(table=self.place.schema.table)
        while self.next <= last:
            piece = min(last, self.next + AT_ONCE - 1)
            rows = await connection.fetch(sql, self.numbers.writer, self.next, piece)
            self._book(self.numbers.compare(self.next, piece, [row["n"] for row in rows]))
            self.next = piece + 1

    def close(self) -> None:
        """Book what only the end can tell."""
        self._there(self.there - self.numbers.booked)
        for name in ("in_doubt_landed", "in_doubt_gone", "refused_and_there"):
            self.place.count(f"{self.ask.name}.{name}", getattr(self, name))
        if self.next <= self.numbers.last:
            self.place.note(
                "postgres writes not read back", step=self.ask.name, first=self.next, last=self.numbers.last
            )
            for number in self.numbers.acknowledged_in(self.next, self.numbers.last):
                self._observe(Outcome.UNFINISHED, self.numbers.about_when(number))

    def _book(self, found: Findings) -> None:
        new = [number for number in found.lost if number not in self.numbers.lost]
        self.numbers.lost.update(new)
        now_ns = time.monotonic_ns()
        for number in new:
            self._observe(Outcome.LOST, self.numbers.about_when(number) if self.final else now_ns)
        if new:
            self._name(new)
        if self.final:
            self.there += found.there
            self.in_doubt_landed += found.in_doubt_landed
            self.in_doubt_gone += found.in_doubt_gone
            self.refused_and_there += found.unasked
        elif not self.again:
            self._there(found.there)

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

    def _there(self, n: int) -> None:
        if n > 0:
            assert self.ask.acknowledged is not None
            self.numbers.booked += n
            at_ns = self.numbers.about_when(self.numbers.last) if self.final else time.monotonic_ns()
            self.place.bench.ledger.observe_alike(self.ask.acknowledged, at_ns, 0, n)

    def _observe(self, outcome: Outcome, at_ns: int) -> None:
        assert self.ask.acknowledged is not None
        self.place.observe(self.ask.acknowledged, at_ns, 0, outcome)
