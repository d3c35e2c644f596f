"""The open model: journeys begin when the schedule says so, whatever became of the ones before."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from chaosrunner.alarm import FAR_NS
from chaosrunner.load.journey import LATE_NS, Journey
from chaosrunner.logic.chance import pick
from chaosrunner.logic.pacing import Pace
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.journey import Road
    from chaosrunner.load.sender import Coming, Task


class Arrivals:
    """One shard of a schedule: journeys whose number n has n mod `of` = `shard`."""

    def __init__(self, road: Road, task: Task, stream: Coming, epoch_ns: int) -> None:
        assert isinstance(stream.plan, Pace)
        self._road = road
        self._task = task
        self._stream = stream
        self._weights = [route.weight for route in stream.routes]
        self._pace = stream.plan
        self._epoch_ns = epoch_ns
        self._n = task.shard
        self._open = 0
        self.next_ns = self._due()

    def take(self, now_ns: int) -> None:
        """The next journey is due: fired, LATE if this process is too far behind, SHED if too many are under way."""
        n, due_ns = self._n, self.next_ns
        self._n += self._task.of
        self.next_ns = self._due()
        route = self._stream.routes[pick(self._weights, n, self._stream.chance)]
        if now_ns - due_ns > LATE_NS:
            self._road.never(route, due_ns, Outcome.LATE)
        elif self._open >= self._stream.max_in_flight:
            self._road.never(route, due_ns, Outcome.SHED)
        elif (row := route.feed.row(n, 0)) is None:
            self._road.never(route, due_ns, Outcome.SPENT)
        else:
            self._open += 1
            journey = Journey(self, route, n, 0, due_ns)
            journey.variables = row
            self._road.begin(journey)

    def over(self, journey: Journey, done_ns: int, ok: bool) -> None:
        """Room for one more."""
        self._open -= 1
        journey.spare = None  # they know each other: only the collector would find them

    def steer(self, factor: float, at_s: float) -> None:
        """From an instant on, arrivals come `factor` times as often as the stages say."""
        self._pace = self._pace.steered(at_s, factor)
        self.next_ns = self._due()

    def _due(self) -> int:
        seconds = self._pace.due(self._n)
        return FAR_NS if seconds == inf else self._epoch_ns + int(seconds * NANOS)
