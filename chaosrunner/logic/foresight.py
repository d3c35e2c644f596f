"""Before anything runs: how long baseline and phases must be, and the smallest effect that can be seen in them.

Computed from the load, and from how unlike each other responses were in the last baseline of the same question; where
there is none, from `UNLIKE`, worse than most. Responses are taken as lognormal and requests as independent, so a real
run may need more: the run itself counts what they have in common (`stretch`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

from chaosrunner.logic import stats
from chaosrunner.logic.measure import enough
from chaosrunner.logic.residual import ALWAYS, FAILING, SLOWER
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Against, Metric, Stat, Tolerance
from chaosrunner.model.units import human_duration

UNLIKE = 1.0
"""Standard deviation of a response's logarithm where none has been seen: p95 is five times p50."""

USUAL_ERRORS = 0.005
"""Share of errors in the baseline where none has been seen."""

POWER = 1.43
"""An effect that is to be excluded in four of five runs needs intervals narrower by this: (1.96 + 0.84) / 1.96."""

NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What the last baseline of the same question on the same system looked like."""

    run: str
    p50_s: float
    p95_s: float
    errors: float
    """Share, 0..1."""
    requests_per_s: float

    @property
    def unlike(self) -> float:
        """Standard deviation of a response's logarithm."""
        return math.log(self.p95_s / self.p50_s) / NORMAL.inv_cdf(0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one tolerance, or the proof of recovery, asks of the run's lengths."""

    phase: str
    """`before`, `during`, `after` or `proof`."""
    what: str
    says: str
    short: bool = False
    """Whether the file's lengths do not do."""


def foresee(experiment: Experiment, prior: Prior | None = None) -> Iterator[Need]:
    """What is needed, tolerance by tolerance, then for the proof that all is as before.

    Args:
        experiment: what would be played.
        prior: the last baseline; None = none is known.
    """
    asked = experiment.hypothesis
    lengths = {"before": experiment.baseline_s, "during": experiment.fault_s, "after": experiment.recover.hold_s}
    for phase, tolerances in (("before", asked.before), ("during", asked.during), ("after", asked.after)):
        for one in tolerances:
            if one.metric.stat is not Stat.PROBE:
                yield _need(experiment, prior, phase, (one, one.window_s or lengths[phase]))
    if experiment.faults:
        yield _proof(experiment, prior)


def rests_on(prior: Prior | None) -> str:
    """Where the figures come from, in a sentence."""
    if prior is None:
        return "no earlier run of this question is known: responses are assumed to be unlike (p95 five times p50)"
    return f"by the baseline of run {prior.run}: p50 {human_duration(prior.p50_s)}, p95 {human_duration(prior.p95_s)}"


def per_second(experiment: Experiment, name: str, prior: Prior | None) -> float | None:
    """Requests a second that a word means (empty = all); None where only a run can tell: in a closed model."""
    load = experiment.load
    called, first, total, own, closed = load.called(name), 0, 0.0, 0.0, False
    for stream in load.streams:
        weights = sum(scenario.weight for scenario in stream.scenarios)
        closed = closed or stream.closed is not None
        for scenario in stream.scenarios:
            for nth, step in enumerate(scenario.steps, first):
                rate = stream.plateau * scenario.weight / weights * (step.again.known if step.again else 1)
                total += rate
                own += rate if nth in called else 0.0
            first += len(scenario.steps)
    if not closed:
        return own
    return None if prior is None or not total else prior.requests_per_s * own / total


def _need(experiment: Experiment, prior: Prior | None, phase: str, asked: tuple[Tolerance, float]) -> Need:
    one, seconds = asked
    rate = per_second(experiment, one.metric.of, prior)
    if not rate:
        return Need(phase=phase, what=one.text, says="how many requests there will be, only a run can tell")
    needed = max(enough(one, one.value), 1) if one.against is Against.ABSOLUTE else enough(one, USUAL_ERRORS)
    least = needed / rate
    says, short = f"needs {needed} requests, {_s(least)} of {_s(seconds)}", least > seconds
    margin = _margin(one)
    if margin is not None:
        visible = _visible(one.metric, prior, rate * experiment.baseline_s, rate * seconds)
        says += f"; the smallest effect to be seen is {_effect(one.metric, visible)}"
        if visible > margin:
            factor = (visible / margin) ** 2
            short = True
            says += f", {_effect(one.metric, margin)} is allowed: "
            says += f"{_s(experiment.baseline_s * factor)} of baseline and {_s(seconds * factor)} of '{phase}' would do"
    return Need(phase=phase, what=one.text, says=says, short=short)


def _margin(one: Tolerance) -> float | None:
    """What a relative tolerance allows, on the scale of comparison; None where only the run's baseline can tell."""
    upper = one.cmp in ("<", "<=")
    match one.against:
        case Against.TIMES_BASELINE if one.metric.stat in (Stat.QUANTILE, Stat.MEAN, Stat.RATE) and one.value > 0:
            away = math.log(one.value) if upper else -math.log(one.value)
        case Against.PLUS_BASELINE if one.metric.stat is Stat.ERRORS:
            away = one.value if upper else -one.value
        case _:
            return None
    return away if away > 0 else None


def _proof(experiment: Experiment, prior: Prior | None) -> Need:
    """What it takes to prove that nothing remains, by the metrics that are always compared."""
    rate, hold_s = per_second(experiment, "", prior), experiment.recover.hold_s
    what = "all as before"
    if not rate:
        return Need(phase="proof", what=what, says="how many requests there will be, only a run can tell")
    margin = experiment.recover.margin or SLOWER
    told, factor = [], 0.0
    for metric in ALWAYS:
        bound = FAILING if metric.stat is Stat.ERRORS else math.log1p(margin)
        visible = _visible(metric, prior, rate * experiment.baseline_s, rate * hold_s)
        told.append(f"{_name(metric)} to {_effect(metric, visible)}")
        factor = max(factor, (POWER * visible / bound) ** 2)
    says = ", ".join(told)
    if factor > 1:
        says += f"; at least {_s(experiment.baseline_s * factor)} of baseline and {_s(hold_s * factor)} of hold "
        says += "would prove it"
    return Need(phase="proof", what=what, says=says, short=factor > 1)


def _visible(metric: Metric, prior: Prior | None, before: float, after: float) -> float:
    """Half the width of the 95 % interval of a change towards harm, on its scale, with so many requests each."""
    return math.hypot(_half(metric, prior, before), _half(metric, prior, after))


def _half(metric: Metric, prior: Prior | None, hits: float) -> float:
    unlike = prior.unlike if prior else UNLIKE
    match metric.stat:
        case Stat.ERRORS:
            share = prior.errors if prior else USUAL_ERRORS
            return stats.wilson(share * hits, hits)[1] - share
        case Stat.QUANTILE:
            share = metric.quantile + stats.Z * math.sqrt(metric.quantile * (1 - metric.quantile) / hits)
            if share >= 1:
                return math.inf
            return unlike * (NORMAL.inv_cdf(share) - NORMAL.inv_cdf(metric.quantile))
        case Stat.MEAN:
            # Of a lognormal: the coefficient of variation is √(e^σ² − 1).
            return stats.Z * math.sqrt(math.expm1(unlike**2) / hits)
        case _:
            return stats.Z / math.sqrt(hits)


def _name(metric: Metric) -> str:
    return "errors" if metric.stat is Stat.ERRORS else f"p{metric.quantile * 100:g}"


def _effect(metric: Metric, size: float) -> str:
    """`+6.2 %`, `+0.8 points`."""
    if not math.isfinite(size):
        return "nothing"
    return f"+{size * 100:.2g} points" if metric.stat is Stat.ERRORS else f"+{math.expm1(size) * 100:.3g} %"


def _s(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "any length"
    return human_duration(math.ceil(seconds) if seconds >= 10 else round(seconds, 1))
