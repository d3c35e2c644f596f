"""Was it the target, or did we run out of connections or CPU? What our own lack explains is no evidence on a level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from chaosrunner.logic.doubt import busy_worker
from chaosrunner.logic.fold import State
from chaosrunner.logic.traffic import SLOTS_A_SECOND, Span, Traffic
from chaosrunner.model.experiment import Phase
from chaosrunner.model.histogram import Histogram
from chaosrunner.model.load import Outcome as Reply
from chaosrunner.model.search import Trial
from chaosrunner.model.slots import Hit, Slot
from chaosrunner.model.verdict import Outcome

FULL = 0.9
"""From this share on of our connections all of them count as taken."""

AS_QUICK = 1.5
"""Answers that take at most so many times as long as at the lowest level that held are as quick as ever."""

LATE, WORTH = 0.95, 0.1
"""The quantile that is looked at, and the share of a service time from which on a wait is one."""

FIRST, NEXT = 20, 100
"""The first so many answers of a run say how quick the target is while it has hardly anything to do; the next so many
do, if the first ones were cold."""

WAITING = (Reply.SHED, Reply.UNFINISHED, Reply.TIMEOUT, Reply.POOL)
"""What becomes of requests that wait too long for a connection."""


def without_room(trial: Trial, others: Sequence[Trial], connections: int) -> Trial:
    """The trial, UNKNOWN where our own connections were the limit, and not the target, or where that cannot be told.

    They are if nearly all of them were taken (Little's law) and requests waited for one, while the target answered what
    it got as quickly as at the lowest level that held, or (where none did yet) as its first requests: with more
    connections it would have served more. A target that is overloaded takes all of them, too, but by answering late.

    First requests may have been slow for being the first. So where only they say that the target was as quick as ever,
    another way out is named: begin lower, where a level that holds will say it better.

    Args:
        trial: of a load.
        others: trials before it.
        connections: that may be open at once.
    """
    if trial.outcome is not Outcome.BROKEN or trial.taken < FULL * connections:
        return trial
    held = [one for one in others if one.outcome is Outcome.HELD and one.service]
    least = min(held, key=lambda one: one.level, default=None)
    slowed = trial.slowed if least is None else (trial.service or math.inf) / (least.service or math.inf)
    if slowed is not None and slowed > AS_QUICK:
        return trial
    quick = "the target was as quick as ever" if least else "the target was as quick as at first"
    quick = "nothing says how quick the target can be" if slowed is None else quick
    what = "use more `connections`" + ("" if least else ", or begin lower: a level that holds says how quick it can be")
    return doubted(trial, f"all {connections} connections of ours were taken and {quick}; {what}")


def ours(traffic: Traffic, span: Span, trial: Trial) -> tuple[str, State] | None:
    """What we lacked in the trial of a dose, and the run as it would have been at best without that; None if nothing.

    A dose may slow the target down by itself, so lower doses do not say how quick it can be. What does is the run: had
    no request waited for a connection, only what answers took once they were asked for would be left. Where a worker
    was never idle not even that is known, as it saw answers late; then only wrong ones are left.
    """
    connections = traffic.experiment.load.connections
    if trial.taken >= FULL * connections and (trial.slowed or 0.0) <= AS_QUICK:
        why = f"all {connections} connections of ours were taken, and without the wait for one it would not break"
        return f"{why}; use more `connections`", without_waiting(traffic.state, served=True)
    for one in (span, traffic.span(Phase.RECOVERY)):
        if one is not None and (why := busy_worker(traffic, one)):
            return why, without_waiting(traffic.state, served=False)
    return None


def doubted(trial: Trial, why: str) -> Trial:
    """The trial as one that says nothing, for this reason."""
    return replace(trial, outcome=Outcome.UNKNOWN, why=f"{trial.why} ({why})")


def without_waiting(state: State, *, served: bool) -> State:
    """The state as it would be at best, had no request waited for us; the given one is left as it is.

    Args:
        state: the fold of a journal.
        served: what an answer took once it was asked for counts; False: not even that, answers came at once.
    """
    return replace(
        state,
        hits=[_hit(hit, served=served) for hit in state.hits],
        slots={
            number: {name: _slot(slot, served=served) for name, slot in names.items()}
            for number, names in state.slots.items()
        },
        coarse={key: _slot(slot, served=served) for key, slot in state.coarse.items()},
    )


def _slot(slot: Slot, *, served: bool) -> Slot:
    done = {outcome: count for outcome, count in slot.done.items() if outcome not in WAITING}
    done[Reply.OK] = slot.done.get(Reply.OK, 0) + slot.errors - refused(slot)
    at_once = Histogram({0: slot.ok.total}, slot.ok.total)
    ok = slot.service if served and slot.service.total else slot.ok if served else at_once
    return replace(slot, done=done, ok=ok, adjusted=ok)


def _hit(hit: Hit, *, served: bool) -> Hit:
    if hit.outcome in WAITING or (hit.outcome is Reply.OK and not served):
        return replace(hit, outcome=Reply.OK, response_us=0)
    return replace(hit, response_us=hit.response_us - hit.sent_us) if hit.outcome is Reply.OK and hit.sent_us else hit


def taken(slot: Slot, seconds: float) -> float:
    """Connections taken at once, on average: what succeeded per second times how long it had one (Little's law).

    0 where nobody waited for one, and where more than one request in a hundred was refused or answered wrongly: what
    breaks there is the target.
    """
    wait, service = slot.wait.quantile(LATE), slot.service.quantile(LATE)
    if wait is None or service is None or wait < WORTH * service or refused(slot) > 0.01 * slot.due:
        return 0.0
    return (slot.service.mean() or 0.0) * slot.service.total / 1e6 / seconds


def refused(slot: Slot) -> int:
    """Errors that are the target's answers, and no waiting that was given up."""
    return slot.errors - sum(slot.done.get(outcome, 0) for outcome in WAITING)


def since_first(traffic: Traffic, span: Span) -> float | None:
    """How many times as long as the first requests of the run those of a span took once they were sent (medians).

    The first ones may be slow for being the first: caches are empty, code is not compiled. So the next ones are looked
    at, too, and the quicker of both are what the target can do. With faults these are the first ones a second after
    those were in place. None if either had no answer, or if it is no longer known second by second.
    """
    begin = 0 if span.phase is Phase.BASELINE else span.first + SLOTS_A_SECOND
    number = max(begin, traffic.state.detail.until, traffic.state.coarse_until)
    if number > begin:
        return None
    quick: list[float] = []
    for wanted in (FIRST, NEXT):
        part = Slot()
        while part.service.total < wanted and number < span.last:
            number += 1
            part.add(traffic.recent(number, 1).slot)
        median = part.service.quantile(0.5)
        # Few of the next ones may be quick by chance; of the first ones there may be no more.
        quick += [median] if median and (not quick or part.service.total >= wanted) else []
    usual = traffic.sample(span).slot.service.quantile(0.5)
    return usual / min(quick) if quick and usual else None
