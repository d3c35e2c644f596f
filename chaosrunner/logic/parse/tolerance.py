"""The one-line language of tolerances: `p95 of log in <= 2x baseline in any 10s`.

tolerance = metric ["of" name] cmp value ["in any" duration]           ["for" duration] in `abort`
metric    = "p" number | "mean" | "max" | "errors" | "rate" | probe
cmp       = "<=" | ">=" | "<" | ">"
value     = number "x baseline" | "baseline" ("+"|"-") (duration | number "%" | number)
              | duration | number "%" | number "/s" | number
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from chaosrunner.logic.parse import scalars
from chaosrunner.logic.parse.fields import some_time
from chaosrunner.logic.parse.scalars import NUMBER
from chaosrunner.logic.parse.spelling import ReadingError, did_you_mean, quoted
from chaosrunner.model.hypothesis import Against, Metric, Stat, Tolerance

WORDS = {"mean": Stat.MEAN, "max": Stat.MAX, "errors": Stat.ERRORS, "rate": Stat.RATE}
TIMES = (Stat.QUANTILE, Stat.MEAN, Stat.MAX)
"""Statistics of response times."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a tolerance may speak of."""

    steps: frozenset[str] | None
    """None = unknown, because the steps themselves are wrong: any name will do."""
    probes: frozenset[str] = frozenset()
    paces: Mapping[str, float] = field(default_factory=dict)
    """Probe → every how many seconds it is asked, where that is to be checked."""


def parse_tolerance(text: str, names: Names, *, abort: bool = False, line: int = 0) -> Tolerance:
    """The tolerance that `text` spells.

    Args:
        text: one line.
        names: the request and probe names there are.
        abort: whether it is a condition to give up on: absolute, with `for` instead of `in any`.
        line: where it stands, for reports.

    Raises:
        ReadingError: the message says what was expected where.
    """
    found = re.fullmatch(r"([^<>=]*?)\s*(<=|>=|<|>)\s*([^<>=]*)", text.strip())
    if not found:
        raise ReadingError(f"expected one of '<=', '<', '>=' or '>' between a metric and a value{_almost(text)}")
    metric = _metric(found[1], names)
    bound, window_s, for_s = _extent(found[3], abort=abort)
    against, value = _value(bound, metric)
    tolerance = Tolerance(
        text=text, metric=metric, cmp=found[2], against=against, value=value, window_s=window_s, for_s=for_s, line=line
    )
    if abort and against is not Against.ABSOLUTE:
        raise ReadingError("a condition to abort on is absolute; expected a value without 'baseline'")
    _check_possible(tolerance)
    return tolerance


def render(tolerance: Tolerance) -> str:
    """The canonical text of a tolerance: parsing it gives the same tolerance, but for the text and the line."""
    metric = tolerance.metric
    value = _rendered(abs(tolerance.value), metric.stat)
    match tolerance.against:
        case Against.ABSOLUTE:
            bound = value
        case Against.TIMES_BASELINE:
            bound = f"{scalars.number_text(tolerance.value)}x baseline"
        case Against.PLUS_BASELINE:
            bound = f"baseline {'-' if tolerance.value < 0 else '+'} {value}"
        case _:
            assert_never(tolerance.against)
    words = [metric_text(metric), tolerance.cmp, bound]
    if tolerance.window_s:
        words += ["in any", scalars.duration_text(tolerance.window_s)]
    if tolerance.for_s:
        words += ["for", scalars.duration_text(tolerance.for_s)]
    return " ".join(words)


def metric_text(metric: Metric) -> str:
    """`p95 of log in`, `errors`, or a probe's name."""
    match metric.stat:
        case Stat.QUANTILE:
            word = f"p{scalars.number_text(round(metric.quantile * 100, 10))}"
        case Stat.PROBE:
            word = metric.probe
        case _:
            word = metric.stat.value
    return f"{word} of {metric.of}" if metric.of else word


def _rendered(value: float, stat: Stat) -> str:
    if stat in TIMES:
        return scalars.duration_text(value)
    if stat is Stat.ERRORS:
        return scalars.percent_text(value)
    return scalars.number_text(value) + ("/s" if stat is Stat.RATE else "")


def _almost(text: str) -> str:
    """The comparison that was probably meant."""
    for wrong, right in (("=<", "<="), ("=>", ">="), ("≤", "<="), ("≥", ">="), ("==", "<="), ("=", "<=")):
        if wrong in text:
            return f"; did you mean '{right}'?"
    return ""


def _metric(text: str, names: Names) -> Metric:
    found = re.fullmatch(r"(\S.*?)(?:\s+of\s+(\S.*))?", text)
    if not found:
        raise ReadingError("expected a metric first, such as p95, mean, max, errors or rate")
    word, of = found[1], found[2] or ""
    metric = _named(word, names)
    if of and metric.stat is Stat.PROBE:
        raise ReadingError(f"{quoted(word)} is a probe: it is not 'of' a request")
    if of and names.steps is not None and of not in names.steps:
        raise ReadingError(f"no request is called {quoted(of)}{did_you_mean(of, names.steps)}")
    return replace(metric, of=of)


def _named(word: str, names: Names) -> Metric:
    if word in WORDS:
        return Metric(stat=WORDS[word])
    if word in names.probes:
        return Metric(stat=Stat.PROBE, probe=word)
    if re.fullmatch(rf"p{NUMBER}", word):
        percentile = scalars.number(word[1:])
        if percentile == 100:
            raise ReadingError("'p100' is spelled 'max'")
        if not 0 < percentile < 100:
            raise ReadingError(f"{quoted(word)} is no percentile; expected p1 to p99.99")
        return Metric(stat=Stat.QUANTILE, quantile=round(percentile / 100, 14))
    known = [*WORDS, "p50", "p95", "p99", *names.probes]
    raise ReadingError(f"{quoted(word)} is no metric{did_you_mean(word, known)}")


def _extent(text: str, *, abort: bool) -> tuple[str, float, float]:
    """The bound, the window and the `for`, of what stands right of the comparison."""
    bound, any_, window = _split(text, r"\s+in\s+any(?:\s+|$)")
    bound, for_, lasting = _split(bound, r"\s+for(?:\s+|$)")
    if any_ and abort:
        raise ReadingError("'in any' judges a phase; a condition to abort on is written with 'for 10s'")
    if for_ and not abort:
        raise ReadingError("'for' belongs to 'abort'; a sliding window is written 'in any 10s'")
    return bound, some_time(window) if any_ else 0.0, some_time(lasting) if for_ else 0.0


def _split(text: str, at: str) -> tuple[str, bool, str]:
    left, *right = re.split(at, text, maxsplit=1)
    return left.strip(), bool(right), "".join(right).strip()


def _value(text: str, metric: Metric) -> tuple[Against, float]:
    times = re.fullmatch(rf"({NUMBER})\s?x(?:\s+(.*))?", text)
    if times:
        return Against.TIMES_BASELINE, _times(times[1], times[2] or "", metric)
    plus = re.fullmatch(r"baseline\b\s*(.*)", text)
    if plus:
        return Against.PLUS_BASELINE, _plus(plus[1], metric)
    if not text:
        raise ReadingError("expected a value after the comparison")
    return Against.ABSOLUTE, _amount(text, metric)


def _times(factor: str, rest: str, metric: Metric) -> float:
    if rest != "baseline":
        raise ReadingError(f"expected 'baseline' after '{factor}x'")
    if metric.stat is Stat.ERRORS:
        raise ReadingError("a multiple of zero errors always breaks; write 'baseline + 1%'")
    return scalars.number(factor)


def _plus(rest: str, metric: Metric) -> float:
    found = re.fullmatch(r"([+-])\s*(\S.*)", rest)
    if not found:
        raise ReadingError("expected '+' or '-' and an amount after 'baseline', such as 'baseline + 1%'")
    if metric.stat is Stat.RATE or (metric.stat in TIMES and found[2].endswith("%")):
        raise ReadingError("expected a multiple here, such as '1.1x baseline'")
    amount = _amount(found[2], metric)
    return amount if found[1] == "+" else -amount


def _amount(text: str, metric: Metric) -> float:
    """An absolute amount in the metric's own unit."""
    readers: dict[Stat, tuple[Callable[[str], float], str]] = {
        Stat.ERRORS: (scalars.share, "a share, such as '2%'"),
        Stat.RATE: (_per_second, "a rate, such as '90/s'"),
        Stat.PROBE: (scalars.number, "a plain number"),
    }
    read, expected = readers.get(metric.stat, (scalars.duration, "a duration, such as '400ms'"))
    try:
        return read(text)
    except ReadingError as bad:
        if re.fullmatch(NUMBER, text) or "more than" in str(bad):
            raise
        raise ReadingError(f"{metric_text(metric)} is {expected}; found {quoted(text)}") from None


def _per_second(text: str) -> float:
    if not text.endswith("/s"):
        raise ReadingError(f"a rate needs a unit; write '{text}/s'")
    return scalars.number(text.removesuffix("/s").rstrip())


def _check_possible(tolerance: Tolerance) -> None:
    """Refuse what no run could ever satisfy, or no judge weigh."""
    if tolerance.window_s and tolerance.metric.stat is Stat.PROBE:
        raise ReadingError("a probe is judged at each of its answers; leave 'in any' out")
    nothing_less = tolerance.against is Against.ABSOLUTE and tolerance.value == 0
    if nothing_less and tolerance.cmp == "<" and tolerance.metric.stat is not Stat.PROBE:
        raise ReadingError("nothing is less than zero; write '<='")
