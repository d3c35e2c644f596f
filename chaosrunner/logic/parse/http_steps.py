"""Steps that are HTTP requests: `{POST: /login, body: {…}, expect: 200, keep: {token: $.token}}`."""

from __future__ import annotations

import math
import re
from typing import assert_never

from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import Fields, table, whole
from chaosrunner.logic.parse.journeys import Common, Journey
from chaosrunner.logic.parse.placeholders import VARIABLE
from chaosrunner.logic.parse.spelling import ReadingError, one_of, quoted
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table
from chaosrunner.model.http_step import Request

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
KEYS = ("body", "headers", "expect", "keep")
JSON_PATH = r"\$(?:\.[^.\[\]]+|\[[0-9]+\])*"


def read(journey: Journey, fields: Fields, common: Common) -> Request:
    """The request of one step; mistakes are noted at the desk."""
    what, body = fields.what, fields.table
    method, path = _request(journey, fields)
    return Request(
        method=method,
        path=path,
        body=_body(journey, body.get("body"), f"body of {what}"),
        headers=_headers(journey, body.get("headers"), f"headers of {what}"),
        expect=_expect(journey.desk, body.get("expect")),
        keep=_keep(journey.desk, body.get("keep"), f"keep of {what}"),
        **common,
    )


def _request(journey: Journey, fields: Fields) -> tuple[str, str]:
    desk = journey.desk
    methods = [key for key, _ in fields.table.entries if key.text in VERBS]
    if len(methods) != 1:
        at = methods[1] if methods else fields.table
        desk.wrong(at, f"{fields.what} needs exactly one of {one_of(VERBS)}, such as 'GET: /'")
        return "", ""
    method = methods[0].text
    node = fields.table.get(method)
    path = desk.template(node, method) if node else None
    if path is None or not isinstance(node, Scalar):
        return method, ""
    try:
        _check_path(path)
    except ReadingError as bad:
        desk.wrong(node, f"{method} {quoted(path)}: {bad}")
    journey.check(node, method)
    return method, path


def _check_path(path: str) -> None:
    """Raise ReadingError for what can be no path, whatever its placeholders and references will hold."""
    bare = re.sub(r"\$\{[^}]*\}", "REFERENCE", path)
    if re.search(r"\s", bare):
        raise ReadingError("a path holds no spaces; write '%20'")
    if not re.match(r"https?://[^/]|[/?<]|\$\{", path):
        raise ReadingError("expected a path that begins with '/', or an http URL")
    host = re.match(r"https?://([^/?#]*)", bare)
    if host and "@" in host[1]:
        raise ReadingError("a URL is no place for a password; the load has 'auth' and 'headers'")
    if host and "<" in host[1]:
        raise ReadingError("the host cannot be a variable: it is looked up once, before the load begins")


def _expect(desk: Desk, node: Node | None) -> tuple[int, ...]:
    if node is None:
        return ()
    members = node.items if isinstance(node, Items) else (node,)
    if not members:
        desk.wrong(node, "expect names no status; leave it out to accept any below 400")
    found = [desk.read(member, "expect", lambda text: whole(text, 100, 599)) for member in members]
    return tuple(status for status in found if status is not None)


def _keep(desk: Desk, node: Node | None, what: str) -> dict[str, str]:
    found = table(desk, node, what) if node else None
    kept: dict[str, str] = {}
    for variable, path in found.entries if found else ():
        if not re.fullmatch(VARIABLE, variable.text):
            desk.wrong(
                variable, f"{quoted(variable.text)} is no name for a variable; expected letters, digits, _ and -"
            )
        kept[variable.text] = desk.read(path, what, _json_path) or ""
    return kept


def _json_path(text: str) -> str:
    if not re.fullmatch(JSON_PATH, text):
        raise ReadingError("expected a path into the JSON reply, such as '$.id' or '$.items[0].id'")
    return text


def _headers(journey: Journey, node: Node | None, what: str) -> dict[str, str]:
    found = table(journey.desk, node, what) if node else None
    headers: dict[str, str] = {}
    for key, value in found.entries if found else ():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", key.text):
            journey.desk.wrong(key, f"{quoted(key.text)} is no name of an HTTP header")
        if key.text.lower() in ("content-length", "transfer-encoding", "connection"):
            journey.desk.wrong(key, f"{quoted(key.text)} is not a file's to set: the connection decides it")
        text = journey.desk.template(value, f"header {quoted(key.text)}")
        if text is not None and isinstance(value, Scalar):
            if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text):
                journey.desk.wrong(value, f"header {quoted(key.text)} holds a line end or a control character")
            journey.check(value, f"header {quoted(key.text)}")
            headers[key.text] = text
    return headers


def _body(journey: Journey, node: Node | None, what: str) -> object:
    """A JSON value with placeholders and references left in; None when there is no body."""
    match node:
        case None:
            return None
        case Items():
            return [_body(journey, item, what) for item in node.items]
        case Table():
            for key, _ in node.entries:
                journey.check(key, what)
            return {key.text: _body(journey, value, what) for key, value in node.entries}
        case Scalar():
            return _body_value(journey, node, what)
        case _:
            assert_never(node)


def _body_value(journey: Journey, node: Scalar, what: str) -> object:
    if node.zeros:
        journey.desk.wrong(node, f"{what}: is {node.text} a text or a number? Quote it, or leave the zeros out")
    elif isinstance(node.value, float) and not math.isfinite(node.value):
        journey.desk.wrong(node, f"{what}: {node.text} cannot stand in JSON; quote it if it is a text")
    elif isinstance(node.value, str) and journey.desk.check_references(node, what):
        journey.check(node, what)
    return node.value
