"""Does a tolerance hold? Held, broken, or not enough to tell; on traffic that is taken to be fit evidence.

An absolute tolerance is about this run's traffic: the observed value decides, once there is enough of it. Only where
fewer than five requests might fail, a handful that did must be more than chance (`stats.by_chance`) to break it.
A relative one compares two noisy samples, and may be undecided however much each of them holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from chaosrunner.logic.measure import Measured, beyond_repair, bound_of, enough, holds, human, measure
from chaosrunner.logic.stats import BEYOND, UNLIKELY, by_chance
from chaosrunner.logic.traffic import Sample
from chaosrunner.model.hypothesis import Against, Stat, Tolerance
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
    by_chance: bool = False
    """Its value violates, by no more than chance explains."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The traffic a tolerance is judged on."""

    sample: Sample
    windows: Iterable[Sample] = ()
    """With `in any …`: every window of that length."""
    baseline: Sample | None = None
    """For a relative tolerance."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a sample is compared with, and how."""

    base: Measured | None
    baseline_s: float
    adjusted: bool


def judge_load(tolerance: Tolerance, evidence: Evidence, *, adjusted: bool = False) -> Judgement:
    """Judge a tolerance on load.

    Args:
        tolerance: one that is not about a probe.
        evidence: hits of the tolerance's request name.
        adjusted: judge the responses without the generator's lag.
    """
    base = None
    if tolerance.against is not Against.ABSOLUTE:
        base = measure(tolerance.metric, evidence.baseline, adjusted=adjusted) if evidence.baseline else None
        if unusable := _unusable(tolerance, evidence.baseline, base):
            return unusable
    baseline_s = evidence.baseline.seconds if evidence.baseline else 0.0
    samples = evidence.windows if tolerance.window_s else (evidence.sample,)
    judged = [_one(tolerance, sample, Compared(base, baseline_s, adjusted)) for sample in samples]
    return _worst(tolerance, judged)


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


def _unusable(tolerance: Tolerance, sample: Sample | None, base: Measured | None) -> Judgement | None:
    """UNKNOWN if a relative bound cannot be formed with this baseline."""
    if sample is None or base is None:
        return Judgement(outcome=Outcome.UNKNOWN, why="the baseline has no data to compare with")
    unknown = Judgement(outcome=Outcome.UNKNOWN, baseline=base.value)
    needed = enough(tolerance, base.value)
    if sample.hits < needed:
        return replace(unknown, why=f"baseline: {_too_few(sample, needed)}")
    return replace(unknown, why="the baseline itself fails") if math.isinf(base.value) else None


def _one(tolerance: Tolerance, sample: Sample, compared: Compared) -> Judgement:
    base = compared.base
    bound = bound_of(tolerance, base.value if base else 0.0)
    unknown = Judgement(outcome=Outcome.UNKNOWN, bound=bound, baseline=base.value if base else None)
    seen = measure(tolerance.metric, sample, adjusted=compared.adjusted)
    if seen is None:
        return replace(unknown, why="no request was due")
    judgement = replace(unknown, value=seen.value)
    needed = enough(tolerance, bound)
    if sample.hits < needed:
        if beyond_repair(tolerance, sample, bound, adjusted=compared.adjusted) and not _chance(
            tolerance, sample, bound
        ):
            return replace(judgement, outcome=Outcome.BROKEN)
        return replace(judgement, why=_too_few(sample, needed))
    if base is None:
        if holds(seen.value, tolerance.cmp, bound):
            return replace(judgement, outcome=Outcome.HELD)
        why = _chance(tolerance, sample, bound)
        outcome = Outcome.UNKNOWN if why else Outcome.BROKEN
        return replace(judgement, outcome=outcome, why=why, by_chance=bool(why))
    outcome, why = _relative(tolerance, seen, base, (sample.seconds, compared.baseline_s))
    return replace(judgement, outcome=outcome, why=why)


def _chance(tolerance: Tolerance, sample: Sample, bound: float) -> str:
    """Why a share above its bound proves nothing: so few may be bad that chance explains those there were."""
    upper = tolerance.metric.stat is Stat.ERRORS and tolerance.cmp in ("<", "<=")
    chance = by_chance(sample.failures, sample.hits, bound) if upper else 0.0
    if chance <= UNLIKELY:
        return ""
    longer = human_duration(math.ceil(sample.seconds * BEYOND / (bound * sample.hits)))
    seen = f"{sample.failures} of {sample.hits} requests failed: with {bound * 100:.3g} % allowed"
    return f"{seen}, chance does so in {chance * 100:.0f} % of cases; {longer} would suffice"


def _relative(tolerance: Tolerance, seen: Measured, base: Measured, spans: tuple[float, float]) -> tuple[Outcome, str]:
    """BROKEN if the whole interval violates, HELD if the point holds and what could hide is within the margin."""
    bound = bound_of(tolerance, base.value)
    upper = tolerance.cmp in ("<", "<=")
    kindest = bound_of(tolerance, base.high if upper else base.low)
    if not holds(seen.low if upper else seen.high, tolerance.cmp, kindest):
        return Outcome.BROKEN, ""
    hidden, blur = _half_widths(seen, base, upper=upper)
    margin = bound - base.value if upper else base.value - bound
    point = holds(seen.value, tolerance.cmp, bound)
    if point and math.hypot(hidden, blur) <= margin:
        return Outcome.HELD, ""
    goal = margin if point else abs(seen.value - bound)
    visible = human(tolerance.metric, math.hypot(hidden, blur))
    why = f"smallest visible effect {visible}, {'margin' if point else 'excess'} {human(tolerance.metric, goal)}"
    return Outcome.UNKNOWN, why + _longer(hidden, blur, goal, spans)


def _half_widths(seen: Measured, base: Measured, *, upper: bool) -> tuple[float, float]:
    """How far phase and baseline may be off, each on the side where harm would hide."""
    if math.isinf(seen.value) or math.isinf(base.value):  # it falls on requests that failed
        return math.inf, math.inf
    if upper:
        return seen.high - seen.value, base.value - base.low
    return seen.value - seen.low, base.high - base.value


def _longer(hidden: float, blur: float, goal: float, spans: tuple[float, float]) -> str:
    """How much longer would do: half-widths shrink with the square root of the time."""
    phase_s, baseline_s = spans
    if goal <= 0 or not math.isfinite(hidden):
        return ""
    if hidden < goal:
        return f"; {human_duration(math.ceil(baseline_s * blur**2 / (goal**2 - hidden**2)))} of baseline would suffice"
    factor = (math.hypot(hidden, blur) / goal) ** 2
    baseline, phase = (human_duration(math.ceil(seconds * factor)) for seconds in (baseline_s, phase_s))
    return f"; {baseline} of baseline and {phase} of this phase would suffice"


def _too_few(sample: Sample, needed: int) -> str:
    """How many hits there were, and how long it takes to get enough at this pace."""
    longer = human_duration(math.ceil(sample.seconds * needed / sample.hits))
    return f"{sample.hits} hits of the {needed} it takes; {longer} would suffice"


def _worst(tolerance: Tolerance, judged: list[Judgement]) -> Judgement:
    """Of several windows: any broken one breaks; one without traffic, or one that chance may have broken, or none with
    enough traffic, leaves it unknown.
    """
    if not judged:
        return Judgement(outcome=Outcome.UNKNOWN, why="no request was due")
    silent = [one for one in judged if one.value is None]
    by_outcome = {outcome: [one for one in judged if one.outcome is outcome] for outcome in Outcome}
    doubtful = [one for one in judged if one.by_chance]
    chosen = by_outcome[Outcome.BROKEN] or silent or doubtful or by_outcome[Outcome.HELD] or judged
    worst = max if tolerance.cmp in ("<", "<=") else min
    return worst(chosen, key=lambda one: one.value or 0.0)
