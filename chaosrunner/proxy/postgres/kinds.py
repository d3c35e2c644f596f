"""The kinds of toxics that act on single Postgres statements; for proxies whose `protocol` is postgres."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from chaosrunner.proxy.postgres.patterns import BadExpression, Pattern
from chaosrunner.proxy.refusals import bad_value
from chaosrunner.proxy.toxics.kinds import Delay, Family

MESSAGE_LENGTH_LIMIT = 1000
_SQLSTATE = re.compile(r"(?!00000)[0-9A-Z]{5}")  # 00000 is success, which no error can be


def matches(query: str, text: str | None) -> bool:
    """Whether a toxic with this `query` is meant for a statement.

    Args:
        query: "" means every statement, anything else those in which the expression is found, in any case.
        text: The beginning of the statement; None if it is not known, which only "" means.
    """
    return not query or (text is not None and _found(query, text))


@dataclass(frozen=True, slots=True)
class PostgresDelay(Delay):
    """A statement that `query` means is late by a `Delay`, in order.

    Upstream the statement reaches the server late, downstream its answer reaches the client late, as a whole.
    """

    family: ClassVar[Family] = "postgres"
    query: str = ""

    def __post_init__(self) -> None:
        Delay.__post_init__(self)
        _check_query(self.query)


@dataclass(frozen=True, slots=True)
class PostgresFail:
    """The server raises an error in the place of a statement that `query` means; its stream makes no difference."""

    family: ClassVar[Family] = "postgres"
    query: str = ""
    sqlstate: str = "XX000"
    message: str = "chaosrunner: this statement was failed on purpose"

    def __post_init__(self) -> None:
        _check_query(self.query)
        if not _SQLSTATE.fullmatch(self.sqlstate):
            raise bad_value("sqlstate must be 5 characters of 0-9 and A-Z, and not 00000")
        if not self.message.isprintable() or not 0 < len(self.message) <= MESSAGE_LENGTH_LIMIT:
            raise bad_value(f"message must be 1 to {MESSAGE_LENGTH_LIMIT} printable characters")


@lru_cache(maxsize=256)
def _compiled(query: str) -> Pattern:
    return Pattern(query)


@lru_cache(maxsize=1024)
def _found(query: str, text: str) -> bool:
    """Remembered, because the same statements are executed again and again."""
    return _compiled(query).found_in(text)


def _check_query(query: str) -> None:
    if not query.isprintable():
        raise bad_value("query must be printable; \\n and \\t match what is not")
    try:
        _compiled(query)
    except BadExpression as error:
        raise bad_value(f"query is not a regular expression that can be searched for: {error}") from None
