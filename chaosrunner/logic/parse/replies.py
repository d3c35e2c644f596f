"""What a reply must hold and what is kept of it: `$.id`, `header Location`, `/regex/`, `body contains welcome`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, cast

from chaosrunner.logic.parse.fields import table
from chaosrunner.logic.parse.journeys import Journey
from chaosrunner.logic.parse.placeholders import VARIABLE, placeholders
from chaosrunner.logic.parse.scalars import duration, number_text, size
from chaosrunner.logic.parse.spelling import ReadingError, quoted
from chaosrunner.logic.parse.yaml_nodes import Items, Node, Scalar
from chaosrunner.logic.parse.yaml_scalars import core_value
from chaosrunner.model.http_client import Check

JSON_PATH = r"\$(?:\.[^.\[\]\s]+|\[[0-9]+\])*"
HEADER = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
WHERE = rf"(?:{JSON_PATH})|header {HEADER}|/.+/|status"
COMPARED = "=|!=|<=|>=|<|>"
SUBJECT = rf"(?P<json>{JSON_PATH})|header\s+(?P<header>{HEADER})|(?P<word>body|size|time)"
CHECK = rf"(?:{SUBJECT})\s+(?:(?P<exists>exists)|(?P<test>contains|lacks|matches|{COMPARED})\s+(?P<value>.+))"
SAMPLES = "'$.id = 7', '$.name exists', 'body contains welcome', 'header Content-Type contains json', 'size < 10KB'"

Test = Literal["contains", "lacks", "matches", "exists", "=", "!=", "<", "<=", ">", ">="]
Subject = Literal["body", "json", "header", "size", "time"]


def read_keep(journey: Journey, node: Node | None, what: str) -> dict[str, str]:
    """Variable → where it is in the reply; mistakes are noted at the desk."""
    desk = journey.desk
    found = table(desk, node, what) if node else None
    kept: dict[str, str] = {}
    for variable, where in found.entries if found else ():
        if not re.fullmatch(VARIABLE, variable.text):
            desk.wrong(
                variable, f"{quoted(variable.text)} is no name for a variable; expected letters, digits, _ and -"
            )
        kept[variable.text] = desk.read(where, what, parse_where) or ""
    return kept


def parse_where(text: str) -> str:
    """Where in a reply something is. Raises ReadingError."""
    if text.startswith("/") and text.endswith("/") and len(text) > 2:
        check_expression(text[1:-1])
    elif not re.fullmatch(WHERE, text):
        others = "'header Location', '/a (regex)/' or 'status'"
        raise ReadingError(f"expected a path into the JSON reply, such as '$.id' or '$.items[0].id', {others}")
    return text


def check_expression(text: str) -> None:
    """Raise ReadingError for what is no regular expression of RE2, which takes linear time whatever the text."""
    try:
        import re2

        options = re2.Options()
        options.log_errors = False
        re2.compile(text, options)
    except Exception as error:  # re2's own, and that the package is not there
        why = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ReadingError(f"this cannot be a regular expression: {why}") from None


def read_checks(journey: Journey, node: Node | None, what: str) -> tuple[Check, ...]:
    """The checks of a step; one needs no list. Mistakes are noted at the desk."""
    if node is None:
        return ()
    checks = []
    for member in node.items if isinstance(node, Items) else (node,):
        check = journey.desk.read(member, what, parse_check)
        if check is not None and isinstance(member, Scalar):
            if check.test != "matches":
                journey.check(replace(member, text=check.value), what)
            checks.append(check)
    return tuple(checks)


def parse_check(text: str) -> Check:
    """One check. Raises ReadingError."""
    found = re.fullmatch(CHECK, text.strip(), flags=re.DOTALL)
    if not found:
        raise ReadingError(f"expected something like {SAMPLES}")
    subject: Subject = "json" if found["json"] else "header" if found["header"] else cast("Subject", found["word"])
    test = cast("Test", found["exists"] or found["test"])
    value = _value(subject, test, (found["value"] or "").strip())
    return Check(
        says=text.strip(), subject=subject, where=found["json"] or found["header"] or "", test=test, value=value
    )


def _value(subject: Subject, test: Test, text: str) -> str:
    """The value as the check compares it. Raises ReadingError."""
    if test == "exists":
        return ""
    if subject in MEASURES:
        if test in ("contains", "lacks", "matches"):
            raise ReadingError(f"{subject} is a number; compare it with '<=' or '>='")
        return MEASURES[subject](text)
    if test == "matches":
        if not re.fullmatch(r"/.+/", text, flags=re.DOTALL):
            raise ReadingError("expected a regular expression between slashes, such as /a+b/")
        check_expression(text[1:-1])
        return text[1:-1]
    if test in ("<", "<=", ">", ">="):
        return _number(text)
    placeholders(text)
    return _json(text) if subject == "json" and test in ("=", "!=") else text


def _number(text: str) -> str:
    try:
        return number_text(float(text))
    except ValueError:
        raise ReadingError(f"{quoted(text)} is no number") from None


def _json(text: str) -> str:
    """A value as JSON: `7`, `true` and `null` are what they look like, anything else is a text."""
    if re.fullmatch(rf"<{VARIABLE}>", text):
        return text
    try:
        json.loads(text)
    except ValueError:
        value = core_value(text)
        return json.dumps(text if isinstance(value, str) else value, ensure_ascii=False)
    return text


MEASURES: dict[str, Callable[[str], str]] = {
    "size": lambda text: str(size(text)),
    "time": lambda text: number_text(duration(text)),
}
