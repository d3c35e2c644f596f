"""Messages made ready: their placeholders, the numbers that tell them apart, and how an answer is judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING

from chaosrunner.load.template import compiled, json_path, look_up, names_in
from chaosrunner.load.websocket.pattern import contains
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from chaosrunner.load.template import Variables

ID = "id"
LAST = "last"
DIGITS = 15
"""Of an id: few enough for the doubles of JavaScript, and the number of messages in a load is nine of them."""

STAND_IN = "918273645546372"
"""An id that no `Ids` gives: where it ends up in a message, real ones do."""

Text = Callable[["Variables", str], str]
"""A message from the variables and the digits of its id."""


class Ids:
    """Ids of this worker: `9`, five digits of its own, nine that count; 15 in all."""

    __slots__ = ("_numbers", "mark")

    def __init__(self, seed: int, shard: int) -> None:
        self.mark = f"9{(seed * 31 + shard * 7919) % 100_000:05}"
        """What all of them begin with, so that a search for it finds them in a message."""
        self._numbers = count(int(self.mark) * 10 ** (DIGITS - len(self.mark)) + 1)

    def next(self) -> str:
        """The digits of another one."""
        return str(next(self._numbers))


def text_of(message: object) -> Text:
    """How a message is written: a text as it is, anything else as JSON."""
    fill = compiled(message)
    names = names_in(message)
    as_it_is = isinstance(message, str)

    def write(variables: Variables, digits: str) -> str:
        value = fill({**variables, ID: int(digits)} if ID in names else variables)
        return _written(value, as_it_is=as_it_is)

    if names - {ID}:
        return write
    # Nothing in it changes but its id: cut it there once, and only join the pieces when it is sent.
    stand_in = STAND_IN
    pieces = write({}, stand_in).split(stand_in) if ID in names else [write({}, stand_in)]
    if len(pieces) == 1:
        fixed = pieces[0]
        return lambda _variables, _digits: fixed
    if len(pieces) == 2:
        before, after = pieces
        return lambda _variables, digits: before + digits + after
    return lambda _variables, digits: digits.join(pieces)


def _written(value: object, *, as_it_is: bool) -> str:
    if as_it_is and isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Judge:
    """What an answer, or an awaited message, must be, and what is kept of it."""

    __slots__ = ("_expect", "_keep", "_match", "trivial")

    def __init__(self, match: str | None, expect: object, keep: Mapping[str, str]) -> None:
        self._match = None if match is None else json_path(match)
        self._expect: Callable[[Variables], object] = compiled(expect)
        self._keep = tuple((name, json_path(path)) for name, path in keep.items())
        self.trivial = match is None and expect is None and not keep
        """Whether any message that carries the id will do."""

    def answers(self, message: object, digits: str) -> bool:
        """Whether the id is where it should be."""
        if self._match is None:
            return True
        try:
            found = look_up(message, self._match)
        except LookupError:
            return False
        return digits in (found if isinstance(found, str) else str(found))

    def contained(self, message: object, variables: Variables) -> bool:
        """Whether it has what is expected of it."""
        return contains(message, self._expect(variables))

    def verdict(self, message: object, variables: dict[str, object]) -> Outcome:
        """Judge a message, and keep from it what is to be kept."""
        if not self.contained(message, variables):
            return Outcome.CHECK
        try:
            variables.update({name: look_up(message, path) for name, path in self._keep})
        except LookupError:
            return Outcome.CHECK
        return Outcome.OK


def number_at(message: object, path: tuple[str | int, ...]) -> int | None:
    """The whole number at a path; None when there is none."""
    try:
        found = look_up(message, path)
    except LookupError:
        return None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def flag_at(message: object, path: tuple[str | int, ...]) -> bool | None:
    """The truth of what is at a path, as JSON has it: false, 0, null and "" are not true; None when nothing is."""
    try:
        return bool(look_up(message, path))
    except LookupError:
        return None
