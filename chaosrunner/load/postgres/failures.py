"""What an error of Postgres, of asyncpg or of the network means for a hit."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

import asyncpg

from chaosrunner.load.act import SHORT_HERE
from chaosrunner.model.load import Outcome

RETRIABLE = frozenset({"40001", "40P01"})
"""Serialization failure, and deadlock: tried again, the same transaction may succeed."""

GOING = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05"})
"""The server ends the session properly: shut down, crashed elsewhere, starting up, database dropped, idle too long."""

AWAY = frozenset(
    {Outcome.RESET, Outcome.CLOSED, Outcome.REFUSED, Outcome.CONNECT, Outcome.DNS, Outcome.TLS, Outcome.TIMEOUT}
)
"""Outcomes by which a server that is gone shows itself."""

FAILURES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""All that may come of asking; anything else is a mistake of ours. TimeoutError is an OSError."""


class BadArgument(ValueError):
    """A value that its parameter cannot take."""


class NotAsExpected(Exception):
    """The server answered, but not as the step says it must."""


TROUBLES = (*FAILURES, BadArgument, NotAsExpected)
"""All that an attempt may end with instead of success."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt."""

    outcome: Outcome
    sqlstate: str = ""
    """The server's own word for it; empty when it said nothing."""
    ends_line: bool = False
    """Whether the connection is of no use any more."""

    @property
    def retriable(self) -> bool:
        """Whether the same transaction may succeed when it is tried again."""
        return self.sqlstate in RETRIABLE


def of_query(error: BaseException) -> Failure:
    """The meaning of an error while a statement was under way."""
    sqlstate = _sqlstate(error)
    if sqlstate in GOING:
        return Failure(Outcome.CLOSED, sqlstate, ends_line=True)
    if sqlstate in RETRIABLE:
        return Failure(Outcome.CONFLICT, sqlstate)
    match error:
        case asyncpg.PostgresConnectionError() | OSError():
            return Failure(Outcome.RESET, sqlstate, ends_line=True)
        case asyncpg.exceptions.DataError() if not sqlstate:  # made by asyncpg: no parameter takes that
            return Failure(Outcome.CHECK)
        case asyncpg.PostgresError():
            return Failure(Outcome.SQL, sqlstate, ends_line=isinstance(error, asyncpg.FatalPostgresError))
        case asyncpg.exceptions.ProtocolError():
            return Failure(Outcome.PROTOCOL, ends_line=True)
        case asyncpg.InterfaceError():  # the connection was closed under its feet
            return Failure(Outcome.RESET, ends_line=True)
        case _:
            return Failure(Outcome.PROTOCOL, ends_line=True)


def of_connect(error: BaseException) -> Failure:
    """The meaning of an error while a connection was being opened."""
    sqlstate = _sqlstate(error)
    return Failure(_connecting(error, sqlstate), sqlstate, ends_line=True)


def _connecting(error: BaseException, sqlstate: str) -> Outcome:
    match error:
        case ssl.SSLError():
            return Outcome.TLS
        case socket.gaierror():
            return Outcome.DNS
        case ConnectionRefusedError():
            return Outcome.REFUSED
        case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError():
            return Outcome.RESET
        case ConnectionError() if type(error) is ConnectionError:  # asyncpg's, for a server that speaks no TLS
            return Outcome.TLS
        case asyncpg.PostgresConnectionError() if not sqlstate or sqlstate.startswith("08"):
            return Outcome.RESET
        case asyncpg.exceptions.ProtocolError():
            return Outcome.PROTOCOL
        case OSError() if error.errno in SHORT_HERE:
            return Outcome.LOCAL
        case _:
            return Outcome.CONNECT


def _sqlstate(error: BaseException) -> str:
    """The server's; an error of the connection may carry what the server said last as its cause."""
    for part in (error.__cause__, error):
        state = getattr(part, "sqlstate", None)
        if isinstance(part, asyncpg.PostgresError) and state and not _by_the_client(part):
            return str(state)
    return ""


def _by_the_client(error: asyncpg.PostgresError) -> bool:
    """Whether asyncpg made it up: what came from a server has a severity."""
    return getattr(error, "severity", None) is None
