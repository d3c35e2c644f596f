"""The steps of a journey: `- log in: {POST: /login, body: {…}, expect: 200, keep: {token: $.token}}`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import Fields, items, some_time, table, whole
from chaosrunner.logic.parse.placeholders import VARIABLE, placeholders
from chaosrunner.logic.parse.scalars import duration
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, one_of, quoted
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table
from chaosrunner.model.load import Step, Think

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
KEYS = ("body", "headers", "expect", "keep", "think")
JSON_PATH = r"\$(?:\.[^.\[\]]+|\[[0-9]+\])*"
ABOUT_SIGMA = 0.5
"""Of the logarithm of a pause `about` so long: two thirds lie between 0.6 and 1.65 times that, one in twenty above 2.3
times; the mean is 1.13 times."""
STEP_NAME = r"[^<>=\s]+(?: [^<>=\s]+)*"
"""Words with single spaces, so that a tolerance can name the step."""


@dataclass(slots=True)
class Journey:
    """What is known while the steps are read one after the other."""

    desk: Desk
    columns: frozenset[str] | None
    """Of the data file; None = unknown, so any variable may come from it."""
    kept: dict[str, str] = field(default_factory=dict)
    """Variable → the step that keeps it, of the steps read so far."""
    later: Mapping[str, str] = field(default_factory=dict)
    """Variable → the first step that keeps it, of all steps."""

    def check(self, at: Scalar, what: str, *, anywhere: bool = False) -> None:
        """Note every placeholder in a text that nothing fills by then (`anywhere`: at all)."""
        try:
            names = placeholders(at.text)
        except ReadingError as bad:
            self.desk.wrong(at, f"{what}: {bad}")
            return
        known = {*self.kept, *(self.columns or ()), *(self.later if anywhere else ())}
        for name in dict.fromkeys(names):
            if name in known or self.columns is None:
                continue
            keeper = self.later.get(name)
            hint = f"; step {quoted(keeper)} keeps it, but not before this one" if keeper else _unknown(name, known)
            self.desk.wrong(at, f"{what}: nothing fills <{name}>{hint}")


def read_steps(desk: Desk, node: Node, columns: frozenset[str] | None) -> tuple[Step, ...]:
    """The steps of `each_user`; mistakes are noted at the desk."""
    entries = [entry for item in items(desk, node, "each_user") if (entry := _entry(desk, item))]
    if not entries:
        if not desk.mistakes:
            desk.wrong(node, "each_user needs at least one step, such as '- home: {GET: /}'")
        return ()
    journey = Journey(desk, columns, later=_keepers(entries))
    steps: dict[str, Step] = {}
    for name, body in entries:
        if name.text in steps:
            desk.wrong(name, f"two steps are called {quoted(name.text)}; figures are by name, so give each its own")
        steps.setdefault(name.text, _step(journey, name, body))
    return tuple(steps.values())


def check_auth(desk: Desk, node: Node, steps: tuple[Step, ...], columns: frozenset[str] | None) -> str | None:
    """The template of the Authorization header; its variables may be kept by any step."""
    template = desk.template(node, "auth")
    if template is not None and isinstance(node, Scalar):
        kept = {name: step.name for step in reversed(steps) for name in step.keep}
        Journey(desk, columns, later=kept).check(node, "auth", anywhere=True)
    return template


def parse_think(text: str) -> Think:
    """A pause: `2s`, `1s to 3s` (evenly spread), `about 2s` (lognormal, that median). Raises ReadingError."""
    about, between = re.fullmatch(r"about\s+(.*)", text), re.fullmatch(r"(.*?)\s+to\s+(.*)", text)
    if about:
        return Think(some_time(about[1]), sigma=ABOUT_SIGMA)
    if not between:
        return Think(duration(text))
    low, high = map(duration, between.groups())
    if low >= high:
        raise ReadingError("a range goes from the shortest to the longest, such as '1s to 3s'")
    return Think(low, to_s=high)


def _entry(desk: Desk, node: Node) -> tuple[Scalar, Table] | None:
    """The name and the mapping of one step."""
    if not isinstance(node, Table) or len(node.entries) != 1:
        desk.wrong(node, "a step is one name and what it asks, such as '- home: {GET: /}'")
        return None
    name, body = node.entries[0]
    if not re.fullmatch(STEP_NAME, name.text):
        desk.wrong(name, f"{quoted(name.text)} is no name for a step; expected words without '<', '>' and '='")
    found = table(desk, body, f"step {quoted(name.text)}")
    return (name, found) if found else None


def _keepers(entries: list[tuple[Scalar, Table]]) -> dict[str, str]:
    """Variable → the first step that keeps it."""
    keepers: dict[str, str] = {}
    for name, body in entries:
        keep = body.get("keep")
        for variable, _ in keep.entries if isinstance(keep, Table) else ():
            keepers.setdefault(variable.text, name.text)
    return keepers


def _step(journey: Journey, name: Scalar, body: Table) -> Step:
    what = f"step {quoted(name.text)}"
    fields = Fields(journey.desk, body, what).only((*METHODS, *KEYS))
    method, path = _request(journey, fields)
    step = Step(
        name=name.text,
        method=method,
        path=path,
        body=_body(journey, body.get("body"), f"body of {what}"),
        headers=_headers(journey, body.get("headers"), f"headers of {what}"),
        expect=_expect(journey.desk, body.get("expect")),
        keep=_keep(journey.desk, body.get("keep"), f"keep of {what}"),
        think=fields.read("think", parse_think, Think()),
    )
    journey.kept.update(dict.fromkeys(step.keep, step.name))
    return step


def _request(journey: Journey, fields: Fields) -> tuple[str, str]:
    desk = journey.desk
    methods = [key for key, _ in fields.table.entries if key.text in METHODS]
    if len(methods) != 1:
        at = methods[1] if methods else fields.table
        desk.wrong(at, f"{fields.what} needs exactly one of {one_of(METHODS)}, such as 'GET: /'")
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


def _unknown(name: str, known: set[str]) -> str:
    if not known:
        return "; no earlier step keeps a variable and there is no data file"
    return did_you_mean(name, known)


def relative_steps(steps: tuple[Step, ...]) -> Iterator[Step]:
    """The steps whose path needs the system's entry."""
    return (step for step in steps if step.path.startswith("/"))
