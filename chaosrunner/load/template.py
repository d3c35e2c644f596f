"""Placeholders in texts and JSON bodies, and the JSON paths that fill them.

`<name>` stands for a kept variable or a data column, `<<` for a literal `<`; any other `<` is itself. A placeholder
that is a whole JSON string keeps the type of its value; inside a longer text a value is written as JSON writes it,
strings without their quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_MARK = re.compile(r"<<|<([^\W\d][\w-]*)>")
_PATH_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")

Variables = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Template:
    """A text cut at its placeholders: literal, name, literal, name, …, literal."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Template:
        """The template of a text."""
        literals, names, literal, begin = [], [], "", 0
        for mark in _MARK.finditer(text):
            literal += text[begin : mark.start()]
            begin = mark.end()
            if mark[1] is None:
                literal += "<"
            else:
                literals.append(literal)
                names.append(mark[1])
                literal = ""
        return cls((*literals, literal + text[begin:]), tuple(names))

    @property
    def whole(self) -> str | None:
        """The placeholder that is all of the text; None if there is none or more than that."""
        return self.names[0] if self.literals == ("", "") else None

    def fill(self, variables: Variables, spell: Callable[[str], str] = str) -> str:
        """The text with each value written in; `spell` quotes a value for its place. Raises KeyError."""
        if not self.names:
            return self.literals[0]
        parts = [self.literals[0]]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            parts += (spell(as_text(variables[name])), literal)
        return "".join(parts)


def as_text(value: object) -> str:
    """A value inside a text: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def names_in(value: object) -> frozenset[str]:
    """The placeholders of a text, or of all texts (keys too) in a JSON value."""
    match value:
        case str():
            return frozenset(Template.of(value).names)
        case dict():
            return frozenset().union(*(names_in(key) | names_in(inner) for key, inner in value.items()))
        case list() | tuple():
            return frozenset().union(*(names_in(inner) for inner in value))
        case _:
            return frozenset()


def compiled(value: object) -> Callable[[Variables], object]:
    """A function that fills the placeholders of a JSON value; it raises KeyError for a name that is not known."""
    match value:
        case str():
            template = Template.of(value)
            if (whole := template.whole) is not None:
                return lambda variables: variables[whole]
            return template.fill
        case dict():
            items = [(Template.of(key), compiled(inner)) for key, inner in value.items()]
            return lambda variables: {key.fill(variables): inner(variables) for key, inner in items}
        case list() | tuple():
            inners = [compiled(inner) for inner in value]
            return lambda variables: [inner(variables) for inner in inners]
        case _:
            return lambda _variables: value


def json_path(text: str) -> tuple[str | int, ...]:
    """The keys and indices of a JSON path: `$.a.b[0]` → ("a", "b", 0); `$` → ().

    Raises:
        ValueError: it is not a path of this kind.
    """
    if not text.startswith("$"):
        raise ValueError(f"a JSON path begins with '$', like $.id: {text!r}")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        step = _PATH_STEP.match(text, at)
        if step is None:
            raise ValueError(f"a JSON path looks like $.a.b[0]: {text!r}")
        steps.append(step[1] if step[2] is None else int(step[2]))
        at = step.end()
    return tuple(steps)


def look_up(value: object, path: tuple[str | int, ...]) -> object:
    """What is at a path. Raises LookupError when nothing is."""
    for step in path:
        match value, step:
            case dict(), str():
                value = value[step]
            case list(), int():
                value = value[step]
            case _:
                raise LookupError(step)
    return value
