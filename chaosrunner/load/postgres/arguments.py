"""Arguments of statements: filled from a journey's variables, then turned into what the parameter's type takes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from chaosrunner.load.postgres.failures import BadArgument
from chaosrunner.load.template import Variables, as_text, compiled
from chaosrunner.model.postgres_step import Draw

if TYPE_CHECKING:
    from random import Random

    from chaosrunner.model.postgres_step import Argument

Convert = Callable[[object], object]
Fill = Callable[[Variables], list[object]]


def filler(args: Sequence[Argument], chance: Random) -> Fill:
    """A function from a journey's variables to the values of all arguments, not yet of any database type."""
    parts = [_part(argument, chance) for argument in args]
    if any(parts):
        return lambda variables: [part(variables) if part else None for part in parts]
    nothing: list[object] = [None] * len(parts)
    return lambda _variables: nothing


def _part(argument: Argument, chance: Random) -> Callable[[Variables], object] | None:
    match argument:
        case None:
            return None
        case Draw(low=low, high=high):
            span = high - low + 1
            # Quicker than randint, and as even for spans far below 2**53.
            return lambda _variables: low + int(chance.random() * span)
        case _:
            return compiled(argument)


def converters(types: Sequence[str]) -> tuple[Convert, ...]:
    """What makes a value fit each parameter.

    Args:
        types: the names of the parameters' types in pg_catalog, arrays with `[]` behind.
    """
    return tuple(_list_of(_one(name.removesuffix("[]"))) if name.endswith("[]") else _one(name) for name in types)


def fitted(values: Sequence[object], convert: Sequence[Convert]) -> list[object]:
    """The values as their parameters take them.

    Raises:
        BadArgument: a value does not fit, or there are too many or too few. Its message is for the journal, so it has
            no value in it: it may be a secret.
    """
    if len(values) != len(convert):
        raise BadArgument(f"{len(values)} args for {len(convert)} parameters")
    found: list[object] = []
    try:
        for value, fit in zip(values, convert, strict=True):
            found.append(None if value is None else fit(value))
    except (ArithmeticError, TypeError, ValueError) as error:
        raise BadArgument(f"what came for ${len(found) + 1} is none that its type takes") from error
    return found


def plain(value: object) -> object:
    """A value from a row as later steps, and texts, can use it: JSON's own types, all else as text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
        case dt.date() | dt.time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case _:
            return str(value)


def _one(name: str) -> Convert:
    return CONVERT.get(name, as_text)


def _list_of(convert: Convert) -> Convert:
    def fit(value: object) -> object:
        members = json.loads(value) if isinstance(value, str) else value
        if not isinstance(members, list):
            raise TypeError("an array parameter takes a list")
        return [None if member is None else convert(member) for member in members]

    return fit


def _boolean(value: object) -> object:
    found = TRUTH.get(as_text(value).lower())
    if found is None:
        raise ValueError("true or false is wanted")
    return found


def _whole(value: object) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("a whole number is wanted")
    return int(value)  # type: ignore[call-overload,no-any-return]


TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}

CONVERT: Mapping[str, Convert] = {
    "int2": _whole,
    "int4": _whole,
    "int8": _whole,
    "oid": _whole,
    "float4": lambda value: float(as_text(value)),
    "float8": lambda value: float(as_text(value)),
    "numeric": lambda value: Decimal(as_text(value)),
    "bool": _boolean,
    "uuid": lambda value: UUID(as_text(value)),
    "date": lambda value: dt.date.fromisoformat(as_text(value)),
    "time": lambda value: dt.time.fromisoformat(as_text(value)),
    "timestamp": lambda value: dt.datetime.fromisoformat(as_text(value)),
    "timestamptz": lambda value: dt.datetime.fromisoformat(as_text(value)),
    "interval": lambda value: dt.timedelta(seconds=float(as_text(value))),
    "bytea": lambda value: as_text(value).encode(),
}
"""Type → how a text, number or JSON value becomes what asyncpg wants for it. Every other type, JSON too, takes text."""
