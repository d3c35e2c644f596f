"""The section of the page on the recovery: the verdict, what remains of each metric, what the faults did, the curve."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

from chaosrunner.model.experiment import Experiment
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import Change, Impact, Recovery, Residual, Return, Verdict
from chaosrunner.report import words
from chaosrunner.report.charts import figure
from chaosrunner.report.markup import Child, el, table
from chaosrunner.report.prose import as_before, bounded, cost, lost, recovered
from chaosrunner.report.sections import section
from chaosrunner.report.svg import Plot, Scale, area, label, path, round_steps, time_axis, value_axis

PROVEN = {
    Change.EQUAL: ("as before", "ok"),
    Change.BETTER: ("as before or better", "ok"),
    Change.WORSE: ("WORSE", "broken"),
    Change.UNCLEAR: ("unclear", "unknown"),
}


def recovery_section(verdict: Verdict, experiment: Experiment) -> ET.Element:
    """Time to recover with all it rests on."""
    seen = verdict.recovery
    impact = seen.impact
    target = f"within {human_duration(seen.target_s)}, held for {human_duration(experiment.recover.hold_s)}"
    facts: list[tuple[str, str]] = [
        ("target", target),
        ("users noticed", _detected(seen)),
        ("“after” violated, first to last bad request", bounded(seen.outage_s, seen.outage_low_s, seen.outage_high_s)),
        ("depth, worst second", _depth(seen)),
        ("lost", lost(seen)),
        ("p95 after ÷ before", f"{seen.residual:.2f}" if seen.residual is not None else words.NOTHING),
        ("seen to hold for", words.seconds(seen.held_s)),
    ]
    note = (
        "Measured from the users' own requests, not from the state of any process. Time counts from the end of the "
        "last fault's effect to halfway between the last ill request and the first from which everything asked of "
        "“after” holds and keeps holding; its bounds are the width of that end and the spacing of the traffic. "
        "RECOVERED means more: every metric below is proven, at 95 % with autocorrelation counted in, to be within its "
        "margin of this run's baseline."
    )
    before = as_before(seen)
    return section(
        "Recovery",
        el("p", words.printable(recovered(seen)), class_=f"lead {_class(seen)}"),
        el("p", words.printable(before)) if before else None,
        _facts(facts + (_impact_facts(seen, impact) if impact else [])),
        *_remains(seen),
        _curve(impact) if impact and impact.curve else None,
        el("p", note, class_="note"),
    )


def _facts(facts: list[tuple[str, str]]) -> ET.Element:
    rows = [el("div", el("dt", what), el("dd", words.printable(value))) for what, value in facts]
    return el("dl", *rows, class_="facts")


def _impact_facts(seen: Recovery, impact: Impact) -> list[tuple[str, str]]:
    sure = f"{words.seconds(impact.sure_s)} after the first injection" if impact.sure_s is not None else words.NOTHING
    facts = [("what it was", cost(seen)), ("sure of it", sure)]
    if impact.in_flight is not None:
        facts.append(("in flight at most, after the end", words.count(impact.in_flight)))
    facts += [(f"{one.metric} right after recovery", _change(one)) for one in impact.early]
    return facts


def _remains(seen: Recovery) -> list[ET.Element]:
    """The table of what remains of each metric."""
    if not seen.residuals:
        return []
    head = ["", "baseline", "after", "change", "95 % interval", "allowed", "proven"]
    body: list[list[Child]] = []
    for one in seen.residuals:
        word, class_ = PROVEN[one.proves]
        why = el("small", words.printable(one.why)) if one.why else None
        unit = "points" if one.scale == "difference" else "%"
        allowed = f"{'−' if one.metric.startswith('rate') else '+'}{one.margin * 100:.3g} {unit}"
        figures = [_value(one, one.before), _value(one, one.after), _change(one), _interval(one), allowed]
        body.append([words.printable(one.metric), *figures, el("span", el("strong", word, class_=class_), why)])
    return [el("h3", "What remains"), table(head, body, numeric=frozenset(range(1, 6)))]


def _value(one: Residual, value: float | None) -> str:
    if one.scale == "difference":
        return words.share(value)
    return words.rate(value) if one.metric.startswith("rate") else words.seconds(value)


def _change(one: Residual) -> str:
    return _relative(one, one.change)


def _interval(one: Residual) -> str:
    return f"{_relative(one, one.low)} to {_relative(one, one.high)}" if one.low is not None else words.NOTHING


def _relative(one: Residual, value: float | None) -> str:
    if value is None:
        return words.NOTHING
    if not math.isfinite(value):
        return "∞"
    return f"{value * 100:+.2g} points" if one.scale == "difference" else f"{(value - 1) * 100:+.3g} %"


def _curve(impact: Impact) -> ET.Element:
    """Goodput over the baseline's, second by second."""
    ratios = [ratio for _, ratio in impact.curve]
    lowest = min(ratios)
    at = next(at_s for at_s, ratio in impact.curve if ratio == lowest)
    said = f"At worst {lowest * 100:.3g} % of the baseline's goodput, {at:g} s after the first injection"
    lacking = f"; {impact.area_s:.3g} s of full service lost until recovery." if impact.area_s is not None else "."

    def drawn(width: int) -> ET.Element:
        end = impact.curve[-1][0] + impact.step_s
        plot = Plot(width=width, height=200, x=Scale(0.0, end, 58, width - 18), top=12, bottom=168)
        y = Scale(0.0, max(1.2, max(ratios) * 1.05), plot.bottom, plot.top)
        points = [(plot.x(at_s + impact.step_s / 2), y(ratio)) for at_s, ratio in impact.curve]
        return el(
            "svg",
            value_axis(plot, y, round_steps(0.0, y.high, 5), lambda value: f"{value * 100:g} %"),
            area([(x, max(place, y(1.0))) for x, place in points], y(1.0), "errors"),
            el("line", x1=plot.left, x2=plot.right, y1=y(1.0), y2=y(1.0), class_="edge"),
            path([*points], "ok"),
            time_axis(plot),
            label(plot.right, plot.height - 6.0, "after the first injection", anchor="end"),
            viewBox=f"0 0 {width} {plot.height}",
            role="img",
        )

    return figure("Resilience curve", said + lacking, drawn, None)


def _detected(seen: Recovery) -> str:
    if seen.detected_s is None:
        return "nothing" if seen.state == "recovered" and not seen.lost else words.NOTHING
    return f"{words.seconds(seen.detected_s)} after the first injection"


def _depth(seen: Recovery) -> str:
    if seen.depth is None:
        return words.NOTHING
    bounds = f" ({words.share(seen.depth_low)} to {words.share(seen.depth_high)})" if seen.depth_low is not None else ""
    return f"{words.share(seen.depth)}{bounds} of requests bad"


def _class(seen: Recovery) -> str:
    if seen.state == "recovered" and seen.verdict in (Return.NOT_RECOVERED, Return.RELAPSED):
        return "unknown"
    return {"recovered": "ok", "late": "broken", "never": "broken", "unknown": "unknown"}.get(seen.state, "")
