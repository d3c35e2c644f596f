"""Was it a missing CPU? A judgement that missing CPU may explain is no judgement on the target.

What was missing, and the kindest view of a run, is `chaosrunner.logic.relief`'s matter; here verdicts on the two are
compared, and a doubt is put into words: whose doing it was, what would have been seen without, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from chaosrunner.logic.measure import LATENCIES, human
from chaosrunner.logic.relief import WAITED
from chaosrunner.logic.tolerate import Evidence, Judgement, judge_load
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Span, Traffic, slots_in
from chaosrunner.logic.validity import MORE_ROOM
from chaosrunner.model.experiment import Phase
from chaosrunner.model.hypothesis import Against, Stat, Tolerance
from chaosrunner.model.units import SLOT_NS, human_duration
from chaosrunner.model.verdict import Outcome

FULL_ALLOWED = 0.05
"""Share of the time in which a worker may be at its limit before what it says of slow answers is doubted."""

TIMES = LATENCIES | {Stat.RATE}
"""What a worker that sees answers late tells wrong."""

BAD = frozenset({"late", "never"})
"""States of a recovery that speak against the target."""

OWN_HOST = "stop them, or give the target a host of its own"


def unfit_cpu(
    traffic: Traffic, span: Span, tolerance: Tolerance, plain: Judgement, judged: Callable[[Traffic], Judgement]
) -> str:
    """Why missing CPU forbids a judgement: it would be another one without; empty when it would be the same.

    A violation must be there in the kindest view, too; and a bound counted from a baseline must hold what was seen
    also if that baseline was better than it looks.
    """
    if not traffic.lack:
        return ""
    if plain.outcome is Outcome.BROKEN:
        if tolerance.metric.stat is Stat.RATE and users_waited(traffic, span):
            return _cpu_decides(traffic, span, "users who wait longer ask less")
        # Of a probe no answer is better than it looks: those in doubt are left out, of the baseline as well.
        kindly = frozenset(Phase) if tolerance.metric.stat is Stat.PROBE else _kindly(span.phase)
        view = judged(traffic.relieved(kindly))
        if view.outcome is not Outcome.BROKEN:
            return _cpu_decides(traffic, span, f"without that {_said(tolerance, view)}")
    elif plain.outcome is Outcome.HELD and tolerance.against is not Against.ABSOLUTE:
        baseline = traffic.span(Phase.BASELINE)
        assert baseline is not None
        if tolerance.metric.stat is Stat.RATE and users_waited(traffic, baseline):
            return "baseline: " + _cpu_decides(traffic, baseline, "users who wait longer ask less")
        view = judged(traffic.relieved(frozenset({Phase.BASELINE})))
        unheard = tolerance.metric.stat is Stat.PROBE and view.outcome is not Outcome.HELD
        if view.outcome is Outcome.BROKEN or unheard:
            return "baseline: " + _cpu_decides(traffic, baseline, f"by a better one {_said(tolerance, view)}")
    return ""


def unfit_recovery(traffic: Traffic, state_of: Callable[[Traffic], str]) -> str:
    """Why missing CPU forbids to call a recovery late or missing; empty when it would be so without, too."""
    if not traffic.lack:
        return ""
    asked = traffic.experiment.hypothesis.after or traffic.experiment.hypothesis.before
    counted = any(one.metric.stat is Stat.PROBE and one.against is not Against.ABSOLUTE for one in asked)
    span = traffic.span(Phase.RECOVERY) or traffic.span(Phase.FAULT)
    assert span is not None
    for phases in (_kindly(Phase.RECOVERY), *([frozenset(Phase)] if counted else [])):
        if (state := state_of(traffic.relieved(phases))) not in BAD:
            return _cpu_decides(traffic, span, f"without that {state}")
    return ""


def unfit_abort(traffic: Traffic, parts: Sequence[Span], tolerance: Tolerance, trips: Callable[[Traffic], bool]) -> str:
    """Why missing CPU forbids to blame the target for a safeguard that tripped; empty when it would have without.

    Args:
        traffic: of the run.
        parts: the stretches, in order, each of which it took.
        tolerance: the safeguard.
        trips: whether it trips in a view.
    """
    if not traffic.lack:
        return ""
    whole = replace(parts[0], last=parts[-1].last)
    if tolerance.metric.stat is Stat.RATE and any(users_waited(traffic, part) for part in parts):
        return _cpu_decides(traffic, whole, "users who wait longer ask less")
    if trips(traffic.relieved(frozenset(Phase))):
        return ""
    return _cpu_decides(traffic, whole, "without that it need not have tripped")


def lacked(traffic: Traffic, span: Span) -> bool:
    """Whether anything due in a span may owe anything to missing CPU."""
    return not traffic.lack.seconds().isdisjoint(span.touched)


def unfit_worker(traffic: Traffic, span: Span, tolerance: Tolerance, plain: Judgement) -> str:
    """Why a worker that had no more to give forbids to call the target slow; empty when none was that busy.

    Of windows the worst counts, unless one is violated, too, around which every worker had more to give.
    """
    if plain.outcome is not Outcome.BROKEN or tolerance.metric.stat not in TIMES:
        return ""
    full, most = _full(traffic), allowed(tolerance)
    if not tolerance.window_s or not _busiest(full, span, 0.0):
        return _busiest(full, span, most)
    wide = min(slots_in(tolerance.window_s), span.last - span.first)
    begins = [*range(span.first, span.last - wide, SLOTS_A_SECOND), span.last - wide]
    windows = [replace(span, first=begin, last=begin + wide) for begin in begins]
    busy = next(filter(None, (_busiest(full, one, most) for one in windows)), "")
    idle = [one for one in windows if one.first >= traffic.state.detail.until and not _busiest(full, _beside(one), 0.0)]
    return "" if not busy or any(_ill(traffic, one, tolerance) for one in idle) else busy


def _beside(window: Span) -> Span:
    return replace(window, first=window.first - SLOTS_A_SECOND, last=window.last + SLOTS_A_SECOND)


def _ill(traffic: Traffic, window: Span, tolerance: Tolerance) -> bool:
    """Whether a tolerance is violated in a window at best: without lag and with the CPU that was missing."""
    view, of = traffic.relieved(_kindly(window.phase)) if traffic.lack else traffic, tolerance.metric.of
    before = view.span(Phase.BASELINE)
    sample = view.recent(window.last, window.last - window.first, of)
    evidence = Evidence(sample, (sample,), view.sample(before, of) if before else None)
    return judge_load(tolerance, evidence, adjusted=True).outcome is Outcome.BROKEN


def busy_worker(traffic: Traffic, span: Span, most: float = FULL_ALLOWED) -> str:
    """Which worker had no more to give for more than that share of a span; empty when none was that busy."""
    return _busiest(_full(traffic), span, most)


def _full(traffic: Traffic) -> dict[int, dict[int, float]]:
    """Second → worker → for how much of it it was never idle."""
    full: dict[int, dict[int, float]] = {}
    for (second, worker), strain in traffic.state.strains.items():
        if strain.full_us:
            full.setdefault(second, {})[worker] = strain.full_us / 1e6
    return full


def _busiest(full: dict[int, dict[int, float]], span: Span, most: float) -> str:
    seconds = span.touched
    shares: dict[int, float] = {}
    for second in seconds:
        for worker, share in full.get(second, {}).items():
            shares[worker] = shares.get(worker, 0.0) + share / len(seconds)
    worker = max(shares, key=lambda one: shares[one], default=0)
    if shares.get(worker, 0.0) <= most:
        return ""
    return f"worker {worker} of the load was never idle for {shares[worker] * 100:.3g} % of the time; {MORE_ROOM}"


def allowed(tolerance: Tolerance) -> float:
    """For which share of the time a worker may be full: no longer than as many answers as are seen late may decide."""
    match tolerance.metric.stat:
        case Stat.MAX:
            return 0.0
        case Stat.QUANTILE:
            return min(FULL_ALLOWED, 1.0 - tolerance.metric.quantile)
        case _:
            return FULL_ALLOWED


def users_waited(traffic: Traffic, span: Span) -> bool:
    """Whether so much CPU was missing in a span that users, who wait for an answer in a closed model, asked less."""
    return traffic.experiment.load.closed and traffic.lack.taken(span.touched) >= WAITED


def _kindly(phase: Phase) -> frozenset[Phase]:
    """The phases to relieve so that this one looks its best: the baseline, which bounds are counted from, only if it
    is the one.
    """
    return frozenset({phase} if phase is Phase.BASELINE else set(Phase) - {Phase.BASELINE})


def _said(tolerance: Tolerance, judgement: Judgement) -> str:
    return f"{human(tolerance.metric, judgement.value)}, {judgement.outcome.name}"


def _cpu_decides(traffic: Traffic, span: Span, without: str) -> str:
    """The reason, with whose doing it was and what to do."""
    lack, seconds = traffic.lack, span.touched
    theirs, ours = lack.taken(seconds), lack.still(seconds)
    if ours > theirs:
        return f"the load generator stood still for {human_duration(ours)} at once: {without}; {MORE_ROOM}"
    begin, end = ((traffic.state.load_epoch_ns or 0) + slot * SLOT_NS for slot in (span.first, span.last))
    named = [one.busiest for one in traffic.state.pressure if begin <= one.at_ns <= end and one.busiest]
    who = f" ({max(sorted(set(named)), key=named.count)})" if named else ""
    waited = human_duration(theirs)
    return f"others on this host had the CPUs{who}, the target waited {waited} a second: {without}; {OWN_HOST}"
