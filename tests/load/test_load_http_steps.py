"""What a request may be made of: credentials, bodies, data; and what is kept, checked and stamped of its reply."""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
from base64 import b64decode
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from load_rig import OK, Asked, Target, always, crowd, finished, profile, reply, with_order, work

from chaosrunner.errors import LoadBroken
from chaosrunner.load.http.judge import Reply, judge_of
from chaosrunner.logic.parse.replies import parse_check
from chaosrunner.model.http_client import Client
from chaosrunner.model.http_step import Request
from chaosrunner.model.load import Outcome, Step

ROWS = tuple({"user": f"u{n}", "word": "päß:w"} for n in range(10))


def post(**fields: object) -> Request:
    return Request(**{"name": "post", "method": "POST", "path": "/", **fields})  # type: ignore[arg-type]


async def ask(*steps: Step, answer: bytes = OK, hits: int = 20, auth: str | None = None, **fields: object):
    async with Target(always(answer)) as target:
        books = await work(profile(*steps, **fields), target.url, until=finished(hits), auths=(auth,))
    return books, target


# --- credentials


@pytest.mark.parametrize("full", [False, True], ids=["fast", "full"])
async def test_basic(full: bool) -> None:
    """`basic <user>:<password>` is sent as the standard says, each journey with its own row's."""
    step = post(client=Client(cookies=full))
    books, target = await ask(step, auth="basic <user>:<word>", data=ROWS)
    assert books.done == {Outcome.OK: 20}
    sent = Counter(
        b64decode(request.headers["authorization"].removeprefix("Basic ")).decode() for request in target.requests
    )
    assert sent == {f"u{n}:päß:w": 2 for n in range(10)}


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ("basic YTpi", "authorization", "basic YTpi"),
        ("basic ann:secret", "authorization", "Basic YW5uOnNlY3JldA=="),
        ("bearer t-<user>", "authorization", "Bearer t-u0"),
        ("X-Api-Key: k <user>", "x-api-key", "k u0"),
        ("Digest x", "authorization", "Digest x"),
    ],
)
async def test_credentials(auth: str, header: str, value: str) -> None:
    """Bearer, basic, a key in a header of its own, or a whole value made elsewhere."""
    _, target = await ask(post(), auth=auth, data=ROWS[:1])
    assert {request.headers[header] for request in target.requests} == {value}


async def test_a_step_may_bring_its_own_credentials() -> None:
    """A header of the step goes before the load's `auth` of the same name, and only that."""
    own = post(headers={"x-api-key": "mine"})
    _, target = await ask(own, auth="X-Api-Key: theirs")
    assert {request.headers["x-api-key"] for request in target.requests} == {"mine"}


# --- bodies


async def test_forms() -> None:
    """A form is encoded as browsers do it; a list sends its name for each of its values."""
    step = post(body={"user": "<user>", "a b": "x&y", "l": ["1", "<word>"], "e": ""}, body_as="form")
    books, target = await ask(step, data=ROWS[:1])
    assert books.done == {Outcome.OK: 20}
    request = target.requests[0]
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(request.body.decode(), keep_blank_values=True) == {
        "user": ["u0"], "a b": ["x&y"], "l": ["1", "päß:w"], "e": [""],
    }  # fmt: skip


async def test_multipart_forms(tmp_path: Path) -> None:
    """Fields and files, each in a part of its own, told apart by a boundary that is in none of them."""
    (tmp_path / 'a"b.png').write_bytes(b"\x89PNG\r\n\0")
    step = post(body={"title": "<user>", "photo": {"file": str(tmp_path / 'a"b.png')}}, body_as="multipart")
    _, target = await ask(step, data=ROWS[:1])
    request = target.requests[0]
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parsed = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    title, photo = parsed.iter_parts()
    assert title.get_param("name", header="content-disposition") == "title"
    assert title.get_payload(decode=True) == b"u0"
    assert photo.get_filename() == "a%22b.png"
    assert photo.get_content_type() == "image/png"
    assert photo.get_payload(decode=True) == b"\x89PNG\r\n\0"


@pytest.mark.parametrize(
    ("body_as", "body", "sent", "kind"),
    [
        ("text", "hello <word> <<b>", "hello päß:w <b>".encode(), "text/plain; charset=utf-8"),
        ("json", {"a": ["<user>", 1]}, b'{"a": ["u0", 1]}', "application/json"),
    ],
)
async def test_texts_and_json(body_as: str, body: object, sent: bytes, kind: str) -> None:
    """Placeholders are filled in, and the type is said unless the step's headers say another."""
    plain, own = (
        post(body=body, body_as=body_as),
        post(name="own", body=body, body_as=body_as, headers={"content-type": "x/y"}),
    )
    _, target = await ask(plain, own, data=ROWS[:1], hits=40)
    assert {request.body for request in target.requests} == {sent}
    assert {request.headers["content-type"] for request in target.requests} == {kind, "x/y"}


async def test_files(tmp_path: Path) -> None:
    """A file is sent as it is, byte for byte; one that is not there breaks the load before it begins."""
    content = bytes(range(256)) + b"<user>"
    (tmp_path / "a.csv").write_bytes(content)
    _, target = await ask(post(body=str(tmp_path / "a.csv"), body_as="file"))
    assert {request.body for request in target.requests} == {content}
    assert target.requests[0].headers["content-type"] == "text/csv"
    with pytest.raises(LoadBroken, match=r"step 'post': the file '/nowhere' cannot be read: No such file"):
        await ask(post(body="/nowhere", body_as="file"))


# --- data


async def test_rows_that_are_used_up() -> None:
    """Unique rows end: journeys without one are SPENT, never begun with a row that was used before."""
    books, target = await ask(post(path="/<user>"), data=ROWS, order="unique")
    assert books.done == {Outcome.OK: 10, Outcome.SPENT: 10}
    assert Counter(request.path for request in target.requests) == {f"/u{n}": 1 for n in range(10)}


async def test_users_leave_when_rows_are_used_up() -> None:
    """In the closed model each journey takes a row, and a user that finds none is SPENT once and leaves."""
    load = with_order(crowd(post(path="/<user>"), users=3, data=ROWS), "unique")
    async with Target(always(OK)) as target:
        books = await work(load, target.url, until=finished(13))
    assert books.done == {Outcome.OK: 10, Outcome.SPENT: 3}
    assert len({request.path for request in target.requests}) == 10


async def test_rows_at_random() -> None:
    """With `random` rows come in no order, and come again."""
    _, target = await ask(post(path="/<user>"), data=ROWS, order="random", rate=200, hits=40)
    paths = [request.path for request in target.requests]
    assert len(paths) == 40
    assert len(set(paths)) > 3
    assert paths != [f"/u{n % 10}" for n in range(40)]


# --- what is kept, checked and stamped

PAGE = reply(200, headers="Content-Type: text/html\r\n").replace(b"Content-Length: 0", b"Content-Length: 54") + (
    b'<input name="csrf" value="a/b+c"> <b>welcome</b> ann 7'
)


@pytest.mark.parametrize("full", [False, True], ids=["fast", "full"])
async def test_a_regular_expression_keeps(full: bool) -> None:
    """The first group of the first match is kept, or all of the match when there is no group."""
    keep = {"csrf": '/name="csrf" value="([^"]+)"/', "who": "/a[n]+/", "code": "status"}
    first = post(keep=keep, client=Client(redirects=int(full)))
    books, target = await ask(first, post(name="next", path="/<csrf>/<who>/<code>"), answer=PAGE, hits=40)
    assert books.done == {Outcome.OK: 40}
    assert {request.path for request in target.requests} == {"/", "/a%2Fb%2Bc/ann/200"}


REPLY = Reply(
    200,
    b'{"id": 7, "ok": true, "name": "ann b", "list": [1, null], "big": "' + b"A1" * 40 + b'"}',
    size=140,
    took_s=0.25,
    headers={"content-type": "application/json", "x-n": "5"},
)


@pytest.mark.parametrize(
    "check",
    [
        "$.id = 7", "$.id = <id>", "$.id != 8", '$.id != "7"', "$.id >= 7", "$.id < 7.5", "$.ok = true",
        "$.name = ann b",
        '$.name = "ann b"', "$.name = <name>", "$.name contains nn", "$.name lacks x", "$.name matches /^a.*b$/",
        "$.list[0] = 1", "$.list[1] = null", "$.list exists", "$.list = [1, null]", "$ contains ann",
        "body contains <name>",
        'body lacks "no"', "body matches /(?i)ANN/", "header X-N exists", "header x-n = 5", "header X-N >= 5",
        "header Content-Type contains json", "size <= 140B", "size = 140B", "time < 300ms", "time != 300ms",
    ],
)  # fmt: skip
def test_checks_that_hold(check: str) -> None:
    """A reply that holds what a check says is OK."""
    judge = judge_of(post(checks=(parse_check(check),)))
    assert judge(REPLY, {"id": 7, "name": "ann b"}) == (Outcome.OK, "")


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("$.id = 8", "$.id = 8: found '7'"),
        ('$.id = "7"', "$.id = \"7\": found '7'"),
        ("$.id = <name>", "$.id = <name>: found '7'"),
        ("$.ok >= 1", "$.ok >= 1: found 'true'"),
        ("$.name > 3", "$.name > 3: found 'ann b'"),
        ("$.none exists", "$.none exists: nothing is there"),
        ("$.none lacks x", "$.none lacks x: nothing is there"),
        ("header X-None = 5", "header X-None = 5: nothing is there"),
        ("body contains zebra", 'body contains zebra: found \'{"id": 7, "ok": true, "name": "ann b", "list":'),
        ("size > 140B", "size > 140B: found '140'"),
        ("time >= 1s", "time >= 1s: found '0.25'"),
        ("$.big = x", "$.big = x: found '…'"),
    ],
)
def test_checks_that_do_not(check: str, why: str) -> None:
    """A reply that does not is CHECK; the sample says what was found, in short and without what may be a token."""
    outcome, said = judge_of(post(checks=(parse_check(check),)))(REPLY, {"id": 7, "name": "ann b"})
    assert outcome is Outcome.CHECK
    assert said.startswith(why)
    assert len(said) < 200
    assert "A1A1" not in said


def test_nothing_is_kept_of_a_reply_that_fails() -> None:
    """What a reply gives is kept all or nothing: not if a check fails, and not if one of several things is missing."""
    variables: dict[str, object] = {}
    failing = judge_of(post(keep={"id": "$.id"}, checks=(parse_check("$.id = 8"),)))
    assert failing(REPLY, variables)[0] is Outcome.CHECK
    lacking = judge_of(post(keep={"id": "$.id", "x": "header X-None"}))
    assert lacking(REPLY, variables) == (Outcome.CHECK, "nothing to keep as x at header X-None")
    unmatched = judge_of(post(keep={"x": "/zebra/"}))
    assert unmatched(REPLY, variables)[0] is Outcome.CHECK
    optional = judge_of(post(keep={"x": "/ann(zebra)?/"}))
    assert optional(REPLY, variables)[0] is Outcome.CHECK
    assert variables == {}


def test_what_is_no_json() -> None:
    """A check of a JSON path fails on a reply that is none, and so does one that nests beyond all reason."""
    judge = judge_of(post(checks=(parse_check("$.id = 7"),)))
    for body in (b"", b"<html>", b"[" * 100_000):
        assert judge(Reply(200, body), {}) == (Outcome.CHECK, "$.id = 7: nothing is there")


def test_an_expression_that_only_re2_refuses() -> None:
    """A regular expression that could take for ever is refused."""
    with pytest.raises(ValueError, match=r"is no regular expression"):
        judge_of(post(keep={"x": r"/(a)\1/"}))


async def test_samples_of_failed_checks_are_few() -> None:
    """Why a check failed is noted for the first few of each step, and counted for all."""
    books, _ = await ask(post(checks=(parse_check("body contains zebra"),)))
    assert books.done == {Outcome.CHECK: 20}
    assert len(books.noted("reply")) == 5
    assert books.noted("reply")[0] == {
        "step": "post", "outcome": "check", "status": 200, "why": "body contains zebra: found 'ok'",
    }  # fmt: skip


@pytest.mark.parametrize("full", [False, True], ids=["fast", "full"])
async def test_the_stamps_of_a_hit(full: bool) -> None:
    """Due, fired, connected, sent, first byte and done come in this order; only who waited for a connection has one."""

    async def slowly(_target: Target, _request: Asked, writer: asyncio.StreamWriter) -> bytes:
        await asyncio.sleep(0.02)
        writer.write(OK[:10])
        await asyncio.sleep(0.05)
        return OK[10:]

    async with Target(slowly) as target:
        books = await work(
            profile(post(client=Client(redirects=int(full))), rate=10, lasts_s=0.5, connections=1), target.url,
            until=finished(5),
        )  # fmt: skip
    assert books.done == {Outcome.OK: 5}
    for hit in books.hits:
        assert hit.sent_us is not None
        assert hit.first_us is not None
        assert 0 <= hit.lag_us <= hit.sent_us < hit.first_us < hit.response_us
        assert hit.first_us - hit.sent_us >= 15_000
        assert hit.response_us - hit.first_us >= 40_000
    connected = [hit for hit in books.hits if hit.connected_us is not None]
    assert len(connected) == books.connects == 1
    assert connected[0].lag_us <= connected[0].connected_us <= connected[0].sent_us  # type: ignore[operator]
