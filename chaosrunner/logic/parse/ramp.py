"""A dose that goes from one value to another: `add: 50ms to 300ms` in as many steps as stand beside the fault."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.params import READERS, accepted, read_params
from chaosrunner.logic.parse.spelling import quoted
from chaosrunner.logic.parse.yaml_nodes import Node, Scalar, Table
from chaosrunner.model import units
from chaosrunner.model.fault import Injector

MOST_STEPS = 50
WHOLE = (units.Bytes, int)
DOSES = (units.Seconds, units.Share, units.BytesPerSecond, units.Bytes, int, float)
"""What can rise and fall."""
TO = " to "

Points = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ramp:
    """A fault's parameters, one instance a step."""

    desk: Desk
    mapping: Table
    injector: Injector
    steps: int | None
    """None: nothing stands beside the fault, so it has one dose."""

    def read(self, place: Node, key: Scalar) -> Sequence[object]:
        """The parameters of each step; all None after noting what is wrong with them.

        Args:
            place: where a mistake about the steps is noted.
            key: the injector's.
        """
        rising = self._rising()
        nothing = [None] * (self.steps or 1)
        if self.steps is None and rising:
            name = next(iter(rising))
            self.desk.wrong(rising[name], f"'{name}' goes from one value to another; say 'steps: 6' beside the fault")
            return nothing
        if self.steps is not None and not rising:
            self.desk.wrong(place, "'steps' needs a dose that goes from one value to another: 'add: 50ms to 300ms'")
            return nothing
        doses = {name: self._points(name, node) for name, node in rising.items()}
        if not all(self._reached(place, points) for points in doses.values()):
            return nothing
        return self._each(key, {name: points for name, points in doses.items() if points}) or nothing

    def _hint(self, name: str) -> object:
        return accepted(typing.get_type_hints(self.injector.Params).get(name))

    def _rising(self) -> dict[str, Scalar]:
        return {
            name.text: node
            for name, node in self.mapping.entries
            if isinstance(node, Scalar) and TO in node.text and self._hint(name.text) in DOSES
        }

    def _points(self, name: str, node: Scalar) -> Points | None:
        reader = typing.cast("Callable[[str], float]", READERS[self._hint(name)])

        def read(text: str) -> Points:
            return tuple(reader(point.strip()) for point in text.split(TO))

        return self.desk.read(node, f"{name} of {self.injector.name}", read)

    def _reached(self, place: Node, points: Points | None) -> bool:
        """Whether equal steps come by every point; a mistake that has been noted already is none here."""
        if points is None:
            return False
        steps, legs = self.steps or 1, len(points) - 1
        if steps > legs and (steps - 1) % legs == 0:
            return True
        fewer = max(1, (steps - 1) // legs) * legs + 1
        near = f"'steps: {fewer}'" if fewer >= steps else f"'steps: {fewer}' or 'steps: {fewer + legs}'"
        self.desk.wrong(place, f"{steps} equal steps do not come by all {len(points)} values; write {near}")
        return False

    def _each(self, key: Scalar, doses: Mapping[str, Points]) -> Sequence[object]:
        """The parameters by step; empty after noting what is wrong with them."""
        entries = tuple(
            (name, _first(node) if isinstance(node, Scalar) and name.text in doses else node)
            for name, node in self.mapping.entries
        )
        begin = read_params(self.desk, dataclasses.replace(self.mapping, entries=entries), self.injector, key)
        if begin is None or not doses:
            return [begin] if begin is not None else []
        found: list[object] = []
        for step in range(self.steps or 1):
            change = {name: self._dose(name, points, step) for name, points in doses.items()}
            try:
                found.append(dataclasses.replace(typing.cast("typing.Any", begin), **change))
            except ValueError as error:
                self.desk.wrong(key, f"{quoted(self.injector.name)} at step {step + 1}: {error}")
                return []
        return found

    def _dose(self, name: str, points: Points, step: int) -> float:
        """The value at a step, exactly on the line between the points beside it."""
        a_leg = ((self.steps or 1) - 1) // (len(points) - 1)
        leg, inside = divmod(step, a_leg)
        begin = Fraction(Decimal(repr(points[leg])))
        end = Fraction(Decimal(repr(points[min(leg + 1, len(points) - 1)])))
        value = begin + (end - begin) * Fraction(inside, a_leg)
        return round(value) if self._hint(name) in WHOLE else float(value)


def _first(node: Scalar) -> Scalar:
    """The node as if it said only its first value: what is wrong with parameters is found on it as ever."""
    text = node.text.split(TO)[0].strip()
    return dataclasses.replace(node, text=text, value=text)
