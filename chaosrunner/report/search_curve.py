"""The levels of a search as charts and tables: goodput and response against load, and every trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

from chaosrunner.model.search import Boundary, Trial
from chaosrunner.model.verdict import Outcome
from chaosrunner.report import words
from chaosrunner.report.markup import Child, el, table
from chaosrunner.report.svg import CHAR, Plot, Scale, label, path, round_decades, round_steps, value_axis

WIDE, NARROW = 920, 380
Say = Callable[[float], str]


def curve_figure(levels: Sequence[Trial], boundary: Boundary, say: Say) -> list[Child]:
    """Two charts over the levels that were measured; nothing with fewer than two of them."""
    if len(levels) < 2:
        return []
    best = max(levels, key=lambda one: one.goodput)
    goodput = f"At best {words.rate(best.goodput)} succeeded, at {say(best.level)}."
    slow = [one for one in levels if one.p95 is not None and math.isinf(one.p95)]
    waits = f"From {say(slow[0].level)} on more than a twentieth failed." if slow else "At no level p95 was a failure."
    return [
        _figure("Goodput by load", goodput, lambda width: goodput_chart(levels, boundary, say, width)),
        _figure("p95 by load", waits, lambda width: latency_chart(levels, boundary, say, width)),
    ]


def trials_table(trials: Sequence[Trial], say: Say) -> ET.Element:
    """Every trial in the order it was played, with a link to its own report."""
    body: list[list[Child]] = []
    for nth, one in enumerate(trials, 1):
        link = el("a", one.run, href=f"{one.run}/report.html") if one.run else words.NOTHING
        seen = [words.rate(one.offered), words.rate(one.goodput), words.share(one.errors), words.seconds(one.p95)]
        figures = seen if one.seconds else [words.NOTHING] * 4
        judged = el("span", one.outcome.name, class_={Outcome.HELD: "ok"}.get(one.outcome, one.outcome.name.lower()))
        body.append(
            [str(nth), say(one.level), el("span", judged, el("small", words.printable(one.why))), *figures, link]
        )
    head = ["trial", "level", "outcome", "offered", "goodput", "errors", "p95", "run"]
    return table(head, body, caption="every trial, in the order of time", numeric=frozenset({3, 4, 5, 6}))


def goodput_chart(levels: Sequence[Trial], boundary: Boundary, say: Say, width: int) -> ET.Element:
    """Offered and successful requests a second against the level."""
    plot = _plot(levels, width, 240)
    most = max(one.offered for one in levels)
    y = Scale(0, most * 1.08 or 1, plot.bottom, plot.top)
    offered = [(plot.x(one.level), y(one.offered)) for one in levels]
    good = [(plot.x(one.level), y(one.goodput)) for one in levels]
    return _svg(
        plot,
        value_axis(plot, y, round_steps(0, most, 5), lambda value: f"{value:,.6g}"),
        path([*offered], "due"),
        path([*good], "ok"),
        *_dots(good),
        *_edge(plot, boundary, say),
        _level_axis(plot, say),
        *_legend(plot, [("due", "offered"), ("ok", "goodput")]),
    )


def latency_chart(levels: Sequence[Trial], boundary: Boundary, say: Say, width: int) -> ET.Element:
    """p95 against the level, on a logarithmic scale; where it falls on failures the line ends."""
    plot = _plot(levels, width, 240)
    finite = [one for one in levels if one.p95 is not None and 0 < one.p95 < math.inf]
    values = [one.p95 or 0.001 for one in finite] or [0.001]
    y = Scale(min(values) / 1.2, max(max(values) * 1.2, min(values) * 4), plot.bottom, plot.top, log=True)
    points = [(plot.x(one.level), y(one.p95 or 0.001)) if one in finite else None for one in levels]
    return _svg(
        plot,
        value_axis(plot, y, round_decades(y.low, y.high), words.seconds),
        path(points, "p95"),
        *_dots([point for point in points if point]),
        *_edge(plot, boundary, say),
        _level_axis(plot, say),
    )


def _plot(levels: Sequence[Trial], width: int, height: int) -> Plot:
    low, high = min(one.level for one in levels), max(one.level for one in levels)
    x = Scale(low, max(high, low * 1.01), 64.0, width - 16.0)
    return Plot(width=width, height=height, x=x, top=16.0, bottom=height - 44.0)


def _svg(plot: Plot, *parts: Child) -> ET.Element:
    return el("svg", *parts, viewBox=f"0 0 {plot.width} {plot.height}", role="img")


def _figure(title: str, sentence: str, draw: Callable[[int], ET.Element]) -> ET.Element:
    drawn = []
    for width, class_ in ((WIDE, "for-wide"), (NARROW, "for-narrow")):
        image = draw(width)
        image.set("aria-label", f"{title}. {sentence}")
        image.set("class", f"chart {class_}")
        drawn.append(image)
    return el("figure", el("figcaption", el("strong", title), " ", words.printable(sentence)), *drawn)


def _dots(points: Sequence[tuple[float, float]]) -> list[Child]:
    return [el("circle", cx=x, cy=y, r=3.0, class_="proven") for x, y in points]


def _edge(plot: Plot, boundary: Boundary, say: Say) -> list[Child]:
    """The boundary as a line, with its name on the side where there is room."""
    if boundary.best is None or not plot.x.low <= boundary.best <= plot.x.high:
        return []
    x, text = plot.x(boundary.best), f"holds up to {say(boundary.best)}"
    fits = x + 4 + len(text) * CHAR < plot.right
    name = label(
        x + (4 if fits else -4), plot.top + 8, text, anchor="start" if fits else "end", class_="recovered-name"
    )
    return [el("line", x1=x, x2=x, y1=4, y2=plot.bottom, class_="recovered"), name]


def _level_axis(plot: Plot, say: Say) -> ET.Element:
    parts: list[Child] = [el("line", x1=plot.left, x2=plot.right, y1=plot.bottom, y2=plot.bottom, class_="axis")]
    for tick in round_steps(plot.x.low, plot.x.high, 8 if plot.width > 600 else 3):
        parts.append(el("line", x1=plot.x(tick), x2=plot.x(tick), y1=plot.bottom, y2=plot.bottom + 4, class_="axis"))
        parts.append(label(plot.x(tick), plot.bottom + 16, say(tick), anchor="middle"))
    return el("g", *parts)


def _legend(plot: Plot, entries: list[tuple[str, str]]) -> list[Child]:
    parts: list[Child] = []
    x, y = plot.left, plot.height - 6.0
    for class_, text in entries:
        parts.append(el("path", d=f"M{x:.1f} {y - 4:.1f}h22", class_=class_))
        parts.append(label(x + 27, y, text))
        x += 27 + len(text) * CHAR + 18
    return parts
