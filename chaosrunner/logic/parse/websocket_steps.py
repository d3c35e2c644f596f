"""Steps that speak WebSocket: `{OPEN: /ws}`, `{SEND: {id: <id>}}`, `{AWAIT: {type: news}}`, `{CLOSE: 1000}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

from chaosrunner.logic.parse.addresses import check_step_address
from chaosrunner.logic.parse.bodies import json_value
from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import Fields, table, whole
from chaosrunner.logic.parse.http_steps import headers_of
from chaosrunner.logic.parse.journeys import Common, Journey
from chaosrunner.logic.parse.placeholders import VARIABLE, placeholders
from chaosrunner.logic.parse.replies import JSON_PATH
from chaosrunner.logic.parse.scalars import DURATION, NUMBER, bytes_per_second, duration
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, one_of, quoted
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table
from chaosrunner.model.websocket_step import Await, Close, Open, Reconnect, Send, Silence, SocketStep

VERBS = ("OPEN", "SEND", "AWAIT", "CLOSE")
OF_VERB: Mapping[str, tuple[str, ...]] = {
    "OPEN": ("headers", "say", "numbered", "resumed", "ping", "silent", "reconnect", "reads"),
    "SEND": ("on", "to", "match", "expect", "keep"),
    "AWAIT": ("on", "expect", "keep"),
    "CLOSE": ("on",),
}
KEYS = tuple(dict.fromkeys(key for keys in OF_VERB.values() for key in keys))

ID, LAST = "id", "last"
"""`<id>` in a SEND, `<last>` in an OPEN: filled by the load itself."""

RECONNECT = rf"(?:at once|after {DURATION}|backoff {DURATION} to {DURATION})(?:, at most {NUMBER} times?)?"
SILENT = rf"(?:{DURATION}|{NUMBER} ?x median)(?:, then reconnect)?"
HOW_TO_RECONNECT = "expected 'at once', 'after 1s' or 'backoff 100ms to 10s', perhaps with ', at most 5 times'"
HOW_SILENT = "expected how long, such as '5s' or '10x median', perhaps with ', then reconnect'"
CLOSE_CODES = "a close code is 1000 to 4999"
NEVER_SENT = (1004, 1005, 1006, 1015)
"""RFC 6455, 7.4.1: reserved, for what an endpoint tells itself."""


def read(journey: Journey, fields: Fields, common: Common) -> SocketStep:
    """One step; mistakes are noted at the desk."""
    verbs = [key for key, _ in fields.table.entries if key.text in VERBS]
    if len(verbs) > 1:
        journey.desk.wrong(verbs[1], f"{fields.what} needs exactly one of {one_of(VERBS)}")
    verb = verbs[0].text
    for key, _ in fields.table.entries:
        if key.text in KEYS and key.text not in OF_VERB[verb]:
            journey.desk.wrong(key, f"{quoted(key.text)} is no key of {verb}{did_you_mean(key.text, OF_VERB[verb])}")
    return READERS[verb](journey, fields, common)


def _open(journey: Journey, fields: Fields, common: Common) -> Open:
    journey.sockets.append(common["name"])
    knows_last = _with(journey, fields, LAST)
    policy = fields.read("reconnect", parse_reconnect, None) if fields.node("reconnect") else None
    silent = fields.read("silent", parse_silent, None) if fields.node("silent") else None
    if silent is not None and silent.leave and fields.node("reconnect") is None:
        journey.desk.wrong(fields.place("silent"), "'then reconnect' needs 'reconnect', which says how")
    return Open(
        path=_path(knows_last, fields),
        headers=headers_of(journey, fields.node("headers"), f"headers of {fields.what}"),
        say=json_value(knows_last, fields.node("say"), f"say of {fields.what}"),
        numbered=_json_path(fields, "numbered"),
        resumed=_json_path(fields, "resumed"),
        ping_s=fields.seconds("ping", 1.0) if fields.node("ping") else None,
        silent=silent,
        reconnect=policy,
        reads_per_s=fields.read("reads", _some_rate, 1.0) if fields.node("reads") else None,
        **common,
    )


def _send(journey: Journey, fields: Fields, common: Common) -> Send:
    node = fields.table.get("SEND")
    assert node is not None
    message = json_value(_with(journey, fields, ID), node, f"SEND of {fields.what}")
    if message is None:
        journey.desk.wrong(node, "SEND is empty; expected a message, such as '{id: <id>, text: hello}'")
    has_id = ID in _names(message)
    for key in ("match", "expect", "keep", "to"):
        if fields.node(key) is not None and not has_id and message is not None:
            journey.desk.wrong(fields.place(key), f"{quoted(key)} needs an answer: put <id> into the message of SEND")
    return Send(
        on=_on(journey, fields),
        message=message,
        match=_json_path(fields, "match"),
        expect=json_value(journey, fields.node("expect"), f"expect of {fields.what}"),
        keep=_keep(journey.desk, fields.node("keep"), f"keep of {fields.what}"),
        everyone=fields.read("to", _everyone, False),
        **common,
    )


def _await(journey: Journey, fields: Fields, common: Common) -> Await:
    node = fields.table.get("AWAIT")
    assert node is not None
    is_close = isinstance(node, Scalar) and node.text == "close"
    message: object = None
    if isinstance(node, Table | Items):
        message = json_value(journey, node, f"AWAIT of {fields.what}")
    elif not is_close and node.text != "message":
        journey.desk.wrong(
            node, f"AWAIT {quoted(node.text)}: expected 'message', 'close', or what it holds, such as '{{type: news}}'"
        )
    codes = fields.node("expect")
    if codes is not None and not is_close:
        journey.desk.wrong(fields.place("expect"), "'expect' of AWAIT is for 'close': the codes that are right")
    return Await(
        on=_on(journey, fields),
        message=message,
        close=_codes(journey.desk, codes) if is_close else None,
        keep=_keep(journey.desk, fields.node("keep"), f"keep of {fields.what}"),
        **common,
    )


def _close(journey: Journey, fields: Fields, common: Common) -> Close:
    node = fields.table.get("CLOSE")
    empty = isinstance(node, Scalar) and node.value is None
    return Close(on=_on(journey, fields), code=1000 if empty else fields.read("CLOSE", _sent_code, 1000), **common)


READERS: Mapping[str, Callable[[Journey, Fields, Common], SocketStep]] = {
    "OPEN": _open,
    "SEND": _send,
    "AWAIT": _await,
    "CLOSE": _close,
}


def parse_reconnect(text: str) -> Reconnect:
    """`at once`, `after 1s` or `backoff 100ms to 10s`, perhaps `, at most 5 times`. Raises ReadingError."""
    found = re.fullmatch(
        r"(at once|after\s+(.+?)|backoff\s+(.+?)\s+to\s+(.+?))(?:\s*,\s*at most\s+(\S+)\s+times?)?", text
    )
    if not found:
        raise ReadingError(HOW_TO_RECONNECT)
    attempts = whole(found[5], 1, 1_000_000) if found[5] else None
    if found[2]:
        return Reconnect(first_s=duration(found[2]), attempts=attempts)
    if not found[3]:
        return Reconnect(attempts=attempts)
    first, most = duration(found[3]), duration(found[4])
    if not 0 < first <= most:
        raise ReadingError("a backoff goes from the first ceiling to the highest, such as 'backoff 100ms to 10s'")
    return Reconnect(first_s=first, most_s=most, attempts=attempts)


def parse_silent(text: str) -> Silence:
    """`5s` or `10x median`, perhaps `, then reconnect`. Raises ReadingError."""
    found = re.fullmatch(rf"(?:({NUMBER})\s*x\s+median|(.+?))(\s*,\s*then reconnect)?", text)
    if not found:
        raise ReadingError(HOW_SILENT)
    leave = bool(found[3])
    if found[1]:
        medians = float(found[1])
        if medians <= 1:
            raise ReadingError("half of all gaps are longer than the median; expected more, such as '10x median'")
        return Silence(medians=medians, leave=leave)
    if re.match(rf"{NUMBER}\s*x", found[2]):
        raise ReadingError(HOW_SILENT)
    after = duration(found[2])
    if not after:
        raise ReadingError(HOW_SILENT)
    return Silence(after_s=after, leave=leave)


def _with(journey: Journey, fields: Fields, own: str) -> Journey:
    """The same journey, knowing a placeholder of the load's own, which no variable may be called."""
    taken = own in journey.kept or own in (journey.columns or ())
    if taken and own in _written(fields.table):
        journey.desk.wrong(
            fields.table, f"<{own}> is the load's own in {fields.what}, but also a variable; call that something else"
        )
    return replace(journey, kept={**journey.kept, own: ""})


def _written(node: Node) -> set[str]:
    """Every placeholder below a node."""
    match node:
        case Table():
            return set().union(*(_written(value) for _, value in node.entries))
        case Items():
            return set().union(*(_written(item) for item in node.items))
        case Scalar():
            return _names(node.text)
        case _:
            assert_never(node)


def _names(value: object) -> set[str]:
    """The placeholders of a JSON value."""
    match value:
        case str():
            try:
                return set(placeholders(value))
            except ReadingError:
                return set()  # noted where the text was read
        case dict():
            return set().union(*(_names(key) | _names(inner) for key, inner in value.items()))
        case list():
            return set().union(*(_names(inner) for inner in value))
        case _:
            return set()


def _path(journey: Journey, fields: Fields) -> str:
    node = fields.table.get("OPEN")
    path = journey.desk.template(node, "OPEN") if node else None
    if path is None or not isinstance(node, Scalar):
        return ""
    check_step_address(journey.desk, node, "OPEN", path, ("(?:ws|http)s?", "a ws URL"))
    journey.check(node, "OPEN")
    return path


def _on(journey: Journey, fields: Fields) -> str:
    """The OPEN step whose socket is meant: the last one before, unless it is said."""
    opens = journey.sockets
    said = fields.node("on")
    if said is not None:
        name = fields.text("on")
        if name and name not in opens:
            journey.desk.wrong(said, f"on {quoted(name)}: no step before this one OPENs it{did_you_mean(name, opens)}")
        return name
    if not opens:
        journey.desk.wrong(fields.table, f"{fields.what} needs a socket: a step before it must OPEN one")
        return ""
    return opens[-1]


def _keep(desk: Desk, node: Node | None, what: str) -> dict[str, str]:
    found = table(desk, node, what) if node else None
    kept: dict[str, str] = {}
    for variable, path in found.entries if found else ():
        if not re.fullmatch(VARIABLE, variable.text):
            desk.wrong(
                variable, f"{quoted(variable.text)} is no name for a variable; expected letters, digits, _ and -"
            )
        kept[variable.text] = desk.read(path, what, _a_path) or ""
    return kept


def _codes(desk: Desk, node: Node | None) -> tuple[int, ...]:
    if node is None:
        return ()
    members = node.items if isinstance(node, Items) else (node,)
    found = [desk.read(member, "expect", _code) for member in members]
    return tuple(code for code in found if code is not None)


def _json_path(fields: Fields, key: str) -> str | None:
    return fields.read(key, _a_path, "") or None


def _a_path(text: str) -> str:
    if not re.fullmatch(JSON_PATH, text):
        raise ReadingError("expected a path into a JSON message, such as '$.id' or '$.items[0].id'")
    return text


def _code(text: str) -> int:
    try:
        return whole(text, 1000, 4999)
    except ReadingError as bad:
        raise ReadingError(f"{CLOSE_CODES}: {bad}") from bad


def _sent_code(text: str) -> int:
    code = _code(text)
    if code in NEVER_SENT:
        raise ReadingError(
            "it stands for an end that no frame tells of and may not be sent; expected another, such as 1000"
        )
    return code


def _everyone(text: str) -> bool:
    if text != "everyone":
        raise ReadingError("expected 'everyone', or leave it out")
    return True


def _some_rate(text: str) -> float:
    rate = bytes_per_second(text)
    if not rate:
        raise ReadingError("who reads nothing at all never learns what became of it; expected more than zero")
    return rate
