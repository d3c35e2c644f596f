"""Does a message contain what is expected of it? Pure."""

from __future__ import annotations

import json


def contains(found: object, expected: object) -> bool:
    """Whether `found` has all of `expected`: each key of a mapping, each member of a list at its place.

    None expects nothing. true and 1 are different, as in JSON; 1 and 1.0 are the same.
    """
    if expected is None:
        return True
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            key in found and _same_or_contains(found[key], inner) for key, inner in expected.items()
        )
    if isinstance(expected, list | tuple):
        return (
            isinstance(found, list)
            and len(found) >= len(expected)
            and all(_same_or_contains(mine, inner) for mine, inner in zip(found, expected, strict=False))
        )
    return _same(found, expected)


def parsed(text: str) -> object:
    """The JSON value of a message; a message that is no JSON is its text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _same_or_contains(found: object, expected: object) -> bool:
    return found is None if expected is None else contains(found, expected)


def _same(found: object, expected: object) -> bool:
    return isinstance(found, bool) == isinstance(expected, bool) and found == expected
