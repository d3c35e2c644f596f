"""Slots as bytes: what a long run keeps of its past takes two bytes or less a histogram cell instead of a hundred.

The form is for memory only and may change at any time; on disk and on the wire slots are JSON.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Mapping
from itertools import accumulate, pairwise

from chaosrunner.model.histogram import Histogram
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Slot

_HEAD = struct.Struct("<IqB")
"""Of a slot: name index, hits due, how many outcomes follow."""
_DONE = struct.Struct("<Bq")
_COLUMNS = struct.Struct("<IQH")
"""Of a histogram: bytes of its two columns, values in it, its first cell."""
_OUTCOMES = tuple(Outcome)
_INDEX = {outcome: index for index, outcome in enumerate(_OUTCOMES)}
_HISTOGRAMS = 6
_BYTE = 256
_QUICKLY = 1


class Lazy(Histogram):
    """A histogram that unpacks its cells when somebody first asks for them."""

    __slots__ = ("_first", "_packed")

    def __init__(self, packed: bytes, total: int, first: int) -> None:
        """Wrap the two columns of a histogram that holds `total` values, the least of them in the cell `first`."""
        self._packed, self._first, self.total = packed, first, total

    def __getattr__(self, name: str) -> dict[int, int]:
        """The cells, at the first time; a slot that is filled is found without asking here."""
        if name != "cells":
            raise AttributeError(name)
        self.cells = _cells(self._packed, self._first)
        return self.cells

    def __eq__(self, other: object) -> bool:
        """Whether both count the same."""
        return isinstance(other, Histogram) and (self.total, self.cells) == (other.total, other.cells)

    __hash__ = None  # type: ignore[assignment]


def pack(names: Mapping[int, Slot]) -> bytes:
    """The slots of one number, by name index, as bytes; equal slots give equal bytes."""
    parts = []
    for name, slot in sorted(names.items()):
        parts.append(_HEAD.pack(name, slot.due, len(slot.done)))
        parts += [_DONE.pack(_INDEX[outcome], count) for outcome, count in sorted(slot.done.items())]
        parts += [_histogram(histogram) for histogram in slot.histograms()]
    return zlib.compress(b"".join(parts), _QUICKLY)


def unpack(data: bytes) -> dict[int, Slot]:
    """The slots that `pack` has packed, equal to them, and nobody else's; their histograms unpack when read."""
    plain, at = zlib.decompress(data), 0
    names: dict[int, Slot] = {}
    while at < len(plain):
        name, due, outcomes = _HEAD.unpack_from(plain, at)
        at += _HEAD.size
        done = {}
        for _ in range(outcomes):
            index, count = _DONE.unpack_from(plain, at)
            done[_OUTCOMES[index]] = count
            at += _DONE.size
        histograms: list[Histogram] = []
        for _ in range(_HISTOGRAMS):
            size, total, first = _COLUMNS.unpack_from(plain, at)
            at += _COLUMNS.size
            histograms.append(Lazy(plain[at : at + size], total, first))
            at += size
        names[name] = Slot(due, done, *histograms)
    return names


def _histogram(histogram: Histogram) -> bytes:
    """Steps from cell to cell and counts, in columns; bytes where they fit, else 2 and 8 bytes each."""
    cells = sorted(histogram.cells)
    if not cells:
        return _COLUMNS.pack(0, histogram.total, 0)
    steps = [after - before for before, after in pairwise(cells)]
    counts = [histogram.cells[cell] for cell in cells]
    narrow = (max(steps, default=0) < _BYTE, max(counts) < _BYTE)
    columns = bytes(narrow) + _column(steps, "H", narrow=narrow[0]) + _column(counts, "Q", narrow=narrow[1])
    return _COLUMNS.pack(len(columns), histogram.total, cells[0]) + columns


def _column(values: list[int], wide: str, *, narrow: bool) -> bytes:
    return bytes(values) if narrow else array(wide, values).tobytes()


def _cells(packed: bytes, first: int) -> dict[int, int]:
    if not packed:
        return {}
    step_wide, count_wide = 1 if packed[0] else 2, 1 if packed[1] else 8
    many = (len(packed) - 2 + step_wide) // (step_wide + count_wide)
    cut = 2 + (many - 1) * step_wide
    steps = packed[2:cut] if step_wide == 1 else array("H", packed[2:cut])
    counts = packed[cut:] if count_wide == 1 else array("Q", packed[cut:])
    return dict(zip(accumulate(steps, initial=first), counts, strict=True))
