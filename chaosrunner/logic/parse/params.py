"""A fault's parameters: the fields of the injector's `Params`, read by the type each one has."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable

from chaosrunner.logic.parse import scalars
from chaosrunner.logic.parse.desk import Desk
from chaosrunner.logic.parse.fields import filled, whole
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, one_of, quoted
from chaosrunner.logic.parse.yaml_nodes import Node, Scalar, Table
from chaosrunner.model import units
from chaosrunner.model.fault import Injector
from chaosrunner.model.secret import Secret


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ReadingError("expected 'true' or 'false'")
    return text == "true"


READERS: dict[object, Callable[[str], object]] = {
    units.Seconds: scalars.duration,
    units.Share: scalars.share,
    units.BytesPerSecond: scalars.bytes_per_second,
    units.Bytes: scalars.size,
    int: lambda text: whole(text, -(10**12), 10**12),
    float: scalars.number,
    str: filled,
    bool: _truth,
}
"""Type of a field → reader of its text. `Literal[…]`, `Secret` and `… | None` come on top."""


def read_params(desk: Desk, mapping: Table, injector: Injector, key: Scalar) -> object | None:
    """An instance of the injector's `Params`; None after noting what is wrong with the mapping (its `target` aside)."""
    hints = typing.get_type_hints(injector.Params)
    fields = {field.name: field for field in dataclasses.fields(injector.Params)}
    before = len(desk.mistakes)
    given: dict[str, object] = {}
    for name, node in mapping.entries:
        if name.text in fields:
            given[name.text] = _value(desk, node, f"{name.text} of {injector.name}", hints[name.text])
        elif name.text != "target":
            hint = did_you_mean(name.text, [*fields, *(["target"] if injector.needs else [])])
            desk.wrong(name, f"{quoted(name.text)} is no parameter of {quoted(injector.name)}{hint}")
    for field in fields.values():
        if field.name not in given and _required(field):
            desk.wrong(key, f"{quoted(injector.name)} needs {_example(hints[field.name], field)}")
    if len(desk.mistakes) > before:
        return None
    try:
        made: object = injector.Params(**given)
    except ValueError as error:
        desk.wrong(key, f"{quoted(injector.name)}: {error}")
        return None
    return made


def accepted(hint: object) -> object:
    """The type without `| None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(arg for arg in typing.get_args(hint) if arg is not types.NoneType)
    return hint


def _value(desk: Desk, node: Node, what: str, hint: object) -> object:
    kind = accepted(hint)
    if kind is not hint and isinstance(node, Scalar) and node.value is None:
        return None
    if kind is Secret:
        template = desk.template(node, what)
        return None if template is None else Secret(template)
    if typing.get_origin(kind) is typing.Literal:
        return desk.read(node, what, lambda text: _choice(text, typing.get_args(kind)))
    if kind not in READERS:
        desk.wrong(node, f"{what}: the injector gives it a type that no file can write: {kind}")
        return None
    return desk.read(node, what, READERS[kind])


def _choice(text: str, choices: tuple[object, ...]) -> object:
    for choice in choices:
        if str(choice) == text:
            return choice
    words = [str(choice) for choice in choices]
    hint = did_you_mean(text, words)
    raise ReadingError(f"expected {one_of(map(quoted, words))}{hint if 'did you mean' in hint else ''}")


def _required(field: dataclasses.Field[object]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _example(hint: object, field: dataclasses.Field[object]) -> str:
    kind = accepted(hint)
    examples: dict[object, str] = {
        units.Seconds: "300ms",
        units.Share: "30%",
        units.BytesPerSecond: "64KB/s",
        units.Bytes: "64KB",
        int: "3",
    }
    first = typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Literal else examples.get(kind, "…")
    about = field.metadata.get("help")
    return f"'{field.name}: {first}'{f' ({about})' if about else ''}"
