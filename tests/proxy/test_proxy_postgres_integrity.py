"""Whatever a client and a Postgres say to each other, and however it is cut, passes byte for byte."""

from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_postgres_rig import (
    AUTHENTICATED,
    BOUND,
    CANCEL_REQUEST,
    CLOSED,
    COPY_DONE,
    COPY_IN,
    COPY_OUT,
    DESCRIBE,
    EMPTY,
    FLUSH,
    GSS_REQUEST,
    PARSED,
    READY,
    ROW,
    ROWS,
    SSL_REQUEST,
    SUSPENDED,
    SYNC,
    TERMINATE,
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

from chaosrunner.proxy.agenda import Agenda
from chaosrunner.proxy.toxics.stage import End

# A conversation is a list of exchanges: what the client sends, what the server then answers, how many statements.
NAMES = st.sampled_from(["", "a", "b"])
SQL = st.one_of(
    st.sampled_from(["SELECT 1", "", "-- ping", "insert into t values (1)", "DEALLOCATE a", "discard all", "é" * 6000]),
    st.text(alphabet="select;'\"-/*(\n", max_size=30),
)
ASIDES = st.sampled_from(
    [b"", b"", message("N", b"SNOTICE\0\0"), message("A", b"\0\0\0\1c\0\0"), message("S", b"a\0b\0")]
)
LONG = message("D", bytes(20_000))
RESULTS = st.sampled_from(
    [
        ROWS + complete("SELECT 0"),
        ROWS + ROW * 3 + complete(),
        complete("INSERT 0 1"),
        EMPTY,
        error("42P01"),
        ROWS + ROW + error("22012"),
        ROWS + LONG + complete(),
        ROWS + ROW + complete() + complete("INSERT 0 1"),
        COPY_OUT + message("d", b"1\n") * 3 + message("c") + complete("COPY 3"),
        error("XX000", "long " * 4000),
    ]
)


@st.composite
def simple(draw):
    return [(query(draw(SQL)), draw(ASIDES) + draw(RESULTS) + READY, 1)]


@st.composite
def extended(draw):
    """A pipeline up to its Sync, in which one step may fail, so that the rest is skipped."""
    steps = st.one_of(
        st.tuples(st.builds(parse, SQL, NAMES), st.just(PARSED)),
        st.tuples(st.builds(bind, NAMES, NAMES), st.just(BOUND)),
        st.tuples(st.builds(execute, NAMES), st.sampled_from([ROW * 2 + complete(), EMPTY, ROW + SUSPENDED])),
        st.tuples(st.builds(close, NAMES), st.just(CLOSED)),
        st.tuples(st.just(DESCRIBE), st.sampled_from([message("t", bytes(2)) + ROWS, message("n"), ROWS])),
        st.tuples(st.just(FLUSH), st.just(b"")),
    )
    asks, answers, failed = b"", b"", False
    for ask, answer in draw(st.lists(steps, max_size=6)):
        asks += ask
        if not failed:
            failed = answer != b"" and draw(st.booleans()) and draw(st.booleans())
            answers += draw(ASIDES) + (error("22012") if failed else answer)
    return [(asks + SYNC, answers + READY, None)]


@st.composite
def copied(draw):
    """A COPY into the server, asked for in either way, taken or refused on the way."""
    rows = message("d", b"1\n") * draw(st.integers(0, 3)) + message("d", bytes(draw(st.integers(0, 30_000))))
    end = draw(st.sampled_from([(COPY_DONE, complete("COPY 3")), (message("f", b"no\0"), error("57014"))]))
    if draw(st.booleans()):
        return [(query("COPY t FROM STDIN"), COPY_IN, 1), (rows + end[0], end[1] + READY, 0)]
    begin = parse("copy t from stdin") + bind() + execute(), PARSED + BOUND + COPY_IN, None
    if draw(st.booleans()):  # in one go; the first Sync is swallowed
        return [(begin[0] + SYNC + rows + end[0] + SYNC, begin[1] + end[1] + READY, None)]
    return [(begin[0] + SYNC, begin[1], None), (rows + end[0] + SYNC, end[1] + READY, None)]


CALL = st.just([(message("F", bytes(10)), message("V", bytes(4)) + READY, 0)])
CONVERSATIONS = st.lists(st.one_of(simple(), extended(), copied(), CALL), max_size=8).map(
    lambda groups: [exchange for group in groups for exchange in group]
)
CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=20)


def cut(data, sizes):
    """Pieces of the given sizes, again and again; of long data larger ones."""
    at, turn, factor = 0, 0, 1 + len(data) // 2000
    while at < len(data):
        size = sizes[turn % len(sizes)] * factor
        yield data[at : at + size]
        at, turn = at + size, turn + 1


def begin(between, sizes):
    """A session's start, with both kinds of encryption asked for and refused."""
    for ask, answer in (
        (SSL_REQUEST, b"N"),
        (GSS_REQUEST, b"N"),
        (startup(), message("R", b"\0\0\0\x0aSCRAM-SHA-256\0\0")),
        (message("p", b"SCRAM-SHA-256\0" + bytes(20)), AUTHENTICATED),
    ):
        between.ask(*cut(ask, sizes))
        between.answer(*cut(answer, sizes))
    between.clear()


@settings(max_examples=600, deadline=None)
@given(CONVERSATIONS, CUTS, st.integers(1, 4), st.sampled_from(["none", "never struck", "never meant"]))
def test_a_conversation_passes_as_it_was_said(conversation, sizes, pipelined, toxics):
    """Of any valid streams in any cut, pipelined or not, the other side gets every byte, and each is understood."""
    meant = {"none": [], "never struck": [{"toxicity": 0}], "never meant": [{}]}[toxics]
    attributes = {"query": "nobody says this"} if toxics == "never meant" else {}
    between = Between(
        *(postgres_toxic(kind, more, **attributes) for more in meant for kind in ("postgres_delay", "postgres_fail")),
        ready=False,
    )
    begin(between, sizes)
    for at in range(0, len(conversation), pipelined):
        group = conversation[at : at + pipelined]
        for which, side in ((0, between.ask), (1, between.answer)):
            side(*cut(b"".join(exchange[which] for exchange in group), sizes))
    between.ask(*cut(TERMINATE, sizes), End.FIN)
    between.answer(End.FIN)
    assert between.to_server == b"".join(ask for ask, _, _ in conversation) + TERMINATE
    assert between.to_client == b"".join(answer for _, answer, _ in conversation)
    assert between.server[-1] is between.client[-1] is End.FIN
    assert between.dialect.held_up == between.dialect.held_down == 0
    assert between.tally["opaque"] == 0
    assert between.dialect._line.head is None, "everything asked was answered"
    if all(count is not None for _, _, count in conversation):
        assert between.tally["statements"] == sum(count for _, _, count in conversation)


@settings(max_examples=600, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.one_of(st.binary(max_size=40), SQL.map(query), st.sampled_from([READY, SYNC])))
    ),
    st.booleans(),
)
def test_what_is_not_postgres_passes_as_it_was_said(pieces, begun):
    """Bytes that mean nothing, in any order from both sides, all arrive, in a session or before one."""
    between = Between(postgres_toxic("postgres_delay", query="nobody says this"), ready=begun)
    for from_client, piece in pieces:
        (between.ask if from_client else between.answer)(piece)
    between.ask(End.FIN)
    between.answer(End.FIN)
    assert between.to_server == b"".join(piece for from_client, piece in pieces if from_client)
    assert between.to_client == b"".join(piece for from_client, piece in pieces if not from_client)
    assert between.server[-1] is between.client[-1] is End.FIN
    assert between.tally["opaque"] <= 1


@settings(max_examples=40, deadline=None)
@given(CONVERSATIONS, CUTS, st.integers(0, 3), st.sampled_from([0.5, 1]))
async def test_late_statements_and_answers_arrive_whole_and_in_order(conversation, sizes, jitter, toxicity):
    """With delays on both streams that strike some or all statements every byte still arrives once, in order."""
    more = [{"stream": stream, "toxicity": toxicity} for stream in ("upstream", "downstream")]
    between = Between(*(postgres_toxic("postgres_delay", each, latency=2, jitter=jitter) for each in more))
    asked = b"".join(ask for ask, _, _ in conversation)
    answers = b"".join(answer for _, answer, _ in conversation)
    between.ask(*cut(asked, sizes), End.FIN)
    between.answer(*cut(answers, sizes), End.FIN)
    await until(lambda: End.FIN in between.server and End.FIN in between.client)
    assert between.to_server == asked
    assert between.to_client == answers
    assert between.tally["opaque"] == 0
    between.agenda.close()


def test_a_cancel_request_passes():
    """A request to cancel, on a connection of its own, reaches the server and is no session."""
    between = Between(ready=False)
    between.ask(*cut(CANCEL_REQUEST, [3]), End.FIN)
    assert between.to_server == CANCEL_REQUEST
    assert between.tally["sessions"] == between.tally["opaque"] == 0
    assert isinstance(between.agenda, Agenda)
