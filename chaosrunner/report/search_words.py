"""What a search found, in words."""

from __future__ import annotations

from collections.abc import Callable

from chaosrunner.logic.search.curve import Curve, Place
from chaosrunner.logic.search.scaling import Law
from chaosrunner.model.search import Boundary, Known, Trial
from chaosrunner.model.verdict import Outcome
from chaosrunner.report import words
from chaosrunner.report.search import Fact

Say = Callable[[float], str]

FITS = 0.2
"""A law that is off by more than this (rms of the relative errors) says nothing of the target, and is not told."""


def headline_of(boundary: Boundary, say: Say, what: str) -> str:
    """One line: `the load holds up to 412/s`."""
    match boundary.known:
        case Known.BETWEEN:
            return f"{what} holds up to {say(boundary.best or boundary.holds or 0)}"
        case Known.BELOW:
            return f"{what} does not hold even at {say(boundary.breaks or 0)}"
        case Known.BEYOND:
            return f"{what} still holds at {say(boundary.holds or 0)}, the last level asked for"
        case Known.LIMITED:
            return f"{what} holds {_up_to(boundary, say)}; above that: {boundary.why}"
        case Known.UNDECIDED:
            return f"{what}: {_range(boundary, say)}; {boundary.why}"


def boundary_facts(boundary: Boundary, trials: tuple[Trial, ...], say: Say) -> list[Fact]:
    """Where it lies and how surely, why it breaks there, and what was not known."""
    facts = [("holds", _range(boundary, say))]
    facts += [("rests on", boundary.by)] if boundary.by else []
    telling = [one for one in trials if one.outcome is Outcome.BROKEN and one.why]
    near = min(telling, key=lambda one: abs(one.level - (boundary.breaks or one.level)), default=None)
    if near is not None:
        facts.append(("breaks", f"at {say(near.level)}: {near.why}"))
    if boundary.against:
        facts.append(("against", f"{words.plural(boundary.against, 'trial')} of {boundary.trials} said otherwise"))
    silent = [one for one in trials if one.outcome is Outcome.UNKNOWN]
    if silent:
        levels = ", ".join(dict.fromkeys(say(one.level) for one in silent))
        facts.append(("not counted", f"{words.plural(len(silent), 'trial')} ({levels}): {silent[-1].why}"))
    return facts


def capacity_facts(curve: Curve, say: Say) -> list[Fact]:
    """Knee, best goodput, collapse, and the law that was fitted."""
    facts: list[Fact] = []
    if curve.knee is not None:
        facts.append(("knee", f"{_place(curve.knee, say)}: from there on waiting grows faster than goodput"))
    elif curve.levels:
        facts.append(("knee", f"none seen up to {say(curve.levels[-1].level)}"))
    if curve.best is not None:
        facts.append(("best", f"{words.rate(curve.best.goodput)} succeeded, at {say(curve.best.level)}"))
        highest = curve.levels[-1]
        fallen = [one for one in curve.levels if curve.collapse and one.level == curve.collapse.level]
        if curve.collapse is not None and fallen:
            kept = words.share(fallen[0].goodput / curve.best.goodput)
            facts.append(("collapse", f"{_place(curve.collapse, say)}: {kept} of the best goodput are left"))
        else:
            facts.append(("collapse", f"none seen up to {say(highest.level)}"))
    facts.append(("scaling", _law(curve.law)))
    return facts


def cost_fact(title: str, before: Boundary, under: Boundary, say: Say) -> Fact:
    """`under process.pause on server`: what is left, and how much of the capacity is lost, with its interval."""
    text = _range(under, say)
    if before.best and under.best and before.holds and under.holds and before.breaks and under.breaks:
        lost = 1 - under.best / before.best
        low, high = 1 - under.breaks / before.holds, 1 - under.holds / before.breaks
        text += f"; {words.share(max(0.0, lost))} lost ({words.share(max(0.0, low))}–{words.share(max(0.0, high))})"
    return f"under {title}", text


def _range(boundary: Boundary, say: Say) -> str:
    sure = f"{boundary.confidence * 100:.3g} % sure"
    if not boundary.trials:
        return "not known: no trial said anything"
    match boundary.known:
        case Known.BELOW:
            return f"not even {say(boundary.breaks or 0)}, {sure}"
        case Known.BEYOND:
            return f"at least {say(boundary.holds or 0)}, the last level asked for, {sure}"
        case Known.LIMITED:
            return f"{_up_to(boundary, say)}, {sure}"
        case _:
            low = say(boundary.holds) if boundary.holds is not None else "less"
            high = say(boundary.breaks) if boundary.breaks is not None else "more"
            best = f"{say(boundary.best)} " if boundary.best is not None else ""
            return f"{best}({low}–{high}, {sure})"


def _up_to(boundary: Boundary, say: Say) -> str:
    return "at no level for certain" if boundary.holds is None else f"at least up to {say(boundary.holds)}"


def _place(place: Place, say: Say) -> str:
    sides = [say(side) if side is not None else "…" for side in (place.below, place.above)]
    return f"{say(place.level)} (measured at {sides[0]} and {sides[1]}, too)"


def _law(law: Law | None) -> str:
    """λ, σ and κ, and what they are worth."""
    if law is None:
        return "too few levels that differ enough to fit the Universal Scalability Law"
    if law.error > FITS:
        return f"does not follow the Universal Scalability Law: off by {words.share(law.error)} (rms)"
    text = f"X(N) with λ = {law.rate:.4g}/s, σ = {law.contention:.3g}, κ = {law.coherence:.3g}"
    text += f"; off by {words.share(law.error)} (rms) over {law.points} levels up to N = {law.reached:.3g}"
    if law.peak is None:
        return f"{text}; no limit in sight"
    what = "limit" if law.peak_at is None else f"peak at N = {law.peak_at:.3g}"
    span = f" ({words.rate(law.peaks[0])}–{words.rate(law.peaks[1])} without any one level)" if law.peaks else ""
    beyond = "" if law.seen else ", beyond what was measured"
    return f"{text}; {what}: {words.rate(law.peak)}{span}{beyond}"
