"""The data file of a load: a CSV with a header, or one JSON object a line; each row is dealt to a journey."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from chaosrunner.errors import Mistake

if TYPE_CHECKING:
    from chaosrunner.logic.parse.desk import Desk

Rows = tuple[Mapping[str, str], ...]


def read_rows(desk: Desk, file: str, text: str) -> Rows:
    """The rows of a data file; what is wrong with it is noted at its own lines."""
    rows: dict[int, Mapping[str, str]] = {}
    wrong = list(_jsonl(text, rows) if file.endswith(".jsonl") else _csv(text, rows))
    if not rows and not wrong:
        wrong = [(1, "no row of data; expected a header and at least one row")]
    desk.mistakes += [Mistake(file, line, 1, message) for line, message in wrong[:20]]
    return tuple(rows.values())


def _csv(text: str, rows: dict[int, Mapping[str, str]]) -> Iterator[tuple[int, str]]:
    lines = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = [column.strip() for column in next(lines, [])]
        if not all(header) or len(set(header)) < len(header):
            yield 1, "a column without a name, or two of the same name"
            return
        for cells in lines:
            if len(cells) == len(header):
                rows[lines.line_num] = dict(zip(header, cells, strict=True))
            elif cells:
                yield lines.line_num, f"{len(cells)} cells, but the header names {len(header)} columns"
    except csv.Error as error:
        yield max(lines.line_num, 1), f"this is no CSV: {error}"


def _jsonl(text: str, rows: dict[int, Mapping[str, str]]) -> Iterator[tuple[int, str]]:
    columns: set[str] = set()
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield number, "this line is no JSON"
            continue
        if not isinstance(row, dict) or any(isinstance(value, dict | list) for value in row.values()):
            yield number, 'expected an object of plain values, such as {"user": "ann"}'
            continue
        columns = columns or set(row)
        if set(row) != columns or not row:
            yield number, f"the keys differ from the first row's: {', '.join(sorted(columns))}"
            continue
        rows[number] = {key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()}
