"""The raw hits of a worker that are worth keeping, where a slot alone would be too coarse.

Up to 2,000 a second all are kept. Above that all failures are, and the first and the last of each run of outcomes of a
name. Of a hit its instants are kept, and spelt out when a frame is cut.
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

Times: TypeAlias = tuple[int, int, int, int, int, int]
"""When a hit was due, fired, sent, connected, had its first byte, and was done; CLOCK_MONOTONIC ns."""

Entry: TypeAlias = tuple[int, Outcome, Times | tuple[int, int]]
"""(name, outcome, times); of one that was never fired the times are: due ns after the epoch, age ns."""

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

    def rows(self, at: slice) -> list[list[int | str | None]]:
        """Several in wire form: a `Hit` in between would cost three times as much."""
        return [_row(entry, self._epoch_ns) for entry in self._entries[at]]


class RawHits:
    """What is kept since it was last handed out. Its fields are for the ledger's hot path."""

    def __init__(self, names: int) -> None:
        self._kept: list[Entry] = []
        self._until_ns = 0
        """The second ends at."""
        self._room = 0
        """How many more of this second are kept, whatever they are."""
        self._run: list[Outcome | None] = [None] * names
        """Name → outcome of its latest hit."""
        self.calm_ns = [0] * names
        """Name → until then another hit of it that is OK only becomes its latest: `latest` is all that changes."""
        self.latest: list[Times | None] = [None] * names
        """Name → its latest hit, if that was not kept (it was OK): perhaps the last of its run."""

    def ended(self, hit: OpenHit, outcome: Outcome, done_ns: int) -> None:
        """A hit that was fired has its outcome."""
        name = hit.name
        times = hit.due_ns, hit.fired_ns, hit.sent_ns, hit.connected_ns, hit.first_ns, done_ns
        turned = self._turned(name, outcome, done_ns)
        if turned or self._room >= 0 or outcome is not _OK:
            self._kept.append((name, outcome, times))
            self.latest[name] = None
        else:
            self.latest[name] = times
        self.calm_ns[name] = self._until_ns if outcome is _OK and self._room < 1 else 0

    def unfired(self, name: int, times: tuple[int, int], outcome: Outcome, now_ns: int) -> None:
        """A hit will never be fired; `times` are its due time after the epoch, and how long ago that was, in ns."""
        self._turned(name, outcome, now_ns)
        self._kept.append((name, outcome, times))
        self.latest[name] = None
        self.calm_ns[name] = 0

    def take(self, epoch_ns: int, *, last: bool) -> Kept:
        """Hand out what was kept; with `last` also the latest of each name, which end their runs."""
        if last:
            self._kept += [(name, _OK, latest) for name, latest in enumerate(self.latest) if latest is not None]
        kept, self._kept = self._kept, []
        return Kept(kept, epoch_ns)

    def _turned(self, name: int, outcome: Outcome, now_ns: int) -> bool:
        """Whether this ends the run before it, whose last hit then is kept, too."""
        if now_ns >= self._until_ns:
            self._until_ns, self._room = (now_ns // NANOS + 1) * NANOS, ALL_HITS_PER_S
        self._room -= 1
        if self._run[name] is outcome:
            return False
        self._run[name] = outcome
        latest = self.latest[name]
        if latest is not None:
            self._kept.append((name, _OK, latest))
        return True


def _spelt(entry: Entry, epoch_ns: int) -> Hit:
    due_us, name, outcome, *times = _row(entry, epoch_ns)
    return Hit(due_us, name, Outcome(outcome), *times)  # type: ignore[arg-type]


def _row(entry: Entry, epoch_ns: int) -> list[int | str | None]:
    name, outcome, times = entry
    if len(times) == 2:
        due_ns, age_ns = times
        return [due_ns // 1000, name, outcome.value, 0, age_ns // 1000, None, None, None]
    due_ns, fired_ns, sent_ns, connected_ns, first_ns, done_ns = times
    return [
        (due_ns - epoch_ns) // 1000,
        name,
        outcome.value,
        (done_ns - due_ns) // 1000,
        (fired_ns - due_ns) // 1000,
        _after(due_ns, sent_ns),
        _after(due_ns, connected_ns),
        _after(due_ns, first_ns),
    ]


def _after(due_ns: int, at_ns: int) -> int | None:
    return (at_ns - due_ns) // 1000 if at_ns else None
