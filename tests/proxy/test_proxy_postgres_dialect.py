"""What the Postgres dialect does to single statements, message by message."""

import json
import re
import time
from pathlib import Path

import pytest
from proxy_postgres_rig import (
    AUTHENTICATED,
    BOUND,
    CLOSED,
    COPY_IN,
    DESCRIBE,
    FLUSH,
    GSS_REQUEST,
    PARSED,
    READY,
    ROW,
    ROWS,
    SSL_REQUEST,
    SUSPENDED,
    SYNC,
    Between,
    bind,
    close,
    complete,
    error,
    execute,
    message,
    parse,
    postgres_toxic,
    query,
    startup,
)
from proxy_rig import until

from chaosrunner.proxy.postgres import statements as postgres_statements
from chaosrunner.proxy.postgres.framing import SEEN_BYTES
from chaosrunner.proxy.refusals import RefusedError
from chaosrunner.proxy.toxics.stage import End
from chaosrunner.proxy.toxics.toxic import parse_toxic

UPSTREAM = {"stream": "upstream"}
LATENCY_MS = 60
SELECT, ANSWER = query("select 1"), ROWS + ROW + complete() + READY
PREPARED = parse("select 1") + bind() + DESCRIBE
OURS = "chaosrunner failed this statement on purpose"
INSTEAD_OF_QUERY = query(OURS)
INSTEAD_OF_EXECUTE = execute(OURS)
NO_PORTAL = error("34000", f'portal "{OURS}" does not exist')
NO_SYNTAX = error("42601", 'syntax error at or near "chaosrunner"')


def ours(sqlstate="XX000", text="chaosrunner: this statement was failed on purpose"):
    """The error as a client is told it."""
    return message("E", f"SERROR\0VERROR\0C{sqlstate}\0M{text}\0\0".encode())


def changed(applied, **fields):
    """Change a toxic as the API does."""
    applied.toxic = applied.toxic.amended(fields)


async def test_a_statement_that_is_meant_reaches_the_server_late():
    """Upstream, a statement and what follows it wait; what came before it does not, and the wait is measured."""
    delay = postgres_toxic("postgres_delay", UPSTREAM, query="select", latency=LATENCY_MS)
    between = Between(delay)
    between.ask(query("begin"))
    assert between.to_server == query("begin")
    sent = time.monotonic()
    between.ask(SELECT + query("commit"), End.FIN)
    assert between.to_server == query("begin")
    assert between.dialect.held_up == len(SELECT + query("commit"))
    await until(lambda: End.FIN in between.server)
    assert time.monotonic() - sent >= LATENCY_MS / 1000
    assert between.to_server == query("begin") + SELECT + query("commit")
    assert between.dialect.held_up == 0
    assert between.reviews > 0, "back-pressure is looked at when time lets something go"
    assert (delay.matched, delay.struck, delay.connections, delay.bytes) == (1, 1, 1, len(SELECT))
    assert delay.delays.total == 1
    assert delay.delayed_s >= LATENCY_MS / 1000


async def test_the_answer_to_a_statement_that_is_meant_is_late_as_a_whole():
    """Downstream, what comes before the answer passes, all pieces of it wait, and what follows keeps its place."""
    delay = postgres_toxic("postgres_delay", query="select", latency=LATENCY_MS)
    between = Between(delay)
    between.ask(PREPARED + execute() + SYNC, query("commit"))
    assert between.to_server == PREPARED + execute() + SYNC + query("commit")
    between.answer(PARSED + BOUND + ROWS + ROW[:3])
    assert between.to_client == PARSED + BOUND + ROWS
    arrived = time.monotonic()
    between.answer(ROW[3:], ROW * 2 + complete("SELECT 3") + READY + complete("COMMIT") + READY)
    assert between.to_client == PARSED + BOUND + ROWS
    await until(lambda: between.to_client.endswith(complete("COMMIT") + READY))
    assert time.monotonic() - arrived >= LATENCY_MS / 1000
    assert between.to_client == (
        PARSED + BOUND + ROWS + ROW * 3 + complete("SELECT 3") + READY + complete("COMMIT") + READY
    )
    assert (delay.matched, delay.struck, delay.connections) == (1, 1, 1)
    assert delay.bytes == len(ROW * 3 + complete("SELECT 3"))
    assert delay.delays.total == 1


async def test_a_toxic_that_goes_lets_go_what_it_holds():
    """Removing a toxic releases statements and answers at once and in order; what another one holds stays."""
    gone, stays = (postgres_toxic("postgres_delay", UPSTREAM, query=word, latency=60_000) for word in ("one", "two"))
    answers = postgres_toxic("postgres_delay", query="zero", latency=60_000)
    between = Between(gone, stays, answers)
    between.ask(query("zero"), query("one"), query("two"), query("three"))
    between.answer(ANSWER)
    assert between.to_server == query("zero")
    between.toxics = [stays]
    between.dialect.refit()
    assert between.to_server == query("zero") + query("one")
    assert between.to_client == ANSWER
    between.toxics = []
    between.dialect.refit()
    assert between.to_server == query("zero") + query("one") + query("two") + query("three")
    assert between.dialect.held_up == between.dialect.held_down == 0


async def test_an_answer_that_has_not_come_yet_is_not_held_by_a_toxic_that_is_gone():
    """A toxic that is removed between a statement and its answer holds nothing, and has struck nothing."""
    delay = postgres_toxic("postgres_delay", latency=60_000)
    between = Between(delay)
    between.ask(SELECT)
    between.toxics = []
    between.dialect.refit()
    between.answer(ANSWER)
    assert between.to_client == ANSWER
    assert (delay.matched, delay.struck) == (1, 0)


@pytest.mark.parametrize(
    "change",
    [{"attributes": {"latency": 1}}, {"attributes": {"query": "insert"}}, {"toxicity": 0.0}],
    ids=["shorter", "not meant", "not struck"],
)
async def test_a_hold_follows_the_change_of_its_toxic(change):
    """What is held is held by the attributes and the toxicity of now, from when it came."""
    delay = postgres_toxic("postgres_delay", UPSTREAM, query="select", latency=60_000)
    between = Between(delay)
    between.ask(SELECT)
    assert between.to_server == b""
    changed(delay, **change)
    between.dialect.refit()
    await until(lambda: between.to_server == SELECT)


async def test_several_delays_add_up():
    """Two toxics that are meant for the same statement hold it for the sum, and each is credited with its part."""
    delays = [postgres_toxic("postgres_delay", {**UPSTREAM, "name": name}, latency=LATENCY_MS) for name in "ab"]
    between = Between(*delays)
    sent = time.monotonic()
    between.ask(SELECT)
    await until(lambda: between.to_server == SELECT)
    waited = time.monotonic() - sent
    assert waited >= 2 * LATENCY_MS / 1000
    assert [delay.delays.total for delay in delays] == [1, 1]
    assert 2 * LATENCY_MS / 1000 <= sum(delay.delayed_s for delay in delays) <= waited


def test_authentication_is_never_delayed():
    """Until the server is ready for the first time nothing waits, not even a statement that came early."""
    everything = [postgres_toxic("postgres_delay", more, latency=60_000) for more in ({}, UPSTREAM)]
    between = Between(*everything, postgres_toxic("postgres_fail"), ready=False)
    password, early = message("p", b"secret\0"), query("select 1")
    between.ask(SSL_REQUEST)
    between.answer(b"N")
    between.ask(startup(), password, early)
    assert between.to_server == SSL_REQUEST + startup() + password + early
    between.answer(AUTHENTICATED + ANSWER)
    assert between.to_client == b"N" + AUTHENTICATED + ANSWER
    assert [applied.matched for applied in between.toxics] == [0, 0, 0]
    assert (between.tally["sessions"], between.tally["statements"]) == (1, 1)


def test_a_simple_query_fails_in_the_server():
    """The server is given what cannot be parsed in its place, and its error is told as the toxic's."""
    fail = postgres_toxic("postgres_fail", query="insert", sqlstate="40001", message="try again")
    between = Between(fail)
    insert = query("insert into t values (1); select 2")
    between.ask(SELECT, insert, SELECT)
    assert between.to_server == SELECT + INSTEAD_OF_QUERY + SELECT
    between.answer(ANSWER + NO_SYNTAX + message("Z", b"E") + ANSWER)
    assert between.to_client == ANSWER + ours("40001", "try again") + message("Z", b"E") + ANSWER
    assert (fail.matched, fail.struck, fail.connections, fail.bytes) == (1, 1, 1, len(insert))
    assert between.tally["failed_by_us"] == 1
    assert between.tally["by_verb"] == {"SELECT": 2, "INSERT": 1}


@pytest.mark.parametrize("ended_by", ["server", "client"])
def test_all_of_a_long_statement_is_replaced(ended_by):
    """Of a statement that is longer than what is looked at nothing reaches the server, also if all turns opaque."""
    between = Between(postgres_toxic("postgres_fail", query="insert"))
    long = query("insert into t values ('" + "x" * 3 * SEEN_BYTES + "')")
    between.ask(long[: 2 * SEEN_BYTES])
    assert between.to_server == INSTEAD_OF_QUERY
    if ended_by == "server":
        between.answer(b"nonsense")
        assert between.tally["opaque"] == 1
    between.ask(long[2 * SEEN_BYTES : -100], long[-100:] + SELECT, SELECT)
    assert between.to_server == INSTEAD_OF_QUERY + SELECT * 2


def test_only_the_beginning_of_a_statement_is_searched():
    """Words behind the first 10 KB are not found, and a long statement passes while it comes."""
    between = Between(postgres_toxic("postgres_fail", query="needle"))
    long = query("select '" + "x" * SEEN_BYTES + "' as needle")
    between.ask(long[: SEEN_BYTES + 5])
    assert between.to_server == long[: SEEN_BYTES + 5]
    between.ask(long[SEEN_BYTES + 5 :])
    assert between.to_server == long


def test_an_execute_fails_in_the_server():
    """The server is given a portal that does not exist; what it skips then is skipped, up to the next Sync."""
    between = Between(postgres_toxic("postgres_fail", query="select"))
    batch = parse("insert") + bind() + execute() + PREPARED
    rest = parse("delete") + bind() + execute() + SYNC
    between.ask(batch + execute() + FLUSH + rest, SELECT)
    assert between.to_server == batch + INSTEAD_OF_EXECUTE + FLUSH + rest + INSTEAD_OF_QUERY
    between.answer(PARSED + BOUND + complete("INSERT 0 1") + PARSED + BOUND + ROWS + NO_PORTAL + READY)
    between.answer(NO_SYNTAX + READY)
    assert between.to_client == (
        PARSED + BOUND + complete("INSERT 0 1") + PARSED + BOUND + ROWS + ours() + READY + ours() + READY
    )
    assert between.tally["failed_by_us"] == 2


@pytest.mark.parametrize(
    "other",
    [
        error("57P01", "terminating connection due to administrator command", "FATAL"),
        error("25P02", "current transaction is aborted"),
        error("57014", "canceling statement due to user request"),
        error("XX000", "long " * 4000),
        error("42601", "long " * 4000),
        error("34000", "long " * 4000),
    ],
)
@pytest.mark.parametrize("ask", [SELECT, PREPARED + execute() + SYNC], ids=["simple", "extended"])
def test_only_the_error_that_was_provoked_is_rewritten(ask, other):
    """Another error in its place, such as that the server goes down, is told as it is."""
    between = Between(postgres_toxic("postgres_fail"))
    between.ask(ask)
    first = b"" if ask is SELECT else PARSED + BOUND + ROWS
    between.answer(first + other)
    assert between.to_client == first + other
    assert between.tally["failed_by_us"] == 0


def test_a_syntax_error_of_the_client_stays_its_own():
    """The same errors in answer to statements that were left alone pass untouched."""
    between = Between(postgres_toxic("postgres_fail", query="insert"))
    between.ask(query("selekt"), execute("nobody") + SYNC)
    between.answer(NO_SYNTAX + READY + NO_PORTAL + READY)
    assert between.to_client == NO_SYNTAX + READY + NO_PORTAL + READY


def test_an_error_before_it_hides_a_failed_statement():
    """A statement that the server skips after an earlier error is not answered, and does not shift later answers."""
    between = Between(postgres_toxic("postgres_fail", query="select"))
    between.ask(parse("insert") + bind() + execute() + PREPARED + execute() + SYNC, query("commit"))
    between.answer(PARSED + BOUND + error("23505") + READY + complete("COMMIT") + READY)
    assert between.to_client == PARSED + BOUND + error("23505") + READY + complete("COMMIT") + READY
    assert between.tally["failed_by_us"] == 0
    assert between.tally["opaque"] == 0


def test_what_the_server_is_known_to_skip_is_neither_counted_nor_touched():
    """Between an error and the next Sync nothing is a statement."""
    fail = postgres_toxic("postgres_fail", query="select")
    between = Between(fail)
    between.ask(parse("insert") + bind() + execute() + FLUSH)
    between.answer(PARSED + BOUND + error("23505"))
    between.clear()
    between.ask(PREPARED + execute(), SELECT, SYNC)
    assert between.to_server == PREPARED + execute() + SELECT + SYNC
    assert (fail.matched, between.tally["statements"]) == (0, 1)
    between.answer(READY)
    between.ask(SELECT)
    assert between.to_server.endswith(INSTEAD_OF_QUERY)


def test_a_statement_is_matched_whenever_it_was_prepared():
    """A prepared statement that a driver keeps is struck when it is executed, also by a toxic that came later."""
    between = Between()
    between.ask(parse("SELECT name FROM users", "s1") + SYNC)
    between.answer(PARSED + READY)
    between.toxics = [postgres_toxic("postgres_fail", query="from users")]
    between.dialect.refit()
    between.clear()
    between.ask(bind("s1") + execute() + SYNC)
    assert between.to_server == bind("s1") + INSTEAD_OF_EXECUTE + SYNC


def test_fetching_more_rows_is_not_another_statement():
    """Executes that go on with a portal are not counted and never struck; binding it anew is a new statement."""
    fail = postgres_toxic("postgres_fail", {"toxicity": 0}, query="select")
    between = Between(fail)
    between.ask(parse("select", "s") + bind("s", "p") + execute("p", 5) + FLUSH)
    between.answer(PARSED + BOUND + ROW + SUSPENDED)
    changed(fail, toxicity=1.0)
    between.ask(execute("p", 5) + SYNC)
    between.answer(ROW + complete() + READY)
    assert (fail.matched, fail.struck, between.tally["statements"]) == (1, 0, 1)
    between.clear()
    between.ask(bind("s", "p") + execute("p", 5) + SYNC)
    assert between.to_server == bind("s", "p") + INSTEAD_OF_EXECUTE + SYNC
    assert between.tally["statements"] == 2


def test_toxicity_is_drawn_for_each_statement():
    """At toxicity 0.5 about half of one connection's statements are struck, and the same ones with the same seed."""
    runs = []
    for _ in range(2):
        fail = postgres_toxic("postgres_fail", {"toxicity": 0.5})
        between = Between(fail)
        for _ in range(400):
            between.ask(SELECT)
        runs.append([item == INSTEAD_OF_QUERY for item in between.server])
        assert fail.matched == 400
        assert fail.struck == sum(runs[-1])
        assert fail.connections == 1
    assert runs[0] == runs[1]
    assert 140 <= sum(runs[0]) <= 260


@pytest.mark.parametrize(("request_", "reply"), [(SSL_REQUEST, b"S"), (GSS_REQUEST, b"G")])
def test_what_is_encrypted_passes_untouched(request_, reply):
    """Once the server agrees to encrypt, the connection is opaque, and counted so."""
    between = Between(postgres_toxic("postgres_fail"), ready=False)
    between.ask(request_)
    between.answer(reply)
    assert between.tally["opaque"] == 1
    between.ask(startup(), SELECT)
    between.answer(AUTHENTICATED + NO_SYNTAX)
    assert between.to_server == request_ + startup() + SELECT
    assert between.to_client == reply + AUTHENTICATED + NO_SYNTAX
    assert (between.tally["opaque"], between.tally["sessions"], between.tally["statements"]) == (1, 0, 0)


@pytest.mark.parametrize(
    "first",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        startup(replication="database"),
        startup(replication="true"),
        b"\0\0\0\x08\0\2\0\0",
        startup() + b"?",
        startup() + b"Q\xff\xff\xff\xff",
        startup() + b"S\0\0\xff\xff",
    ],
    ids=["tls", "http", "logical", "physical", "version 2", "no message", "negative length", "long sync"],
)
def test_what_is_not_understood_passes_untouched(first):
    """Direct TLS, replication and nonsense make a connection opaque at once."""
    between = Between(postgres_toxic("postgres_fail"), ready=False)
    between.ask(first)
    assert between.to_server == first
    between.answer(AUTHENTICATED)
    between.ask(SELECT)
    assert between.to_server == first + SELECT
    assert between.to_client == AUTHENTICATED
    assert between.tally["opaque"] == 1


def test_a_server_that_will_not_talk_about_encryption_is_understood():
    """An error in place of the one byte is an error like any other."""
    between = Between(ready=False)
    between.ask(SSL_REQUEST)
    full = error("53300", "sorry, too many clients already", "FATAL")
    between.answer(full[:1], full[1:])
    assert between.to_client == full
    assert between.tally["opaque"] == 0


def test_an_answer_to_nothing_or_to_something_else_makes_a_connection_opaque():
    """Whoever answers out of step is not guessed at, and what came in part is passed on too."""
    for ask, answer in ((parse("select 1"), BOUND), (b"", READY), (b"", complete()), (SYNC, PARSED), (SELECT, b"?")):
        between = Between()
        between.ask(ask + SELECT[:7])
        between.answer(answer)
        assert between.tally["opaque"] == 1
        assert between.to_server == ask + SELECT[:7]
        between.ask(SELECT[7:])
        between.answer(ANSWER)
        assert between.to_server == ask + SELECT
        assert between.to_client == answer + ANSWER


def test_a_session_that_says_it_wants_no_replication_is_understood():
    """`replication=false` is an ordinary session."""
    between = Between(ready=False)
    between.ask(startup(replication="false"))
    between.answer(AUTHENTICATED)
    assert (between.tally["sessions"], between.tally["opaque"]) == (1, 0)


async def test_a_reset_overtakes_what_is_held_and_dropping_ends_all():
    """A reset passes at once; after `drop` no timer lets go anything."""
    delay = postgres_toxic("postgres_delay", UPSTREAM, query="select", latency=20)
    between = Between(delay)
    between.ask(SELECT, End.RESET)
    assert between.server == [End.RESET]
    between.dialect.drop()
    assert between.dialect.held_up == 0
    rung = []
    between.agenda.at(time.monotonic() + 0.03, lambda: rung.append(1))
    await until(lambda: rung)
    assert between.server == [End.RESET]
    between.toxics = []
    between.dialect.refit()
    assert between.server == [End.RESET]
    assert delay.delays.total == 0


def test_a_skipped_message_changes_no_name():
    """What the server skips after an error does not change which statement a name stands for."""
    between = Between(postgres_toxic("postgres_fail", query="^select"))
    between.ask(parse("select 1", "s") + parse("oops") + FLUSH)
    between.answer(PARSED + NO_SYNTAX)
    between.ask(close("s") + parse("insert", "s") + SYNC)
    between.answer(READY)
    between.ask(bind("s") + execute() + SYNC)
    assert between.to_server.endswith(bind("s") + INSTEAD_OF_EXECUTE + SYNC)


def test_a_statement_that_is_used_is_not_forgotten():
    """Of more statements than there is room for the one that was executed all the time stays known."""
    between = Between()
    between.ask(parse("select 1", "used"))
    for number in range(2 * postgres_statements.STATEMENT_ROOM_BYTES // 10_000):
        between.ask(parse("x" * 10_000, f"s{number}") + bind("used") + execute())
    assert between.tally["statements"] > 200
    assert between.tally["forgotten"] == 0


def test_statements_that_are_forgotten_are_counted_and_not_guessed():
    """Beyond its room the oldest prepared statements are unknown: only a toxic for every statement means them."""
    count = postgres_statements.STATEMENT_ROOM_BYTES // 10_000 + 10
    selects = postgres_toxic("postgres_fail", query="select")
    between = Between(selects)
    for number in range(count):
        between.ask(parse(f"select {number} {'x' * 10_000}", f"s{number}"))
        between.answer(PARSED)
    between.ask(bind("s0") + execute())
    between.answer(BOUND + complete())
    assert (selects.matched, between.tally["forgotten"], between.tally["statements"]) == (0, 1, 1)
    between.ask(bind(f"s{count - 1}") + execute() + SYNC)
    assert (selects.matched, between.tally["forgotten"]) == (1, 1)
    between.answer(BOUND + NO_PORTAL + READY)
    between.toxics = [postgres_toxic("postgres_fail")]
    between.ask(bind("s0") + execute() + SYNC)
    assert between.to_server.endswith(bind("s0") + INSTEAD_OF_EXECUTE + SYNC)
    assert between.tally["forgotten"] == 2
    assert between.tally["by_verb"]["OTHER"] == 2


@pytest.mark.parametrize(
    ("end", "answer", "left"),
    [
        (close("a"), CLOSED, "b B c"),
        (close("a") + parse("select 2", "a"), CLOSED + PARSED, "b B a c"),
        (close("nobody"), CLOSED, "a b B c"),
        (query("DEALLOCATE a"), complete("DEALLOCATE") + READY, "b B c"),
        (query('deallocate prepare "B" ;'), complete("DEALLOCATE") + READY, "a b c"),
        (query("Deallocate B"), complete("DEALLOCATE") + READY, "a B c"),
        (query("DISCARD ALL"), complete("DISCARD ALL") + READY, "c"),
        (query("DEALLOCATE ALL"), complete("DEALLOCATE ALL") + READY, "c"),
        (query("DEALLOCATE ALL"), error("25P02") + READY, "a b B c"),
        (query("DISCARD TEMP"), complete("DISCARD TEMP") + READY, "a b B c"),
        (parse("discard all") + bind() + execute(), PARSED + BOUND + complete("DISCARD ALL"), "c"),
    ],
)
def test_statements_that_were_closed_are_forgotten(end, answer, left):
    """Close, DEALLOCATE and DISCARD ALL forget what they close once the server agrees, and nothing that came later."""
    between = Between()
    between.ask(*(parse("select 1", name) for name in ("a", "b", "B")), end, parse("select 1", "c"))
    between.answer(PARSED * 3, answer + PARSED)
    remembered = [name for name, _ in between.dialect._statements._parsed.items() if name]
    assert sorted(remembered) == sorted(name.encode() for name in left.split())


def test_a_client_that_asks_without_end_is_passed_on():
    """A pipeline beyond any reason makes the connection opaque instead of taking memory without bound."""
    between = Between()
    for _ in range(101):
        between.ask(SYNC * 10_000)
    assert between.tally["opaque"] == 1
    assert len(between.to_server) == len(SYNC) * 1_010_000


def test_a_copy_that_the_server_breaks_off_is_over():
    """After an error in a COPY the next statement is one, whether or not the client has noticed."""
    between = Between()
    between.ask(query("copy t from stdin"))
    between.answer(COPY_IN + error("22P02") + READY)
    between.ask(message("d", b"late\n"), SELECT)
    between.answer(ANSWER)
    assert (between.tally["opaque"], between.tally["statements"]) == (0, 2)


def test_a_copy_that_a_statement_breaks_is_not_guessed_at():
    """A message that the server takes for the end of a COPY, and never answers, makes the connection opaque."""
    between = Between()
    between.ask(query("copy t from stdin"))
    between.answer(COPY_IN)
    between.ask(SELECT)
    assert between.tally["opaque"] == 1


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("select 1", "SELECT"),
        (" \n-- why\n/* /app */ Insert into t", "INSERT"),
        ("((values (1)))", "VALUES"),
        ("", "OTHER"),
        (";", "OTHER"),
        ("/* never closed", "OTHER"),
        ("frobnicate", "OTHER"),
        ("-- " * 5000, "OTHER"),
    ],
)
def test_statements_are_counted_by_their_first_word(text, verb):
    """Comments, parentheses and case do not matter; what is no statement's word is OTHER."""
    assert postgres_statements.verb_of(text) == verb


def test_more_toxics_of_a_kind_fail_a_statement_once():
    """Of several that would fail the same statement the first strikes; the others are matched only."""
    first, second = (postgres_toxic("postgres_fail", {"name": name}, sqlstate=f"0000{name}") for name in "12")
    between = Between(first, second)
    between.ask(SELECT)
    between.answer(NO_SYNTAX + READY)
    assert between.to_client.startswith(ours("00001"))
    assert [(fail.matched, fail.struck) for fail in (first, second)] == [(1, 1), (1, 0)]


async def test_a_statement_can_be_late_and_fail():
    """What replaces a statement waits as the statement would have, and so does the error."""
    up, down = (
        postgres_toxic("postgres_delay", {"stream": stream}, latency=LATENCY_MS)
        for stream in ("upstream", "downstream")
    )
    between = Between(postgres_toxic("postgres_fail"), up, down)
    between.ask(SELECT)
    assert between.to_server == b""
    await until(lambda: between.to_server == INSTEAD_OF_QUERY)
    between.answer(NO_SYNTAX + READY)
    assert between.to_client == b""
    await until(lambda: between.to_client == ours() + READY)
    assert up.struck == down.struck == 1


@pytest.mark.parametrize(
    ("kind", "attributes", "why"),
    [
        ("postgres_delay", {"latency": -1}, "latency"),
        ("postgres_delay", {"query": "("}, "regular expression"),
        ("postgres_fail", {"query": "a" * 1001}, "regular expression"),
        ("postgres_fail", {"query": "a\nb"}, "printable"),
        ("postgres_fail", {"sqlstate": "4000"}, "sqlstate"),
        ("postgres_fail", {"sqlstate": "4000a"}, "sqlstate"),
        ("postgres_fail", {"sqlstate": "00000"}, "sqlstate"),
        ("postgres_fail", {"message": ""}, "message"),
        ("postgres_fail", {"message": "a\0b"}, "message"),
        ("postgres_fail", {"message": "\ud800"}, "message"),
        ("postgres_fail", {"message": "x" * 1001}, "message"),
    ],
)
def test_bad_attributes_are_refused_with_a_sentence(kind, attributes, why):
    """What could never match, or never be told to a client, is refused when it is asked for."""
    with pytest.raises(RefusedError, match=why) as refused:
        parse_toxic({"type": kind, "attributes": attributes})
    assert refused.value.status == 400


def test_the_examples_of_the_reference_are_taken():
    """Every toxic that the reference shows is one that the API takes, with every attribute it names."""
    page = Path(__file__).parents[2] / "docs/reference/proxy-postgres.md"
    bodies = [json.loads(body) for body in re.findall(r"curl -d '(.*?)'", page.read_text())]
    toxics = [body for body in bodies if "type" in body]
    assert [toxic["type"] for toxic in toxics] == ["postgres_delay", "postgres_fail"]
    for toxic in toxics:
        assert toxic["attributes"].items() <= parse_toxic(toxic).as_json()["attributes"].items()
