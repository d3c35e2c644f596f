"""The raw hits of a worker that are worth keeping, where a slot alone would be too coarse.

Up to 2,000 a second all are kept. Above that all failures are, and the first and the last of each run of outcomes of a
name. A hit is kept as it is, with when it ended, and spelt out when a frame is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, overload

from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Hit
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.act import OpenHit

ALL_HITS_PER_S = 2_000
"""Up to this many hits a second every raw hit is kept; above it all failures, and first and last of each run."""

Entry: TypeAlias = "tuple[OpenHit, Outcome, int] | tuple[int, int, Outcome, int]"
"""(hit, outcome, done ns), or of one that was never fired (name, due ns after the epoch, outcome, age ns)."""

_OK = Outcome.OK


class Kept(Sequence[Hit]):
    """Raw hits in the order they ended, each spelt out when it is asked for."""

    def __init__(self, entries: Sequence[Entry], epoch_ns: int) -> None:
        self._entries = entries
        self._epoch_ns = epoch_ns

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, at: int) -> Hit: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Hit, ...]: ...

    def __getitem__(self, at: int | slice) -> Hit | tuple[Hit, ...]:
        """One of them, or several."""
        if isinstance(at, slice):
            return tuple(_spelt(entry, self._epoch_ns) for entry in self._entries[at])
        return _spelt(self._entries[at], self._epoch_ns)


class RawHits:
    """What is kept since it was last handed out. Its fields are for the ledger's hot path."""

    def __init__(self, names: int) -> None:
        self._kept: list[Entry] = []
        self.until_ns = 0
        """The second ends at."""
        self.room = 0
        """How many more of this second are kept, whatever they are."""
        self.run: list[Outcome | None] = [None] * names
        """Name → outcome of its latest hit."""
        self.latest: list[tuple[OpenHit, int] | None] = [None] * names
        """Name → its latest hit and when it ended, if that was not kept (it was OK): perhaps the last of its run."""

    def ended(self, hit: OpenHit, outcome: Outcome, done_ns: int) -> None:
        """A hit that was fired has its outcome."""
        name = hit.name
        turned = self._turned(name, outcome, done_ns)
        if turned or self.room >= 0 or outcome is not _OK:
            self._kept.append((hit, outcome, done_ns))
            self.latest[name] = None
        else:
            self.latest[name] = hit, done_ns

    def unfired(self, name: int, times: tuple[int, int], outcome: Outcome, now_ns: int) -> None:
        """A hit will never be fired; `times` are its due time after the epoch, and how long ago that was, in ns."""
        self._turned(name, outcome, now_ns)
        self._kept.append((name, times[0], outcome, times[1]))
        self.latest[name] = None

    def take(self, epoch_ns: int, *, last: bool) -> Kept:
        """Hand out what was kept; with `last` also the latest of each name, which end their runs."""
        if last:
            self._kept += [(latest[0], _OK, latest[1]) for latest in self.latest if latest is not None]
        kept, self._kept = self._kept, []
        return Kept(kept, epoch_ns)

    def _turned(self, name: int, outcome: Outcome, now_ns: int) -> bool:
        """Whether this ends the run before it, whose last hit then is kept, too."""
        if now_ns >= self.until_ns:
            self.until_ns, self.room = (now_ns // NANOS + 1) * NANOS, ALL_HITS_PER_S
        self.room -= 1
        if self.run[name] is outcome:
            return False
        self.run[name] = outcome
        latest = self.latest[name]
        if latest is not None:
            self._kept.append((latest[0], _OK, latest[1]))
        return True


def _spelt(entry: Entry, epoch_ns: int) -> Hit:
    if len(entry) == 4:
        name, due_ns, never, age_ns = entry
        return Hit(due_ns // 1000, name, never, 0, age_ns // 1000)
    hit, outcome, done_ns = entry
    due_ns = hit.due_ns
    return Hit(
        (due_ns - epoch_ns) // 1000,
        hit.name,
        outcome,
        (done_ns - due_ns) // 1000,
        (hit.fired_ns - due_ns) // 1000,
        _after(due_ns, hit.sent_ns),
        _after(due_ns, hit.connected_ns),
        _after(due_ns, hit.first_ns),
    )


def _after(due_ns: int, at_ns: int) -> int | None:
    return (at_ns - due_ns) // 1000 if at_ns else None
