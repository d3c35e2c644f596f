"""Reading the keys of a mapping: unknown ones get the nearest spelling, values their type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chaosrunner.logic.parse import scalars
from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, quoted
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping whose keys are known. Every getter notes a mistake and answers its default when the value is wrong."""

    desk: Desk
    table: Table
    what: str
    """How messages call the mapping; empty for the file itself."""

    def only(self, known: Sequence[str]) -> Fields:
        """Note every key that is not among `known`."""
        for key, _ in self.table.entries:
            if key.text not in known:
                place = f" of {self.what}" if self.what else ""
                self.desk.wrong(key, f"{quoted(key.text)} is no key{place}{did_you_mean(key.text, known)}")
        return self

    def node(self, key: str) -> Node | None:
        """What stands under `key`."""
        return self.table.get(key)

    def place(self, key: str) -> Node:
        """The key's place, or the mapping's when the key is missing."""
        return self.table.key(key) or self.table

    def need(self, key: str, advice: str) -> Node | None:
        """What stands under a key that must be there."""
        node = self.table.get(key)
        if node is None:
            self.desk.wrong(self.table, f"{quoted(key)} is missing{f' in {self.what}' if self.what else ''}; {advice}")
        return node

    def read(self, key: str, reader: Callable[[str], T], default: T) -> T:
        """A value by a pure reader of its text."""
        node = self.table.get(key)
        found = None if node is None else self.desk.read(node, key, reader)
        return default if found is None else found

    def text(self, key: str, default: str = "") -> str:
        """A text; a number is taken as it is written."""
        return self.read(key, filled, default)

    def seconds(self, key: str, default: float, *, zero: bool = False) -> float:
        """A duration, in seconds; `zero` allows none."""
        return self.read(key, scalars.duration if zero else some_time, default)

    def count(self, key: str, default: int, *, most: int = 1_000_000) -> int:
        """A whole number from 1 to `most`."""
        return self.read(key, lambda text: whole(text, 1, most), default)

    def texts(self, key: str) -> list[Scalar]:
        """A list of texts; a single one needs no list."""
        node = self.table.get(key)
        return [] if node is None else texts(self.desk, node, key)


def texts(desk: Desk, node: Node, what: str) -> list[Scalar]:
    """The texts of a list, variables put in; a single text is a list of one."""
    found = [desk.scalar(item, what) for item in (node.items if isinstance(node, Items) else (node,))]
    good = [scalar for scalar in found if scalar is not None]
    for scalar in good:
        if not scalar.text:
            desk.wrong(scalar, f"{what} is empty")
    return [scalar for scalar in good if scalar.text]


def table(desk: Desk, node: Node, what: str) -> Table | None:
    """A mapping; an empty value is an empty one."""
    if isinstance(node, Table):
        return node
    if isinstance(node, Scalar) and node.value is None:
        return Table(node.line, node.column, ())
    desk.wrong(
        node, f"{what}: expected a mapping of keys, found a {'list' if isinstance(node, Items) else 'single value'}"
    )
    return None


def items(desk: Desk, node: Node, what: str) -> tuple[Node, ...]:
    """The members of a list; an empty value is an empty one."""
    if isinstance(node, Items):
        return node.items
    if not (isinstance(node, Scalar) and node.value is None):
        desk.wrong(node, f"{what}: expected a list, each entry beginning with '- '")
    return ()


def filled(text: str) -> str:
    """A text that is not empty. Raises ReadingError."""
    if not text.strip():
        raise ReadingError("expected a text, found nothing")
    return text


def some_time(text: str) -> float:
    """A duration above zero, in seconds. Raises ReadingError."""
    seconds = scalars.duration(text)
    if not seconds:
        raise ReadingError("expected more than zero")
    return seconds


def whole(text: str, least: int, most: int) -> int:
    """A whole number within bounds. Raises ReadingError."""
    sign = text[:1] if text[:1] in ("-", "+") else ""
    digits = text.removeprefix(sign)
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise ReadingError(f"expected a whole number, such as {max(least, 1)}")
    if len(digits) > 1 and digits[0] == "0":
        raise ReadingError(f"a number does not begin with zero; write {int(digits)}, or quote it where a text is meant")
    value = int(text)
    if not least <= value <= most:
        raise ReadingError(f"expected {least:,} to {most:,}")
    return value
