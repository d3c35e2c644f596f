"""What load workers counted and noted reaches every report."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console
from samples import sample

from chaosrunner.model import events as e
from chaosrunner.model.verdict import Verdict
from chaosrunner.report.beside import NOTES_SHOWN, beside_section, counted
from chaosrunner.report.html import html
from chaosrunner.report.json import verdict_json
from chaosrunner.report.markdown import markdown
from chaosrunner.report.story import tell
from chaosrunner.report.terminal import final

COUNTS = {"chat.reconnects": {"": 1, "baseline": 2, "fault": 1_500, "after": 3}, "read.retries": {"fault": 7}}
NOTE = {"about": "slow <query>", "worker": 1, "data": {"plan": "Seq Scan\x07"}}


def told(**changes: object) -> Verdict:
    return replace(sample("held").verdict, **{"counts": COUNTS, "notes": (NOTE,), **changes})  # type: ignore[arg-type]


def test_counts_are_lines_by_phase() -> None:
    """Phases are called as the hypothesis calls them; what came outside any is said to."""
    assert list(counted(told())) == [
        "chat.reconnects: 1 outside any phase, 2 before, 1,500 during, 3 after",
        "read.retries: 7 during",
    ]


def test_counts_of_the_same_kind_are_one_line() -> None:
    """What every step counts would flood a terminal: it is told of all of them together, in each phase."""
    counts = {
        "a.bytes.body": {"baseline": 2_000, "fault": 1},
        "a.bytes.wire": {"baseline": 1_000},
        "b.bytes.body": {"fault": 3},
        "b.bytes.wire": {"baseline": 5},
        "b.status.503": {"fault": 4},
    }
    assert list(counted(told(counts=counts))) == [
        "bytes.body of 2 steps: 2,000 before, 4 during",
        "bytes.wire of 2 steps: 1,005 before",
        "b.status.503: 4 during",
    ]


def test_every_report_has_them() -> None:
    """The terminal, Markdown, the page and JSON show counts; the page and JSON also notes, harmless."""
    seen, one = told(), sample("held")
    screen = io.StringIO()
    Console(file=screen, width=120).print(final(seen, one.experiment))
    assert "chat.reconnects: 1 outside any phase, 2 before, 1,500 during, 3 after" in screen.getvalue()
    assert "read.retries: 7 during" in markdown(seen, one.experiment)
    page = html(seen, one.experiment, one.state, one.entries)
    assert "<td" in page
    assert "slow &lt;query&gt;" in page
    assert "Seq Scan" in page
    assert "\x07" not in page
    raw = json.loads(json.dumps(verdict_json(seen, one.experiment, one.state)))
    assert (raw["counts"], raw["notes"]) == (COUNTS, [NOTE])


def test_a_page_shows_the_first_notes_only() -> None:
    """Fifty notes are on the page; how many more the journal has is said, and a long one is cut."""
    many = tuple({**NOTE, "data": {"plan": "x" * 5_000}} for _ in range(NOTES_SHOWN + 2))
    section = beside_section(told(notes=many))
    assert section is not None
    assert len(section.findall(".//li")) == NOTES_SHOWN
    assert "2 notes more" in "".join(section.itertext())
    assert len("".join(section.find(".//li").itertext())) < 2_200  # type: ignore[union-attr]


def test_without_either_there_is_no_section() -> None:
    """A load that counted nothing has nothing to show."""
    assert beside_section(sample("held").verdict) is None
    assert beside_section(replace(sample("held").verdict, notes=(NOTE,))) is not None


def test_a_note_is_told_among_the_events() -> None:
    """The story names the worker and what its note is about."""
    assert tell(e.LoadNoted(worker=2, about="leak"), sample("held").experiment) == "load worker 2 noted: leak"
