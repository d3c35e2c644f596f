"""Probes: `- stock: {http: /stock, value: $.left, every: 1s, timeout: 2s}`."""

from __future__ import annotations

import re

from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import Fields, filled, items, table, texts, whole
from chaosrunner.logic.parse.spelling import ReadingError, one_of, quoted
from chaosrunner.logic.parse.steps import STEP_NAME
from chaosrunner.logic.parse.system_addresses import address, base_url
from chaosrunner.logic.parse.tolerance import WORDS
from chaosrunner.logic.parse.yaml_nodes import Node, Scalar, Table
from chaosrunner.model.hypothesis import Probe

KINDS = ("http", "tcp", "process")
KEYS = ("every", "timeout")
HTTP_KEYS = ("expect", "value")
VALUE_PATH = r"\$(?:\.[A-Za-z0-9_-]+)+"
"""A path as probes read it: keys and positions between dots."""


def read_probes(desk: Desk, node: Node | None) -> tuple[Probe, ...]:
    """The probes; mistakes are noted at the desk."""
    found: dict[str, Probe] = {}
    for entry in items(desk, node, "probes") if node else ():
        if not isinstance(entry, Table) or len(entry.entries) != 1:
            desk.wrong(entry, "a probe is one name and what it asks, such as '- stock: {http: /stock}'")
            continue
        name, body = entry.entries[0]
        _check_name(desk, name, found)
        mapping = table(desk, body, f"probe {quoted(name.text)}")
        probe = _probe(desk, name.text, mapping) if mapping else None
        if probe:
            found.setdefault(name.text, probe)
    return tuple(found.values())


def _check_name(desk: Desk, name: Scalar, found: dict[str, Probe]) -> None:
    taken = name.text in WORDS or re.fullmatch(r"p[0-9.]+", name.text)
    if not re.fullmatch(STEP_NAME, name.text) or " of " in name.text or taken:
        desk.wrong(
            name, f"{quoted(name.text)} is no name for a probe; expected words that are no metric, without ' of '"
        )
    if name.text in found:
        desk.wrong(name, f"two probes are called {quoted(name.text)}")


def _probe(desk: Desk, name: str, mapping: Table) -> Probe | None:
    fields = Fields(desk, mapping, f"probe {quoted(name)}")
    kinds = [key for key, _ in mapping.entries if key.text in KINDS]
    if len(kinds) != 1:
        desk.wrong(kinds[1] if kinds else mapping, f"a probe asks exactly one of {one_of(KINDS)}")
        return None
    kind = kinds[0].text
    fields.only((kind, *KEYS, *(HTTP_KEYS if kind == "http" else ())))
    every, timeout = fields.seconds("every", 1.0), fields.seconds("timeout", 2.0)
    return Probe(name=name, kind=kind, args=_args(fields, kind), every_s=every, timeout_s=timeout)


def _args(fields: Fields, kind: str) -> dict[str, object]:
    if kind == "tcp":
        return {"at": fields.read("tcp", _host_port, "")}
    if kind == "process":
        node = fields.node("process")
        return {"command": [word.text for word in texts(fields.desk, node, "process")] if node else []}
    args: dict[str, object] = {"url": fields.read("http", _url, "")}
    if fields.node("expect"):
        args["expect"] = fields.read("expect", lambda text: whole(text, 100, 599), 0)
    if fields.node("value"):
        args["value"] = fields.read("value", _value_path, "")
    return args


def _url(text: str) -> str:
    return text if filled(text).startswith("/") else base_url(text)


def _host_port(text: str) -> str:
    if "://" in text:
        raise ReadingError("expected host:port")
    return address(text)


def _value_path(text: str) -> str:
    if not re.fullmatch(VALUE_PATH, text):
        raise ReadingError("expected a path into the JSON reply, such as '$.queue.length'")
    return text
