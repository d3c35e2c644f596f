"""The hits of one slot and one name while they are being counted: by the microsecond, a Slot once they are handed out.

Counting is on the hot path: a hit that found a free connection and succeeded costs one addition, and what follows from
it (how many were due, how many ended, which histogram's cell a microsecond belongs to) is worked out once a frame, for
each distinct value instead of for each hit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from chaosrunner.model.histogram import SUB_BITS, Histogram, cell_of
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Slot

if TYPE_CHECKING:
    from chaosrunner.load.act import OpenHit

Micros = dict[int, int]
"""µs → how many."""

Cells = dict[int, int]
"""A histogram's cell → how many."""

EXACT_US = 1 << (SUB_BITS + 1)
"""Below this every microsecond is a cell of its own, and its own number."""

A_PART = 200
"""Values looked at in one go: about 0.03 ms."""

_OK = Outcome.OK


class Tally:
    """One slot and one name since the last frame. Instants are CLOCK_MONOTONIC nanoseconds."""

    __slots__ = (
        "adjusted", "begin_ns", "direct", "end_ns", "failed", "failures", "lag", "ok", "service", "uncounted", "usual",
        "wait",
    )  # fmt: skip

    def __init__(self, begin_ns: int, end_ns: int) -> None:
        self.begin_ns = begin_ns
        self.end_ns = end_ns
        self.usual: dict[int, Micros] = {}
        """Hits that were OK and found a free connection, until they are unfolded: lag → response → how many."""
        self.lag: Cells = {}
        """Of every other hit that was fired; the same for all below."""
        self.ok: Cells = {}
        self.direct: Cells = {}
        """Response − lag of what was unfolded: its service, and what a perfect generator would have seen."""
        self.service: Cells = {}
        """Of other OK hits."""
        self.adjusted: Cells = {}
        """Of the same."""
        self.failed: Cells = {}
        self.wait: Cells = {}
        """Of hits that are not in `direct`."""
        self.failures: dict[Outcome, int] = {}
        self.uncounted = 0
        """Due, but not in `lag`: never fired, or no hit at all."""

    def unusual(self, hit: OpenHit, outcome: Outcome, done_ns: int) -> None:
        """A fired hit has ended that failed, had to wait for a connection, or was written down as due before.

        One that was never sent has spent all its time since it was fired on waiting for a connection.
        """
        due_ns, fired_ns, sent_ns = hit.due_ns, hit.fired_ns, hit.sent_ns or done_ns
        lag = (fired_ns - due_ns) // 1000
        if not hit.booked:
            count(self.lag, lag)
        count(self.wait, (sent_ns - fired_ns) // 1000)
        if outcome is _OK:
            response = (done_ns - due_ns) // 1000
            count(self.ok, response)
            count(self.adjusted, response - lag)
            count(self.service, (done_ns - sent_ns) // 1000)
        else:
            count(self.failed, (done_ns - due_ns) // 1000)
            self.fail(outcome)

    def fail(self, outcome: Outcome) -> None:
        """One more that is not OK."""
        self.failures[outcome] = self.failures.get(outcome, 0) + 1

    def unfold(self) -> Iterator[None]:
        """Count the usual hits like the others, a little at a time; what is below wants all of it done."""
        ok, direct = self.ok, self.direct
        while self.usual:
            lag, responses = self.usual.popitem()
            count(self.lag, lag, sum(responses.values()))
            for some in in_parts(responses):
                for response, n in some:  # mostly written out: calls would double it
                    service = response - lag
                    if service >= 0 and response < EXACT_US:
                        ok[response] = ok.get(response, 0) + n
                        direct[service] = direct.get(service, 0) + n
                    else:
                        count(ok, response, n)
                        count(direct, service, n)
                yield

    @property
    def due(self) -> int:
        """Hits that became due."""
        return self.uncounted + sum(self.lag.values())

    @property
    def done(self) -> dict[Outcome, int]:
        """Hits that ended, by outcome."""
        oks = sum(self.ok.values())
        return {_OK: oks, **self.failures} if oks else self.failures

    def histograms(self) -> Iterator[Histogram]:
        """A slot's histograms in its order, each worked out when it is asked for; two that must be equal are one."""
        yield histogram(self.ok)
        yield histogram(self.failed)
        yield (adjusted := histogram(self.direct, self.adjusted))
        yield histogram(self.lag)
        direct = sum(self.direct.values())
        yield histogram(self.wait, {0: direct} if direct else {})
        yield histogram(self.direct, self.service) if self.adjusted or self.service else adjusted

    def slot(self) -> Slot:
        """All of it, as it is handed out."""
        for _ in self.unfold():
            pass
        slot = Slot(self.due, self.done, *self.histograms())
        slot.service = Histogram(dict(slot.service.cells), slot.service.total)
        return slot


class Slots(Mapping[tuple[int, int], Slot]):
    """What was tallied, by slot number and name. A slot is worked out when it is asked for, and not kept."""

    def __init__(self, tallies: Mapping[tuple[int, int], Tally]) -> None:
        self._tallies = tallies

    def __getitem__(self, key: tuple[int, int]) -> Slot:
        """The slot of a number and a name."""
        return self._tallies[key].slot()

    def tally(self, key: tuple[int, int]) -> Tally:
        """The same, to be worked out in turns."""
        return self._tallies[key]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._tallies)

    def __len__(self) -> int:
        return len(self._tallies)


def count(cells: Cells, value: int, n: int = 1) -> None:
    """One more of a value in µs, or n more; negative counts as 0."""
    cell = value if 0 <= value < EXACT_US else cell_of(max(0, value))
    cells[cell] = cells.get(cell, 0) + n


def in_parts(counted: Mapping[int, int], size: int = A_PART) -> Iterator[list[tuple[int, int]]]:
    """What was counted, a part at a time: what is done for each of them must not keep a hit from being fired."""
    items = iter(counted.items())
    while part := list(islice(items, size)):
        yield part


def histogram(*counted: Cells) -> Histogram:
    """What was counted, as a histogram."""
    some = [cells for cells in counted if cells]
    whole = some[0] if len(some) == 1 else {}
    if len(some) > 1:
        for cells in some:
            for cell, n in cells.items():
                whole[cell] = whole.get(cell, 0) + n
    return Histogram(whole, sum(whole.values()))
