"""The page: complete, escaped, self-contained, and readable in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import SCENARIOS, Sample, hostile, sample

from chaosrunner.logic.detail import CALM_HITS
from chaosrunner.logic.fold import State, fold
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase
from chaosrunner.model.load import ERRORS
from chaosrunner.model.load import Outcome as Hits
from chaosrunner.model.slots import Frame, Slot
from chaosrunner.report.charts import charts
from chaosrunner.report.html import html
from chaosrunner.report.markup import serialised
from chaosrunner.report.series import timeline
from chaosrunner.report.sources import MOST_EVENTS
from chaosrunner.report.story import Line, story
from chaosrunner.report.svg import Scale, round_decades, round_steps

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><b>&amp;"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects tags and attributes, and checks that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def page(one: Sample) -> str:
    return html(one.verdict, one.experiment, one.state, one.entries)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_page_says_what_the_verdict_says(scenario: str) -> None:
    """Headline, question, exit code, every finding's bound and every phase's request count are on the page."""
    one = sample(scenario)
    read = Page(page(one))
    assert read.open == []
    assert one.verdict.question in read.text
    assert f"exit {int(one.verdict.exit)} {one.verdict.headline}" in read.text
    for stats in one.verdict.phases:
        assert f"{stats.hits:,}" in read.text
    for fault in one.verdict.faults:
        assert fault.evidence in read.text


@pytest.mark.parametrize("text", [EVIL, "\x00\x1b[2J\ud800", "]]>--><!--"])
def test_no_text_becomes_markup(text: str) -> None:
    """Hostile words in every place a user or a target can fill add no element, handler or address."""
    plain, bad = Page(page(sample("broken"))), Page(page(hostile(text)))
    assert set(bad.tags) <= set(plain.tags)
    assert "script" not in bad.tags
    names = {name for name, _ in bad.attributes}
    assert not [name for name in names if name.startswith("on") or name in {"src", "style"}]
    assert all((value or "").startswith("#e") for name, value in bad.attributes if name == "href")


def test_the_page_is_alone() -> None:
    """The policy allows nothing but the one style sheet, whose hash is right, and no address is fetched."""
    text = page(sample("broken"))
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text
    assert not re.search(r"https?://|url\(|@import", text.replace("http-equiv", ""))


def test_every_chart_says_itself_in_a_sentence() -> None:
    """Each drawing is an image with a label, and the figures behind them are in a table."""
    text = page(sample("broken"))
    drawings = re.findall(r"<svg[^>]*>", text)
    assert len(drawings) == 8
    assert all('role="img"' in drawing and "aria-label=" in drawing for drawing in drawings)
    assert "The figures of these charts" in text


def test_charts_count_what_the_verdict_counts() -> None:
    """The failures in the drawn points are those of the verdict's phases."""
    one = sample("broken")
    line = timeline(one.experiment, one.verdict, one.state)
    assert line is not None
    assert sum(p.tally.errors for p in line.points) == sum(s.errors for s in one.verdict.phases if not s.name)
    assert sum(p.tally.due for p in line.points) == one.verdict.trust.offered
    assert [phase for phase, _, _ in line.phases] == [phase for phase, _ in one.state.phases]


def test_single_requests_are_drawn_and_counted() -> None:
    """Around the faults every failure is a cross; the title says `every` only where no request is left out."""
    one = sample("broken")
    line = timeline(one.experiment, one.verdict, one.state)
    assert line is not None
    begin, end = line.hits[0].due_us, line.hits[-1].due_us
    bad = [hit for hit in one.state.hits if hit.outcome in ERRORS and begin <= hit.due_us <= end]
    text = serialised(charts(line)[-1])
    assert text.count("l5 5m0-5l-5 5") == 2 * len(bad)
    assert "Every request around the faults" in text
    fewer = replace(one.state, hits=one.state.hits[::2])
    thinned = timeline(one.experiment, one.verdict, fewer)
    assert thinned is not None
    assert not thinned.hits_whole
    assert "not all there were" in serialised(charts(thinned)[-1])


def test_a_run_without_load_has_a_page_too() -> None:
    """When nothing was ever sent the page says so in the place of charts."""
    one = sample("broken")
    empty = replace(one.verdict, phases=(), findings=(), faults=())
    assert "No load was sent" in html(empty, one.experiment, State(), ())


def test_a_long_journal_is_cut_in_the_middle() -> None:
    """More events than fit are counted, and the first and the last are shown."""
    one = sample("broken")
    [end] = one.entries[-1:]
    many = [replace(end, n=1000 + n) for n in range(MOST_EVENTS + 7)]
    text = html(one.verdict, one.experiment, one.state, many)
    assert 'id="e1000"' in text
    assert f'id="e{1000 + MOST_EVENTS + 6}"' in text
    assert "7 from the middle" in text
    assert text.count('id="e') == MOST_EVENTS


def test_evidence_links_lead_somewhere() -> None:
    """Every link of a finding leads to an event on the page."""
    one = sample("broken")
    told: list[Line] = story(one.entries, one.experiment)
    linked = replace(one.verdict, findings=tuple(replace(f, evidence=(told[0].n, 10**6)) for f in one.verdict.findings))
    text = html(linked, one.experiment, one.state, one.entries)
    targets = set(re.findall(r'href="#(e\d+)"', text))
    assert targets == {f"e{told[0].n}"}
    assert targets <= set(re.findall(r'id="(e\d+)"', text))


@given(low=st.floats(0, 1e6), span=st.floats(1e-3, 1e6), most=st.integers(1, 20))
def test_ticks_are_few_and_inside(low: float, span: float, most: int) -> None:
    """Round ticks lie in their interval, in order, and are no more than about as many as asked."""
    ticks = round_steps(low, low + span, most)
    assert ticks == sorted(ticks)
    assert len(ticks) <= most + 1
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)


@given(low=st.floats(1e-6, 1), factor=st.floats(4, 1e6), shares=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_a_scale_keeps_order_and_stays_inside(low: float, factor: float, shares: list[float]) -> None:
    """A logarithmic scale is monotone and never leaves its range, and its ticks lie on it."""
    scale = Scale(low, low * factor, 0, 100, log=True)
    one, other = sorted(low + share * low * (factor - 1) for share in shares)
    assert -1e-9 <= scale(one) <= scale(other) + 1e-9 <= 100 + 1e-6
    assert 0 < len(round_decades(low, low * factor)) <= 14


def test_a_black_hole_is_drawn() -> None:
    """A run in which nothing was ever answered has charts and says so."""
    one = sample("never")
    line = timeline(one.experiment, one.verdict, one.state)
    assert line is not None
    dead = replace(line, points=tuple(replace(point, tally=type(point.tally)(due=5)) for point in line.points))
    assert "No request was answered" in "".join(serialised(figure) for figure in charts(dead))


def test_a_browser_shows_it_without_complaint(tmp_path: Path) -> None:
    """In a real browser the page asks for nothing, breaks no policy and fits a narrow, dark screen."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: install the package chromium")
    api = pytest.importorskip("playwright.sync_api")
    path = tmp_path / "report.html"
    path.write_text(page(hostile(EVIL)), encoding="utf-8", errors="replace")
    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync"
    said: list[str] = []
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=flags.split())
        tab = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme="dark")
        tab.on("console", lambda message: said.append(message.text))
        tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: None if request.url == path.as_uri() else said.append(request.url))
        tab.goto(path.as_uri())
        width = tab.evaluate("document.documentElement.scrollWidth")
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        drawn = tab.evaluate(
            "[...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width).length"
        )
        browser.close()
    assert said == []
    assert width <= 400
    assert dark == "rgb(20, 24, 27)"
    assert drawn == 4


def test_a_busy_run_is_drawn_in_whole_tens_of_seconds() -> None:
    """Where slots were merged every point has the traffic of its own time: none is empty beside one with too much."""
    one = sample("held")
    slots = {(n, 0): Slot(due=CALM_HITS // 100, done={Hits.OK: CALM_HITS // 100}) for n in range(1_000)}
    events: list[e.Event] = [
        e.LoadStarted(epoch_ns=10**12, workers=1),
        e.PhaseEntered(phase=Phase.WARMUP, at_ns=10**12),
        e.PhaseEntered(phase=Phase.BASELINE, at_ns=10**12 + 3_500_000_000),
        e.SlotsArrived(frame=Frame(worker=0, seq=0, until_us=100_000_000, slots=slots)),
    ]
    state = fold(e.Entry(n, 10**12, "", 0, event) for n, event in enumerate(events))
    assert state.detail.until == 400
    line = timeline(one.experiment, one.verdict, state)
    assert line is not None
    assert (line.width_s, {point.tally.due for point in line.points}) == (10, {CALM_HITS})
