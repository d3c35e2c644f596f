"""The charts of a run: faults, traffic and latency against one time axis, each with a sentence and its figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as ET

from chaosrunner.model.experiment import Phase
from chaosrunner.model.load import ERRORS
from chaosrunner.report import words
from chaosrunner.report.composites import together
from chaosrunner.report.markup import Child, el, table
from chaosrunner.report.series import Bar, Point, Timeline
from chaosrunner.report.svg import (
    CHAR,
    Plot,
    Scale,
    area,
    clipped,
    label,
    path,
    round_decades,
    round_steps,
    time_axis,
    value_axis,
)
from chaosrunner.report.tally import Tally

WIDE, NARROW = 920, 380
"""The two widths every chart is drawn in; the style sheet shows the one that fits."""

LANE = 34
"""Height of one fault's lane in px."""

QUANTILES = ((0.99, "p99"), (0.95, "p95"), (0.5, "p50"))

TABLE_ROWS = 60
"""A table of a chart has at most this many rows; neighbours are merged."""


def charts(line: Timeline) -> list[ET.Element]:
    """All figures of a run."""
    figures = [
        figure("Phases and faults", faults_sentence(line), lambda width: faults_chart(line, width), None),
        figure("Requests per second", traffic_sentence(line), lambda width: traffic_chart(line, width), None),
        figure("Response time", latency_sentence(line), lambda width: latency_chart(line, width), _figures(line)),
    ]
    if line.hits:
        title = "Every request around the faults" if line.hits_whole else "Requests around the faults"
        figures.append(figure(title, hits_sentence(line), lambda width: hits_chart(line, width), None))
    return figures


def faults_chart(line: Timeline, width: int) -> ET.Element:
    """A lane a fault or composite: where its inject and heal were under way, and where it stood."""
    lanes = together(line.bars)
    plot = _plot(line, width, 26 + LANE * max(1, len(lanes)) + 30, top=26)
    parts = [*_phases(plot, line, names=True)]
    for number, bars in enumerate(lanes):
        for nth, bar in enumerate(bars):
            named = bar.title if bar.group is None else "" if nth else bar.group.title
            parts += _lane(plot, replace(bar, title=named), plot.top + LANE * number, line.end_s)
    return _svg(plot, *parts, *_recovered(plot, line, named=False), time_axis(plot))


def traffic_chart(line: Timeline, width: int) -> ET.Element:
    """Offered, successful and failed requests a second."""
    plot = _plot(line, width, 220, top=12)
    per = float(line.width_s)
    most = max((point.tally.due for point in line.points), default=1) / per
    y = Scale(0, most * 1.08 or 1, plot.bottom, plot.top)

    def steps(count: Callable[[Point], int]) -> list[tuple[float, float]]:
        return [(plot.x(p.at_s + per / 2), y(count(p) / per)) for p in line.points]

    return _svg(
        plot,
        *_phases(plot, line),
        value_axis(plot, y, round_steps(0, most, 5), lambda value: f"{value:,.6g}"),
        area(steps(lambda p: p.tally.errors), plot.bottom, "errors"),
        path([*steps(lambda p: p.tally.due)], "due"),
        path([*steps(lambda p: p.tally.oks)], "ok"),
        path([*steps(lambda p: p.tally.errors)], "errors-line"),
        *_recovered(plot, line),
        time_axis(plot),
        *_legend(plot, [("due", "offered"), ("ok", "answered well"), ("errors-line", "failed")]),
    )


def latency_chart(line: Timeline, width: int) -> ET.Element:
    """p50, p95 and p99 on a logarithmic scale; a quantile that falls on failed requests is drawn in a band above it."""
    plot = _plot(line, width, 260, top=34)
    values = [p.tally.quantile_s(share) for p in line.points for share, _ in QUANTILES]
    finite = [value for value in values if value is not None and 0 < value < math.inf]
    low, high = (min(finite) / 1.2, max(finite) * 1.2) if finite else (0.001, 1.0)
    y = Scale(low, max(high, low * 4), plot.bottom, plot.top, log=True)
    band = plot.top - 9

    def place(point: Point, share: float) -> tuple[float, float] | None:
        value = point.tally.quantile_s(share)
        if value is None:
            return None
        return plot.x(point.at_s + line.width_s / 2), band if math.isinf(value) else y(max(value, low))

    lines = [path([place(point, share) for point in line.points], name) for share, name in QUANTILES]
    return _svg(
        plot,
        *_phases(plot, line),
        value_axis(plot, y, round_decades(y.low, y.high), words.seconds),
        el("rect", x=plot.left, y=band - 7, width=plot.right - plot.left, height=14.0, class_="failed-band"),
        label(plot.left - 6, band + 4, "failed", anchor="end"),
        *lines,
        *_recovered(plot, line),
        time_axis(plot),
        *_legend(plot, [(name, name) for _, name in reversed(QUANTILES)]),
    )


def hits_chart(line: Timeline, width: int) -> ET.Element:
    """A dot a request, a cross a failure, by when it was due and how long it took."""
    begin, end = line.hits[0].due_us / 1e6, line.hits[-1].due_us / 1e6
    zoomed = replace(line, begin_s=begin, end_s=max(end, begin + 1))
    plot = _plot(zoomed, width, 260, top=12)
    took = [max(hit.response_us, 100) / 1e6 for hit in line.hits]
    y = Scale(min(took) / 1.2, max(max(took) * 1.2, min(took) * 4), plot.bottom, plot.top, log=True)
    dots, crosses = [], []
    for hit, seconds in zip(line.hits, took, strict=True):
        x, at = plot.x(hit.due_us / 1e6), y(seconds)
        if hit.outcome in ERRORS:
            crosses.append(f"M{x - 2.5:.1f} {at - 2.5:.1f}l5 5m0-5l-5 5")
        else:
            dots.append(f"M{x:.1f} {at:.1f}h0")
    return _svg(
        plot,
        *_phases(plot, zoomed),
        value_axis(plot, y, round_decades(y.low, y.high), words.seconds),
        el("path", d="".join(dots), class_="dots"),
        el("path", d="".join(crosses), class_="crosses"),
        *_recovered(plot, zoomed),
        time_axis(plot),
        *_legend(plot, [("dots", "answered well"), ("crosses", "failed")]),
    )


def hits_sentence(line: Timeline) -> str:
    """What the chart of single requests shows."""
    bad = [hit for hit in line.hits if hit.outcome in ERRORS]
    begin, end = line.hits[0].due_us / 1e6, line.hits[-1].due_us / 1e6
    said = f"{words.plural(len(line.hits), 'request')} due from {begin:.1f} s to {end:.1f} s"
    if not line.hits_whole:
        said += ", not all there were"
    if not bad:
        return f"{said}; none failed."
    return f"{said}; {len(bad):,} failed, due from {bad[0].due_us / 1e6:.2f} s to {bad[-1].due_us / 1e6:.2f} s."


def faults_sentence(line: Timeline) -> str:
    """What the chart of faults shows."""
    parts = [f"{phase} from {begin:.0f} s to {end:.0f} s" for phase, begin, end in line.phases]
    for bar in line.bars:
        if bar.final:
            parts.append(f"{bar.title} at {bar.begun[1]:.2f} s, which has no undo")
        elif bar.ended is None:
            parts.append(f"{bar.title} from {bar.begun[1]:.2f} s on, not undone")
        else:
            parts.append(f"{bar.title} from {bar.begun[1]:.2f} s to {bar.ended[1]:.2f} s")
    if line.recovered_s is not None:
        parts.append(f"'after' holds from {line.recovered_s:.2f} s")
    return "; ".join(parts) + "."


def traffic_sentence(line: Timeline) -> str:
    """What the chart of traffic shows."""
    most = max(point.tally.due for point in line.points) / line.width_s
    bad = [point for point in line.points if point.tally.errors]
    said = f"At most {most:,.4g} requests/s were offered"
    if not bad:
        return f"{said}; none failed."
    worst = max(bad, key=lambda point: point.tally.error_share or 0.0)
    where = f"{len(bad)} of {words.plural(len(line.points), 'interval')} of {line.width_s} s"
    deepest = f"{words.share(worst.tally.error_share)} at {worst.at_s:.0f} s"
    return f"{said}; requests failed in {where}, at worst {deepest}; {words.count(_errors(line))} failed in all."


def _errors(line: Timeline) -> int:
    return sum(point.tally.errors for point in line.points)


def latency_sentence(line: Timeline) -> str:
    """What the chart of latency shows."""
    said = []
    for phase, word in (
        (Phase.BASELINE, "in the baseline"),
        (Phase.FAULT, "during the faults"),
        (Phase.AFTER, "after"),
    ):
        seen = [value for p in line.among(phase) if (value := p.tally.quantile_s(0.95)) is not None]
        if seen:
            worst = max(seen)
            middle = sorted(seen)[len(seen) // 2]
            said.append(f"{word} {words.seconds(middle)} typically and {words.seconds(worst)} at worst")
    if not said:
        return "No request was answered."
    return f"p95 over intervals of {line.width_s} s was " + "; ".join(said) + "."


def figure(title: str, sentence: str, draw: Callable[[int], ET.Element], figures: Child) -> ET.Element:
    """A chart in both widths with its title, a sentence that says what it shows, and (or None) its figures."""
    drawn = []
    for width, class_ in ((WIDE, "for-wide"), (NARROW, "for-narrow")):
        image = draw(width)
        image.set("aria-label", f"{title}. {sentence}")
        image.set("class", f"chart {class_}")
        drawn.append(image)
    return el("figure", el("figcaption", el("strong", title), " ", sentence), *drawn, figures)


def _figures(line: Timeline) -> ET.Element:
    """The values behind the charts, merged to a readable number of rows."""
    step = -(-len(line.points) // TABLE_ROWS)
    body: list[list[Child]] = []
    for at in range(0, len(line.points), step):
        group = line.points[at : at + step]
        tally = group[0].tally if step == 1 else _merged(group)
        seconds = float(line.width_s * len(group))
        figures = [f"{tally.due / seconds:,.4g}", f"{tally.oks / seconds:,.4g}", f"{tally.errors / seconds:,.4g}"]
        quantiles = [words.seconds(tally.quantile_s(share)) for share, _ in reversed(QUANTILES)]
        body.append([f"{group[0].at_s:g} s", *figures, *quantiles])
    head = ["from", "offered/s", "well/s", "failed/s", "p50", "p95", "p99"]
    caption = f"Intervals of {line.width_s * step} s, in seconds after the load began"
    inner = table(head, body, caption=caption, numeric=frozenset(range(1, 7)))
    return el("details", el("summary", "The figures of these charts"), inner)


def _merged(points: tuple[Point, ...]) -> Tally:
    total = Tally()
    for point in points:
        total.add(point.tally)
    return total


def _plot(line: Timeline, width: int, height: int, *, top: float) -> Plot:
    x = Scale(line.begin_s, max(line.end_s, line.begin_s + 1), 58, width - 18)
    return Plot(width=width, height=height, x=x, top=top, bottom=height - 40 if height > 200 else height - 24)


def _svg(plot: Plot, *parts: Child) -> ET.Element:
    return el("svg", *parts, viewBox=f"0 0 {plot.width} {plot.height}", role="img")


def _phases(plot: Plot, line: Timeline, *, names: bool = False) -> list[Child]:
    parts: list[Child] = []
    for phase, begin, end in line.phases:
        x, width = plot.x(begin), plot.x(end) - plot.x(begin)  # held inside the plot by its scale
        if width <= 0:
            continue
        top = 4.0
        parts.append(el("rect", x=x, y=top, width=width, height=plot.bottom - top, class_=f"phase {phase.value}"))
        parts.append(el("line", x1=x, x2=x, y1=top, y2=plot.bottom, class_="edge"))
        if names and len(phase.value) * CHAR <= width - 6:
            parts.append(label(x + 4, 17, phase.value, class_="phase-name"))
    return parts


def _lane(plot: Plot, bar: Bar, top: float, end_s: float) -> list[Child]:
    y = top + 18
    begin = plot.x(bar.begun[0])
    room = max(plot.right - begin, begin - plot.left)
    left = plot.right - begin >= begin - plot.left or len(bar.title) * CHAR <= plot.right - begin
    text = clipped(bar.title + ("" if bar.final or bar.ended else " (not undone)"), room)
    parts: list[Child] = [label(begin if left else begin + 4, top + 12, text, anchor="start" if left else "end")]
    if bar.final:
        parts.append(el("path", d=f"M{begin:.1f} {y:.1f}l6 5l-6 5l-6 -5Z", class_="kill"))
        return parts
    until = bar.ended or (end_s, end_s)
    parts.append(el("rect", x=begin, y=y, width=max(1.5, plot.x(until[1]) - begin), height=10.0, class_="fault-bar"))
    for one, other in (bar.begun, until):
        parts.append(
            el("rect", x=plot.x(one), y=y, width=max(1.5, plot.x(other) - plot.x(one)), height=10.0, class_="between")
        )
    if bar.proven_s is not None:
        parts.append(el("circle", el("title", "proven"), cx=plot.x(bar.proven_s), cy=y + 5, r=3.0, class_="proven"))
    return parts


def _recovered(plot: Plot, line: Timeline, *, named: bool = True) -> list[Child]:
    if line.recovered_s is None or not line.begin_s <= line.recovered_s <= line.end_s:
        return []
    x = plot.x(line.recovered_s)
    text = f"'after' holds {line.recovered_s:.1f} s"
    fits = x + len(text) * CHAR < plot.right
    name = label(
        x + (4 if fits else -4), plot.bottom - 6, text, anchor="start" if fits else "end", class_="recovered-name"
    )
    return [el("line", x1=x, x2=x, y1=4, y2=plot.bottom, class_="recovered"), name if named else None]


def _legend(plot: Plot, entries: list[tuple[str, str]]) -> list[Child]:
    parts: list[Child] = []
    x, y = plot.left, plot.height - 6.0
    for class_, text in entries:
        parts.append(el("path", d=f"M{x:.1f} {y - 4:.1f}h22", class_=class_))
        parts.append(label(x + 27, y, text))
        x += 27 + len(text) * CHAR + 18
    return parts
