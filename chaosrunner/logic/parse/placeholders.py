"""`<word>` in the texts of a step: a kept variable or a data column. `<<` is a literal `<`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chaosrunner.logic.parse.spelling import ReadingError, quoted

VARIABLE = r"[^\W\d][\w-]*"


def placeholders(text: str) -> list[str]:
    """The names of the placeholders in a text, in order. Raises ReadingError for a '<' that begins none."""
    return list(_names(text))


def _names(text: str) -> Iterator[str]:
    # What stands inside a reference to a secret is not ours to read.
    bare = re.sub(r"\$\{[^}]*\}", "", text)
    for found in re.finditer(rf"<<|<({VARIABLE})>|<", bare):
        if found[0] == "<":
            raise ReadingError(f"the '<' in {quoted(text)} begins no <variable>; write '<<' for a literal one")
        if found[1]:
            yield found[1]
