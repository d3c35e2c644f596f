"""Scales, axes and lines of a chart, as SVG elements. Colours are classes: the style sheet has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from chaosrunner.report.markup import el

CHAR = 6.2
"""Width of a character of chart text in px; a little more than the truth."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to px. Logarithmic when `log`; values outside are held at the ends."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value in px."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low) if high > low else 0.0
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A drawing area with margins, in px, and its time axis."""

    width: int
    height: int
    x: Scale
    top: float
    bottom: float

    @property
    def left(self) -> float:
        """Where the drawing area begins."""
        return self.x.start

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.x.end


def round_steps(low: float, high: float, most: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) in [low, high], at most about `most` of them."""
    if high <= low:
        return [low]
    raw = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [first * step + step * number for number in range(math.floor((high - first * step) / step + 1e-9) + 1)]


def round_decades(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten in [low, high]; only the powers when there would be more than eight."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [10.0**power * factor for power in powers for factor in (1, 2, 5)]
    inside = [value for value in fine if low * 0.999 <= value <= high * 1.001]
    if len(inside) <= 8:
        return inside
    return [10.0**power for power in powers if low * 0.999 <= 10.0**power <= high * 1.001]


def path(points: Sequence[tuple[float, float] | None], class_: str) -> ET.Element:
    """A line through points; None interrupts it, a lone point becomes a short dash."""
    parts, pen = [], False
    for number, point in enumerate(points):
        if point is None:
            pen = False
            continue
        alone = not pen and (number + 1 == len(points) or points[number + 1] is None)
        parts.append(f"{'L' if pen else 'M'}{point[0]:.1f} {point[1]:.1f}{'h2' if alone else ''}")
        pen = True
    return el("path", d="".join(parts), class_=class_)


def area(points: Sequence[tuple[float, float]], floor: float, class_: str) -> ET.Element:
    """The surface between points and a floor."""
    if not points:
        return el("g")
    line = "".join(f"L{x:.1f} {y:.1f}" for x, y in points)
    return el("path", d=f"M{points[0][0]:.1f} {floor:.1f}{line}L{points[-1][0]:.1f} {floor:.1f}Z", class_=class_)


def label(x: float, y: float, text: str, *, anchor: str = "start", class_: str = "label") -> ET.Element:
    """A text."""
    return el("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def time_axis(plot: Plot, unit: str = "s") -> ET.Element:
    """Ticks and labels along the bottom."""
    ticks = round_steps(plot.x.low, plot.x.high, 10 if plot.width > 600 else 5)
    parts: list[ET.Element | str | None] = [
        el("line", x1=plot.left, x2=plot.right, y1=plot.bottom, y2=plot.bottom, class_="axis")
    ]
    for tick in ticks:
        parts.append(el("line", x1=plot.x(tick), x2=plot.x(tick), y1=plot.bottom, y2=plot.bottom + 4, class_="axis"))
        parts.append(label(plot.x(tick), plot.bottom + 16, f"{tick:g} {unit}", anchor="middle"))
    return el("g", *parts)


def value_axis(plot: Plot, y: Scale, ticks: Sequence[float], say: Callable[[float], str]) -> ET.Element:
    """Grid lines and labels along the left."""
    parts = []
    for tick in ticks:
        parts.append(el("line", x1=plot.left, x2=plot.right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(label(plot.left - 6, y(tick) + 4, say(tick), anchor="end"))
    return el("g", *parts)


def clipped(text: str, px: float) -> str:
    """As much of a text as fits, with an ellipsis; empty when not even three characters do."""
    fits = int(px / CHAR)
    if len(text) <= fits:
        return text
    return text[: fits - 1] + "…" if fits >= 4 else ""
