"""How long to wait for a proof: until it is there, or until target and hold time are over, with the error kept.

Whoever looks at an interval again and again until it says what he hopes for is wrong more often than the interval says.
So the looks are few and known beforehand: when `after` has held for the hold time, each time half as much again has
passed, and at the end. With k looks each has a k-th of the error (Bonferroni), so that all of them together are wrong
as rarely as one. A run of which only the tolerances are asked needs no such looks: its end does not depend on them.
"""

from __future__ import annotations

from chaosrunner.logic.appraisal import glance
from chaosrunner.logic.equivalence import SIDE
from chaosrunner.logic.fold import State
from chaosrunner.model.experiment import Experiment, Phase
from chaosrunner.model.units import NANOS
from chaosrunner.model.verdict import Return

LATER = 1.5
"""The time that has passed grows by this from look to look."""

LOOK_NS = NANOS
"""A look is taken within this time, once its traffic is there; one that comes later is left out."""


def looks(experiment: Experiment, state: State) -> list[int]:
    """When a proof is looked for, CLOCK_BOOTTIME nanoseconds, the last at the latest end of the watch.

    Empty unless the user asked for a proof and AFTER has begun.
    """
    target, start, recovering = (
        experiment.recover,
        state.phase_start_ns(Phase.AFTER),
        state.phase_start_ns(Phase.RECOVERY),
    )
    if target.margin is None or start is None:
        return []
    over = (start if recovering is None else recovering) + round((target.within_s + target.hold_s) * NANOS)
    found, length = [], target.hold_s
    while start + round(length * NANOS) < over:
        found.append(start + round(length * NANOS))
        length *= LATER
    return [*found, max(over, start + round(target.hold_s * NANOS))]


def side(experiment: Experiment, state: State) -> float:
    """The error of each side of an interval, so that all looks together have `SIDE`."""
    return SIDE / max(1, len(looks(experiment, state)))


def next_look(experiment: Experiment, state: State, now: int) -> int | None:
    """When to look again; None when there is nothing more to wait for: proven, never asked for, or over."""
    planned = looks(experiment, state)
    for at in planned[:-1]:
        if at <= min(now, state.covered_ns()) and now < at + LOOK_NS and _proven(experiment, state, at):
            return None
    return next((at for at in planned if at > now), None)


def _proven(experiment: Experiment, state: State, at: int) -> bool:
    return glance(experiment, state, at, side(experiment, state)).verdict is Return.RECOVERED
