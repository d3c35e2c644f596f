"""What a search says on a terminal, on a page and as JSON."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from chaosrunner.errors import Exit
from chaosrunner.logic.search.boundary import Ladder, found, so_far
from chaosrunner.logic.search.curve import curve_of
from chaosrunner.logic.search.words import arrivals
from chaosrunner.model.search import Boundary, Known, Trial
from chaosrunner.model.verdict import Outcome
from chaosrunner.report.search import Telling, page, section, show_telling, write_files
from chaosrunner.report.search_curve import curve_figure, trials_table
from chaosrunner.report.search_words import boundary_facts, capacity_facts, cost_fact, headline_of
from chaosrunner.report.searching import Ahead, SearchView

SAY = arrivals().say
TELLING = Telling(
    word="FOUND", question="Does <b>it</b> hold?", where="shop", facts=(("holds", "412/s"),), exit=Exit.HELD,
    headline="the load holds up to 412/s", evidence="runs/x/search.html",
)  # fmt: skip


def trial(level: float, outcome: Outcome, p95: float = 0.1) -> Trial:
    """A trial that measured, and why it did not hold."""
    return Trial(
        level=level, outcome=outcome, why="" if outcome is Outcome.HELD else "errors < 1%: 5 %", run="7f3a",
        seconds=10.0, offered=level, goodput=min(level, 150.0), errors=0.0, p50=0.05, p95=p95, p99=p95,
        inside=level / 20 if level < 150 else level,
    )  # fmt: skip


LADDER = Ladder.between(50, 800)
RUNGS = LADDER.rungs
TRIALS = tuple(
    trial(level, Outcome.HELD if level <= 150 else Outcome.BROKEN, 0.1 if level <= 150 else math.inf)
    for level in (RUNGS[0], RUNGS[20], RUNGS[40], RUNGS[60], RUNGS[100], RUNGS[-1])
)


def test_a_page_holds_no_script_and_escapes_what_a_user_wrote() -> None:
    """The question cannot become markup, and the page asks for nothing."""
    text = page(TELLING, [section("More", "text")])
    assert "<script" not in text
    assert "Does &lt;b&gt;it&lt;/b&gt; hold?" in text
    assert "default-src 'none'" in text


def test_the_curve_is_drawn_in_both_widths_with_its_sentence() -> None:
    """Two charts, each wide and narrow; a p95 that falls on failures is said and not drawn."""
    [goodput, waits] = curve_figure(curve_of(TRIALS).levels, so_far(LADDER, TRIALS), SAY)
    text = page(TELLING, [goodput, waits, trials_table(TRIALS, SAY)])
    assert text.count("<svg") == 4
    assert "At best 150/s succeeded" in text
    assert "more than a twentieth failed" in text
    assert text.count('href="7f3a/report.html"') == len(TRIALS)
    assert "Infinity" not in text
    assert curve_figure(TRIALS[:1], so_far(LADDER, TRIALS), SAY) == []


def test_json_has_no_number_that_json_cannot_hold(tmp_path: Path) -> None:
    """Infinity is text, outcomes are words, nested values are objects."""
    where = write_files(tmp_path, {"trials": TRIALS, "curve": curve_of(TRIALS)}, "<p>", "search")
    assert where.read_text() == "<p>"
    data = json.loads((tmp_path / "search.json").read_text())
    assert data["trials"][-1]["p95"] == "Infinity"
    assert data["trials"][0]["outcome"] == "HELD"
    assert data["curve"]["best"]["goodput"] == 150.0


def test_a_terminal_is_told_the_same_and_the_exit_code() -> None:
    """Head, facts, evidence, and the last line."""
    out = io.StringIO()
    show_telling(TELLING, out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "FOUND  Does <b>it</b> hold?"
    assert lines[-1] == "exit 0: the load holds up to 412/s"
    assert any("runs/x/search.html" in line for line in lines)


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (Known.BETWEEN, "the load holds up to 110/s"),
        (Known.BELOW, "the load does not hold even at 120/s"),
        (Known.BEYOND, "the load still holds at 100/s, the last level asked for"),
        (Known.LIMITED, "the load holds at least up to 100/s; above that: load not delivered"),
        (Known.UNDECIDED, "the load: 110/s (100/s–120/s, 90 % sure); load not delivered"),
    ],
)
def test_each_way_to_know_a_boundary_has_its_headline(known: Known, text: str) -> None:
    """One line says what is known, and of what is not, why."""
    seen = Boundary(
        known=known, holds=100.0, breaks=120.0, best=110.0, confidence=0.9, trials=9, why="load not delivered"
    )
    assert headline_of(seen, SAY, "the load") == text
    assert dict(boundary_facts(seen, (), SAY))["holds"]


def test_what_an_interval_rests_on_is_said_where_it_may_be_one_or_the_other() -> None:
    """A capacity says whether a line through shares or outcomes alone gave its interval; a dose has no choice."""
    seen = Boundary(known=Known.BETWEEN, holds=95.0, breaks=105.0, best=100.0, confidence=0.95, trials=9)
    assert "rests on" not in dict(boundary_facts(seen, (), SAY))
    assert dict(boundary_facts(replace(seen, by="a line"), (), SAY))["rests on"] == "a line"


def test_what_breaks_what_contradicts_and_what_was_not_counted_is_said() -> None:
    """Facts name the nearest broken level, contradictions and silent trials."""
    odd = [trial(RUNGS[2], Outcome.BROKEN), trial(RUNGS[3], Outcome.UNKNOWN)]
    trials = (*TRIALS, *odd)
    facts = dict(boundary_facts(so_far(LADDER, trials), trials, SAY))
    assert facts["against"].startswith("1 trial of ")
    assert "errors < 1%: 5 %" in facts["breaks"]
    assert facts["not counted"].startswith("1 trial (")
    said = dict(capacity_facts(curve_of(TRIALS), SAY))
    assert set(said) == {"knee", "best", "collapse", "scaling"}
    assert said["collapse"].startswith("none seen up to 800/s")


def test_a_law_that_does_not_fit_and_a_knee_that_was_not_seen_are_not_told() -> None:
    """A law off by a fifth or more says so instead of its numbers, and a curve that only rises has no knee."""
    rising = tuple(replace(trial(level, Outcome.HELD), goodput=level, inside=level / 20) for level in RUNGS[:60:10])
    assert dict(capacity_facts(curve_of(rising), SAY))["knee"] == f"none seen up to {SAY(RUNGS[50])}"
    odd = tuple(replace(one, inside=one.level * (5.0 if nth % 2 else 0.05)) for nth, one in enumerate(rising))
    told = dict(capacity_facts(curve_of(odd), SAY))["scaling"]
    assert told.startswith("does not follow the Universal Scalability Law: off by ")


def test_what_a_fault_costs_has_an_interval() -> None:
    """100 left of 200: half is lost, with the widest that both intervals allow."""
    whole = Boundary(known=Known.BETWEEN, holds=190.0, breaks=210.0, best=200.0, confidence=0.95, trials=9)
    under = Boundary(known=Known.BETWEEN, holds=95.0, breaks=105.0, best=100.0, confidence=0.95, trials=9)
    label, text = cost_fact("noop", whole, under, SAY)
    assert label == "under noop"
    assert text.endswith("50 % lost (44.7 %–54.8 %)")
    assert "lost" not in cost_fact("noop", so_far(LADDER, []), under, SAY)[1]
    assert found(LADDER, []) is None


def test_a_view_says_a_line_for_each_trial(tmp_path: Path) -> None:
    """In a file there is no bar; a trial's reason stands below it, and the time that is left beside it."""
    with (tmp_path / "out").open("w+") as out:
        view = SearchView(out, {}, SAY)
        view.tick(50.0, Ahead(done=0, left=9, each_s=6.0), 1.0)
        view.trial(trial(200.0, Outcome.BROKEN), Ahead(done=1, left=8, each_s=6.0))
        view.close()
        text = (tmp_path / "out").read_text()
    assert "200/s  BROKEN   p95 100 ms" in text
    assert "(about 8 more, 48 s)" in text
    assert "errors < 1%: 5 %" in text
    assert Ahead(done=1, left=2, each_s=6.0).remaining_s(4.0) == 8.0
    SearchView(None, {}, SAY).close()
