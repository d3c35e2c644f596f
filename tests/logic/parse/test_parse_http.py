"""HTTP steps beyond the plain ones: bodies, what is kept and checked, what the client does by itself, TLS, data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from parse_rig import EXPERIMENT, SYSTEM, Memory, around, changed, read, read_changed, read_system, wrong, wrong_changed

from chaosrunner.errors import Mistakes
from chaosrunner.logic.parse.clients import parse_backoff
from chaosrunner.logic.parse.experiment import Source, parse_experiment
from chaosrunner.logic.parse.replies import parse_check, parse_where
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.model.http_client import PLAIN, Check, Client, Retry, Tls
from chaosrunner.model.http_step import Request

READ = "- read: {GET: /agents/<token>}"
AUTH = "auth: bearer <token>"


def step(text: str) -> Request:
    """The last step, written instead of the good one."""
    found = read_changed((READ, f"- read: {text}")).load.steps[1]
    assert isinstance(found, Request)
    return found


def said(text: str) -> list[str]:
    return wrong_changed((READ, f"- read: {text}"))


def load_with(line: str) -> Request:
    """The last step of a load with a line of its own."""
    found = read_changed((AUTH, f"{AUTH}\n  {line}")).load.steps[1]
    assert isinstance(found, Request)
    return found


def load_said(line: str) -> list[str]:
    return wrong_changed((AUTH, f"{AUTH}\n  {line}"))


# --- bodies


@pytest.mark.parametrize(
    ("text", "body", "body_as"),
    [
        ("{POST: /, form: {a: <user>, b: 1, c: [x, <token>], d: }}", {"a": "<user>", "b": "1", "c": ["x", "<token>"],
                                                                     "d": ""}, "form"),
        ("{POST: /, form: }", {}, "form"),
        ("{POST: /, text: 'hello <user>'}", "hello <user>", "text"),
        ("{POST: /, file: users.csv}", "x/users.csv", "file"),
        ("{POST: /, multipart: {a: <user>, f: {file: users.csv}}}", {"a": "<user>", "f": {"file": "x/users.csv"}},
         "multipart"),
        ("{POST: /, body: {a: 1}}", {"a": 1}, "json"),
        ("{GET: /}", None, "json"),
    ],
)  # fmt: skip
def test_bodies(text: str, body: object, body_as: str) -> None:
    """A body is JSON, a form, a multipart form, a text or a file."""
    found = step(text)
    assert (found.body, found.body_as) == (body, body_as)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{POST: /, body: 1, text: x}", "6:32: 'text' and 'body' exclude each other: a request has one body"),
        ("{POST: /, file: nobody.csv}", "6:29: there is no file x/nobody.csv; expected e.yaml or users.csv"),
        ("{POST: /, file: usres.csv}", "6:29: there is no file x/usres.csv; did you mean 'users.csv'?"),
        ("{POST: /, file: }", "6:29: file of step 'read' is empty"),
        ("{POST: /, file: [a]}", "6:29: file of step 'read': expected a single value, found a list"),
        ("{POST: /, form: 7}", "6:29: form of step 'read': expected a mapping of keys, found a single value"),
        ("{POST: /, form: {a: {b: 1}}}", "6:33: form of step 'read': expected a single value, found a mapping"),
        ("{POST: /, form: {<usr>: 1}}", "6:30: form of step 'read': nothing fills <usr>; did you mean 'user'?"),
        ("{POST: /, text: <usr>}", "6:29: text of step 'read': nothing fills <usr>; did you mean 'user'?"),
        ("{POST: /, text: [a]}", "6:29: text of step 'read': expected a single value, found a list"),
        ("{POST: /, multipart: 7}", "6:34: multipart of step 'read': expected a mapping of keys, found a single"),
        ("{POST: /, multipart: {f: {fiel: a}}}", "'fiel' is no key of multipart of step 'read'; did you mean 'file'?"),
        ("{POST: /, multipart: {f: {}}}", "'file' is missing in multipart of step 'read'; a field is a text or '{file"),
    ],
)
def test_bodies_that_are_wrong(text: str, problem: str) -> None:
    """A body in two ways, a file that is not there and fields that are none are mistakes at their place."""
    assert problem in " ".join(said(text))


def test_a_file_that_is_gone_later_is_no_mistake() -> None:
    """A journal is read again without the files it named."""
    text = changed(EXPERIMENT, (READ, "- read: {POST: /, file: gone.bin}"))
    sources = Source("x/e.yaml", text), Source("x/systems/shop.yaml", SYSTEM)
    assert parse_experiment(*sources, around(lenient=True)).load.steps[1].body == "x/gone.bin"  # type: ignore[union-attr]
    with pytest.raises(Mistakes):
        parse_experiment(*sources, around())


# --- what is kept and checked


@pytest.mark.parametrize("where", ["$", "$.a.b[0]", "header X-Next", "/a(b)c/", "status"])
def test_where_things_are_kept(where: str) -> None:
    """A variable is found by JSON path, header, regular expression or status."""
    assert parse_where(where) == where


@pytest.mark.parametrize("where", ["id", "header", "header a b", "//", "/", "$.a b", "statuses", "/a(/", r"/(a)\1/"])
def test_where_nothing_can_be_kept(where: str) -> None:
    """Anything else is none of these; a regular expression takes linear time, so it has no look-around."""
    with pytest.raises(ReadingError, match=r"expected a path|cannot be a regular expression"):
        parse_where(where)


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("$.id = 7", Check(says="$.id = 7", subject="json", where="$.id", test="=", value="7")),
        ("$.id = seven", Check(says="$.id = seven", subject="json", where="$.id", test="=", value='"seven"')),
        ('$.id != "7"', Check(says='$.id != "7"', subject="json", where="$.id", test="!=", value='"7"')),
        ("$.id = 0o7", Check(says="$.id = 0o7", subject="json", where="$.id", test="=", value="7")),
        ("$.id = <id>", Check(says="$.id = <id>", subject="json", where="$.id", test="=", value="<id>")),
        ("$.n >= 3.50", Check(says="$.n >= 3.50", subject="json", where="$.n", test=">=", value="3.5")),
        ("$ exists", Check(says="$ exists", subject="json", where="$", test="exists")),
        ("body contains a b", Check(says="body contains a b", subject="body", test="contains", value="a b")),
        ("body lacks <<x", Check(says="body lacks <<x", subject="body", test="lacks", value="<<x")),
        ("body matches /<a+/", Check(says="body matches /<a+/", subject="body", test="matches", value="<a+")),
        ("header X = y", Check(says="header X = y", subject="header", where="X", test="=", value="y")),
        ("size <= 10KB", Check(says="size <= 10KB", subject="size", test="<=", value="10000")),
        ("time < 1500ms", Check(says="time < 1500ms", subject="time", test="<", value="1.5")),
    ],
)
def test_checks(text: str, check: Check) -> None:
    """A check is a subject, a comparison and a value; a JSON value is what it looks like."""
    assert parse_check(text) == check


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("$.id is 7", "expected something like '$.id = 7'"),
        ("body", "expected something like"),
        ("size contains 3", "size is a number; compare it with '<=' or '>='"),
        ("size <= 10", "a size needs a unit"),
        ("time <= 10", "a duration needs a unit"),
        ("body matches a+", "expected a regular expression between slashes"),
        ("body matches /a(/", "this cannot be a regular expression: missing ): a("),
        ("$.n < many", "'many' is no number"),
        ("body contains <b", "begins no <variable>"),
    ],
)
def test_checks_that_are_wrong(text: str, problem: str) -> None:
    """A check that is none says what was expected."""
    with pytest.raises(ReadingError) as caught:
        parse_check(text)
    assert problem in str(caught.value)


def test_checks_of_a_step() -> None:
    """One check needs no list, and its placeholders are looked at like every other."""
    assert [check.says for check in step("{GET: /, check: size < 1KB}").checks] == ["size < 1KB"]
    found = step("{GET: /, check: [body matches /<input/, $.a = <user>]}")
    assert [check.test for check in found.checks] == ["matches", "="]
    assert "6:30: check of step 'read': nothing fills <usr>; did you mean 'user'?" in said(
        "{GET: /, check: [$.a = <usr>, $.b exists]}"
    )
    assert "expected something like" in said("{GET: /, check: [nonsense]}")[0]
    assert said("{GET: /, check: [[a]]}") == ["6:30: check of step 'read': expected a single value, found a list"]


# --- what the client does by itself


def test_a_client_is_said_for_the_load_and_changed_by_a_step() -> None:
    """What a step does not say is as in its load; cookies are a journey's and no step's."""
    assert load_with("redirects: 5").client == Client(redirects=5)
    assert load_with("cookies: true").client == Client(cookies=True)
    assert load_with("compression: true").client == Client(compression=True)
    text = changed(
        EXPERIMENT,
        (AUTH, f"{AUTH}\n  redirects: 5\n  cookies: true\n  retry: {{on: 503}}"),
        (READ, "- read: {GET: /, redirects: 0, retry: false}"),
    )
    log_in, second = read(text).load.steps
    assert log_in.client == Client(redirects=5, cookies=True, retry=Retry(statuses=(503,)))  # type: ignore[union-attr]
    assert second.client == Client(cookies=True)  # type: ignore[union-attr]
    assert said("{GET: /, cookies: true}")[0].startswith("6:22: 'cookies' is no key of step 'read'")


def test_a_scenario_may_have_a_client_of_its_own() -> None:
    """What a scenario says goes before what the load says."""
    scenarios = "scenarios:\n    - a: {each_user: [{x: {GET: /}}], redirects: 2}\n    - b: {each_user: [{y: {GET: /}}]}"
    text = changed(
        EXPERIMENT,
        (EXPERIMENT[EXPERIMENT.index("each_user") : EXPERIMENT.index("  data")], f"{scenarios}\n  redirects: 5\n"),
        (", errors of log in < 5% in any 5s", ""),
    )
    assert [found.client.redirects for found in read(text).load.steps] == [2, 5]  # type: ignore[union-attr]


def test_what_needs_the_full_path() -> None:
    """A request needs the full path for what the client does by itself, and for headers of its reply."""
    assert step("{GET: /}").client == PLAIN
    assert step("{GET: /, keep: {a: $.a}, check: size < 1KB}").full_for == ()
    assert step("{GET: /, keep: {a: header X}}").full_for == ("headers of replies",)
    assert step("{GET: /, check: header X exists}").full_for == ("headers of replies",)
    assert step("{GET: /, redirects: 1, compression: true, retry: {on: reset}}").full_for == (
        "redirects",
        "compression",
        "retries",
    )
    assert load_with("cookies: true").full_for == ("cookies",)


def test_a_policy() -> None:
    """A policy names statuses, hundreds of them and failures, and how it waits."""
    text = (
        "retry: {times: 3, on: [503, 4xx, reset, timeout], backoff: 50ms to 1s, jitter: false, retry_after: true,"
        " timeout: 300ms}"
    )
    assert load_with(text).client.retry == Retry(
        times=3,
        statuses=(503, *range(400, 500)),
        outcomes=("reset", "timeout"),
        backoff_s=0.05,
        longest_s=1.0,
        jitter=False,
        heed=True,
        timeout_s=0.3,
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("retry: {on: 700}", "8:15: on '700': expected 100 to 599"),
        ("retry: {on: reest}", "on 'reest': 'reest' is neither a status, such as 503 or 5xx, nor a failure; did you"),
        ("retry: {times: 2}", "8:10: 'on' is missing in retry; say what is asked again, such as 'on: [503, reset]'"),
        ("retry: {on: timeout}", "8:11: to ask again after a timeout, retry needs its own for one attempt"),
        ("retry: {on: 503, backoff: 2s to 1s}", "a range goes from the shortest to the longest"),
        ("retry: 3", "8:10: retry: expected a mapping of keys, found a single value"),
        ("retry: {on: 503, tiems: 3}", "'tiems' is no key of retry; did you mean 'times'?"),
        ("cookies: sure", "8:12: cookies 'sure': expected true or false"),
        ("redirects: 51", "8:14: redirects '51': expected 0 to 50"),
    ],
)
def test_clients_that_are_wrong(line: str, problem: str) -> None:
    """A policy without a reason, or for a timeout that ends the request for good, and words that are none."""
    assert problem in " ".join(load_said(line))


def test_backoffs() -> None:
    """One pause, no pause, or doubling from a shortest to a longest."""
    assert parse_backoff("100ms") == (0.1, 0.1)
    assert parse_backoff("0s") == (0.0, 0.0)
    assert parse_backoff("100ms to 2s") == (0.1, 2.0)


# --- TLS, auth and data


CERTIFICATE = "-----BEGIN CERTIFICATE-----"
KEY = "-----BEGIN RSA PRIVATE KEY-----"


def test_tls_of_a_load_goes_before_that_of_its_system() -> None:
    """A system says how it is spoken to; a load may say otherwise."""
    system = SYSTEM + "tls: {ca: ../users.csv, server_name: shop.test}\n"
    files: dict[str, str | None] = {"x/systems/../users.csv": f"{CERTIFICATE}\n{KEY}"}
    assert read_system(SYSTEM + "tls: {verify: false}").tls == Tls(verify=False)
    found = parse_experiment(Source("x/e.yaml", EXPERIMENT), Source("x/systems/shop.yaml", system), around(files))
    assert found.load.tls == found.system.tls == Tls(ca="x/systems/../users.csv", server_name="shop.test")
    other = changed(
        EXPERIMENT, (AUTH, f'{AUTH}\n  tls: {{certificate: users.csv, key: users.csv, password: "${{PW}}"}}')
    )
    assert read(other, environ={"PW": "geheim"}, users=f"user,password,{CERTIFICATE}\n1,2,{KEY}").load.tls == Tls(
        certificate="x/users.csv", key="x/users.csv", password="${PW}"
    )
    assert read(EXPERIMENT).load.tls is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("tls: {verify: false, ca: users.csv}", "8:24: 'ca' says whom to trust, and 'verify: false' trusts everybody"),
        ("tls: {key: users.csv}", "8:9: 'key' belongs to a 'certificate', and there is none"),
        ("tls: {ca: user.csv}", "8:9: there is no file x/user.csv; did you mean 'users.csv'?"),
        ("tls: {verfy: false}", "8:9: 'verfy' is no key of tls; did you mean 'verify'?"),
        ("tls: nothing", "8:8: tls: expected a mapping of keys, found a single value"),
        ("tls: {certificate: users.csv, password: }", "password is empty"),
    ],
)
def test_tls_that_is_wrong(line: str, problem: str) -> None:
    """A key without a certificate, a file that is not there, and two ways to trust."""
    assert problem in " ".join(load_said(line))


@pytest.mark.parametrize(
    ("tls", "holds", "problem"),
    [
        ("{ca: me.pem}", KEY, "1:7: x/systems/me.pem holds no CERTIFICATE in PEM form; expected '-----BEGIN CERTI"),
        ("{certificate: me.pem}", CERTIFICATE, "1:7: x/systems/me.pem holds no PRIVATE KEY in PEM form"),
        ("{certificate: me.pem}", "", "1:7: x/systems/me.pem holds no CERTIFICATE and no PRIVATE KEY in PEM form"),
        ("{certificate: me.pem, key: me.pem}", CERTIFICATE, "1:28: x/systems/me.pem holds no PRIVATE KEY in PEM form"),
        ("{ca: me.pem}", None, "1:7: x/systems/me.pem holds no CERTIFICATE in PEM form"),
    ],
)
def test_a_file_of_tls_holds_what_it_is_for(tls: str, holds: str | None, problem: str) -> None:
    """A certificate's file without a certificate, or a key's without a key, is a mistake where it is named."""
    system = Source("x/systems/shop.yaml", f"tls: {tls}\n{SYSTEM}")
    with pytest.raises(Mistakes) as caught:
        parse_experiment(Source("x/e.yaml", EXPERIMENT), system, around({"x/systems/me.pem": holds}))
    assert problem in str(caught.value)


def test_a_file_of_tls_that_nobody_may_read() -> None:
    """A file that is there and cannot be read is a mistake where it is named."""

    class Locked(Memory):
        def text(self, path: Path) -> str:
            raise PermissionError(13, "Permission denied", str(path))

    system = Source("x/systems/shop.yaml", f"tls: {{ca: me.pem}}\n{SYSTEM}")
    locked = replace(around(), reader=Locked({"x/systems/me.pem": "", "x/users.csv": "user"}))
    with pytest.raises(Mistakes) as caught:
        parse_experiment(Source("x/e.yaml", EXPERIMENT), system, locked)
    assert "1:7: x/systems/me.pem cannot be read: Permission denied" in str(caught.value)


def test_auth_may_be_any_header() -> None:
    """A mapping of one header is sent as that header; its placeholders are looked at like every other."""
    found = read_changed((AUTH, 'auth: {X-Api-Key: "k-<token>"}')).load.scenarios[0].auth
    assert found is not None
    assert found.template == "X-Api-Key: k-<token>"
    assert wrong_changed((AUTH, "auth: {X Key: <tokn>}")) == [
        "7:10: 'X Key' is no name of an HTTP header",
        "7:17: auth: nothing fills <tokn>; did you mean 'token'?",
    ]
    assert wrong_changed((AUTH, "auth: {A: x, B: y}")) == ["7:9: auth: expected a single value, found a mapping"]
    assert wrong_changed((AUTH, "auth: {A: }")) == ["7:13: auth is empty"]


def test_data_may_be_dealt_in_three_orders() -> None:
    """In turn unless it says otherwise."""
    assert read(EXPERIMENT).load.scenarios[0].order == "sequential"
    for order in ("sequential", "random", "unique"):
        found = read_changed(("data: users.csv", f"data: {{file: users.csv, order: {order}}}")).load.scenarios[0]
        assert (found.order, len(found.data)) == (order, 2)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("{file: users.csv, order: uniqe}", "8:34: order 'uniqe': 'uniqe' is no order of rows; did you mean 'unique'?"),
        ("{order: unique}", "8:9: 'file' is missing in data; name it, such as 'data: {file: users.csv, order"),
        ("{file: usrs.csv}", "8:16: data 'usrs.csv' cannot be read (x/usrs.csv): No such file or directory; did you"),
        ("{fiel: users.csv}", "8:10: 'fiel' is no key of data; did you mean 'file'?"),
    ],
)
def test_data_that_is_wrong(data: str, problem: str) -> None:
    """An order that is none, and a file that is not there or not named."""
    text = changed(EXPERIMENT, ("data: users.csv", f"data: {data}"))
    assert problem in " ".join(wrong(text))
