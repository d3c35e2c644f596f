"""The scenarios of a load: one journey, or several at once, each with its steps, its data and its place in the mix."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from chaosrunner.logic.parse import clients
from chaosrunner.logic.parse.clients import read_client
from chaosrunner.logic.parse.data_file import Rows, read_rows
from chaosrunner.logic.parse.desk import Around, Desk
from chaosrunner.logic.parse.fields import Fields, items, table
from chaosrunner.logic.parse.scalars import number
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, quoted
from chaosrunner.logic.parse.steps import check_auth, check_word, read_steps
from chaosrunner.logic.parse.yaml_nodes import Node, Table
from chaosrunner.model.http_client import PLAIN
from chaosrunner.model.load import Order, Scenario
from chaosrunner.model.secret import Secret

KEYS = (
    "each_user", "auth", "data", "weight", "tags", "starts", "arrivals", "users", "iterations", "max_in_flight",
    *clients.KEYS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Read:
    """A scenario, and where the file says so."""

    scenario: Scenario
    fields: Fields | None = None
    """Of its own mapping; None when it is the load's only one."""


def read_scenarios(load: Fields, around: Around) -> tuple[Read, ...]:
    """What users do: `each_user`, or a list of `scenarios`; mistakes are noted at the desk."""
    node = load.node("scenarios")
    if node is None:
        scenario = _scenario("", load, load, around)
        return (Read(scenario),) if scenario else ()
    if load.node("each_user") is not None:
        load.desk.wrong(load.place("each_user"), "'each_user' and 'scenarios' exclude each other")
    found = [read for entry in items(load.desk, node, "scenarios") if (read := _entry(load, entry, around))]
    if not found and not load.desk.mistakes:
        load.desk.wrong(node, "scenarios needs at least one, such as '- browse: {each_user: [{home: {GET: /}}]}'")
    _check_names(load.desk, found)
    return tuple(found)


def _entry(load: Fields, node: Node, around: Around) -> Read | None:
    """One `- name: {each_user: …}`."""
    if not isinstance(node, Table) or len(node.entries) != 1:
        load.desk.wrong(node, "a scenario is one name and what it does, such as '- browse: {each_user: [...]}'")
        return None
    name, body = node.entries[0]
    check_word(load.desk, name, "scenario")
    found = table(load.desk, body, f"scenario {quoted(name.text)}")
    if found is None:
        return None
    fields = Fields(load.desk, found, f"scenario {quoted(name.text)}").only(KEYS)
    scenario = _scenario(name.text, fields, load, around)
    return Read(scenario, fields) if scenario else None


def _scenario(name: str, fields: Fields, load: Fields, around: Around) -> Scenario | None:
    """What one kind of user does; `auth` and `data` are the load's unless it has its own."""
    desk = fields.desk
    rows, columns, order = _data(fields if fields.node("data") else load, around)
    client = read_client(load, PLAIN)
    journeys = fields.need("each_user", "expected a list of steps, such as '- home: {GET: /}'")
    if journeys is None:
        return None
    steps = read_steps(desk, journeys, columns, read_client(fields, client) if name else client)
    auth = fields.node("auth") or load.node("auth")
    template = check_auth(desk, auth, steps, columns) if auth else None
    return Scenario(
        name=name,
        steps=steps,
        weight=fields.read("weight", _weight, 1.0) if name else 1.0,
        tags=tuple(_tags(fields)) if name else (),
        auth=Secret(template) if template else None,
        data=rows,
        order=order,
    )


def _tags(fields: Fields) -> Iterator[str]:
    for tag in fields.texts("tags"):
        check_word(fields.desk, tag, "tag")
        yield tag.text


def _weight(text: str) -> float:
    """Raises ReadingError."""
    weight = number(text)
    if not 0 < weight <= 1e6:
        raise ReadingError("expected a share above zero, such as 3")
    return weight


def _check_names(desk: Desk, found: list[Read]) -> None:
    """Note words that would mean two things in a tolerance."""
    meant: dict[str, str] = {}
    for read in found:
        assert read.fields is not None
        for word in read.scenario.tags:
            meant.setdefault(word, "a tag")
    for read in found:
        scenario, at = read.scenario, read.fields.table if read.fields else None
        for word, what in [(scenario.name, "a scenario"), *((step.name, "a step") for step in scenario.steps)]:
            if word in meant and at is not None:
                also = meant[word]
                desk.wrong(at, f"{quoted(word)} is {also} and {what}; figures are by name, so give each its own")
            meant[word] = what


def _data(fields: Fields, around: Around) -> tuple[Rows, frozenset[str] | None, Order]:
    """The rows of the data file, its columns (None when they cannot be known), and how rows are dealt."""
    node = fields.node("data")
    if node is None:
        return (), frozenset(), "sequential"
    if not isinstance(node, Table):
        return *_rows(fields, "data", around), "sequential"
    whole = Fields(fields.desk, node, "data").only(("file", "order"))
    whole.need("file", "name it, such as 'data: {file: users.csv, order: unique}'")
    return *_rows(whole, "file", around), whole.read("order", _order, "sequential")


def _order(text: str) -> Order:
    """Raises ReadingError."""
    orders = typing.get_args(Order)
    if text not in orders:
        raise ReadingError(f"{quoted(text)} is no order of rows{did_you_mean(text, orders)}")
    return cast("Order", text)


def _rows(fields: Fields, key: str, around: Around) -> tuple[Rows, frozenset[str] | None]:
    """The rows of the file that stands under a key."""
    desk = fields.desk
    name = fields.text(key)
    if not name or around.lenient:
        return (), None
    path = Path(desk.file).parent / name
    try:
        text = around.reader.text(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        near = did_you_mean(path.name, around.reader.names(path.parent))
        desk.wrong(fields.node(key) or fields.table, f"data {quoted(name)} cannot be read ({path}): {why}{near}")
        return (), None
    rows = read_rows(desk, str(path), text)
    return rows, frozenset(rows[0]) if rows else None
