"""The books that are kept beside a Postgres load, without any server."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import time
from decimal import Decimal
from random import Random
from uuid import UUID

import asyncpg
import pytest

from chaosrunner.load.postgres.arguments import converters, filler, fitted, plain
from chaosrunner.load.postgres.crowding import Crowding
from chaosrunner.load.postgres.failures import BadArgument, of_connect, of_query
from chaosrunner.load.postgres.leases import Leases, Session, strangers
from chaosrunner.load.postgres.numbers import Numbers
from chaosrunner.load.postgres.outages import Outages
from chaosrunner.load.postgres.settling import without_values
from chaosrunner.model.load import Outcome
from chaosrunner.model.postgres_step import Draw

S = 1_000_000_000


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int4", "42", 42),
        ("int8", 42.0, 42),
        ("float8", "1.5", 1.5),
        ("numeric", "1.10", Decimal("1.10")),
        ("bool", "t", True),
        ("bool", False, False),
        ("uuid", "12345678-1234-5678-1234-567812345678", UUID("12345678-1234-5678-1234-567812345678")),
        ("date", "2026-02-03", dt.date(2026, 2, 3)),
        ("timestamptz", "2026-02-03T04:05:06+00:00", dt.datetime(2026, 2, 3, 4, 5, 6, tzinfo=dt.UTC)),
        ("interval", "1.5", dt.timedelta(seconds=1.5)),
        ("bytea", "ab", b"ab"),
        ("text", 5, "5"),
        ("jsonb", {"a": 1}, '{"a": 1}'),
        ("jsonb", '{"a": 1}', '{"a": 1}'),
        ("int4[]", "[1, null, 2]", [1, None, 2]),
        ("text[]", ["a"], ["a"]),
        ("int4", None, None),
    ],
)
def test_a_value_becomes_what_its_parameter_takes(kind: str, text: object, value: object) -> None:
    """Texts of a data file and JSON values of replies fit the types that the server names."""
    assert fitted([text], converters([kind])) == [value]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("int4", "x"), ("int4", 1.5), ("bool", "maybe"), ("numeric", "x"), ("date", "soon"), ("int4[]", "5")],
)
def test_a_value_that_does_not_fit_is_said_so(kind: str, text: object) -> None:
    """By its place and without the value, which may be a secret; and so are too many of them."""
    with pytest.raises(BadArgument) as refused:
        fitted([0, text], converters(["int4", kind]))
    assert str(refused.value) == "what came for $2 is none that its type takes"
    with pytest.raises(BadArgument, match="2 args for 1 parameters"):
        fitted([1, 2], converters(["int4"]))


def test_arguments_are_filled_from_what_a_journey_knows() -> None:
    """Whole placeholders keep their type, others are texts; a draw is within its bounds."""
    fill = filler(("<id>", "user-<id>", 5, None, Draw(low=2, high=2)), Random(1))
    assert fill({"id": 7}) == [7, "user-7", 5, None, 2]
    assert filler((None, None), Random(1))({}) == [None, None]
    draws = {filler((Draw(low=-1, high=1),), Random(n))({})[0] for n in range(50)}
    assert draws == {-1, 0, 1}


def test_what_rows_hold_is_kept_as_json_would_have_it() -> None:
    """Numbers and texts as they are; all else as text."""
    kept = plain([{"a": Decimal("1.0"), "b": (1, None)}, dt.date(2026, 1, 2), b"\x01", "x", True])
    assert kept == [{"a": "1.0", "b": [1, None]}, "2026-01-02", "01", "x", True]


def _by_server(kind: type[asyncpg.PostgresError]) -> asyncpg.PostgresError:
    error = kind("said the server")
    error.severity = "ERROR"
    return error


def _caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "outcome", "sqlstate", "ends"),
    [
        (_by_server(asyncpg.SerializationError), Outcome.CONFLICT, "40001", False),
        (_by_server(asyncpg.DeadlockDetectedError), Outcome.CONFLICT, "40P01", False),
        (_by_server(asyncpg.QueryCanceledError), Outcome.SQL, "57014", False),
        (_by_server(asyncpg.UniqueViolationError), Outcome.SQL, "23505", False),
        (asyncpg.ConnectionDoesNotExistError("gone"), Outcome.RESET, "", True),
        (
            _caused(asyncpg.ConnectionDoesNotExistError("gone"), _by_server(asyncpg.AdminShutdownError)),
            Outcome.CLOSED,
            "57P01",
            True,
        ),
        (ConnectionResetError(), Outcome.RESET, "", True),
        (asyncpg.InterfaceError("connection is closed"), Outcome.RESET, "", True),
        (asyncpg.exceptions.ProtocolError("what?"), Outcome.PROTOCOL, "", True),
        (asyncpg.InternalClientError("what?"), Outcome.PROTOCOL, "", True),
        (asyncpg.DataError("not that"), Outcome.CHECK, "", False),
    ],
)
def test_each_error_of_a_statement_has_its_meaning(
    error: BaseException, outcome: Outcome, sqlstate: str, *, ends: bool
) -> None:
    """What the server said decides before how the connection ended."""
    failure = of_query(error)
    assert (failure.outcome, failure.sqlstate, failure.ends_line) == (outcome, sqlstate, ends)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ssl.SSLError(), Outcome.TLS),
        (ConnectionError("rejected SSL upgrade"), Outcome.TLS),
        (socket.gaierror(), Outcome.DNS),
        (ConnectionRefusedError(), Outcome.REFUSED),
        (ConnectionResetError(), Outcome.RESET),
        (TimeoutError(), Outcome.CONNECT),
        (asyncpg.ConnectionDoesNotExistError("gone"), Outcome.RESET),
        (asyncpg.exceptions.ProtocolError("what?"), Outcome.PROTOCOL),
        (_by_server(asyncpg.TooManyConnectionsError), Outcome.CONNECT),
        (_by_server(asyncpg.InvalidPasswordError), Outcome.CONNECT),
    ],
)
def test_each_error_of_connecting_has_its_meaning(error: BaseException, outcome: Outcome) -> None:
    """By class of failure."""
    assert of_connect(error).outcome is outcome


def test_the_curve_has_a_row_a_level_and_counts_everybody() -> None:
    """Levels up to the pool's size each, or by eighths of it, and powers of two beyond."""
    crowding = Crowding(4)
    for level in (1, 1, 4):
        crowding.at_once(level)
    for level, wait in ((5, 1000), (8, 3000), (9, 9000), (10**6, 9000)):
        crowding.record(level, wait)
    rows = {row["asking"]: (row["n"], row["max_ms"]) for row in crowding.curve()}
    assert list(rows) == [1, 4, 8, 16, 2048]
    assert rows[1] == (2, 0.0)
    assert rows[4] == (1, 0.0)
    assert rows[8][0] == 2
    assert rows[16][0] == 1

    wide = Crowding(80)
    for level in range(1, 81):
        wide.record(level, 5)
    assert [row["asking"] for row in wide.curve()] == [10, 20, 30, 40, 50, 60, 70, 80]


def test_a_plan_holds_no_value_that_it_compares_with() -> None:
    """Literals are blotted out, whoever wrote them, and bare arguments are called by their numbers."""
    condition = "((name = 'o''hunter2'::text) AND (pin = 4711) AND (n < 47110))"
    plan = {"Plan": {"Filter": condition, "Plans": [{"Rows": 4711}]}}
    assert without_values(plan, ("o'hunter2", 4711, "")) == {
        "Plan": {"Filter": "((name = '…'::text) AND (pin = $2) AND (n < 47110))", "Plans": [{"Rows": 4711}]}
    }


def test_an_outage_is_from_the_last_good_commit_to_the_first_good_one() -> None:
    """With every sign of it between; a short gap is none."""
    outages = Outages()
    assert outages.good(1 * S) is None
    outages.bad(Outcome.RESET, 2 * S)
    outages.bad(Outcome.REFUSED, 3 * S)
    outages.connected(4 * S)
    outages.connected(5 * S)
    assert outages.unended(4 * S) is not None
    ended = outages.good(6 * S)
    assert ended is not None
    assert ended.told(1 * S, 6 * S) == {
        "last_good_commit_ms": 0.0, "first_failure_ms": 1000.0, "reconnected_ms": 3000.0,
        "first_good_commit_ms": 5000.0, "lasted_ms": 5000.0, "over": True, "failures": {"reset": 1, "refused": 1},
    }  # fmt: skip
    outages.bad(Outcome.RESET, 6 * S + 1)
    assert outages.good(6 * S + 50_000_000) is None
    assert outages.unended(7 * S) is None
    assert outages.good(8 * S) is None


def test_numbers_know_what_became_of_each() -> None:
    """Acknowledged and missing is lost; refused, in doubt and still open are something else."""
    numbers = Numbers(3)
    given = [numbers.next() for _ in range(6)]
    assert given == [1, 2, 3, 4, 5, 6]
    for number in (1, 2, 3):
        numbers.acknowledged(number, number * 2 * S)
    numbers.in_doubt(4)
    numbers.in_doubt(5)
    numbers.refused(6)
    assert numbers.doubtful == 2
    found = numbers.compare(1, 6, missing=[2, 4])
    assert (found.there, found.lost, found.in_doubt_gone, found.in_doubt_landed, found.unasked) == (2, [2], 1, 1, 1)
    assert numbers.next() == 6
    assert numbers.compare(1, 6, missing=[6]).lost == []
    assert numbers.before(5 * S) == 2
    assert numbers.before(1) == 0
    assert numbers.about_when(3) == 6 * S
    assert Numbers(1).about_when(1) == 0


def test_a_lease_is_named_once_when_it_is_overdue_with_the_way_to_it() -> None:
    """The stack is of whoever took it, and is kept without any frame."""
    leases = Leases(10 * S)
    now = time.monotonic_ns()

    def someone_takes_it() -> None:
        leases.taken(7, 4711, "step", now)

    someone_takes_it()
    assert leases.overdue(now + 9 * S) == []
    (lease,) = leases.overdue(now + 10 * S)
    told = lease.told(now + 11 * S)
    assert (told["step"], told["session"], told["pid"], told["age_s"]) == ("step", 7, 4711, 11.0)
    assert any("someone_takes_it" in frame for frame in lease.stack())
    assert leases.overdue(now + 20 * S) == []
    assert leases.leaked == 1
    assert leases.all() == [lease]
    leases.ended(7)
    assert leases.all() == []


def test_a_stranger_is_a_session_that_nobody_has() -> None:
    """By the server's pid."""
    here, gone = Session(1, "1", "idle", 0.1), Session(2, "2", "idle", 0.1)
    assert strangers([here, gone], [1, 3]) == [gone]
