"""Tolerances of a phase → findings: validity first, then the judgement; whatever goes wrong on the way is UNKNOWN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from statistics import median

from chaosrunner.logic.detail import GROUP
from chaosrunner.logic.doubt import TIMES, busy_worker, unfit_cpu, unfit_worker
from chaosrunner.logic.measure import LATENCIES, expected, human
from chaosrunner.logic.tolerate import Evidence, Judgement, judge_answers, judge_load
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Span, Traffic, Windows, slots_in
from chaosrunner.logic.validity import unfit_faults, unfit_lag, unfit_load
from chaosrunner.model.experiment import Phase
from chaosrunner.model.hypothesis import Against, Stat, Tolerance
from chaosrunner.model.units import NANOS, SLOT_NS, human_duration
from chaosrunner.model.verdict import Finding, Outcome

WHEN = {Phase.BASELINE: "before", Phase.FAULT: "during", Phase.AFTER: "after"}


def findings_of(traffic: Traffic, phase: Phase) -> list[Finding]:
    """The findings of a phase's tolerances, in the order of the file.

    Args:
        traffic: the experiment and what is known of its run.
        phase: BASELINE (`before`), FAULT (`during`) or AFTER (`after`).
    """
    hypothesis = traffic.experiment.hypothesis
    tolerances = {
        Phase.BASELINE: hypothesis.before,
        Phase.FAULT: hypothesis.during,
        Phase.AFTER: hypothesis.after,
    }[phase]
    return [
        guarded(f"{WHEN[phase]}: {tolerance.text}", tolerance.text, lambda t=tolerance: _finding(traffic, phase, t))  # type: ignore[misc]
        for tolerance in tolerances
    ]


def guarded(name: str, expects: str, judge: Callable[[], Finding]) -> Finding:
    """The finding, or UNKNOWN with the error: a judge that crashes has not found anything."""
    try:
        return judge()
    except Exception as error:
        why = f"judging failed: {type(error).__name__}: {error}"
        return Finding(name=name, phase=None, expected=expects, observed="no data", outcome=Outcome.UNKNOWN, why=why)


def _finding(traffic: Traffic, phase: Phase, tolerance: Tolerance) -> Finding:
    span = traffic.span(phase)
    if span is None:
        judgement = Judgement(outcome=Outcome.UNKNOWN, why="the run did not get that far")
        return _as_finding(traffic, phase, tolerance, judgement)
    probe = tolerance.metric.stat is Stat.PROBE
    judgement = _of_probe(traffic, span, tolerance) if probe else _of_load(traffic, span, tolerance)
    if phase is Phase.BASELINE and traffic.experiment.faults and judgement.outcome is Outcome.BROKEN:
        why = f"{human(tolerance.metric, judgement.value)} before anything was broken"
        judgement = replace(judgement, outcome=Outcome.UNKNOWN, why=why)
    return _as_finding(traffic, phase, tolerance, judgement)


def _of_load(traffic: Traffic, span: Span, tolerance: Tolerance) -> Judgement:
    evidence = evidence_of(traffic, span, tolerance)
    plain = judge_load(tolerance, evidence)

    def judged(view: Traffic) -> Judgement:
        # What missing CPU and the generator's lag explain together is no violation either.
        return judge_load(tolerance, evidence_of(view, span, tolerance), adjusted=plain.outcome is Outcome.BROKEN)

    unfit = _unfit(traffic, span) or unfit_windows(traffic, span, tolerance, plain)
    if not unfit and tolerance.metric.stat in LATENCIES:
        unfit = unfit_lag(tolerance, evidence.sample, plain, judge_load(tolerance, evidence, adjusted=True))
    unfit = unfit or unfit_cpu(traffic, span, tolerance, plain, judged) or unfit_worker(traffic, span, tolerance, plain)
    if not unfit and plain.outcome is Outcome.HELD and tolerance.against is not Against.ABSOLUTE:
        unfit = _unfit_yardstick(traffic, span, tolerance)
    return replace(plain, outcome=Outcome.UNKNOWN, why=unfit, by_chance=False) if unfit else plain


def _unfit_yardstick(traffic: Traffic, span: Span, tolerance: Tolerance) -> str:
    """Why the baseline is no yardstick: a worker that saw answers late then, and not later; empty when it is."""
    baseline = traffic.span(Phase.BASELINE)
    if baseline is None or tolerance.metric.stat not in TIMES or busy_worker(traffic, span):
        return ""
    busy = busy_worker(traffic, baseline)
    return f"baseline: {busy}" if busy else ""


def evidence_of(traffic: Traffic, span: Span, tolerance: Tolerance) -> Evidence:
    """The traffic by which a tolerance is judged over a span."""
    name = tolerance.metric.of
    baseline = None
    if tolerance.against is not Against.ABSOLUTE and (before := traffic.span(Phase.BASELINE)):
        baseline = traffic.sample(before, name)
    windows = Windows(traffic, span, tolerance.window_s, name) if tolerance.window_s else ()
    return Evidence(traffic.sample(span, name), windows, baseline)


def unfit_windows(traffic: Traffic, span: Span, tolerance: Tolerance, judged: Judgement) -> str:
    """Why windows cannot have held: of a long load only tens of seconds are kept, and of a very long one only sums."""
    if not tolerance.window_s or judged.outcome is Outcome.BROKEN:
        return ""
    window, state = human_duration(tolerance.window_s), traffic.state
    summed, merged = (min(end, span.last) - span.first for end in (state.coarse_until, state.detail.until))
    if summed > 0:
        return f"of the first {human_duration(summed / SLOTS_A_SECOND)} only sums are kept, not every {window}"
    if merged > 0 and slots_in(tolerance.window_s) < GROUP:
        first = human_duration(merged / SLOTS_A_SECOND)
        return f"of the first {first} every 10 s is kept, not every {window}: ask for `in any 10s` under so much load"
    return ""


def _of_probe(traffic: Traffic, span: Span, tolerance: Tolerance) -> Judgement:
    def judged(view: Traffic) -> Judgement:
        name = tolerance.metric.probe
        return judge_answers(tolerance, answers_in(view, span, name), usual_answer(view, name))

    plain = judged(traffic)
    unfit = "" if span.whole else "the phase was cut short"
    if plain.outcome is Outcome.HELD:
        unfit = unfit or unheard(traffic, span, tolerance.metric.probe)
    if span.phase is not Phase.BASELINE:
        unfit = unfit or unfit_faults(traffic.experiment, traffic.state)
    unfit = unfit or unfit_cpu(traffic, span, tolerance, plain, judged)
    return replace(plain, outcome=Outcome.UNKNOWN, why=unfit) if unfit else plain


def answers_in(traffic: Traffic, span: Span, probe: str) -> list[tuple[bool, float | None]]:
    """What a probe answered to the questions asked in a span."""
    epoch = traffic.state.load_epoch_ns
    assert epoch is not None
    begin, end = epoch + span.first * SLOT_NS, epoch + span.last * SLOT_NS
    return [(ok, value) for at, ok, value in traffic.state.probes.get(probe, []) if begin <= at < end]


def unheard(traffic: Traffic, span: Span, probe: str) -> str:
    """For how long no question to a probe in a span was answered, if that is too long; empty when it is not."""
    epoch, longest_ns = traffic.state.load_epoch_ns, traffic.experiment.silence_of(probe) * NANOS
    assert epoch is not None
    begin, end = epoch + span.first * SLOT_NS, epoch + span.last * SLOT_NS
    asked = [at for at, _, _ in traffic.state.probes.get(probe, []) if begin <= at < end]
    gap = max(after - before for before, after in pairwise([begin, *asked, end]))
    return f"the probe gave no answer for {human_duration(gap / NANOS)}" if gap > longest_ns else ""


def usual_answer(traffic: Traffic, probe: str) -> float | None:
    """The median of a probe's good answers in the baseline, as an error has no number.

    None if most were no good, or if there are so few that it was silent for most of the baseline.
    """
    span = traffic.span(Phase.BASELINE)
    seen = answers_in(traffic, span, probe) if span else []
    values = [value for ok, value in seen if ok and value is not None]
    least = max(1.0, len(seen) / 2, span.seconds / traffic.experiment.silence_of(probe) / 2 if span else 0.0)
    return median(values) if len(values) >= least else None


def _unfit(traffic: Traffic, span: Span) -> str:
    if unfit := unfit_load(traffic, span):
        return unfit
    return unfit_faults(traffic.experiment, traffic.state) if span.phase is not Phase.BASELINE else ""


def _as_finding(traffic: Traffic, phase: Phase, tolerance: Tolerance, judgement: Judgement) -> Finding:
    faults = traffic.state.faults.values() if phase is not Phase.BASELINE else ()
    return Finding(
        name=f"{WHEN[phase]}: {tolerance.text}",
        phase=phase,
        expected=expected(tolerance, judgement.bound),
        observed=human(tolerance.metric, judgement.value),
        outcome=judgement.outcome,
        why=judgement.why,
        value=judgement.value,
        baseline=judgement.baseline,
        evidence=tuple(fault.evidence_n for fault in faults if fault.proven is not None),
        by_chance=judgement.by_chance,
    )
