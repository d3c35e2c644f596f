"""What a whole reply means: whether it is what the step expects, and what of it is kept."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaosrunner.load.template import Template, Variables, as_text, json_path, look_up, names_in
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from chaosrunner.model.http_client import Check
    from chaosrunner.model.http_step import Request

SHOWN = 120
"""Characters of a reply that a sample may show."""


@dataclass(slots=True)
class Reply:
    """A whole reply."""

    status: int
    body: bytes = b""
    """Decompressed; empty unless the step needs it."""
    size: int = 0
    """Bytes of the body, decompressed; known on the full path, else the length of what was kept of it."""
    took_s: float = 0.0
    """From due to done."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By names in small letters; several of one name joined by commas. Empty on the fast path."""
    _text: str | None = None
    _json: object = None
    _parsed: bool = False

    @property
    def text(self) -> str:
        """The body as UTF-8; what is none is replaced."""
        if self._text is None:
            self._text = self.body.decode(errors="replace")
        return self._text

    @property
    def json(self) -> object:
        """The body as JSON. Raises ValueError or RecursionError."""
        if not self._parsed:
            self._json, self._parsed = json.loads(self.body), True
        return self._json


Take = Callable[[Reply], object]
Test = Callable[[Reply, Variables], str]
"""Why a reply does not pass; empty when it does."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What a step expects of its reply."""

    expect: frozenset[int]
    keep: tuple[tuple[str, str, Take], ...]
    """(variable, where, how to take it)"""
    checks: tuple[Test, ...]
    needs_body: bool

    def status_is_right(self, status: int) -> bool:
        """Whether a status is one the step expects."""
        return status in self.expect if self.expect else status < 400

    def __call__(self, reply: Reply, variables: dict[str, object]) -> tuple[Outcome, str]:
        """What a reply means, and why unless its status says it.

        What is kept of it is put into `variables`, all or nothing.
        """
        if not self.status_is_right(reply.status):
            return Outcome.STATUS, ""
        kept: dict[str, object] = {}
        for variable, where, take in self.keep:
            try:
                kept[variable] = take(reply)
            except (LookupError, ValueError, RecursionError):
                return Outcome.CHECK, f"nothing to keep as {variable} at {where}"
        for test in self.checks:
            if why := test(reply, variables):
                return Outcome.CHECK, why
        variables.update(kept)
        return Outcome.OK, ""


def judge_of(step: Request) -> Judge:
    """The judge of a step. Raises ValueError for a JSON path or a regular expression that is none."""
    wheres = list(step.keep.values())
    return Judge(
        expect=frozenset(step.expect),
        keep=tuple((name, where, _take(where)) for name, where in step.keep.items()),
        checks=tuple(_test(check) for check in step.checks),
        needs_body=any(where.startswith(("$", "/")) for where in wheres)
        or any(check.subject in ("body", "json", "size") for check in step.checks),
    )


def names_in_checks(step: Request) -> frozenset[str]:
    """The placeholders of a step's checks."""
    return names_in([check.value for check in step.checks if check.test != "matches"])


def expression(text: str) -> Any:
    """A regular expression that takes linear time. Raises ValueError."""
    try:
        import re2
    except ImportError:
        raise ValueError("the package google-re2 is not installed here") from None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        raise ValueError(f"/{text}/ is no regular expression: {error}") from None


def _take(where: str) -> Take:
    if where == "status":
        return lambda reply: reply.status
    if where.startswith("header "):
        name = where.removeprefix("header ").strip().lower()
        return lambda reply: reply.headers[name]
    if where.startswith("/"):
        pattern = expression(where[1:-1])
        return lambda reply: _group(pattern.search(reply.text))
    path = json_path(where)
    return lambda reply: look_up(reply.json, path)


def _group(found: Any) -> str:
    """The first group of a match, or all of it. Raises LookupError."""
    if found is None:
        raise LookupError("no match")
    text = found.group(1) if found.re.groups else found.group(0)
    if text is None:
        raise LookupError("the group took no part in the match")
    return str(text)


def _test(check: Check) -> Test:
    """A check as a function. Raises ValueError."""
    found = _subject(check)
    passes = _comparison(check)

    def test(reply: Reply, variables: Variables) -> str:
        try:
            value = found(reply)
        except (LookupError, ValueError, RecursionError):
            return f"{check.says}: nothing is there"
        try:
            right = passes(value, variables)
        except (TypeError, ValueError):
            right = False  # what cannot be compared is not as it should be
        return "" if right else f"{check.says}: found {shown(value)}"

    return test


def _subject(check: Check) -> Take:
    match check.subject:
        case "body":
            return lambda reply: reply.text
        case "json":
            path = json_path(check.where)
            return lambda reply: look_up(reply.json, path)
        case "header":
            name = check.where.lower()
            return lambda reply: reply.headers[name]
        case "size":
            return lambda reply: reply.size or len(reply.body)
        case "time":
            return lambda reply: reply.took_s


NUMBERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}


def _comparison(check: Check) -> Callable[[object, Variables], bool]:
    if check.test == "exists":
        return lambda _value, _variables: True
    if check.test == "matches":
        pattern = expression(check.value)
        return lambda value, _variables: pattern.search(as_text(value)) is not None
    if check.test in NUMBERS and (check.test not in ("=", "!=") or check.subject in ("size", "time")):
        compare, bound = NUMBERS[check.test], float(check.value)
        return lambda value, _variables: not isinstance(value, bool) and compare(float(value), bound)  # type: ignore[arg-type]
    template = Template.of(check.value)
    if check.test in ("contains", "lacks"):
        wanted = check.test == "contains"
        return lambda value, variables: (template.fill(variables) in as_text(value)) is wanted
    same = check.test == "="
    as_json = check.subject == "json"
    return lambda value, variables: _equal(value, template, variables, as_json=as_json) is same


def _equal(value: object, template: Template, variables: Variables, *, as_json: bool) -> bool:
    """Whether a value is the one asked for; a placeholder that is all of it may also differ in type only."""
    if template.whole is not None:
        return as_text(value) == as_text(variables[template.whole])
    text = template.fill(variables)
    return value == json.loads(text) if as_json else value == text


def shown(value: object) -> str:
    """A value in a sample: short, on one line, and without what may be a token."""
    import re

    text = as_text(value)[: SHOWN + 1]
    line = "".join(char if char.isprintable() else " " for char in text)
    line = re.sub(r"[\w+/=.-]{24,}", "…", line)
    return f"'{line[:SHOWN]}…'" if len(text) > SHOWN else f"'{line}'"
