"""WebSocket steps as files write them."""

from __future__ import annotations

import jsonschema
import pytest
from parse_rig import EXPERIMENT, INJECTORS, changed, read, wrong

from chaosrunner.logic.parse.schema import experiment_schema
from chaosrunner.logic.parse.websocket_steps import parse_reconnect, parse_silent
from chaosrunner.logic.parse.yaml_nodes import compose
from chaosrunner.model.journey import Again
from chaosrunner.model.websocket_step import Await, Close, Open, Reconnect, Send, Silence, SocketStep

STEPS = EXPERIMENT[EXPERIMENT.index("    - log in") : EXPERIMENT.index("  auth")]


def experiment(*steps: str) -> str:
    """The good experiment with a login and these steps."""
    login = "    - log in: {POST: /login, body: {user: <user>}, keep: {token: $.token}}\n"
    return changed(EXPERIMENT, (STEPS, login + "".join(f"    - {step}\n" for step in steps)))


def steps(*written: str) -> tuple[SocketStep, ...]:
    """What they are read as."""
    return read(experiment(*written)).load.steps[1:]  # type: ignore[return-value]


def mistakes(*written: str) -> list[str]:
    """What is wrong with them, without places."""
    return [mistake.split(": ", 1)[1] for mistake in wrong(experiment(*written))]


def test_the_shortest_steps() -> None:
    """What is not said has its default, and each step speaks on the socket opened last."""
    assert steps("chat: {OPEN: /ws}", "say: {SEND: hello}", "hear: {AWAIT: message}", "bye: {CLOSE: }") == (
        Open(name="chat", path="/ws"),
        Send(name="say", on="chat", message="hello"),
        Await(name="hear", on="chat"),
        Close(name="bye", on="chat"),
    )


def test_all_that_can_be_said() -> None:
    """Every key of every step is read."""
    found = steps(
        "chat: {OPEN: 'wss://h/ws?t=<token>&from=<last>', headers: {X: <user>}, say: {after: <last>}, numbered: $.n,"
        " resumed: '$.s[0].ok', ping: 5s, silent: '3x median, then reconnect', reconnect: 'after 1s', reads: 4KB/s}",
        "news: {OPEN: /news}",
        "ask: {SEND: {id: <id>, who: <user>}, on: chat, match: $.id, expect: {ok: true, who: <user>}, keep: {x: $.x},"
        " times: 3, every: 1s, timeout: 2s}",
        "shout: {SEND: '<id> <x>', to: everyone}",
        "wait: {AWAIT: {type: [news, <x>]}, keep: {y: $.y}}",
        "shed: {AWAIT: close, expect: [1013, 1008], on: chat}",
        "gone: {AWAIT: close}",
        "bye: {CLOSE: 4000, on: news}",
    )
    assert found == (
        Open(
            name="chat",
            path="wss://h/ws?t=<token>&from=<last>",
            headers={"X": "<user>"},
            say={"after": "<last>"},
            numbered="$.n",
            resumed="$.s[0].ok",
            ping_s=5.0,
            silent=Silence(medians=3.0, leave=True),
            reconnect=Reconnect(first_s=1.0),
            reads_per_s=4000.0,
        ),
        Open(name="news", path="/news"),
        Send(
            name="ask",
            on="chat",
            message={"id": "<id>", "who": "<user>"},
            match="$.id",
            expect={"ok": True, "who": "<user>"},
            keep={"x": "$.x"},
            again=Again(times=3, every_s=1.0),
            timeout_s=2.0,
        ),
        Send(name="shout", on="news", message="<id> <x>", everyone=True),
        Await(name="wait", on="news", message={"type": ["news", "<x>"]}, keep={"y": "$.y"}),
        Await(name="shed", on="chat", close=(1013, 1008)),
        Await(name="gone", on="news", close=()),
        Close(name="bye", on="news", code=4000),
    )
    assert found[0].series == (
        "chat.tcp", "chat.tls", "chat.upgrade", "chat.numbered", "chat.silence", "chat.ping", "chat.reopened",
        "chat.useful",
    )  # fmt: skip
    assert found[1].series == ("news.tcp", "news.tls", "news.upgrade")
    assert found[2].series == ()
    assert found[3].series == ("shout.received",)
    assert [step.keeps for step in found[2:5]] == [("x",), (), ("y",)]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("at once", Reconnect()),
        ("after 500ms", Reconnect(first_s=0.5)),
        ("backoff 100ms to 10s", Reconnect(first_s=0.1, most_s=10.0)),
        ("backoff 1s to 1s, at most 5 times", Reconnect(first_s=1.0, most_s=1.0, attempts=5)),
        ("at once, at most 1 time", Reconnect(attempts=1)),
    ],
)
def test_how_a_client_comes_back(text: str, policy: Reconnect) -> None:
    """At once, after a pause, or with a backoff; perhaps not for ever."""
    assert parse_reconnect(text) == policy


@pytest.mark.parametrize(
    ("text", "silence"),
    [
        ("5s", Silence(after_s=5.0)),
        ("10x median", Silence(medians=10.0)),
        ("2.5 x median , then reconnect", Silence(medians=2.5, leave=True)),
        ("300ms, then reconnect", Silence(after_s=0.3, leave=True)),
    ],
)
def test_what_is_too_silent(text: str, silence: Silence) -> None:
    """A time, or a multiple of the median gap; perhaps the client leaves for it."""
    assert parse_silent(text) == silence


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{OPEN: }", "OPEN is empty"),
        ("{OPEN: [a]}", "OPEN: expected a single value, found a list"),
        ("{OPEN: ws}", "OPEN 'ws': expected a path that begins with '/', or a ws URL"),
        ("{OPEN: '/a b'}", "OPEN '/a b': a path holds no spaces; write '%20'"),
        ("{OPEN: 'ws://u:p@h/'}", "a URL is no place for a password; the load has 'auth' and 'headers'"),
        ("{OPEN: 'ws://<user>/'}", "the host cannot be a variable: it is looked up once, before the load begins"),
        ("{OPEN: 'ws://h:99999/'}", "OPEN 'ws://h:99999/': expected a host and, if any, a port from 1 to 65,535"),
        ("{OPEN: /<usr>}", "OPEN: nothing fills <usr>; did you mean 'user'?"),
        ("{OPEN: /ws, SEND: x}", "step 'x' needs exactly one of OPEN, SEND, AWAIT or CLOSE"),
        ("{OPEN: /ws, match: $.id}", "'match' is no key of OPEN; expected headers, say, numbered, resumed, ping"),
        ("{OPEN: /ws, numberd: $.n}", "'numberd' is no key of step 'x'; did you mean 'numbered'?"),
        ("{OPEN: /ws, numbered: n}", "numbered 'n': expected a path into a JSON message, such as '$.id'"),
        ("{OPEN: /ws, say: <id>}", "say of step 'x': nothing fills <id>"),
        ("{OPEN: /ws, reconnect: soon}", "reconnect 'soon': expected 'at once', 'after 1s' or 'backoff 100ms to 10s'"),
        ("{OPEN: /ws, reconnect: after 1}", "reconnect 'after 1': a duration needs a unit; write '1s' or '1min'"),
        ("{OPEN: /ws, reconnect: backoff 2s to 1s}", "a backoff goes from the first ceiling to the highest"),
        ("{OPEN: /ws, reconnect: 'at once, at most 0 times'}", "expected 1 to 1,000,000"),
        ("{OPEN: /ws, silent: long}", "silent 'long': 'long' is no duration"),
        ("{OPEN: /ws, silent: 10x mean}", "silent '10x mean': expected how long, such as '5s' or '10x median'"),
        ("{OPEN: /ws, silent: 0s}", "silent '0s': expected how long, such as '5s' or '10x median'"),
        ("{OPEN: /ws, silent: ''}", "silent '': expected how long, such as '5s' or '10x median'"),
        ("{OPEN: /ws, silent: 1x median}", "half of all gaps are longer than the median; expected more"),
        ("{OPEN: /ws, silent: '5s, then reconnect'}", "'then reconnect' needs 'reconnect', which says how"),
        ("{OPEN: /ws, reads: 0B/s}", "who reads nothing at all never learns what became of it"),
        ("{OPEN: /ws, reads: 4KB}", "reads '4KB': '4KB' is no rate"),
        ("{SEND: x}", "step 'x' needs a socket: a step before it must OPEN one"),
        ("{AWAIT: message, on: chat}", "on 'chat': no step before this one OPENs it"),
    ],
)
def test_what_is_wrong_with_one_step(written: str, says: str) -> None:
    """Each mistake says what was expected."""
    assert says in mistakes(f"x: {written}")[0]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{SEND: }", "SEND is empty; expected a message, such as '{id: <id>, text: hello}'"),
        ("{SEND: hello, match: $.id}", "'match' needs an answer: put <id> into the message of SEND"),
        ("{SEND: {a: [1, b]}, keep: {x: $.x}}", "'keep' needs an answer"),
        ("{SEND: '<', expect: {a: 1}}", "the '<' in '<' begins no <variable>; write '<<' for a literal one"),
        ("{SEND: <id>, to: all}", "to 'all': expected 'everyone', or leave it out"),
        ("{SEND: <id>, keep: {1x: $.x}}", "'1x' is no name for a variable; expected letters, digits, _ and -"),
        ("{SEND: <id>, keep: {x: x}}", "keep of step 'x' 'x': expected a path into a JSON message"),
        ("{SEND: <id>, ping: 1s}", "'ping' is no key of SEND; expected on, to, match, expect or keep"),
        ("{SEND: <id>, on: chta}", "on 'chta': no step before this one OPENs it; did you mean 'chat'?"),
        ("{SEND: <id>, on: ''}", "on '': expected a text, found nothing"),
        ("{SEND: <last>}", "SEND of step 'x': nothing fills <last>"),
        ("{AWAIT: news}", "AWAIT 'news': expected 'message', 'close', or what it holds, such as '{type: news}'"),
        ("{AWAIT: message, expect: 1000}", "'expect' of AWAIT is for 'close': the codes that are right"),
        ("{AWAIT: close, expect: [17]}", "expect '17': a close code is 1000 to 4999: expected 1,000 to 4,999"),
        ("{AWAIT: {a: <nobody>}}", "AWAIT of step 'x': nothing fills <nobody>"),
        ("{CLOSE: soon}", "CLOSE 'soon': a close code is 1000 to 4999: expected a whole number"),
        ("{CLOSE: 1006}", "CLOSE '1006': it stands for an end that no frame tells of and may not be sent"),
        ("{CLOSE: [1]}", "CLOSE: expected a single value, found a list"),
    ],
)
def test_what_is_wrong_on_an_open_socket(written: str, says: str) -> None:
    """Each mistake says what was expected."""
    assert says in mistakes("chat: {OPEN: /ws}", f"x: {written}")[0]


def test_the_placeholders_of_the_load_are_nobody_elses() -> None:
    """A kept variable called id makes <id> in a SEND mean two things; elsewhere it means the variable."""
    keeping = "make: {POST: /agents, keep: {id: $.id, last: $.last}}"
    (mistake,) = mistakes(keeping, "chat: {OPEN: /ws}", "say: {SEND: [{a: x <id>}]}")
    assert mistake == "<id> is the load's own in step 'say', but also a variable; call that something else"
    (mistake,) = mistakes(keeping, "chat: {OPEN: /ws, say: <last>}")
    assert mistake.startswith("<last> is the load's own in step 'chat'")
    assert steps(keeping, "chat: {OPEN: /ws?<id>}", "say: {SEND: x <last>}")[1:] == (
        Open(name="chat", path="/ws?<id>"),
        Send(name="say", on="chat", message="x <last>"),
    )


def test_a_relative_path_needs_the_systems_entry() -> None:
    """An OPEN of a path is a mistake without an entry, one of a whole URL is none."""
    system = "environment: test\n"
    text = experiment("chat: {OPEN: /ws}")
    text = text.replace("POST: /login", "POST: 'http://h/login'")
    text = text[: text.index("baseline")] + "baseline: 15s\nhypothesis: {before: p95 <= 1s}\n"
    assert any("entry" in mistake for mistake in wrong(text, system=system))
    assert read(text.replace("OPEN: /ws", "OPEN: 'ws://h/ws'"), system=system).load.steps[1].name == "chat"


SCHEMA = experiment_schema(INJECTORS.values())


@pytest.mark.parametrize(
    ("step", "fine"),
    [
        ({"OPEN": "/ws", "ping": "5s", "silent": "3x median", "reconnect": "backoff 1s to 2s", "reads": "1KB/s"}, True),
        ({"OPEN": "/ws", "say": {"a": 1}, "numbered": "$.n", "resumed": "$.r", "headers": {"a": "b"}}, True),
        ({"SEND": {"id": "<id>"}, "match": "$.id", "expect": {"a": 1}, "keep": {"x": "$.x"}, "times": 3}, True),
        ({"SEND": "x", "to": "everyone", "every": "1s", "for": "5s"}, True),
        ({"AWAIT": "close", "expect": [1013]}, True),
        ({"AWAIT": {"a": 1}, "on": "chat"}, True),
        ({"CLOSE": None}, True),
        ({"CLOSE": 1000}, True),
        ({"OPEN": "/ws", "SEND": "x"}, False),
        ({"OPEN": "/ws", "match": "$.id"}, False),
        ({"OPEN": "/ws", "reconnect": "soon"}, False),
        ({"OPEN": "/ws", "silent": "long"}, False),
        ({"SEND": "x", "to": "all"}, False),
        ({"CLOSE": 17}, False),
    ],
)
def test_the_schema_agrees(step: dict[str, object], fine: bool) -> None:
    """An editor accepts what the reader does, and marks what it does not."""
    validator = jsonschema.Draft202012Validator({"$ref": "#/$defs/step", "$defs": SCHEMA["$defs"]})
    assert validator.is_valid({"x": step}) is fine


def test_the_file_can_be_composed() -> None:
    """The experiments of these tests are good YAML."""
    assert not compose(experiment("chat: {OPEN: /ws}"))[1]
