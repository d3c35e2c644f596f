"""What a verdict says, in sentences: the same words on a terminal, in HTML and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator

from chaosrunner.model.experiment import Phase
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import Degradation, FaultReport, Of, Recovery, Return, Trust, Verdict
from chaosrunner.report.table import stats_of
from chaosrunner.report.words import PHASE_WORDS, count, plural, seconds, share

OUTCOME_WORDS = {
    "status": "wrong status",
    "check": "not the reply it should be",
    "timeout": "timed out",
    "refused": "refused",
    "reset": "reset",
    "protocol": "broke the protocol",
    "dns": "name not found",
    "tls": "TLS failed",
    "connect": "not connected",
    "shed": "not sent (too many in flight)",
    "unfinished": "unfinished at the end",
    "spent": "no unused row of data left",
    "lost": "lost",
    "repeated": "came twice",
    "reordered": "out of order",
    "stalled": "silent although open",
    "closed": "closed by the peer",
    "sql": "refused by the database",
    "conflict": "in conflict to the last try",
    "pool": "no connection of the pool in time",
    "late": "never fired by the generator",
    "local": "no port or descriptor left on this host",
}
"""How a failed hit is called."""


def outcomes(by_outcome: dict[str, int]) -> str:
    """`932 refused, 12 timed out`: failures by what they were, most first; empty when there are none."""
    failed = sorted(((n, name) for name, n in by_outcome.items() if name != "ok" and n), reverse=True)
    return ", ".join(f"{count(n)} {OUTCOME_WORDS.get(name, name)}" for n, name in failed)


def failures(verdict: Verdict) -> Iterator[str]:
    """What failed requests died of, one line a phase that has a hypothesis: `before: 116 timed out, 84 refused`."""
    for phase, word in PHASE_WORDS.items():
        stats = stats_of(verdict, phase)
        if stats is not None and stats.errors:
            yield f"{word}: {outcomes(dict(stats.by_outcome))}"


def explain_errors(verdict: Verdict, phase: Phase, name: str = "") -> str:
    """What the errors of a phase were, in which requests most, and when; empty when there were none."""
    stats = stats_of(verdict, phase, name)
    if stats is None or not stats.errors:
        return ""
    parts = [outcomes(dict(stats.by_outcome))]
    mine = [one for one in verdict.phases if one.phase is phase and one.name and one.of is Of.STEP and one.errors]
    named = sorted(((stats.errors, stats.name) for stats in mine), reverse=True)
    if not name and len(named) > 1:
        parts.append("most in " + ", ".join(f"{who} ({count(n)})" for n, who in named[:2]))
    seen = verdict.recovery
    if phase is Phase.FAULT and seen.detected_s is not None:
        lasted = f", last {seconds(seen.outage_s)} later" if seen.outage_s is not None else ""
        parts.append(f"'after' violated first {seconds(seen.detected_s)} after the injection{lasted}")
    return "; ".join(parts)


def fault_lines(fault: FaultReport) -> tuple[str, str]:
    """What was done, and its proof and end."""
    match fault.proven:
        case True:
            proof = f"proven: {fault.evidence}"
        case False:
            proof = f"NOT in effect: {fault.evidence}"
        case None:
            proof = "not proven" + (f": {fault.evidence}" if fault.evidence else "")
    parts = [proof] if fault.says else []  # without a recipe there is nothing that could be proven
    if fault.note:
        parts.append(fault.note)
    if fault.lasted_s is not None:
        parts.append(f"lasted {human_duration(fault.lasted_s)}")
    if not fault.restored:
        parts.append("MAY STILL BE IN PLACE")
    return fault.says or fault.title, "; ".join(parts)


def recovered(seen: Recovery) -> str:
    """Time to recover with its bounds and its target, or why there is none."""
    target = f"target {human_duration(seen.target_s)}"
    because = f": {seen.why}" if seen.why else ""
    match seen.state:
        case "none":
            return f"nothing to recover from{because}"
        case "unknown":
            return f"UNKNOWN{because} · {target}"
        case "never":
            longer = f", > {human_duration(seen.longer_than_s)}" if seen.longer_than_s is not None else ""
            return f"NEVER{longer}{because} · {target}"
    time = f"{bounded(seen.time_s, seen.low_s, seen.high_s)} after the last fault"
    since = f", {seconds(seen.from_inject_s)} after the first injection" if seen.from_inject_s is not None else ""
    if seen.verdict in (Return.NOT_RECOVERED, Return.RELAPSED):
        late = ", TOO LATE" if seen.state == "late" else ""
        return f"{seen.verdict}: {seen.verdict_why} · 'after' holds since {time}{since}{late} · {target}"
    noticed = "no tolerance of 'after' was violated · " if seen.detected_s is None and not seen.lost else ""
    late = ": TOO LATE" if seen.state == "late" else ""
    return f"{noticed}{time}{since} · {target}{late}"


def as_before(seen: Recovery) -> str:
    """Whether it is proven to be as before, or what is missing; empty when the recovery itself says it, or is none."""
    match seen.verdict:
        case Return.RECOVERED:
            return f"RECOVERED: proven to be as before: {seen.verdict_why}"
        case Return.INCONCLUSIVE if seen.state not in ("unknown", "none"):
            return f"INCONCLUSIVE whether all is as before: {seen.verdict_why}"
        case Return.NOT_RECOVERED if seen.state in ("never", "none"):
            return f"NOT RECOVERED: {seen.verdict_why}"
        case Return.RELAPSED if seen.state not in ("recovered", "late"):
            return f"RELAPSED: {seen.verdict_why}"
        case _:
            return ""


def recovery_label(seen: Recovery) -> str:
    """How the line of the recovery is called: `recovered` only where there was one and nothing speaks against it."""
    back = seen.state in ("recovered", "late") and seen.verdict not in (Return.NOT_RECOVERED, Return.RELAPSED)
    return "recovered" if back else "recovery"


NOTICED_S = 0.1
"""An area of less full service is not spoken of: the page has it."""


def cost(seen: Recovery) -> str:
    """What the faults were to users in one line: class, error budget, backlog; empty when it was not measured."""
    told = seen.impact
    if told is None:
        return ""
    parts = [told.degradation.value if told.degradation is not Degradation.NONE else "no degradation proven"]
    if told.budget_s and told.budget_share is not None:
        parts.append(f"{told.budget_s / 60:.2g} min of the error budget ({share(told.budget_share)}) spent")
    if told.drain_s:
        parts.append(f"backlog drained in {seconds(told.drain_s)}, {plural(told.in_flight or 0, 'request')} at most")
    if told.area_s is not None and abs(told.area_s) >= NOTICED_S:
        parts.append(f"{told.area_s:.2g} s of full service lost")
    return " · ".join(parts)


def lost(seen: Recovery) -> str:
    """What users lost between injection and recovery; nothing is claimed when the recovery was not measured."""
    if seen.state in ("unknown", "none") and not seen.lost and not seen.waited_s:
        return "not measured"
    waited = f"{seen.waited_s:,.0f} s" if seen.waited_s >= 10 else f"{seen.waited_s:.2g} s"
    return f"{plural(seen.lost, 'request')}, {waited} of waiting"


def restored(verdict: Verdict) -> str:
    """Whether everything was put back; never a plain yes when something may be left."""
    total, back = len(verdict.faults), sum(fault.restored for fault in verdict.faults)
    if verdict.restored and back == total:
        return (
            f"{back} of {total}, nothing of ours left"
            if any(f.says for f in verdict.faults)
            else "nothing was injected"
        )
    open_ones = [fault.title for fault in verdict.faults if not fault.restored]
    left = "; ".join([*open_ones, *verdict.residue]) or "see the journal"
    return f"NO, {back} of {total}; may still be in place: {left}"


def trusted(trust: Trust) -> list[str]:
    """How far the generator may be believed: a line of figures, then each remark."""
    times = {"response": trust.response_p99_s, "service": trust.service_p99_s, "connection wait": trust.wait_p99_s}
    told = [f"{what} {seconds(value)}" for what, value in times.items() if value is not None]
    parts = [f"generator lag p99 {seconds(trust.lag_p99_s)}" + (f" (beside {', '.join(told)})" if told else "")]
    if trust.fired != trust.offered:
        parts.append(f"{count(trust.offered - trust.fired)} of {count(trust.offered)} never fired")
    parts.append(f"{count(trust.unaccounted)} of {count(trust.offered)} requests unaccounted")
    return [" · ".join(parts), *trust.notes]


def bounded(value: float | None, low: float | None, high: float | None) -> str:
    """A duration in seconds with its bounds, as many digits as the bounds deserve: `6.4 s (6.1–6.9)`."""
    if value is None or low is None or high is None:
        return seconds(value)
    if high >= 120:
        return f"{seconds(value)} ({seconds(low)} to {seconds(high)})"
    if high < 1:
        return f"{value * 1000:.0f} ms ({low * 1000:.0f}–{high * 1000:.0f})"
    half = max((high - low) / 2, 0.0005)
    places = min(3, max(0, -math.floor(math.log10(half))))
    return f"{value:.{places}f} s ({low:.{places}f}–{high:.{places}f})"
