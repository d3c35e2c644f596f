"""What libyaml refuses, said so that a person knows what to type instead."""

from __future__ import annotations

import re

import yaml

from chaosrunner.logic.parse.spelling import quoted

QUOTE_IT = "inside {…} and […] quote a value that holds '{', '}', '[', ']', ',', ': ' or ' #'"


def explain(error: Exception, text: str) -> tuple[int, int, str]:
    """Line and column (1-based) and a message for an error of the YAML parser."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        lines = text.splitlines() or [""]
        line = lines[min(mark.line, len(lines) - 1)]
        reference = _unquoted_reference(error, line)
        if reference:
            return mark.line + 1, reference.start() + 1, f'{QUOTE_IT}: write "{reference[0]}"'
        return mark.line + 1, mark.column + 1, _message(error, line, mark.column)
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: max(error.position, 0)]
        column = len(before) - before.rfind("\n")
        return before.count("\n") + 1, column, f"the character U+{_code(error.character):04X} cannot stand in YAML"
    return 1, 1, "this is no UTF-8 text"


def _code(character: object) -> int:
    """The code point that a ReaderError holds, as a number or a text."""
    return character if isinstance(character, int) else ord(str(character)[0])


def _message(error: yaml.MarkedYAMLError, line: str, column: int) -> str:
    problem = error.problem or "this is no YAML"
    here = line[column : column + 1]
    if here == "\t" or "tab character" in problem:
        return "a tab cannot indent YAML; use spaces"
    if "flow" in (error.context or ""):
        return f"{problem} of {{…}} or […]; {QUOTE_IT}"
    if "mapping values are not allowed" in problem:
        return "': ' inside an unquoted value, or a line indented differently from the one before; quote the value"
    if here in ("@", "`", "%") and "cannot start" in problem:
        return f"a value cannot begin with {quoted(here)} unless it is quoted"
    if "simple key" in (error.context or ""):
        return "expected 'key: value'"
    return f"{problem}{f' ({error.context})' if error.context else ''}"


def _unquoted_reference(error: yaml.MarkedYAMLError, line: str) -> re.Match[str] | None:
    """A `${…}` inside `{…}` or `[…]`, whose brace YAML takes for its own."""
    return re.search(r"(?<![\"'])\$\{[^}]*\}", line) if "flow" in (error.context or "") else None
