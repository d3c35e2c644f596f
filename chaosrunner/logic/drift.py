"""Is the baseline one? It must stand still, and be long enough for what is asked of it; else nothing is broken.

Drift is found as everything else is: the last third of the baseline beside its first, with an interval as wide as the
pieces are unlike each other. It is refused when all of that interval lies beyond what matters, so noise that has no
trend hardly ever is (at most once in a hundred baselines for all metrics together), and neither is a trend too small to
matter. What matters is the least that a tolerance on this metric allows above the baseline. Where none rests on it, it
is as much again (of goodput half, of errors five points), and no less than a scheduler's slice: no system that moves
by more was in a steady state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from chaosrunner.logic.equivalence import compare
from chaosrunner.logic.measure import bound_of, enough, human, measure
from chaosrunner.logic.residual import Comparison, changed, metrics, pair
from chaosrunner.logic.stretch import FEWEST
from chaosrunner.logic.traffic import Traffic
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.hypothesis import Against, Metric, Stat, Tolerance
from chaosrunner.model.load import Wave
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import Change, Finding, Outcome, Residual

UNSTEADY = 1.0
"""How much faster or slower a baseline may become where no tolerance rests on it: twice, or half."""

UNSTEADY_RATE = 0.5
"""How much more or less goodput it may have: half."""

UNSTEADY_POINTS = 0.05
"""By how much its share of errors may change: five points."""

SLICE_S = 0.010
"""A latency may move by this, whatever it is: on a busy host the next process gets its turn so much later."""

SURELY = 0.01
"""Chance of refusing a baseline that stands still, over all metrics."""


def unsteady(traffic: Traffic, baseline: range) -> list[Finding]:
    """Why this baseline is none, one finding a metric or tolerance; empty when it will do.

    Args:
        traffic: the experiment and what is known of its run.
        baseline: its slots.
    """
    if not traffic.experiment.faults:
        return []  # without a fault the load itself is the test, and may be a staircase
    return [*_drifting(traffic, baseline), *_too_short(traffic)]


def watched(experiment: Experiment) -> list[Metric]:
    """What the verdict rests on, and the mean: where hardly anything scatters only a mean moves with a trend."""
    return list(dict.fromkeys((Metric(stat=Stat.MEAN), *metrics(experiment))))


def drifts(traffic: Traffic, baseline: range, margins: Sequence[tuple[Metric, float]]) -> Iterator[Residual]:
    """The metrics that are proven to differ by more than their margin between the first third and the last.

    None where waves are asked for: a part of a wave is no plateau.
    """
    third = len(baseline) // 3
    waves = any(isinstance(stream.stages[-1], Wave) for stream in traffic.experiment.load.streams)
    if waves or third < FEWEST:
        return
    ends = (range(baseline.start, baseline.start + third), range(baseline.stop - third, baseline.stop))
    there = Comparison(traffic, *ends)
    for metric, margin in margins:
        first, last = pair(there, metric.of)
        side = SURELY / 2 / len(margins)
        for turned, order in ((False, (first, last)), (True, (last, first))):
            seen = compare(metric, order, margin, side, trend=True)
            if seen.proves is Change.WORSE:
                yield _back(seen) if turned else seen


def _back(seen: Residual) -> Residual:
    """A change seen from the other end."""
    assert seen.change is not None and seen.low is not None and seen.high is not None  # noqa: PT018 - it is proven
    ends = (seen.change, seen.high, seen.low)
    turned = [-end if seen.scale == "difference" else 1 / end if end else math.inf for end in ends]
    return replace(seen, before=seen.after, after=seen.before, change=turned[0], low=turned[1], high=turned[2])


def _drifting(traffic: Traffic, baseline: range) -> Iterator[Finding]:
    margins = [(metric, _matters(traffic, metric)) for metric in watched(traffic.experiment)]
    for seen in drifts(traffic, baseline, margins):
        what = changed(seen).partition("),")[0]
        why = (
            f"the baseline drifts: {what}) from its first third to its last; let it settle before, with a longer "
            "'load.warmup'"
        )
        yield _refused(f"steady {seen.metric}", f"{seen.metric} stands still", why)


def _matters(traffic: Traffic, metric: Metric) -> float:
    """How much drift of a metric would spoil what is asked: the least that a tolerance allows above the baseline."""
    experiment = traffic.experiment
    base = measure(metric, traffic.sample(span, metric.of)) if (span := traffic.span(Phase.BASELINE)) else None
    least = _at_most(metric, base.value if base else 0.0)
    if experiment.recover.margin is not None and metric.stat is not Stat.ERRORS:
        least = min(least, experiment.recover.margin)
    for one in _relative(experiment):
        if one.metric == metric and base is not None and 0 < base.value < math.inf:
            above = abs(bound_of(one, base.value) - base.value)
            least = min(least, above if metric.stat is Stat.ERRORS else above / base.value) or least
    return least


def _at_most(metric: Metric, value: float) -> float:
    """How much a metric may move where nothing rests on it."""
    match metric.stat:
        case Stat.ERRORS:
            return UNSTEADY_POINTS
        case Stat.RATE:
            return UNSTEADY_RATE
        case _:
            return max(UNSTEADY, SLICE_S / value) if value else UNSTEADY


def _relative(experiment: Experiment) -> Iterator[Tolerance]:
    asked = (*experiment.hypothesis.during, *experiment.hypothesis.after)
    yield from (one for one in asked if one.against is not Against.ABSOLUTE and one.metric.stat is not Stat.PROBE)


def _too_short(traffic: Traffic) -> Iterator[Finding]:
    """Tolerances that could never hold, however well the system does, because the baseline itself is too uncertain."""
    span = traffic.span(Phase.BASELINE)
    for one in _relative(traffic.experiment):
        sample = traffic.sample(span, one.metric.of) if span else None
        base = measure(one.metric, sample) if sample else None
        if sample is None or base is None or not math.isfinite(base.value):
            continue  # said by the finding itself
        needed = enough(one, base.value)
        factor = needed / sample.hits
        upper = one.cmp in ("<", "<=")
        margin = (bound_of(one, base.value) - base.value) * (1 if upper else -1)
        blur = base.value - base.low if upper else base.high - base.value
        if margin > 0:
            factor = max(factor, (blur / margin) ** 2)
        if factor > 1:
            longer = human_duration(math.ceil(sample.seconds * factor))
            told = (
                f"it is known to ±{human(one.metric, blur)}, which is more than the {human(one.metric, margin)} allowed"
            )
            if sample.hits < needed:
                told = f"it has {sample.hits} requests of the {needed} it takes"
            why = f"the baseline is too short for '{one.text}': {told}; 'baseline: {longer}' would do"
            yield _refused(f"baseline for {one.text}", f"long enough for {one.text}", why)


def _refused(name: str, expected: str, why: str) -> Finding:
    return Finding(
        name=name, phase=Phase.BASELINE, expected=expected, observed="refused", outcome=Outcome.UNKNOWN, why=why
    )
