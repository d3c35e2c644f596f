"""The open model: journeys begin when the schedule says so, whatever became of the ones before."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from chaosrunner.alarm import FAR_NS
from chaosrunner.load.journey import LATE_NS, Journey
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.journey import Road
    from chaosrunner.load.sender import Task
    from chaosrunner.logic.pacing import Pace


class Arrivals:
    """One shard of a schedule: journeys whose number n has n mod `of` = `shard`."""

    def __init__(self, road: Road, task: Task, pace: Pace, epoch_ns: int) -> None:
        self._road = road
        self._task = task
        self._pace = pace
        self._epoch_ns = epoch_ns
        self._n = task.shard
        self._open = 0
        self.next_ns = self._due()

    def take(self, now_ns: int) -> None:
        """The next journey is due: fired, LATE if this process is too far behind, SHED if too many are under way."""
        n, due_ns = self._n, self.next_ns
        self._n += self._task.of
        self.next_ns = self._due()
        if now_ns - due_ns > LATE_NS:
            self._road.never(due_ns, Outcome.LATE)
        elif self._open >= self._task.max_in_flight:
            self._road.never(due_ns, Outcome.SHED)
        else:
            self._open += 1
            rows = self._task.rows
            self._road.begin(Journey(n, 0, due_ns, {**rows[n % len(rows)]} if rows else {}))

    def over(self, journey: Journey, done_ns: int, *, ok: bool) -> None:
        """Room for one more."""
        self._open -= 1

    def steer(self, factor: float, at_s: float) -> None:
        """From an instant on, arrivals come `factor` times as often as the stages say."""
        self._pace = self._pace.steered(at_s, factor)
        self.next_ns = self._due()

    def _due(self) -> int:
        seconds = self._pace.due(self._n)
        return FAR_NS if seconds == inf else self._epoch_ns + int(seconds * NANOS)
