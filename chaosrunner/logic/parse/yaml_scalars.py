"""What an unquoted word of YAML means: YAML 1.2's core schema, so `on`, `no`, `1:30` and dates stay text."""

from __future__ import annotations

import re

Value = None | bool | int | float | str

WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

LONGEST_NUMBER = 300
"""Characters; what is longer is text (and keeps Python's own limit for integers out of reach)."""


def core_value(text: str) -> Value:
    """The value of a plain scalar by the core schema; a number with leading zeros stays text."""
    if text in WORDS:
        return WORDS[text]
    if has_leading_zero(text) or len(text) > LONGEST_NUMBER:
        return text
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"0o[0-7]+", text):
        return int(text[2:], 8)
    if re.fullmatch(r"0x[0-9a-fA-F]+", text):
        return int(text[2:], 16)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return float(text)
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        return float(text.replace(".", ""))
    return text


def has_leading_zero(text: str) -> bool:
    """Whether it looks like a number that begins with a needless zero: a pin, a postcode, an old octal."""
    return bool(re.fullmatch(r"[-+]?0[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", text))
