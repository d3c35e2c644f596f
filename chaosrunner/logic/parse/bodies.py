"""The body of a request: exactly one of `body` (JSON), `form`, `multipart`, `text` and `file`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, assert_never

from chaosrunner.logic.parse.fields import Fields, table
from chaosrunner.logic.parse.journeys import Journey
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar, Table

KEYS = ("body", "form", "multipart", "text", "file")

As = Literal["json", "form", "multipart", "text", "file"]


def read_body(journey: Journey, fields: Fields) -> tuple[object, As]:
    """The body with placeholders and references left in, and what it is; (None, "json") when there is none."""
    given = [key for key, _ in fields.table.entries if key.text in KEYS]
    if not given:
        return None, "json"
    for other in given[1:]:
        journey.desk.wrong(other, f"'{other.text}' and '{given[0].text}' exclude each other: a request has one body")
    key = given[0].text
    node = fields.table.get(key)
    assert node is not None
    what = f"{key} of {fields.what}"
    match key:
        case "form":
            return _form(journey, node, what), "form"
        case "multipart":
            return _multipart(journey, node, what), "multipart"
        case "text":
            return _text(journey, node, what), "text"
        case "file":
            return named_file(journey, node, what), "file"
        case _:
            return json_value(journey, node, what), "json"


def named_file(journey: Journey, node: Node, what: str) -> str:
    """The path of a file beside the experiment; empty when there is a mistake."""
    found = journey.desk.scalar(node, what)
    if found is None or not found.text:
        if found is not None:
            journey.desk.wrong(node, f"{what} is empty")
        return ""
    path = Path(journey.desk.file).parent / found.text
    journey.desk.files.append((node, path, ()))
    return str(path)


def _text(journey: Journey, node: Node, what: str) -> str:
    """A text with placeholders."""
    template = journey.desk.template(node, what)
    if template is not None and isinstance(node, Scalar):
        journey.check(node, what)
    return template or ""


def _form(journey: Journey, node: Node, what: str) -> dict[str, object]:
    """Fields of a form; a list sends its name once for each of its texts."""
    found = table(journey.desk, node, what)
    fields: dict[str, object] = {}
    for key, value in found.entries if found else ():
        journey.check(key, what)
        if isinstance(value, Items):
            fields[key.text] = [_field(journey, one, what) for one in value.items]
        else:
            fields[key.text] = _field(journey, value, what)
    return fields


def _field(journey: Journey, node: Node, what: str) -> str:
    """A field's text; an empty one is a text, too."""
    if isinstance(node, Scalar) and node.value in (None, ""):
        return ""
    return _text(journey, node, what)


def _multipart(journey: Journey, node: Node, what: str) -> dict[str, object]:
    """Fields of a multipart form: texts, or `{file: path}`."""
    found = table(journey.desk, node, what)
    fields: dict[str, object] = {}
    for key, value in found.entries if found else ():
        if not isinstance(value, Table):
            fields[key.text] = _field(journey, value, what)
            continue
        part = Fields(journey.desk, value, what).only(("file",))
        path = part.need("file", "a field is a text or '{file: photo.png}'")
        fields[key.text] = {"file": named_file(journey, path, what) if path else ""}
    return fields


def json_value(journey: Journey, node: Node | None, what: str) -> object:
    """A JSON value with placeholders and references left in; None when there is none."""
    match node:
        case None:
            return None
        case Items():
            return [json_value(journey, item, what) for item in node.items]
        case Table():
            for key, _ in node.entries:
                journey.check(key, what)
            return {key.text: json_value(journey, value, what) for key, value in node.entries}
        case Scalar():
            return _value(journey, node, what)
        case _:
            assert_never(node)


def _value(journey: Journey, node: Scalar, what: str) -> object:
    if node.zeros:
        journey.desk.wrong(node, f"{what}: is {node.text} a text or a number? Quote it, or leave the zeros out")
    elif isinstance(node.value, float) and not math.isfinite(node.value):
        journey.desk.wrong(node, f"{what}: {node.text} cannot stand in JSON; quote it if it is a text")
    elif isinstance(node.value, str) and journey.desk.check_references(node, what):
        journey.check(node, what)
    return node.value
