"""Steps that are HTTP requests: `{POST: /login, body: {…}, expect: 200, keep: {token: $.token}}`."""

from __future__ import annotations

import re

from chaosrunner.logic.parse import bodies, clients
from chaosrunner.logic.parse.addresses import check_step_address
from chaosrunner.logic.parse.bodies import read_body
from chaosrunner.logic.parse.clients import of_a_step
from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import Fields, table, whole
from chaosrunner.logic.parse.journeys import SECRET_HEADERS, Common, Journey, check_secret
from chaosrunner.logic.parse.replies import read_checks, read_keep
from chaosrunner.logic.parse.spelling import one_of, quoted
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar
from chaosrunner.model.http_step import Request

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
KEYS = (*bodies.KEYS, "headers", "expect", "keep", "check", *clients.STEP_KEYS)


def read(journey: Journey, fields: Fields, common: Common) -> Request:
    """The request of one step; mistakes are noted at the desk."""
    what = fields.what
    method, path = _request(journey, fields)
    body, body_as = read_body(journey, fields)
    return Request(
        method=method,
        path=path,
        body=body,
        body_as=body_as,
        headers=headers_of(journey, fields.node("headers"), f"headers of {what}"),
        expect=_expect(journey.desk, fields.node("expect")),
        keep=read_keep(journey, fields.node("keep"), f"keep of {what}"),
        checks=read_checks(journey, fields.node("check"), f"check of {what}"),
        client=of_a_step(fields, journey.client),
        **common,
    )


def _request(journey: Journey, fields: Fields) -> tuple[str, str]:
    desk = journey.desk
    methods = [key for key, _ in fields.table.entries if key.text in VERBS]
    if len(methods) > 1:
        desk.wrong(methods[1], f"{fields.what} needs exactly one of {one_of(VERBS)}, such as 'GET: /'")
        return "", ""
    method = methods[0].text
    node = fields.table.get(method)
    path = desk.template(node, method) if node else None
    if path is None or not isinstance(node, Scalar):
        return method, ""
    check_step_address(desk, node, method, path, ("https?", "an http URL"))
    journey.check(node, method)
    return method, path


def _expect(desk: Desk, node: Node | None) -> tuple[int, ...]:
    if node is None:
        return ()
    members = node.items if isinstance(node, Items) else (node,)
    if not members:
        desk.wrong(node, "expect names no status; leave it out to accept any below 400")
    found = [desk.read(member, "expect", lambda text: whole(text, 100, 599)) for member in members]
    return tuple(status for status in found if status is not None)


def headers_of(journey: Journey, node: Node | None, what: str) -> dict[str, str]:
    """Headers of a request, placeholders and references left in."""
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
            if key.text.lower() in SECRET_HEADERS:
                check_secret(journey.desk, value, text, f"header {quoted(key.text)}")
            headers[key.text] = text
    return headers
