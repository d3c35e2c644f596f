"""Another experiment from the text of one: only what must differ is written anew, and every line keeps its number.

A trial is played from a text, not from a value: its journal holds what was asked of it, and can be judged by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of an experiment file that can be read: a mapping."""

    text: str

    def put(self, path: Path, value: str) -> Draft:
        """With another value in a place. A key of the file itself may be new; any other place must be there.

        Args:
            path: keys and numbers of list items.
            value: YAML that fits on one line.

        Raises:
            KeyError: there is no such place.
        """
        try:
            node = self._node(path)
        except KeyError:
            if len(path) > 1:
                raise
            return Draft(f"{self.text.rstrip()}\n{path[0]}: {value}\n")
        return self._spliced(node.start_mark.index, node.end_mark.index, value)

    def drop(self, key: str) -> Draft:
        """Without a key of the file, if it is there."""
        for name, node in self._root().value:
            if name.value == key:
                return self._spliced(name.start_mark.index, node.end_mark.index, "")
        return self

    def swap(self, path: Path, entry: str) -> Draft:
        """With another key and value (`noop: {}`) in the place of those that `path` leads to. Raises KeyError."""
        *there, last = path
        for name, node in _entries(self._node(tuple(there))):
            if name.value == last:
                return self._spliced(name.start_mark.index, node.end_mark.index, entry)
        raise KeyError(last)

    def keep(self, key: str, item: int) -> Draft:
        """With only one item of a list. Raises KeyError."""
        node = self._node((key,))
        items = _items(node)
        if isinstance(node, yaml.SequenceNode) and node.flow_style:
            one = items[item]
            return self.put((key,), f"[{self.text[one.start_mark.index : one.end_mark.index]}]")
        draft = self
        begins = [self.text.rindex("-", 0, one.start_mark.index) for one in items] + [node.end_mark.index]
        for nth in reversed(range(len(items))):
            if nth != item:
                draft = draft._spliced(begins[nth], begins[nth + 1], "")
        return draft

    def count(self, key: str) -> int:
        """How many items a list of the file has; 0 without it."""
        return len(_items(self._node((key,)))) if any(name.value == key for name, _ in self._root().value) else 0

    def places(self, keys: Sequence[str]) -> list[Path]:
        """Where in `load` it says who comes: for all that share a line, then for each scenario that has its own."""
        load = self._node(("load",))
        found: list[Path] = [("load", name.value) for name, _ in _entries(load) if name.value in keys]
        for name, node in _entries(load):
            if name.value == "scenarios":
                for nth, item in enumerate(_items(node)):
                    for title, scenario in _entries(item):
                        own = ("load", "scenarios", nth, title.value)
                        found += [(*own, key.value) for key, _ in _entries(scenario) if key.value in keys]
        return found

    def find(self, key: str, line: int) -> Path:
        """Where a key stands that is written in a line (from 1). Raises KeyError."""
        open_: list[tuple[Path, yaml.Node]] = [((), self._root())]
        while open_:
            path, node = open_.pop()
            open_ += [((*path, nth), item) for nth, item in enumerate(_items(node))]
            for name, value in _entries(node):
                if name.value == key and name.start_mark.line == line - 1:
                    return (*path, key)
                open_.append(((*path, name.value), value))
        raise KeyError(key)

    def _root(self) -> yaml.MappingNode:
        root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        assert isinstance(root, yaml.MappingNode), "an experiment that was read is a mapping"
        return root

    def _node(self, path: Path) -> yaml.Node:
        node: yaml.Node = self._root()
        for step in path:
            if isinstance(step, int):
                node = _items(node)[step]
                continue
            found = [value for name, value in _entries(node) if name.value == step]
            if not found:
                raise KeyError(step)
            node = found[0]
        return node

    def _spliced(self, begin: int, end: int, value: str) -> Draft:
        """Another text between two places, with as many line ends as before."""
        lines = self.text.count("\n", begin, end)
        after = self.text[end:]
        tail = "\n" * lines
        # A block ends where the next thing begins: its indentation belongs to that.
        indent = (
            self.text[:end].rpartition("\n")[2] if lines and not self.text[:end].rpartition("\n")[2].strip() else ""
        )
        return Draft(self.text[:begin] + value + tail + indent + after)


def _entries(node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _items(node: yaml.Node) -> list[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else []
