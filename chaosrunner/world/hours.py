"""Rules about hours and dates, held against the clock on the wall while a run is under way."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from chaosrunner.logic.rules import closed
from chaosrunner.model.events import Forbidden
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaosrunner.model.events import Event
    from chaosrunner.model.experiment import Experiment
    from chaosrunner.world.clock import Clock

LOOK_EVERY_S = 1.0


async def watch_hours(experiment: Experiment, *, clock: Clock, report: Callable[[Event], object]) -> None:
    """Report, once, that no fault is allowed any more; return then, or at once when no rule is about time."""
    if not any(rules.only or rules.never for rules in experiment.all_rules):
        return
    while not (why := closed(experiment.all_rules, datetime.fromisoformat(clock.wall()))):
        await clock.sleep_until(clock.now() + int(LOOK_EVERY_S * NANOS))
    report(Forbidden(why=why, at_ns=clock.now()))
