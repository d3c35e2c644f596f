"""The load of an experiment: steps, variables, data files and limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from parse_rig import EXPERIMENT, around, changed, read, read_changed, wrong, wrong_changed

from chaosrunner.errors import Mistakes
from chaosrunner.logic.parse import load_experiment
from chaosrunner.logic.parse.placeholders import placeholders
from chaosrunner.logic.parse.schema import THINK
from chaosrunner.logic.parse.spelling import ReadingError
from chaosrunner.logic.parse.steps import parse_think
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import Think

LOGIN = "- log in: {POST: /login, body: {user: <user>}, keep: {token: $.token}}"
READ = "- read: {GET: /agents/<token>}"


def step(text: str) -> Request:
    """The last step, written instead of the good one."""
    return read_changed((READ, f"- read: {text}")).load.steps[1]


def said(text: str) -> list[str]:
    """What is wrong with a last step, from line 6 on."""
    return wrong_changed((READ, f"- read: {text}"))


def test_everything_a_step_may_say() -> None:
    """Headers are texts, bodies keep their JSON types, statuses may be one or several."""
    found = step(
        "{PUT: '/x?a=<user>', headers: {X-Pin: 014, X-N: 5}, body: {n: 1, f: 0.5, t: true, z: null, l: [<token>, 2]},"
        " expect: [200, 204], keep: {id: '$.items[0].id', all: $}, think: 100ms}"
    )
    assert found == Request(
        name="read",
        method="PUT",
        path="/x?a=<user>",
        body={"n": 1, "f": 0.5, "t": True, "z": None, "l": ["<token>", 2]},
        headers={"X-Pin": "014", "X-N": "5"},
        expect=(200, 204),
        keep={"id": "$.items[0].id", "all": "$"},
        think=Think(0.1),
    )
    assert step("{GET: 'https://other.example/x', expect: 201, keep: }").expect == (201,)


def test_references_stay_in_paths_headers_and_bodies() -> None:
    """What may be secret is kept as a template, never as a value, and is not journalled."""
    text = '{POST: "/x/${KEY}", headers: {X: "${KEY}"}, body: ["${file:/run/secrets/x}"]}'
    found = read(changed(EXPERIMENT, (READ, f"- read: {text}")), environ={"KEY": "geheim"})
    kept = found.load.steps[1]
    assert (kept.path, kept.headers, kept.body) == ("/x/${KEY}", {"X": "${KEY}"}, ["${file:/run/secrets/x}"])
    assert found.variables == {}
    for url in ("http://h:${PORT:-1}/x", "http://[::1]:80/", "http://h:/", "https://h?q", "http://${HOST:-h}:80"):
        assert step(f"{{GET: '{url}'}}").path == url
    assert step('{GET: "${BASE:-http://127.0.0.1:1}/x"}').path == "${BASE:-http://127.0.0.1:1}/x"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "6:13: step 'read' needs exactly one of GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS, SQL"),
        ("{SQLL: select 1}", "6:14: 'SQLL' is no key of step 'read'; did you mean 'SQL'?"),
        ("{OPNE: /ws, reconect: at once}", "6:25: 'reconect' is no key of step 'read'; did you mean 'reconnect'?"),
        ("{GET: /, PUT: /}", "6:22: step 'read' needs exactly one of"),
        ("{get: /}", "6:14: 'get' is no key of step 'read'; did you mean 'GET'?"),
        ("[GET]", "6:13: step 'read': expected a mapping of keys, found a list"),
        ("GET", "6:13: step 'read': expected a mapping of keys, found a single value"),
        ("{GET: agents}", "6:19: GET 'agents': expected a path that begins with '/', or an http URL"),
        ("{GET: /a b}", "6:19: GET '/a b': a path holds no spaces; write '%20'"),
        ("{GET: 'http:///x'}", "6:19: GET 'http:///x': expected a path that begins with '/', or an http URL"),
        ("{GET: 'http://u:p@h/x'}", "a URL is no place for a password; the load has 'auth' and 'headers'"),
        ("{GET: 'http://<user>/x'}", "the host cannot be a variable: it is looked up once, before the load begins"),
        (
            "{GET: 'http://h:99999/x'}",
            "6:19: GET 'http://h:99999/x': expected a host and, if any, a port from 1 to 65,535",
        ),
        ("{GET: 'http://h:0/'}", "expected a host and, if any, a port from 1 to 65,535, such as 127.0.0.1:8080"),
        ("{GET: 'http://h:http/'}", "expected a host and, if any, a port"),
        ("{GET: 'http://[::1/'}", "expected a host and, if any, a port"),
        ("{GET: 'http://:80/'}", "expected a host and, if any, a port"),
        ("{GET: }", "6:19: GET is empty"),
        ("{GET: [a]}", "6:19: GET: expected a single value, found a list"),
        ("{GET: /<usr>}", "6:19: GET: nothing fills <usr>; did you mean 'user'?"),
        ("{GET: /<}", "6:19: GET: the '<' in '/<' begins no <variable>; write '<<' for a literal one"),
        ('{GET: "/${NO}"}', "6:19: the environment variable 'NO' is not set; set it, or write ${NO:-default}"),
        ('{GET: "/${N O}"}', "6:19: GET: '${N O}' is no reference; expected ${NAME}, ${NAME:-default} or ${file:path}"),
        ('{GET: "/${NO"}', "6:19: GET: a '${' without its '}'"),
        ("{GET: /, expect: 99}", "6:30: expect '99': expected 100 to 599"),
        ("{GET: /, expect: []}", "6:30: expect names no status; leave it out to accept any below 400"),
        ("{GET: /, keep: [a]}", "6:28: keep of step 'read': expected a mapping of keys, found a list"),
        ("{GET: /, keep: {id: id}}", "6:33: keep of step 'read' 'id': expected a path into the JSON reply"),
        ("{GET: /, keep: {1d: $.id}}", "6:29: '1d' is no name for a variable; expected letters, digits, _ and -"),
        ("{GET: /, headers: {a b: x}}", "6:32: 'a b' is no name of an HTTP header"),
        ("{GET: /, headers: {Connection: x}}", "6:32: 'Connection' is not a file's to set: the connection decides it"),
        ("{GET: /, headers: {X: }}", "6:35: header 'X' is empty"),
        ('{GET: /, headers: {X: "a\\nb"}}', "header 'X' holds a line end or a control character"),
        (
            "{GET: /, body: {x: <nobody>}}",
            "6:32: body of step 'read': nothing fills <nobody>; expected password, token or user",
        ),
        ("{GET: /, body: {<nobody>: x}}", "6:29: body of step 'read': nothing fills <nobody>"),
        ("{GET: /, body: .nan}", "6:28: body of step 'read': .nan cannot stand in JSON; quote it if it is a text"),
        ("{GET: /, body: 1e999}", "1e999 cannot stand in JSON"),
        ("{GET: /, body: 007}", "is 007 a text or a number? Quote it, or leave the zeros out"),
        ('{GET: /, body: "${NO}"}', "the environment variable 'NO' is not set"),
        ("{GET: /, think: 100}", "6:29: think '100': a duration needs a unit"),
        ("{GET: /, think: 3s to 1s}", "6:29: think '3s to 1s': a range goes from the shortest to the longest"),
        ("{GET: /, think: about 0s}", "6:29: think 'about 0s': expected more than zero"),
        ("{GET: /, think: 1 to 3s}", "6:29: think '1 to 3s': a duration needs a unit"),
        ("{GET: /, thinks: 1s}", "6:22: 'thinks' is no key of step 'read'; did you mean 'think'?"),
    ],
)
def test_what_a_step_may_not_say(text: str, problem: str) -> None:
    """Each slip in a step has its place."""
    assert any(problem in mistake for mistake in said(text))


def test_a_variable_is_known_from_the_step_after_the_one_that_keeps_it() -> None:
    """Using a variable before it is kept names the step that keeps it; a step cannot use its own."""
    both = f"    {LOGIN}\n    {READ}\n"
    turned = f"    {READ}\n    {LOGIN}\n"
    assert wrong_changed((both, turned)) == [
        "5:19: GET: nothing fills <token>; step 'log in' keeps it, but not before this one"
    ]
    assert "step 'read' keeps it, but not before this one" in said("{GET: /<own>, keep: {own: $.x}}")[0]


def test_without_variables_the_advice_says_so() -> None:
    """With no data file and nothing kept there is nothing to choose from."""
    alone = changed(
        EXPERIMENT,
        ("  data: users.csv\n", ""),
        (f"    {LOGIN}\n", ""),
        ("of log in ", ""),
        ("  auth: bearer <token>\n", ""),
    )
    assert wrong(alone) == [
        "5:19: GET: nothing fills <token>; no earlier step keeps a variable and there is no data file"
    ]


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ("[]", "4:14: each_user needs at least one step, such as '- home: {GET: /}'"),
        ("", "4:13: each_user needs at least one step"),
        ("{GET: /}", "4:14: each_user: expected a list, each entry beginning with '- '"),
        ("[{a: {GET: /}, b: {GET: /}}]", "4:15: a step is one name and what it asks, such as '- home: {GET: /}'"),
        ("[home]", "4:15: a step is one name and what it asks"),
        ("[a < b: {GET: /}]", "4:15: 'a < b' is no name for a step; expected words without '<', '>' and '='"),
        ("[a: {GET: /}, a: {GET: /}]", "4:28: two steps are called 'a'; figures are by name, so give each its own"),
    ],
)
def test_steps_are_a_list_of_names(steps: str, problem: str) -> None:
    """Each user does at least one step, and each has a name of its own."""
    text = changed(EXPERIMENT, (f"each_user:\n    {LOGIN}\n    {READ}\n", f"each_user: {steps}\n"))
    assert any(mistake.startswith(problem) for mistake in wrong(text))


def test_auth_may_use_any_variable_of_the_journey() -> None:
    """The header is sent once its variables are known; one that nothing fills is a mistake."""
    assert wrong_changed(("bearer <token>", "bearer <tokn>")) == [
        "7:9: auth: nothing fills <tokn>; did you mean 'token'?"
    ]
    assert wrong_changed(("bearer <token>", "")) == ["7:8: auth is empty"]
    assert wrong_changed(("bearer <token>", "[x]")) == ["7:9: auth: expected a single value, found a list"]


def test_a_data_file_is_a_table() -> None:
    """Columns come from the header; empty lines are skipped; a byte order mark is no part of a name."""
    found = read(EXPERIMENT, users='\ufeffuser , password\n\nann,"a,b"\n')
    assert found.load.scenarios[0].data == ({"user": "ann", "password": "a,b"},)


def test_a_data_file_may_be_json_lines() -> None:
    """Each line is one object; what is no text is written as JSON writes it."""
    text = changed(EXPERIMENT, ("users.csv", "users.jsonl"))
    rows = '{"user": "ann", "n": 1}\n\n{"n": true, "user": "bob"}\n'
    with_rows = {"x/users.jsonl": rows}
    found = load_experiment(Path("x/e.yaml"), around({"x/e.yaml": text, **with_rows}))
    assert found.load.scenarios[0].data == ({"user": "ann", "n": "1"}, {"user": "bob", "n": "true"})


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("users.csv", "", "x/users.csv:1:1: no row of data"),
        ("users.csv", "user\n", "x/users.csv:1:1: no row of data; expected a header and at least one row"),
        ("users.csv", "user,\nann,x\n", "x/users.csv:1:1: a column without a name, or two of the same name"),
        ("users.csv", "user,user\nann,x\n", "x/users.csv:1:1: a column without a name, or two of the same name"),
        ("users.csv", "user\nann,x\n", "x/users.csv:2:1: 2 cells, but the header names 1 columns"),
        ("users.csv", 'user\n"ann', "x/users.csv:2:1: this is no CSV: unexpected end of data"),
        ("users.csv", None, "8:9: data 'users.csv' cannot be read (x/users.csv): it is no UTF-8 text"),
        ("users.jsonl", "{", "x/users.jsonl:1:1: this line is no JSON"),
        ("users.jsonl", "[" * 100_000, "x/users.jsonl:1:1: this line is no JSON"),
        ("users.jsonl", "[1]", "x/users.jsonl:1:1: expected an object of plain values"),
        ("users.jsonl", '{"user": {}}', "x/users.jsonl:1:1: expected an object of plain values"),
        ("users.jsonl", '{"user": 1}\n{"usr": 1}', "x/users.jsonl:2:1: the keys differ from the first row's: user"),
        ("users.jsonl", "{}", "x/users.jsonl:1:1: the keys differ from the first row's: "),
        ("userz.csv", None, "8:9: data 'userz.csv' cannot be read (x/userz.csv): it is no UTF-8 text"),
    ],
)
def test_a_data_file_may_be_wrong(name: str, content: str | None, problem: str) -> None:
    """Mistakes in a data file stand at its own lines."""
    text = changed(EXPERIMENT, ("users.csv", name))
    with pytest.raises(Mistakes) as caught:
        load_experiment(Path("x/e.yaml"), around({"x/e.yaml": text, f"x/{name}": content}))
    assert problem in str(caught.value)


def test_a_missing_data_file_names_its_neighbours() -> None:
    """A data file that is not there is located, and its variables are not reported as well."""
    assert wrong_changed(("users.csv", "user.csv")) == [
        "8:9: data 'user.csv' cannot be read (x/user.csv): No such file or directory; did you mean 'users.csv'?"
    ]
    assert wrong_changed(("users.csv", "''")) == ["8:9: data '': expected a text, found nothing"]


def test_limits() -> None:
    """Patience and limits are read, and bounded."""
    more = "  timeout: 5s\n  max_in_flight: 20\n  connections: 10\n  workers: 2\n  unanswered: 1s\n"
    found = read_changed(("  auth:", f"{more}  auth:"))
    load = found.load
    assert (load.timeout_s, load.streams[0].max_in_flight, load.connections, load.workers) == (5.0, 20, 10, 2)
    assert found.unanswered_s == 1.0
    assert wrong_changed(("  auth:", "  workers: 0\n  auth:")) == ["7:12: workers '0': expected 1 to 256"]
    assert wrong_changed(("  auth:", "  worker: 1\n  auth:"))[0].endswith("did you mean 'workers'?")


@pytest.mark.parametrize(
    ("text", "think"),
    [
        ("0s", Think()),
        ("2s", Think(2.0)),
        ("1s to 3s", Think(1.0, to_s=3.0)),
        ("0s to 300ms", Think(0.0, to_s=0.3)),
        ("about 2s", Think(2.0, sigma=0.5)),
    ],
)
def test_pauses(text: str, think: Think) -> None:
    """A pause is always the same, evenly spread over a range, or lognormal about its median."""
    assert parse_think(text) == think
    assert re.fullmatch(THINK, text)


def test_a_load_is_needed() -> None:
    """Without users, without steps or without arrivals there is nothing to measure."""
    load = EXPERIMENT[EXPERIMENT.index("load:") : EXPERIMENT.index("baseline:")]
    assert "'load' is missing; say who uses the system meanwhile" in wrong(changed(EXPERIMENT, (load, "")))[0]
    assert "load: expected a mapping of keys" in wrong(changed(EXPERIMENT, (load, "load: 5\n")))[0]
    said = wrong(changed(EXPERIMENT, (load, "load:\n  timeout: 1s\n")))
    assert [mistake.partition(": ")[2].partition(";")[0] for mistake in said[:2]] == [
        "'arrivals' is missing in load",
        "'each_user' is missing in load",
    ]


def test_placeholders() -> None:
    """A `<` begins a variable unless it is doubled; what stands in a reference is not looked at."""
    assert placeholders("a <b> <<c> <d-e_1>") == ["b", "d-e_1"]
    assert placeholders("${X:-<y>}") == []
    for text in ("a < b", "</b>", "<1x>", "<<<"):
        with pytest.raises(ReadingError, match="begins no <variable>"):
            placeholders(text)
