"""`${NAME}`, `${NAME:-default}` and `${file:path}` in texts: which references there are, and putting values in.

Substitution happens on one value after the YAML was read, so what a variable holds can never change the file's shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chaosrunner.logic.parse.spelling import ReadingError, quoted


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${…}`."""

    text: str
    """As written, braces included."""
    name: str = ""
    """Of an environment variable; empty for a file."""
    default: str | None = None
    """Used when the variable is unset or empty; None = there is none."""
    path: str = ""
    """Of a file."""


def parts(text: str) -> Iterator[str | Reference]:
    """The literal pieces and the references of a text, in order. Raises ReadingError for what is neither."""
    end = 0
    for found in re.finditer(r"\$\{([^}]*)(\}?)", text):
        if found.start() > end:
            yield text[end : found.start()]
        if not found[2]:
            raise ReadingError("a '${' without its '}'")
        yield _reference(found[0], found[1])
        end = found.end()
    if end < len(text):
        yield text[end:]


def references(text: str) -> list[Reference]:
    """The references of a text. Raises ReadingError."""
    return [part for part in parts(text) if isinstance(part, Reference)]


def value_of(reference: Reference, environ: Mapping[str, str]) -> str | None:
    """What a reference to a variable stands for; its default replaces an empty value too, as in a shell."""
    value = environ.get(reference.name)
    return reference.default if not value and reference.default is not None else value


def _reference(text: str, inner: str) -> Reference:
    if inner.startswith("file:") and inner != "file:":
        return Reference(text, path=inner.removeprefix("file:"))
    found = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", inner, flags=re.DOTALL)
    if not found:
        raise ReadingError(f"{quoted(text)} is no reference; expected ${{NAME}}, ${{NAME:-default}} or ${{file:path}}")
    return Reference(text, name=found[1], default=found[2])
