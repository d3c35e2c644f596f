"""Regular expressions whose search takes time in proportion to the text, whatever they are.

Python's own backtrack: some take years for a text of a kilobyte, and nothing can interrupt them. These are searched as
Thompson did ("Regular Expression Search Algorithm", CACM 11(6), 1968): all ways of matching at once, a character at a
time, and every step is remembered. They mean what Python's mean with IGNORECASE and DOTALL, only `$` is the very end.
"""

import re
from dataclasses import dataclass, field
from itertools import chain

LONGEST_EXPRESSION = 1000
# How many places an expression may have once its counted repeats are written out.
MOST_PLACES = 500
# Remembered steps of one expression; it forgets them all when there are more.
MOST_STEPS = 20_000

_TOKEN = re.compile(
    r"(?P<atom>\[\^?\]?(?:\\.|[^\]\\])*\]|\\[dDsSwWfnrtv]|\\[^a-zA-Z0-9])"
    r"|(?P<check>[\^$]|\\[AZbB])"
    r"|(?P<repeat>(?:[*+?]|\{(?:\d+(?:,\d*)?|,\d*)\})\??)"
    r"|(?P<open>\((?:\?:)?)|(?P<sign>[|)])"
    r"|(?P<unknown>\\.)|(?P<char>.)",
    re.DOTALL,
)
_COUNTS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class BadExpression(Exception):
    """Not an expression that can be searched; the message says why."""


@dataclass(frozen=True, slots=True)
class _Take:
    """One character, if `atom` matches it, then place `then`."""

    atom: re.Pattern[str]
    then: int


@dataclass(frozen=True, slots=True)
class _Check:
    """Nothing, if what is before and behind is as `sign` says, then place `then`."""

    sign: str
    then: int


@dataclass(slots=True)
class _Fork:
    """Nothing, then any of the places `ways`."""

    ways: list[int]


_Place = _Take | _Check | _Fork
_FOUND = 0  # the place of success; the others are numbered from 1


@dataclass(slots=True, eq=False)
class _State:
    """Where a search can be: before any of `places`, behind nothing ("^"), a word's character ("w"), another ("W")."""

    places: frozenset[int]
    behind: str
    steps: dict[str, "_State"] = field(default_factory=dict)


class Pattern:
    r"""An expression, ready to be searched.

    Characters, `.`, classes, `\d \s \w` and their opposites, `^ $ \A \Z \b \B`, groups, `|`, and `* + ? {m,n}`.
    """

    def __init__(self, expression: str) -> None:
        """Read an expression.

        Raises:
            BadExpression: It is none, it is too long, or it looks around or back, which takes more than one look.
        """
        if len(expression) > LONGEST_EXPRESSION:
            raise BadExpression(f"longer than {LONGEST_EXPRESSION} characters")
        try:
            re.compile(expression, re.IGNORECASE | re.DOTALL)
            self._places, self._first = _Reader(expression).read()
        except (re.error, OverflowError) as error:
            raise BadExpression(str(error)) from None
        except RecursionError:
            raise BadExpression("nested too deeply") from None
        self._states: dict[tuple[frozenset[int], str], _State] = {}
        self._found = _State(frozenset({_FOUND}), "")
        self._steps = 0

    def found_in(self, text: str) -> bool:
        """Whether some part of `text` matches, in any case."""
        state = self._state(frozenset(), "^")
        for ahead in chain(text, ("",)):
            state = state.steps.get(ahead) or self._step(state, ahead)
            if state is self._found:
                return True
        return False

    def _step(self, state: _State, ahead: str) -> _State:
        places = self._reached(state, ahead)
        if _FOUND in places:
            after = self._found
        else:
            takes = [place for place in map(self._places.get, places) if isinstance(place, _Take)]
            then = frozenset(take.then for take in takes if ahead and take.atom.match(ahead))
            after = self._state(then, "w" if _is_word(ahead) else "W")
        self._steps += 1
        if self._steps > MOST_STEPS:
            self._states.clear()
            self._steps = 0
        else:
            state.steps[ahead] = after
        return after

    def _state(self, places: frozenset[int], behind: str) -> _State:
        return self._states.setdefault((places, behind), _State(places, behind))

    def _reached(self, state: _State, ahead: str) -> set[int]:
        """All places that can be reached from a state without a character; a match may begin anywhere."""
        reached: set[int] = set()
        todo = [self._first, *state.places]
        while todo:
            number = todo.pop()
            if number in reached:
                continue
            reached.add(number)
            place = self._places.get(number)
            if isinstance(place, _Fork):
                todo += place.ways
            elif isinstance(place, _Check) and _holds(place.sign, state.behind, ahead):
                todo.append(place.then)
        return reached


class _Reader:
    """Reads an expression that Python's own reader takes too; places are made from the back to the front."""

    def __init__(self, expression: str) -> None:
        self._tokens = [(found.lastgroup or "", found[0]) for found in _TOKEN.finditer(expression)]
        self._at = 0
        self._places: dict[int, _Place] = {}

    def read(self) -> tuple[dict[int, _Place], int]:
        """The places, and the first of them."""
        return self._places, self._write(self._either(), _FOUND)

    def _either(self) -> "_Node":
        ways = [self._sequence()]
        while self._next() == ("sign", "|"):
            self._at += 1
            ways.append(self._sequence())
        return _Node("either", ways)

    def _sequence(self) -> "_Node":
        parts: list[_Node] = []
        kind = ""
        while self._next()[1] and self._next()[0] != "sign":
            before, (kind, token) = kind, self._next()
            self._at += 1
            if kind == "repeat":
                if before == "repeat":
                    raise BadExpression("possessive repeats are not supported")
                low, high = _counts(token.removesuffix("?") if len(token) > 1 else token)
                parts.append(_Node("repeat", [parts.pop()] if parts else [], low=low, high=high))
            elif kind == "open":
                parts.append(self._either())
                self._at += 1  # its end; Python has seen that it is there
            elif kind == "unknown":
                raise BadExpression(f"{token} is not supported")
            else:
                parts.append(_Node("check" if kind == "check" else "atom", text=token))
        return _Node("sequence", parts)

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _write(self, node: "_Node", then: int) -> int:
        """Make the places of a node that go on at `then`; the first of them."""
        match node.kind:
            case "atom":
                return self._add(_Take(re.compile(node.text, re.IGNORECASE | re.DOTALL), then))
            case "check":
                return self._add(_Check(node.text, then))
            case "either":
                return self._add(_Fork([self._write(way, then) for way in node.parts]))
            case "sequence":
                for part in reversed(node.parts):
                    then = self._write(part, then)
                return then
        return self._write_repeat(node, then)

    def _write_repeat(self, node: "_Node", then: int) -> int:
        if not node.parts:
            raise BadExpression("groups that begin with (? are not supported, except (?:")
        if node.high is None:
            loop = _Fork([then])
            then = self._add(loop)
            loop.ways.append(self._write(node.parts[0], then))
        else:
            for _ in range(node.high - node.low):
                then = self._add(_Fork([then, self._write(node.parts[0], then)]))
        for _ in range(node.low):
            then = self._write(node.parts[0], then)
        return then

    def _add(self, place: _Place) -> int:
        if len(self._places) >= MOST_PLACES:
            raise BadExpression("too large once its repeats are written out")
        self._places[len(self._places) + 1] = place
        return len(self._places)


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of an expression: an atom, a check, a sequence, either of some ways, or a repeat of one part."""

    kind: str
    parts: list["_Node"] = field(default_factory=list)
    text: str = ""
    low: int = 0
    high: int | None = None


def _counts(sign: str) -> tuple[int, int | None]:
    if sign in _COUNTS:
        return _COUNTS[sign]
    low, comma, high = sign[1:-1].partition(",")
    return int(low or 0), (int(high) if high else None) if comma else int(low)


def _holds(sign: str, behind: str, ahead: str) -> bool:
    match sign:
        case "^" | "\\A":
            return behind == "^"
        case "$" | "\\Z":
            return not ahead
    at_edge = (behind == "w") is not _is_word(ahead)
    return at_edge if sign == "\\b" else not at_edge


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
