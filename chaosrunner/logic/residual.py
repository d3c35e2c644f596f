"""What remains: the time after recovery beside this run's baseline, metric by metric, and the verdict that follows.

RECOVERED needs every judged metric proven not to be worse than its margin; one that is proven worse, and is not on its
way back, is enough for NOT RECOVERED; anything else is INCONCLUSIVE. Which metrics, and by how much they may differ, is
decided here (decision 0018): errors, p50 and p95 of all requests, goodput in a closed model, and whatever `after` asks
for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from chaosrunner.logic.equivalence import COMPARABLE, SIDE, compare, pooled
from chaosrunner.logic.measure import bound_of, measure
from chaosrunner.logic.stretch import Stretch, size_of_piece, stretch
from chaosrunner.logic.traffic import Traffic, slots_in
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.hypothesis import Against, Metric, Stat
from chaosrunner.model.verdict import Change, Residual, Return

SLOWER = 0.10
"""How much slower it may be after recovery, unless the user says otherwise: the most that a change of release or of
cache is usually given without a question."""

FAILING = 0.01
"""How much larger the share of failed requests may be: one point."""

LESS = 0.05
"""How much less goodput there may be."""

MEDIAN = Metric(stat=Stat.QUANTILE, quantile=0.5)
ALWAYS = (
    Metric(stat=Stat.ERRORS),
    MEDIAN,
    Metric(stat=Stat.QUANTILE, quantile=0.95),
)
GOODPUT = Metric(stat=Stat.RATE)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The stretches that are compared, as slot numbers: baseline and the time after."""

    traffic: Traffic
    baseline: range
    after: range
    side: float = SIDE
    """Error of each side of an interval."""
    cut: dict[str, tuple[Stretch, Stretch]] = field(default_factory=dict, compare=False)
    """Stretches by name, each cut once."""


def baseline_of(traffic: Traffic) -> range | None:
    """The slots of the baseline that are still there one by one; None without any."""
    span = traffic.span(Phase.BASELINE)
    if span is None:
        return None
    slots = range(max(span.first, traffic.state.coarse_until), span.last)
    return slots or None


def tail(experiment: Experiment, begin: int, end: int) -> range:
    """The slots from recovery on by which it is judged: the last hold time, or the last half if that is longer.

    What is still on its way back right after recovery is not what users are left with.
    """
    length = max(slots_in(experiment.recover.hold_s), (end - begin) // 2)
    return range(max(begin, end - length), max(begin, end))


def metrics(experiment: Experiment) -> Iterator[Metric]:
    """Whatever the verdict rests on, each once."""
    asked = experiment.hypothesis.after or experiment.hypothesis.before
    closed = (GOODPUT,) if experiment.load.closed else ()
    named = (one.metric for one in asked if one.metric.stat in COMPARABLE)
    yield from dict.fromkeys((*ALWAYS, *closed, *named))


def margin_of(traffic: Traffic, metric: Metric) -> float:
    """How much worse a metric may be after recovery than in the baseline.

    The user's own margin, or the usual one; `after` widens it where it says of this very metric that more is allowed:
    its share of errors, or what it allows above the baseline.
    """
    target, asked = traffic.experiment.recover.margin, traffic.experiment.hypothesis.after
    own = [tolerance for tolerance in asked if tolerance.metric == metric]
    if metric.stat is Stat.ERRORS:
        upper = [one.value for one in own if one.cmp in ("<", "<=") and one.against is not Against.TIMES_BASELINE]
        return max([FAILING, *upper])
    usual = LESS if metric.stat is Stat.RATE else SLOWER
    if target is not None:
        return target
    relative = [one for one in own if one.against is not Against.ABSOLUTE]
    span = traffic.span(Phase.BASELINE)
    seen = measure(metric, traffic.sample(span, metric.of)) if span and relative else None
    if seen is None or not 0 < seen.value < math.inf:
        return usual
    return max([usual, *(abs(bound_of(one, seen.value) / seen.value - 1.0) for one in relative)])


def residuals(comparison: Comparison) -> tuple[Residual, ...]:
    """The judged metrics, in the order of `metrics`."""
    return tuple(_residual(comparison, metric) for metric in metrics(comparison.traffic.experiment))


def _residual(comparison: Comparison, metric: Metric) -> Residual:
    margin = margin_of(comparison.traffic, metric)
    seen = compare(metric, pair(comparison, metric.of), margin, comparison.side)
    if seen.proves is Change.UNCLEAR and metric == MEDIAN:
        return _by_kind(comparison, margin) or seen
    # Goodput with a trend has so wide an interval that it is not proven to be worse.
    if seen.proves is not Change.WORSE or metric.stat is Stat.RATE:
        return seen
    end = _on_its_way(comparison, metric, margin)
    if end is None or (seen.change or math.inf) <= (end.change or 0.0):
        return seen
    led = f"but still on its way back: about {_relative(end, end.change)} at the end; hold it longer to tell"
    return replace(seen, proves=Change.UNCLEAR, why=f"{changed(seen)}, {led}")


def _by_kind(comparison: Comparison, margin: float) -> Residual | None:
    """The median of each kind of request, if that proves what the median of all of them cannot.

    The median of requests of several kinds may fall between a quick and a slow kind, where hardly any response lies:
    then it moves by half for a handful of requests, and nothing is known of it.
    """
    names = dict.fromkeys(step.name for step in comparison.traffic.experiment.load.steps)
    kinds = []
    for name in names:
        stretches = pair(comparison, name)
        hits = sum(one.whole.hits for one in stretches)
        if hits:
            kinds.append((hits, compare(replace(MEDIAN, of=name), stretches, margin, comparison.side)))
    found = pooled(MEDIAN, kinds, margin) if len(kinds) > 1 else None
    return None if found is None or found.proves is Change.UNCLEAR else found


def _on_its_way(comparison: Comparison, metric: Metric, margin: float) -> Residual | None:
    """What the time after led to: how far its last third had come (its last half, if a third is too short to be
    compared), and as much further as it was getting better; None if it did not, or if that is proven to be beyond the
    margin as well.

    It only takes away a claim, so it need not be proven. A return that is ever slower is above the straight line by
    which it is led on here: what is still claimed of it is true of its end.
    """
    after = comparison.after
    for part in (3, 2):
        cut = after.stop - len(after) // part
        late = replace(comparison, after=range(cut, after.stop), cut={})
        turn = replace(late, baseline=range(after.start, cut), cut={})
        end, gain = (compare(metric, pair(one, metric.of), margin, comparison.side) for one in (late, turn))
        if end.change is not None:
            return _led_on(end, gain, part, margin)
    return None


def _led_on(end: Residual, gain: Residual, part: int, margin: float) -> Residual | None:
    """A last part led on to its end: from its middle that is 1/`part` of the way between its middle and the rest's."""
    assert end.change is not None
    assert end.low is not None
    same = 1.0 if end.scale == "ratio" else 0.0
    if gain.change is None:  # where a quantile of the rest failed, any number is better
        return end if gain.before == math.inf and end.change <= same + margin else None
    if gain.change >= same:
        return None
    if end.scale == "ratio":
        further = gain.change ** (1 / part)
        led, low = end.change * further, end.low * further
    else:
        led, low = end.change + gain.change / part, end.low + gain.change / part
    return replace(end, change=led) if low <= same + margin else None


def pair(comparison: Comparison, name: str) -> tuple[Stretch, Stretch]:
    """Both stretches of a name, cut into pieces of the same length."""
    if name not in comparison.cut:
        size = size_of_piece(comparison.baseline, comparison.after)
        before, after = (
            stretch(comparison.traffic, slots, name, size) for slots in (comparison.baseline, comparison.after)
        )
        comparison.cut[name] = before, after
    return comparison.cut[name]


def concluded(seen: Sequence[Residual]) -> tuple[Return, str]:
    """The verdict that follows from what remains, and what it rests on in words."""
    worse = [one for one in seen if one.judged and one.proves is Change.WORSE]
    unclear = [one for one in seen if one.judged and one.proves is Change.UNCLEAR]
    if worse:
        return Return.NOT_RECOVERED, "; ".join(changed(one) for one in worse)
    if unclear:
        return Return.INCONCLUSIVE, "; ".join(f"{one.metric}: {one.why}" for one in unclear)
    return Return.RECOVERED, ", ".join(f"{one.metric} {_range(one)}" for one in seen if one.judged)


def changed(one: Residual) -> str:
    """`p50 +25 % (+23 % to +27 %), +10 % is allowed`; `p95 failed` where it falls on a failed request."""
    if one.change == math.inf:
        return f"{one.metric} failed"
    sign = "-" if one.metric.startswith(Stat.RATE.value) else "+"
    unit = "points" if one.scale == "difference" else "%"
    return f"{one.metric} {_relative(one, one.change)} ({_range(one)}), {sign}{one.margin * 100:.3g} {unit} is allowed"


def _range(one: Residual) -> str:
    return f"{_relative(one, one.low)} to {_relative(one, one.high)}"


def _relative(one: Residual, value: float | None) -> str:
    """A change as people write it: `+25 %`, `−0.3 points`."""
    if value is None or not math.isfinite(value):
        return "any amount" if value is not None else "unknown"
    if one.scale == "difference":
        return f"{value * 100:+.2g} points"
    return f"{(value - 1) * 100:+.3g} %"
