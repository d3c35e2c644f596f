"""YAML text → a tree of nodes that know their line and column; what could hurt or mislead is refused on the way.

The events of libyaml are composed here, without recursion, so that depth, size and aliases are bounded before anything
is built, and every refusal is a located mistake.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from chaosrunner.logic.parse.spelling import ReadingError, quoted
from chaosrunner.logic.parse.yaml_errors import explain
from chaosrunner.logic.parse.yaml_scalars import Value, core_value, has_leading_zero

MAX_CHARACTERS = 256 * 1024
MAX_DEPTH = 40
MAX_NODES = 20_000
"""Nodes after every alias was expanded."""

STR_TAG = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A word, a number, a text."""

    line: int
    """1-based, as is the column."""
    column: int
    text: str
    """After substitution."""
    value: Value
    """By YAML 1.2's core schema when unquoted, else the text."""
    source: str
    """As written; the only form a message may show, for a substituted value may be secret."""
    plain: bool = True
    """Unquoted."""

    @property
    def zeros(self) -> bool:
        """An unquoted number with leading zeros: text where text is expected, else a mistake."""
        return self.plain and has_leading_zero(self.text)


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    column: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; keys are unique and in the order of the file, merged ones last."""

    line: int
    column: int
    entries: tuple[tuple[Scalar, Node], ...]

    def get(self, key: str) -> Node | None:
        """The node under `key`."""
        return next((node for name, node in self.entries if name.text == key), None)

    def key(self, key: str) -> Scalar | None:
        """The key itself, for its place."""
        return next((name for name, _ in self.entries if name.text == key), None)


Node = Scalar | Items | Table


class YamlReadingError(ReadingError):
    """The text is no YAML that can be read here."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    event: yaml.CollectionStartEvent
    children: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class _Composer:
    """Builds the tree from events, with a stack of its own."""

    problems: list[YamlReadingError] = field(default_factory=list)
    """Mistakes that do not stop the reading."""
    root: Node | None = None
    documents: int = 0
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)
    """Anchor → node and how many nodes it stands for."""
    sizes: list[int] = field(default_factory=lambda: [0])
    """Expanded nodes so far: of the whole, then of each open collection."""

    def take(self, event: yaml.Event) -> None:
        """Take in the next event. Raises YamlReadingError when reading on makes no sense."""
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    raise _bad(event, "a second document begins; expected one document a file")
            case yaml.AliasEvent():
                known = self.anchors.get(event.anchor or "")
                if known is None:
                    raise _bad(event, f"{quoted(f'*{event.anchor}')} stands for nothing that was finished before")
                node, size = known
                self._count(event, size)
                self._add(node)
            case yaml.ScalarEvent():
                self._count(event, 1)
                self._finish(event, self._scalar(event), 1)
            case yaml.CollectionStartEvent():
                if len(self.stack) >= MAX_DEPTH:
                    raise _bad(event, f"nested deeper than {MAX_DEPTH} levels")
                self._count(event, 1)
                self._check_tag(event)
                self.stack.append(_Open(event))
                self.sizes.append(1)
            case yaml.CollectionEndEvent():
                self._close()
            case _:
                pass

    def _count(self, event: yaml.Event, size: int) -> None:
        for level in range(len(self.sizes)):
            self.sizes[level] += size
        if self.sizes[0] > MAX_NODES:
            raise _bad(event, f"more than {MAX_NODES:,} values, aliases expanded")

    def _close(self) -> None:
        opened, size = self.stack.pop(), self.sizes.pop()
        event = opened.event
        if isinstance(event, yaml.SequenceStartEvent):
            self._finish(event, Items(*_place(event), tuple(opened.children)), size)
            return
        entries = self._entries(opened.children)
        self._finish(event, Table(*_place(event), entries), size)

    def _entries(self, children: list[Node]) -> tuple[tuple[Scalar, Node], ...]:
        own: dict[str, tuple[Scalar, Node]] = {}
        merged: dict[str, tuple[Scalar, Node]] = {}
        for key, node in zip(children[::2], children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self.problems.append(
                    YamlReadingError(key.line, key.column, "a key must be a word, not a list or a mapping")
                )
            elif key.plain and key.text == "<<":
                self._merge(merged, node)
            elif key.text in own:
                first = own[key.text][0]
                again = f"{quoted(key.text)} is given twice; the first is at {first.line}:{first.column}"
                self.problems.append(YamlReadingError(key.line, key.column, again))
            else:
                own[key.text] = (key, node)
        return (*own.values(), *(entry for name, entry in merged.items() if name not in own))

    def _merge(self, merged: dict[str, tuple[Scalar, Node]], node: Node) -> None:
        for part in node.items if isinstance(node, Items) else (node,):
            if not isinstance(part, Table):
                wrong = "'<<' merges a mapping or a list of mappings"
                self.problems.append(YamlReadingError(part.line, part.column, wrong))
                continue
            for key, value in part.entries:
                merged.setdefault(key.text, (key, value))

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        self._check_tag(event)
        plain = event.implicit[0] and event.tag is None
        value = core_value(event.value) if plain else event.value
        return Scalar(*_place(event), text=event.value, value=value, source=event.value, plain=plain)

    def _check_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag not in (None, "!", STR_TAG):
            shown = quoted(event.tag.replace("tag:yaml.org,2002:", "!!"))
            self.problems.append(YamlReadingError(*_place(event), f"the tag {shown} means nothing here; leave it out"))

    def _finish(self, event: yaml.NodeEvent, node: Node, size: int) -> None:
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, size)
        self._add(node)

    def _add(self, node: Node) -> None:
        if self.stack:
            self.stack[-1].children.append(node)
        else:
            self.root = node


def compose(text: str) -> tuple[Node | None, list[YamlReadingError]]:
    """The tree of a YAML text (None when it is empty or cannot be read) and what is wrong with it."""
    if len(text) > MAX_CHARACTERS:
        return None, [
            YamlReadingError(1, 1, f"longer than {MAX_CHARACTERS // 1024} KiB: this is not an experiment or a system")
        ]
    composer = _Composer()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
    except YamlReadingError as bad:
        return None, [*composer.problems, bad]
    except (yaml.YAMLError, UnicodeError) as error:
        return None, [*composer.problems, YamlReadingError(*explain(error, text))]
    return composer.root, composer.problems


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _bad(event: yaml.Event, message: str) -> YamlReadingError:
    return YamlReadingError(*_place(event), message)
