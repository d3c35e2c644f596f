"""Which statement a session executes: the text of a simple query, or of what was parsed and bound before.

What is remembered is bounded; what had to be forgotten is known to be unknown.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

# Texts that one connection is remembered by, and its open portals; what was used least recently goes first.
STATEMENT_ROOM_BYTES = 1024 * 1024
PORTAL_ROOM_BYTES = 64 * 1024
_OVERHEAD_BYTES = 100  # about what Python adds to each entry

_WORDS = (
    "ABORT ALTER ANALYZE BEGIN CALL CHECKPOINT CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE DECLARE DELETE "
    "DISCARD DO DROP END EXECUTE EXPLAIN FETCH GRANT INSERT LISTEN LOCK MERGE MOVE NOTIFY PREPARE REFRESH REINDEX "
    "RELEASE RESET REVOKE ROLLBACK SAVEPOINT SELECT SET SHOW START TABLE TRUNCATE UNLISTEN UPDATE VACUUM VALUES WITH"
)
VERBS = frozenset(_WORDS.split())
OTHER = "OTHER"
_VERB = re.compile(r"(?:[\s(;]|--[^\n]*|/\*.*?\*/)*+([a-z]+)", re.IGNORECASE | re.DOTALL)
_NAME = r'"(?:[^"]|"")+"|\w+'
_DEALLOCATE = re.compile(
    rf"\s*(?:discard\s+(?P<discard>all)|deallocate\s+(?:prepare\s+)?(?P<name>{_NAME}))\s*+;?\s*+", re.IGNORECASE
)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Statement:
    """What a client had the server execute.

    Attributes:
        text: Its beginning; None if it is not known any more.
        verb: Its first word, one of `VERBS`, or `OTHER`.
        number: Its place among those that the session parsed.
    """

    text: str | None
    verb: str = OTHER
    number: int = 0


UNKNOWN = Statement(None)


@dataclass(slots=True)
class _Portal:
    statement: Statement
    executed: bool = False


class _Names(Generic[Value]):
    """Names and what they stand for, up to some room."""

    def __init__(self, room_bytes: int) -> None:
        self._room_bytes = room_bytes
        self._used_bytes = 0
        self._values: OrderedDict[bytes, tuple[Value, int]] = OrderedDict()

    def put(self, name: bytes, value: Value, size_bytes: int) -> None:
        self.forget(name)
        size_bytes += len(name) + _OVERHEAD_BYTES
        self._values[name] = value, size_bytes
        self._used_bytes += size_bytes
        while self._used_bytes > self._room_bytes:
            self.forget(next(iter(self._values)))

    def get(self, name: bytes) -> Value | None:
        if name not in self._values:
            return None
        self._values.move_to_end(name)
        return self._values[name][0]

    def forget(self, name: bytes) -> None:
        _, size_bytes = self._values.pop(name, (None, 0))
        self._used_bytes -= size_bytes

    def items(self) -> list[tuple[bytes, Value]]:
        return [(name, value) for name, (value, _) in self._values.items()]


class Statements:
    """The prepared statements and portals of one session, as the client speaks of them.

    What the client says counts at once, because what it executes next may be on its way already; what it gives up
    counts when the server agrees.
    """

    def __init__(self) -> None:
        self._parsed: _Names[Statement] = _Names(STATEMENT_ROOM_BYTES)
        self._portals: _Names[_Portal] = _Names(PORTAL_ROOM_BYTES)
        self._number = 0

    def read(self, text: bytes) -> Statement:
        """The statement of a text that is executed by itself."""
        self._number += 1
        words = text.decode(errors="replace")
        return Statement(words, verb_of(words), self._number)

    def parse(self, name: bytes, text: bytes) -> None:
        """Remember the statement that is prepared under a name."""
        statement = self.read(text)
        self._parsed.put(name, statement, len(text))

    def bind(self, portal: bytes, name: bytes) -> None:
        """Remember which prepared statement a portal is to execute."""
        self._portals.put(portal, _Portal(self._parsed.get(name) or UNKNOWN), 0)

    def execute(self, portal: bytes) -> Statement | None:
        """The statement that a portal executes; None if it only goes on with one that it has begun."""
        bound = self._portals.get(portal)
        if bound is None:
            return UNKNOWN
        if bound.executed:
            return None
        bound.executed = True
        return bound.statement

    def named(self, name: bytes) -> Statement | None:
        """The prepared statement of that name, if it is remembered."""
        return self._parsed.get(name)

    def close(self, name: bytes, closed: Statement) -> None:
        """Forget a prepared statement, unless its name stands for another one by now."""
        if self._parsed.get(name) is closed:
            self._parsed.forget(name)

    def gives_up(self, statement: Statement) -> bool:
        """Whether a statement, when it succeeds, closes prepared ones; `given_up` does it here."""
        return statement.verb in {"DISCARD", "DEALLOCATE"} and _given_up(statement) is not None

    def given_up(self, statement: Statement) -> None:
        """Forget what a DEALLOCATE or DISCARD ALL has closed: of what was parsed before it."""
        names = _given_up(statement)
        for name, parsed in self._parsed.items():
            if parsed.number < statement.number and names in (b"", name):
                self._parsed.forget(name)


def verb_of(text: str) -> str:
    """The first word of a statement if it is one of `VERBS`, else `OTHER`; comments before it do not count."""
    found = _VERB.match(text)
    verb = found[1].upper() if found else OTHER
    return verb if verb in VERBS else OTHER


def _given_up(statement: Statement) -> bytes | None:
    """The name that a statement closes, empty for all of them; None if it closes none."""
    found = _DEALLOCATE.fullmatch(statement.text or "")
    if found is None:
        return None
    name: str = found["name"] or found["discard"]
    if name.lower() == "all":
        return b""
    name = name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
    return name.encode()
