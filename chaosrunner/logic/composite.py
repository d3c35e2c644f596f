"""Composites laid out as plain faults: pure, so a seed gives the same faults in `plan`, in the run and next year.

What is laid out knows by `after` what must be over before it may begin. There is no second engine: `decide` waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from chaosrunner.logic.chance import FAULTS, uniform
from chaosrunner.model.composite import Again, AtRandom, InTurn, Part, Together, span_s
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.fault import Fault, Group, Recipe


def drawn(experiment: Experiment, seed: int) -> Experiment:
    """The experiment with its faults as this seed chooses them; the same one when it has no composite.

    Args:
        experiment: as it was read.
        seed: the run's, which its journal keeps.
    """
    return replace(experiment, faults=lay_out(experiment.asked, seed)) if experiment.asked else experiment


def lay_out(parts: Sequence[Part], seed: int) -> tuple[Fault, ...]:
    """The plain faults of some parts that begin together, numbered in the order in which they are laid out."""
    layout = _Layout(seed)
    for part in parts:
        layout.lay(part, _Slot(group=None if isinstance(part, Fault) else Group(line=part.line, title=part.title)))
    return tuple(layout.faults)


def overlapping(faults: Sequence[Fault], recipes: Sequence[Recipe]) -> Iterator[tuple[Fault, Fault, str]]:
    """Pairs of faults that would be in place on one resource at the same time: earlier, later, the claim.

    A kill holds nothing for its time: by then what it hit is gone, and its replacement is another resource.

    Args:
        faults: as they are laid out.
        recipes: of the same faults, in the same order.
    """
    order = sorted(zip(faults, recipes, strict=True), key=lambda pair: (pair[0].at_s, pair[0].index))
    behind = _behind(faults)
    for place, (later, wants) in enumerate(order):
        for earlier, holds in order[:place]:
            shared = sorted(set(wants.claims) & set(holds.claims))
            begins_inside = later.at_s < earlier.at_s + earlier.for_s
            if shared and holds.reversible and begins_inside and earlier.index not in behind[later.index]:
                yield earlier, later, shared[0]


def _behind(faults: Sequence[Fault]) -> list[frozenset[int]]:
    """By fault: all that must be over before it may begin, directly or by what stands between."""
    found: list[frozenset[int]] = []
    for fault in faults:  # what a fault waits for has been laid out before it
        found.append(frozenset(fault.after).union(*(found[index] for index in fault.after)))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """Where the next part is put."""

    begin_s: float = 0.0
    after: tuple[int, ...] = ()
    pause_s: float = 0.0
    """At least this long after the last of `after` is over."""
    group: Group | None = None


@dataclass(slots=True)
class _Layout:
    seed: int
    draws: int = 0
    """Numbers drawn so far."""
    faults: list[Fault] = field(default_factory=list)

    def lay(self, part: Part, slot: _Slot) -> tuple[int, ...]:
        """Lay one part out; the numbers of its faults."""
        here = replace(slot, begin_s=slot.begin_s + part.at_s, pause_s=slot.pause_s + part.at_s)
        match part:
            case Fault():
                return self._fault(part, here)
            case Together(parts=parts):
                return tuple(number for one in parts for number in self.lay(one, here))
            case InTurn(parts=parts, pause_s=pause_s):
                return self._in_turn(parts, pause_s, here)
            case AtRandom():
                return self._at_random(part, here)
            case Again(part=one, times=times, every_s=every_s):
                begins = [here.begin_s + number * every_s for number in range(times)]
                return self._one_by_one([one] * times, begins, here)
            case never:
                assert_never(never)

    def _fault(self, fault: Fault, slot: _Slot) -> tuple[int, ...]:
        number = len(self.faults)
        pause_s = slot.pause_s if slot.after else 0.0
        at_s = round(slot.begin_s, 6)
        self.faults.append(replace(fault, index=number, at_s=at_s, after=slot.after, pause_s=pause_s, group=slot.group))
        return (number,)

    def _in_turn(self, parts: Sequence[Part], pause_s: float, slot: _Slot) -> tuple[int, ...]:
        laid: list[int] = []
        for part in parts:
            numbers = self.lay(part, slot)
            laid += numbers
            slot = replace(slot, begin_s=self._end_s(numbers) + pause_s, after=numbers, pause_s=pause_s)
        return tuple(laid)

    def _at_random(self, part: AtRandom, slot: _Slot) -> tuple[int, ...]:
        """Choose, shuffle, and spread what is left of the window evenly at random between them."""
        ticket = {number: self._drawn() for number in range(len(part.parts))}
        chosen = [part.parts[number] for number in sorted(ticket, key=lambda number: ticket[number])[: part.choose]]
        spare_s = part.within_s - sum(span_s(one) for one in chosen)
        waits = sorted(int(self._drawn() * spare_s * 1000) / 1000 for _ in chosen)
        begins, taken_s = [], 0.0
        for wait_s, one in zip(waits, chosen, strict=True):
            begins.append(slot.begin_s + wait_s + taken_s)
            taken_s += span_s(one)
        return self._one_by_one(chosen, begins, slot)

    def _one_by_one(self, parts: Sequence[Part], begins: Sequence[float], slot: _Slot) -> tuple[int, ...]:
        """At their times, but none before the one before is over."""
        laid: list[int] = []
        before = slot.after
        for begin_s, part in zip(begins, parts, strict=True):
            # The first waits for whatever the whole waits for, and as long after it as its own time says.
            pause_s = 0.0 if laid else slot.pause_s + begin_s - slot.begin_s
            before = self.lay(part, replace(slot, begin_s=begin_s, after=before, pause_s=pause_s))
            laid += before
        return tuple(laid)

    def _drawn(self) -> float:
        self.draws += 1
        return uniform(self.seed, FAULTS, self.draws)

    def _end_s(self, numbers: Sequence[int]) -> float:
        return max(self.faults[number].at_s + self.faults[number].for_s for number in numbers)
