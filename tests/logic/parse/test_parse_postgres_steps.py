"""Steps that ask a Postgres, as a file writes them."""

from __future__ import annotations

import jsonschema
import pytest
from parse_rig import EXPERIMENT, INJECTORS, SYSTEM, changed, read, read_changed, wrong, wrong_changed
from test_parse_schema import plain

from chaosrunner.logic.parse.postgres_steps import parse_rows
from chaosrunner.logic.parse.schema import experiment_schema
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.parse.yaml_nodes import compose
from chaosrunner.model.journey import Again, Think
from chaosrunner.model.postgres_step import Draw, Mix, Pool, Query, Rows, Statement, reads

READ = "- read: {GET: /agents/<token>}"


def step(text: str) -> Query | Mix:
    """The last step, written instead of the good one."""
    found = read_changed((READ, f"- read: {text}")).load.steps[1]
    assert isinstance(found, Query | Mix)
    return found


def test_a_reference_in_args_stays_one() -> None:
    """It may be a secret, so its value reaches neither step nor journal; the bounds of a draw are no secrets."""
    text = '{SQL: "select $1, $2::int", args: ["${KEY}", "random ${LOW} to 9"]}'
    found = read(changed(EXPERIMENT, (READ, f"- read: {text}")), environ={"KEY": "geheim", "LOW": "3"})
    query = found.load.steps[1]
    assert isinstance(query, Query)
    assert query.statements[0].args == ("${KEY}", Draw(low=3, high=9))
    assert found.variables == {"LOW": "3"}


def said(text: str) -> list[str]:
    """What is wrong with a last step, from line 6 on."""
    return wrong_changed((READ, f"- read: {text}"))


def test_a_statement_with_everything_it_may_say() -> None:
    """Args keep their types, placeholders and draws; rows, paths, the pool and the connection are read."""
    found = step(
        "{SQL: 'select id, $1::text, $2::int, $3::int, $4::bool, $5::int from t where a <> $6',"
        " args: [<token>, 5, random 1 to 10, true, null, 007], expect: at least 1 row, keep: {id: '$[0].id'},"
        " on: database, connection: each time, retry: 3, think: 1s, times: 5, timeout: 2s,"
        " pool: {size: 20, wait: 1s, statement_timeout: 500ms, leak: 5s}}"
    )
    assert found == Query(
        name="read",
        think=Think(1.0),
        again=Again(times=5),
        timeout_s=2.0,
        statements=(
            Statement(
                sql="select id, $1::text, $2::int, $3::int, $4::bool, $5::int from t where a <> $6",
                args=("<token>", 5, Draw(low=1, high=10), True, None, "007"),
                expect=Rows(least=1),
                keep={"id": "$[0].id"},
            ),
        ),
        retry=3,
        on="database",
        connection="each time",
        pool=Pool(size=20, wait_s=1.0, statement_timeout_s=0.5, leak_s=5.0),
    )
    assert found.places == ("database",)
    assert found.keeps == ("id",)
    assert found.series == ("read.acquire", "read.connect", "read.lock_wait")


def test_a_transaction_is_a_list_of_statements() -> None:
    """Plain ones and ones with args; a later one may use what an earlier one keeps."""
    found = step(
        "{TRANSACTION: [{SQL: select 1 as one, keep: {one: '$[0].one'}}, {SQL: 'update t set a = $1', args: <one>},"
        " delete from t], isolation: serializable, retry: 5, numbered: true, pool: 4, setup: create table t (a int)}"
    )
    assert isinstance(found, Query)
    assert [statement.sql for statement in found.statements] == [
        "select 1 as one", "update t set a = $1", "delete from t",
    ]  # fmt: skip
    assert found.transaction
    assert found.numbered
    assert (found.isolation, found.retry, found.pool, found.on) == ("serializable", 5, Pool(size=4), "database")
    assert found.setup == ("create table t (a int)",)
    assert found.series[-2:] == ("read.outage", "read.acknowledged")
    assert step("{TRANSACTION: [], numbered: true}").statements == ()  # type: ignore[union-attr]


def test_a_mix_has_queries_with_weights_and_names_of_their_own() -> None:
    """Tolerances may name each of them."""
    found = step("{MIX: [{look: {SQL: select 1, weight: 9}}, {move: {TRANSACTION: [delete from t]}}], think: 1s}")
    assert isinstance(found, Mix)
    assert found.weights == (9, 1)
    assert [query.name for query in found.queries] == ["read.look", "read.move"]
    assert found.queries[0].think == Think()
    assert found.places == ("database",)
    assert found.series[:2] == ("read.look", "read.look.acquire")
    assert "read.move.outage" in found.series
    tolerance = "during: [p95 <= 2x baseline, errors of log in < 5% in any 5s]"
    change = (tolerance, "during: [p95 of read.look <= 1s, p95 of read.move.acquire <= 1s]")
    assert read_changed((READ, "- read: {MIX: [{look: {SQL: select 1}}, {move: {SQL: delete from t}}]}"), change)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1 row", Rows(least=1, most=1)),
        ("0 rows", Rows(least=0, most=0)),
        ("2 to 5 rows", Rows(least=2, most=5)),
        ("at least 3 rows", Rows(least=3)),
        ("at most 3 rows", Rows(most=3)),
    ],
)
def test_how_many_rows_are_expected(text: str, rows: Rows) -> None:
    """A number, a range, or one end of it."""
    assert parse_rows(text) == rows


@pytest.mark.parametrize("text", ["row", "1", "at least 1 to 2 rows", "5 to 2 rows", "-1 rows"])
def test_what_is_no_number_of_rows_is_refused(text: str) -> None:
    """Half-said ranges and missing words."""
    with pytest.raises(ReadingError):
        parse_rows(text)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "{SQL: select 1, TRANSACTION: [select 1]}",
            "6:29: step 'read' needs exactly one of SQL, TRANSACTION or MIX, such as 'SQL: select 1'",
        ),
        (
            "{TRANSACTION: [select 1], args: [1]}",
            "6:39: 'args' is no key of TRANSACTION; write it beside the statement: {SQL: …, args: […]}",
        ),
        ("{MIX: [{a: {SQL: select 1}}], retry: 1}", "6:43: 'retry' is no key of MIX"),
        (
            "{SQL: select 1, isolation: serializable}",
            (
                "6:29: 'isolation' is no key of SQL; expected args, expect, keep, on, pool, connection, retry, "
                "numbered or setup"
            ),
        ),
        ("{TRANSACTION: []}", "6:14: a transaction needs a statement, unless it is 'numbered'"),
        (
            "{TRANSACTION: [{args: 1}]}",
            ("6:28: 'SQL' is missing in a statement of step 'read'; such as '{SQL: select 1}'"),
        ),
        ("{SQL: }", "6:19: SQL '': expected a text, found nothing"),
        ("{SQL: 'select $2', args: [1]}", "6:32: the statement goes up to $2, but has 1 arg"),
        ("{SQL: select 1, args: [1, 2]}", "6:29: the statement holds no $1, but has 2 args"),
        (
            "{SQL: select <user>}",
            "6:19: <user> in a statement is never filled; write '$1' there and 'args: [<user>]'",
        ),
        ("{SQL: 'select $1'}", "6:19: the statement goes up to $1, but has 0 args"),
        (
            "{SQL: 'select $1', args: [<nobody>]}",
            ("6:39: args: nothing fills <nobody>; expected password, token or user"),
        ),
        (
            "{SQL: 'select $1', args: [random 9 to 3]}",
            ("6:39: a draw goes from the lowest to the highest, such as 'random 1 to 1000'"),
        ),
        (
            "{SQL: select 1, expect: some}",
            ("6:37: expect 'some': expected how many rows, such as '1 row', 'at least 1 row' or '2 to 5 rows'"),
        ),
        (
            "{SQL: select 1, keep: {1a: '$'}}",
            ("6:36: '1a' is no name for a variable; expected letters, digits, _ and -"),
        ),
        (
            "{SQL: select 1, keep: {a: x}}",
            ("6:39: keep of step 'read' 'x': expected a path into the rows, such as '$[0].balance'"),
        ),
        (
            "{SQL: begin}",
            (
                "6:13: 'begin' in step 'read' would leave its transaction to whoever comes next; write "
                "'TRANSACTION: [...]', or keep the connection with 'connection: of the journey'"
            ),
        ),
        ("{SQL: select 1, on: databas}", "6:29: no component 'databas' with a 'dsn'; did you mean 'database'?"),
        ("{SQL: select 1, connection: none}", "6:41: connection 'none': expected pooled, each time or of the journey"),
        ("{SQL: select 1, pool: {sizes: 1}}", "6:36: 'sizes' is no key of pool; did you mean 'size'?"),
        ("{MIX: []}", "6:14: a MIX needs at least one query, such as '- read: {SQL: select 1, weight: 9}'"),
        ("{MIX: [select 1]}", "6:20: a query of a MIX: expected a mapping of keys, found a single value"),
        (
            "{MIX: [{a: {SQL: select 1}, b: {SQL: select 1}}]}",
            ("6:20: a query of a MIX is one name and what it asks, such as '- read: {SQL: select 1}'"),
        ),
        (
            "{MIX: [{a: {SQL: select 1}}, {a: {SQL: select 1}}]}",
            ("6:43: 'a' is no name for one query of this MIX, or it is another's"),
        ),
        ("{MIX: [{a: select 1}]}", "6:24: query 'a': expected a mapping of keys, found a single value"),
        (
            "{MIX: [{a: {args: 1}}]}",
            ("6:24: query 'a' needs exactly one of SQL or TRANSACTION, such as 'SQL: select 1'"),
        ),
    ],
)
def test_what_a_step_may_not_say(text: str, mistake: str) -> None:
    """Each is one line with its place, what was expected and the nearest spelling."""
    assert mistake in said(text)


def test_parameters_in_quotes_and_comments_are_none() -> None:
    """`$1` in a literal, a name, a comment or a dollar-quoted body wants no arg."""
    found = step("""{SQL: "select '$1', \\"$2\\", $f$ $3 $f$, $4 -- $5\\n", args: [1, 2, 3, 4]}""")
    assert isinstance(found, Query)
    assert len(found.statements[0].args) == 4


def test_a_transaction_by_hand_is_for_a_journeys_own_connection() -> None:
    """There it leaves nothing to anybody else."""
    found = step("{SQL: begin, connection: of the journey}")
    assert isinstance(found, Query)
    assert found.connection == "of the journey"


def test_steps_may_not_contradict_each_other_about_the_pool() -> None:
    """What is said twice must be the same."""
    twice = "- read: {SQL: select 1, pool: 5}\n    - other: {SQL: select 1, pool: %s}"
    assert read_changed((READ, twice % "5"))
    assert wrong_changed((READ, twice % "6")) == [
        "7:36: another step says otherwise of the pool of 'database'; say it once"
    ]


def test_the_component_must_be_clear() -> None:
    """With two databases a step says which; with none it cannot be asked; with a bad system nothing is added."""
    text = changed(EXPERIMENT, (READ, "- read: {SQL: select 1}"), ("database, add", "vaults, add"))
    text = changed(text, ("  - proxy.latency: {target: vaults, add: 200ms}\n    for: 12s\n", "  - noop: {}\n"))
    one = changed(SYSTEM, ("database:", "store:"))
    found = read(text, system=one).load.steps[1]
    assert isinstance(found, Query)
    assert found.on == "store"
    two = SYSTEM + "other:\n  dsn: postgresql://app@127.0.0.1:5433/shop\n"
    assert wrong(text, system=two) == ["6:13: say which component step 'read' asks: 'on: database'"]
    none = changed(SYSTEM, ("  dsn: postgresql://app@127.0.0.1:5432/shop\n", ""))
    (mistake,) = wrong(text, system=none)
    assert "no component of the system has a 'dsn'" in mistake
    assert all("6:" not in mistake for mistake in wrong(text, system=SYSTEM + "strange: 5\n"))
    pooled = changed(text, ("{SQL: select 1}", "{SQL: select 1, pool: 5}"))
    assert all("6:" not in mistake for mistake in wrong(pooled, system=SYSTEM + "strange: 5\n"))


@pytest.mark.parametrize(
    ("sql", "reading"),
    [
        ("SELECT 1", True),
        (" (values (1))", True),
        ("with a as (delete from t returning 1) select 1", False),
        ("", False),
        ("update t set a = 1", False),
    ],
)
def test_what_surely_only_reads(sql: str, *, reading: bool) -> None:
    """A statement that begins like a query; in doubt it may write."""
    assert reads(sql) is reading


SCHEMA = jsonschema.Draft202012Validator(experiment_schema(INJECTORS.values()))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("{SQL: 'select $1', args: [<token>, random 1 to 2, 5], expect: 1 row, keep: {a: '$[0].a'}, pool: 5}", True),
        ("{SQL: select 1, pool: {size: 5, wait: 1s}, connection: each time, setup: create table t ()}", True),
        (
            "{TRANSACTION: [select 1, {SQL: select 2, args: 1}], isolation: serializable, retry: 0, numbered: true}",
            True,
        ),
        ("{MIX: [{a: {SQL: select 1, weight: 2}}, {b: {TRANSACTION: [select 1]}}], think: 1s}", True),
        ("{SQL: select 1, isolation: serializable}", False),
        ("{SQL: select 1, expect: some}", False),
        ("{TRANSACTION: [select 1], args: 1}", False),
        ("{MIX: [{a: {SQL: select 1, TRANSACTION: []}}]}", False),
    ],
)
def test_the_schema_says_what_the_reader_says(text: str, *, right: bool) -> None:
    """An editor shows the same mistakes while they are being made."""
    written = plain(compose(changed(EXPERIMENT, (READ, f"- read: {text}")))[0])
    assert SCHEMA.is_valid(written) is right
