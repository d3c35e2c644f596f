"""Numbers and outcomes as people read them; the same words in every report."""

from __future__ import annotations

import math
import re

from chaosrunner.errors import Exit
from chaosrunner.model.experiment import Phase
from chaosrunner.model.hypothesis import Against, Stat, Tolerance
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import Outcome, Verdict

NOTHING = "–"
"""What stands where there is no number. Never a zero."""

FAILED = "failed"
"""A latency quantile that falls on a failed request: it never got an answer worth the name."""

PHASE_WORDS = {Phase.BASELINE: "before", Phase.FAULT: "during", Phase.AFTER: "after"}
"""How the hypothesis calls the phase that it is judged on."""

PHASE_TEXT = {phase.value: text for phase, text in PHASE_WORDS.items()}
"""The same by the phase's own word."""

_ASCII = str.maketrans(
    {"≤": "<=", "≥": ">=", "–": "-", "—": "-", "·": "|", "×": "x", "÷": "/", "µ": "u", "└": "`-", "…": "...", "→": "->"}
    | {"’": "'", "“": '"', "”": '"', "∞": "inf", "−": "-", "█": "#", "░": ".", "●": "*"}
)

_CONTROL = dict.fromkeys("\n\r\t\v\f", " ")


def printable(text: str) -> str:
    """`text` on one line without control characters, so that a name in a file cannot drive a terminal or break XML."""
    return "".join(char if char.isprintable() else _CONTROL.get(char, "\N{REPLACEMENT CHARACTER}") for char in text)


def ascii_only(text: str) -> str:
    """`printable` text in ASCII: known signs spelled out, anything else as a backslash escape."""
    return printable(text).translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def broken(label: str, width: int) -> str:
    """A label in lines of at most `width` characters, ended where a name has its joints; a longer piece is cut."""
    lines = [""]
    for piece in re.findall(r"[^-.\s_/]*[-.\s_/]*", label):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def seconds(value: float | None) -> str:
    """A duration or latency in seconds: `340 ms`; `failed` when infinite, a dash when there is none."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return FAILED
    return human_duration(value) if value else "0 s"


def share(value: float | None, *, digits: int = 2) -> str:
    """A fraction 0..1 in percent, `digits` significant digits and one decimal at least; 99.97 % never becomes 100 %."""
    if value is None or math.isnan(value):
        return NOTHING
    percent = value * 100
    places = 0 if percent in (0.0, 100.0) else digits - 1 - math.floor(math.log10(min(percent, abs(100 - percent))))
    text = f"{percent:.{min(9, max(1, places))}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def rate(value: float | None) -> str:
    """A number per second: `1,000/s`."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s"


def count(value: int) -> str:
    """A whole number with thousands separated."""
    return f"{value:,}"


def plural(number: int, noun: str) -> str:
    """`1 request`, `932 requests`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def measured(stat: Stat, value: float | None) -> str:
    """A statistic's value in its own unit."""
    match stat:
        case Stat.QUANTILE | Stat.MEAN | Stat.MAX:
            return seconds(value)
        case Stat.ERRORS:
            return share(value)
        case Stat.RATE:
            return rate(value)
        case Stat.PROBE:
            return NOTHING if value is None else f"{value:g}"


def beside(stat: Stat, value: float | None, limit: float | None) -> str:
    """`value` with enough digits not to look like `limit` when it is not: 2.004 % beside 2 %."""
    text = measured(stat, value)
    if value is None or limit is None or value == limit or text != measured(stat, limit) or math.isinf(value):
        return text
    if stat is Stat.ERRORS:
        return next((s for d in range(3, 10) if (s := share(value, digits=d)) != text), text)
    unit, factor = {Stat.RATE: ("/s", 1.0), Stat.PROBE: ("", 1.0)}.get(stat, (" ms", 1000.0))
    return f"{value * factor:.6g}{unit}"


def limit_of(tolerance: Tolerance, baseline: float | None) -> float | None:
    """The bound as a number, in the metric's unit; None when it needs a baseline that is not known."""
    match tolerance.against:
        case Against.ABSOLUTE:
            return tolerance.value
        case Against.TIMES_BASELINE:
            return None if baseline is None else tolerance.value * baseline
        case Against.PLUS_BASELINE:
            return None if baseline is None else tolerance.value + baseline


def bound_of(tolerance: Tolerance, baseline: float | None) -> str:
    """The bound as text: `≤680 ms`; as the user wrote it when the baseline is not known."""
    sign = {"<=": "≤", ">=": "≥"}.get(tolerance.cmp, tolerance.cmp)
    limit = limit_of(tolerance, baseline)
    if limit is None:
        return sign + tolerance.text.partition(tolerance.cmp)[2].strip()
    return sign + measured(tolerance.metric.stat, limit)


def label_of(tolerance: Tolerance) -> str:
    """What a tolerance is about: `p95`, `errors of log in, any 10 s`."""
    metric = tolerance.metric
    if metric.stat is Stat.QUANTILE:
        what = f"p{metric.quantile * 100:g}"
    else:
        what = metric.probe if metric.stat is Stat.PROBE else metric.stat.value
    of = f" of {metric.of}" if metric.of else ""
    window = f", any {human_duration(tolerance.window_s)}" if tolerance.window_s else ""
    return what + of + window


def judged(outcome: Outcome | None) -> str:
    """An outcome inside a table; `not judged` where there is none, so that nothing passes by silence."""
    if outcome is None:
        return "not judged"
    return "ok" if outcome is Outcome.HELD else outcome.name


def title(verdict: Verdict) -> str:
    """The one word a verdict begins with. Exit codes that outrank the findings outrank them here, too."""
    match verdict.exit:
        case Exit.NOT_RESTORED:
            return "NOT RESTORED"
        case Exit.INTERRUPTED:
            return "INTERRUPTED"
        case Exit.INTERNAL:
            return "INTERNAL ERROR"
        case _:
            return "NOT RESTORED" if not verdict.restored else verdict.outcome.name


def subtitle(verdict: Verdict) -> str:
    """`shop @ staging, 200 users/s (1,000 requests/s), 3 min 06 s, run 7f3a`."""
    where = f"{verdict.system} @ {verdict.environment}" if verdict.environment else verdict.system
    users, requests = (rate(value).removesuffix("/s") for value in (verdict.users_per_s, verdict.requests_per_s))
    load = f"{users} users/s ({requests} requests/s)"
    if verdict.users is not None:
        beside = f"{rate(verdict.arriving).removesuffix('/s')} users/s and " if verdict.arriving else ""
        load = f"{beside}{verdict.users:,.0f} users, closed model ({requests} requests/s)"
    return f"{where}, {load}, {human_duration(verdict.seconds)}, run {verdict.run}"
