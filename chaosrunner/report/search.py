"""The end of a search, of repeats, of a comparison: the same facts on a terminal, on a page and as JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from xml.etree import ElementTree as ET

from chaosrunner.errors import Exit
from chaosrunner.report import words
from chaosrunner.report.markup import Child, el, serialised
from chaosrunner.report.numbers import number
from chaosrunner.report.write import written

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

STYLES = {Exit.HELD: "bold green", Exit.BROKEN: "bold red", Exit.NOT_RESTORED: "bold white on red"}
SLUGS = {Exit.HELD: "held", Exit.BROKEN: "broken", Exit.NOT_RESTORED: "not-restored", Exit.INTERNAL: "not-restored"}

Fact = tuple[str, str]
"""A label, and what is to be said under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """All there is to say of many runs."""

    word: str
    """`FOUND`, `UNKNOWN`, `BROKEN` …"""
    question: str
    where: str
    """`shop @ staging, 18 runs in 6 min, search capacity-7f3a`."""
    facts: tuple[Fact, ...]
    exit: Exit
    headline: str
    evidence: str = ""


class Ending:
    """A telling as a rich renderable that fits itself to the console."""

    def __init__(self, telling: Telling) -> None:
        self.telling = telling

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Head, facts in two columns, and the exit code."""
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        say = words.ascii_only if options.ascii_only else words.printable
        told = self.telling
        style = STYLES.get(told.exit, "bold yellow")
        yield Text.assemble((say(told.word), style), "  ", say(told.question))
        yield Text(say(told.where), style="dim")
        yield Text()
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=max([11, *(len(label) for label, _ in told.facts)]), overflow="fold")
        grid.add_column(overflow="fold")
        for label, text in (*told.facts, *([("evidence", told.evidence)] if told.evidence else [])):
            grid.add_row(Text(say(label)), Text(say(text)))
        yield Padding(grid, (0, 0, 0, 2))
        yield Text(f"exit {int(told.exit)}: {say(told.headline)}", style=style)


def show_telling(telling: Telling, stream: TextIO) -> None:
    """Print it; a reader who is gone is no error."""
    from chaosrunner.report.console import show

    show(Ending(telling), stream)


def page(telling: Telling, sections: Sequence[Child]) -> str:
    """The telling as one self-contained HTML page, with more sections below its facts."""
    style = files("chaosrunner.report").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    say = words.printable
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{telling.word}: {say(telling.question)}"),
        el("style", style),
    )
    header = el(
        "header",
        el("p", el("strong", telling.word, class_=f"badge {SLUGS.get(telling.exit, 'unknown')}"), class_="outcome"),
        el("h1", say(telling.question)),
        el("p", say(telling.where), class_="where"),
        el("p", el("code", f"exit {int(telling.exit)}"), " ", say(telling.headline), class_="why"),
    )
    facts = [el("div", el("dt", say(label)), el("dd", say(text))) for label, text in telling.facts]
    body = el("body", header, el("main", section("What was found", el("dl", *facts, class_="facts")), *sections))
    return "<!doctype html>\n" + serialised(el("html", head, body, lang="en")) + "\n"


def section(title: str, *children: Child) -> ET.Element:
    """A section of the page."""
    return el("section", el("h2", title), *children)


def write_files(folder: Path, data: Mapping[str, object], html: str, name: str) -> Path:
    """Write `<name>.json` and `<name>.html`, each whole or not at all; the page's path. Raises OSError."""
    text = json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    written(folder / f"{name}.json", text)
    return written(folder / f"{name}.html", html)


def plain(value: object) -> object:
    """A value as JSON: dataclasses as objects, outcomes by name, infinity as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Enum):
        return value.name if isinstance(value.value, int) else value.value
    return number(value) if isinstance(value, float) else value
