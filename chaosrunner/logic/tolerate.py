"""Does a tolerance hold? Held, broken, or not enough to tell; on traffic that is taken to be fit evidence.

An absolute tolerance is about this run's traffic: the observed value decides, once there is enough of it.
A relative one compares two noisy samples, and may be undecided however much each of them holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from chaosrunner.logic.measure import Measured, beyond_repair, bound_of, enough, expected, holds, human, measure
from chaosrunner.logic.traffic import Sample
from chaosrunner.model.hypothesis import Against, Metric, Tolerance
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """An outcome with the figures it rests on."""

    outcome: Outcome
    value: float | None = None
    bound: float | None = None
    baseline: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The traffic a tolerance is judged on."""

    sample: Sample
    windows: tuple[Sample, ...] = ()
    """With `in any …`: every window of that length."""
    baseline: Sample | None = None
    """For a relative tolerance."""


def judge_load(tolerance: Tolerance, evidence: Evidence, *, adjusted: bool = False) -> Judgement:
    """Judge a tolerance on load.

    Args:
        tolerance: one that is not about a probe.
        evidence: hits of the tolerance's request name.
        adjusted: judge the responses without the generator's lag.
    """
    base = None
    if tolerance.against is not Against.ABSOLUTE:
        base = _baseline(tolerance, evidence.baseline, adjusted=adjusted)
        if isinstance(base, Judgement):
            return base
    samples = evidence.windows if tolerance.window_s else (evidence.sample,)
    judged = [_one(tolerance, sample, base, adjusted=adjusted) for sample in samples]
    return _worst(tolerance.metric, judged)


def judge_answers(tolerance: Tolerance, answers: Iterable[tuple[bool, float | None]], base: float | None) -> Judgement:
    """Judge a probe's tolerance: the worst answer decides, an error violates, and no answer is no pass.

    Args:
        tolerance: about a probe.
        answers: (ok, value) in order.
        base: the baseline's median answer; None when there was none.
    """
    if tolerance.against is not Against.ABSOLUTE and base is None:
        return Judgement(outcome=Outcome.UNKNOWN, why="the probe gave no number in the baseline")
    bound = bound_of(tolerance, base or 0.0)
    seen = list(answers)
    if not seen:
        return Judgement(outcome=Outcome.UNKNOWN, bound=bound, baseline=base, why="the probe gave no answer")
    values = [value for _, value in seen if value is not None]
    worst = (max if tolerance.cmp in ("<", "<=") else min)(values, default=None)
    bad = sum(not ok or value is None or not holds(value, tolerance.cmp, bound) for ok, value in seen)
    failed = sum(not ok or value is None for ok, value in seen)
    why = f"{bad} of {len(seen)} answers" + (f", {failed} of them an error" if failed else "") if bad else ""
    outcome = Outcome.BROKEN if bad else Outcome.HELD
    return Judgement(outcome=outcome, value=worst, bound=bound, baseline=base, why=why)


def _baseline(tolerance: Tolerance, sample: Sample | None, *, adjusted: bool) -> Measured | Judgement:
    base = None if sample is None else measure(tolerance.metric, sample, adjusted=adjusted)
    if sample is None or base is None:
        return Judgement(outcome=Outcome.UNKNOWN, why="the baseline has no data to compare with")
    needed = enough(tolerance, base.value)
    if sample.hits < needed:
        why = f"the baseline has {sample.hits} hits of the {needed} it takes"
        return Judgement(outcome=Outcome.UNKNOWN, baseline=base.value, why=_would_suffice(why, sample, needed))
    if math.isinf(base.value):
        return Judgement(outcome=Outcome.UNKNOWN, baseline=base.value, why="the baseline itself fails")
    return base


def _one(tolerance: Tolerance, sample: Sample, base: Measured | None, *, adjusted: bool) -> Judgement:
    value = base.value if base else None
    bound = bound_of(tolerance, value or 0.0)
    seen = measure(tolerance.metric, sample, adjusted=adjusted)
    if seen is None:
        return Judgement(outcome=Outcome.UNKNOWN, bound=bound, baseline=value, why="no request was due")
    needed = enough(tolerance, bound)
    if sample.hits < needed:
        figures = {"value": seen.value, "bound": bound, "baseline": value}
        if beyond_repair(tolerance, sample, bound, adjusted=adjusted):
            return Judgement(outcome=Outcome.BROKEN, **figures)
        why = _would_suffice(f"{sample.hits} hits of the {needed} it takes", sample, needed)
        return Judgement(outcome=Outcome.UNKNOWN, **figures, why=why)
    if base is None:
        outcome = Outcome.HELD if holds(seen.value, tolerance.cmp, bound) else Outcome.BROKEN
        return Judgement(outcome=outcome, value=seen.value, bound=bound)
    return _relative(tolerance, seen, base, sample.seconds)


def _relative(tolerance: Tolerance, seen: Measured, base: Measured, seconds: float) -> Judgement:
    """BROKEN if the whole interval violates, HELD if the point holds and what could hide is within the margin."""
    bound = bound_of(tolerance, base.value)
    upper = tolerance.cmp in ("<", "<=")
    kindest = bound_of(tolerance, base.high if upper else base.low)
    best = seen.low if upper else seen.high
    figures = {"value": seen.value, "bound": bound, "baseline": base.value}
    if not holds(best, tolerance.cmp, kindest):
        return Judgement(outcome=Outcome.BROKEN, **figures)
    visible = _smallest_visible(seen, base, upper=upper)
    margin = bound - base.value if upper else base.value - bound
    point = holds(seen.value, tolerance.cmp, bound)
    if point and visible <= margin:
        return Judgement(outcome=Outcome.HELD, **figures)
    goal = margin if point else abs(seen.value - bound)
    why = f"the smallest visible effect is {human(tolerance.metric, visible)}, the margin {human(tolerance.metric, goal)}"
    if goal > 0 and math.isfinite(visible):
        why += f"; {human_duration(seconds * (visible / goal) ** 2)} of traffic on both sides would suffice"
    return Judgement(outcome=Outcome.UNKNOWN, **figures, why=why)


def _smallest_visible(seen: Measured, base: Measured, *, upper: bool) -> float:
    """The half-width of the difference, on the side where harm would hide."""
    if upper:
        return math.hypot(seen.high - seen.value, base.value - base.low)
    return math.hypot(seen.value - seen.low, base.high - base.value)


def _would_suffice(why: str, sample: Sample, needed: int) -> str:
    """Add how long it takes at this pace."""
    if not sample.hits:
        return why
    return f"{why}; {human_duration(math.ceil(sample.seconds * needed / sample.hits))} would suffice"


def _worst(metric: Metric, judged: list[Judgement]) -> Judgement:
    """Of several windows: any broken one breaks; one without traffic, or none with enough, leaves it unknown."""
    if not judged:
        return Judgement(outcome=Outcome.UNKNOWN, why="no request was due")
    broken = [one for one in judged if one.outcome is Outcome.BROKEN]
    silent = [one for one in judged if one.value is None]
    held = [one for one in judged if one.outcome is Outcome.HELD]
    chosen = broken or silent or held or judged
    return max(chosen, key=lambda one: _badness(metric, one))


def _badness(metric: Metric, one: Judgement) -> float:
    return 0.0


__all__ = ["Evidence", "Judgement", "expected", "judge_answers", "judge_load"]
