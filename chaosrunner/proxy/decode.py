"""Request bodies read the way Toxiproxy reads them: by the rules of Go's JSON decoder.

Keys match in any case, unknown keys and anything after the first value are ignored, and null means absent.
"""

import json
import math
from collections.abc import Mapping
from typing import NoReturn

from chaosrunner.proxy.refusals import RefusedError, bad_body, bad_value, missing_field

Fields = Mapping[str, object]

NAME_LENGTH_LIMIT = 255
# Beyond 2**53 a JSON number no longer survives clients that read it as a double.
LARGEST_NUMBER = 2**53
# Toxiproxy knows no such field, so no client of it sends one without meaning it.
TAKEN_AWAY_BY_NULL = {"tls"}


def read_object(body: bytes) -> Fields:
    """The first JSON value of `body` as an object with lower-case keys; null is an empty one.

    Raises:
        RefusedError: 400 if it is no JSON or no object.
    """
    return _as_fields(_first_value(body), "an object")


def read_list(body: bytes) -> list[Fields]:
    """The first JSON value of `body` as a list of objects with lower-case keys; null is an empty one.

    Raises:
        RefusedError: 400 if it is no JSON, no list, or holds something else than objects.
    """
    value = _first_value(body)
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_body("expected a list of objects")
    return [_as_fields(item, "a list of objects") for item in value]


def text(fields: Fields, key: str, default: str = "") -> str:
    """The text under `key`, or `default` when absent.

    Raises:
        RefusedError: 400 if it is not text.
    """
    value = fields.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise bad_body(f"{key} must be text")
    return value


def name(fields: Fields, key: str = "name", default: str = "") -> str:
    """A name that a later call can put into a path.

    Raises:
        RefusedError: 400 if it is absent without a default, or could never be addressed.
    """
    value = text(fields, key) or default
    if not value:
        raise missing_field(key)
    if "/" in value or value in {".", ".."} or not value.isprintable() or len(value) > NAME_LENGTH_LIMIT:
        raise bad_value(
            f"{key} must be at most {NAME_LENGTH_LIMIT} printable characters without '/', and not '.' or '..'"
        )
    return value


def flag(fields: Fields, key: str) -> bool | None:
    """The boolean under `key`, or None when absent.

    Raises:
        RefusedError: 400 if it is not a boolean.
    """
    value = fields.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise bad_body(f"{key} must be true or false")


def number(fields: Fields, key: str, *, whole: bool = False) -> int | float | None:
    """The finite number under `key` as it was written, or None when absent.

    Args:
        fields: The object to read from.
        key: Its lower-case key.
        whole: Whether only whole numbers are taken; 3.0 then is 3.

    Raises:
        RefusedError: 400 if it is no number, not finite, beyond 2**53, or not whole where it must be.
    """
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_body(f"{key} must be a number")
    if not math.isfinite(value) or abs(value) > LARGEST_NUMBER:
        raise bad_value(f"{key} must be between -2^53 and 2^53")
    if whole and value != int(value):
        raise bad_value(f"{key} must be a whole number")
    return int(value) if whole else value


def nested(fields: Fields, key: str) -> Fields:
    """The object under `key` with lower-case keys, empty when absent.

    Raises:
        RefusedError: 400 if it is not an object.
    """
    return _as_fields(fields.get(key), f"an object under {key}")


def _as_fields(value: object, expected: str) -> Fields:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_body(f"expected {expected}")
    return value


def _first_value(body: bytes) -> object:
    try:
        value: object
        value, _ = _DECODER.raw_decode(body.decode().lstrip(" \t\r\n"))
    except RefusedError:
        raise
    except RecursionError:
        raise bad_body("nested too deeply") from None
    except ValueError as error:  # also UnicodeDecodeError and numbers of more digits than int() takes
        raise bad_body(str(error)) from None
    return value


def _not_json(constant: str) -> NoReturn:
    raise bad_body(f"{constant} is not JSON")


def _fold(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object as Go fills a struct: keys in any case, the last value counts, null sets nothing."""
    return {key.lower(): value for key, value in pairs if value is not None or key.lower() in TAKEN_AWAY_BY_NULL}


_DECODER = json.JSONDecoder(parse_constant=_not_json, object_pairs_hook=_fold)
