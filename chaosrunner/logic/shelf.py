"""Slots by number: the newest lie open, to be added to; all others are packed, and unpacked for whoever reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

from chaosrunner.model.packed import pack, unpack
from chaosrunner.model.slots import Slot


@dataclass(frozen=True, slots=True)
class _Packed:
    """The slots of one number, and what is asked of them too often to unpack them for it."""

    data: bytes
    answered: int
    unanswered: bool


@dataclass(slots=True, eq=False)
class Shelf(MutableMapping[int, dict[int, Slot]]):
    """Slot number → name index → slot. What is read of a packed number is a copy; `to_add` gives the original."""

    weight: int = 0
    """Bytes of what is packed and merged."""
    _merged: int = 0
    _open: dict[int, dict[int, Slot]] = field(default_factory=dict)
    _packed: dict[int, _Packed] = field(default_factory=dict)

    def __getitem__(self, number: int) -> dict[int, Slot]:
        """The slots of a number. Raises KeyError if it has none."""
        return self._open[number] if number in self._open else unpack(self._packed[number].data)

    def __setitem__(self, number: int, names: dict[int, Slot]) -> None:
        """Put slots under a number, in place of what was there."""
        self._forget(number)
        self._open[number] = names

    def __delitem__(self, number: int) -> None:
        """Take a number away. Raises KeyError if it has no slots."""
        if self._open.pop(number, None) is None and not self._forget(number):
            raise KeyError(number)

    def __iter__(self) -> Iterator[int]:
        """The numbers that have slots."""
        yield from self._packed
        yield from self._open

    def __len__(self) -> int:
        """How many numbers have slots."""
        return len(self._packed) + len(self._open)

    def __contains__(self, number: object) -> bool:
        """Whether a number has slots; nothing is unpacked for it."""
        return number in self._open or number in self._packed

    def to_add(self, number: int) -> dict[int, Slot]:
        """The slots of a number themselves, to add to; none yet if there are none."""
        if number not in self._open:
            known = self._packed.get(number)
            self._open[number] = unpack(known.data) if known else {}
            self._forget(number)
        return self._open[number]

    def seal(self, before: int, merged: int) -> None:
        """Pack all numbers below `before`; those below `merged` hold what was merged, and are weighed."""
        self._merged = max(self._merged, merged)
        for number in [number for number in self._open if number < before]:
            names = self._open.pop(number)
            packed = _Packed(pack(names), answered(names), unanswered(names))
            self._packed[number] = packed
            self.weight += len(packed.data) if number < self._merged else 0

    def size(self) -> int:
        """Bytes of all that is packed."""
        return sum(len(packed.data) for packed in self._packed.values())

    def answered(self, number: int) -> int:
        """Hits of a number that the target has answered, or not in time."""
        packed = self._packed.get(number)
        return packed.answered if packed else answered(self._open.get(number, {}))

    def unanswered(self, number: int) -> bool:
        """Whether a hit of a number has no outcome yet."""
        packed = self._packed.get(number)
        return packed.unanswered if packed else unanswered(self._open.get(number, {}))

    def _forget(self, number: int) -> bool:
        """Drop what is packed under a number; whether there was anything."""
        packed = self._packed.pop(number, None)
        if packed is not None and number < self._merged:
            self.weight -= len(packed.data)
        return packed is not None


def answered(names: Mapping[int, Slot]) -> int:
    """Hits with an outcome that is the target's."""
    return sum(slot.finished - slot.ours for slot in names.values())


def unanswered(names: Mapping[int, Slot]) -> bool:
    """Whether a hit has no outcome yet."""
    return any(slot.open > 0 for slot in names.values())
