"""How a mistake quotes what was written, and which spelling it offers instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Set

LONGEST = 80
"""Characters of the user's text that a message repeats."""


class ReadingError(ValueError):
    """A text is not of the form it should have; the message says what was expected. Its reader knows the place."""


def quoted(text: str) -> str:
    """The text between single quotes, on one line, shortened when long."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[: LONGEST + 1])
    return f"'{line[:LONGEST]}…'" if len(line) > LONGEST else f"'{line}'"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `known`; else what was expected; empty when nothing is known."""
    in_order = sorted(known) if isinstance(known, Set) else known
    choices = {choice.casefold(): choice for choice in in_order}
    near = difflib.get_close_matches(word.casefold(), choices, n=1)
    if near:
        return f"; did you mean {quoted(choices[near[0]])}?"
    return f"; expected {one_of(choices.values())}" if choices else ""


def one_of(words: Iterable[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *rest, last = words
    return f"{', '.join(rest)} or {last}" if rest else last
