"""The closed model: users, each of whom begins a journey when the one before is over.

A user's journey is due at its previous one's done plus the first step's think time; with pacing, so long after the
previous one was due, or at its done if that is later, which is counted as behind. A user that is not wanted any more
goes once its journey is over, and comes back should it be wanted again. A journey that failed is not followed by the
next within 0.1 s of its due time: users who are refused at once do not become a flood.

If this process stands still, a user's time is lost, not only one of its requests. So a journey that could not be
begun within a second is LATE, and due again a second later (with pacing: at its next turn), until it is begun: each
LATE is one second, or one turn, of one user.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import TYPE_CHECKING

from chaosrunner.alarm import FAR_NS
from chaosrunner.load.journey import LATE_NS, Journey
from chaosrunner.logic.chance import pause_s, pick
from chaosrunner.logic.crowd import Crowd
from chaosrunner.logic.feed import NO_DATA
from chaosrunner.model.load import Closed, Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from chaosrunner.load.journey import Road, Route
    from chaosrunner.load.sender import Coming, Task

AGAIN_NS = 100_000_000
"""A journey that failed is due again this long after it was, at the earliest."""


class User(Journey):
    """One user, present or not: it is its own journey, begun again and again."""

    __slots__ = ("from_s", "kept_ns", "next_ns", "present", "restless")

    def __init__(self, source: Users, route: Route, number: int) -> None:
        super().__init__(source, route, number, -1, 0)
        self.restless = False
        """Each of its journeys is due when the one before is done, as long as it is wanted, and needs no row."""
        self.present = False
        """Has begun and was not sent away since."""
        self.from_s = 0.0
        """While absent: not back before this, in seconds after the epoch."""
        self.kept_ns = 0
        """Until then it is wanted, as far as is known."""
        self.next_ns = FAR_NS
        """When its next journey is due; `FAR_NS` while one is under way, and when there will be none."""


class Users:
    """One shard of a crowd: users whose number k has k mod `of` = `shard`."""

    def __init__(self, road: Road, task: Task, stream: Coming, epoch_ns: int) -> None:
        assert isinstance(stream.plan, Crowd)
        self._road = road
        self._task = task
        self._stream = stream
        self._weights = [route.weight for route in stream.routes]
        self._crowd = stream.plan
        self._epoch_ns = epoch_ns
        closed = stream.closed or Closed()
        self._every_ns = None if closed.every_s is None else round(closed.every_s * NANOS)
        self._iterations = inf if closed.iterations is None else closed.iterations
        self._users: dict[int, User] = {}
        self._coming: list[tuple[int, int]] = []
        """A heap of (due, user); an entry that is not its user's due any more is stale."""
        self.next_ns = FAR_NS
        self._invite()

    def take(self, now_ns: int) -> None:
        """A user is due: its journey is begun, LATE, or not due at all because it is not wanted any more."""
        due_ns, number = heapq.heappop(self._coming)
        user = self._users[number]
        if not self._wanted(user, due_ns):
            self._send_away(user, due_ns)
        elif now_ns - due_ns > LATE_NS:
            user.present = True
            self._schedule(user, due_ns + (self._every_ns or LATE_NS))
            self._road.never(user.route, due_ns, Outcome.LATE)
        else:
            self._begin(user, due_ns)
        self._look_ahead()

    def over(self, journey: Journey, done_ns: int, ok: bool) -> None:
        """A user's journey has ended: its next one is fired now if it is due now, else scheduled."""
        user: User = journey  # type: ignore[assignment]  # a cast would cost time here
        if user.restless and ok and done_ns < user.kept_ns:
            user.nth += 1
            user.due_ns = done_ns
            user.variables = {}
            self._road.begin(user)
            return
        due_ns = self._after(user, done_ns)
        if not ok:
            due_ns = max(due_ns, user.due_ns + AGAIN_NS)
        if user.nth + 1 >= self._iterations:
            return  # it has done what it came for
        if due_ns > done_ns:
            self._schedule(user, due_ns)
        elif self._wanted(user, due_ns):
            self._begin(user, due_ns)
            return
        else:
            self._send_away(user, due_ns)
        self._look_ahead()

    def steer(self, factor: float, at_s: float) -> None:
        """From an instant on there are `factor` times as many users as the stages say."""
        self._crowd = self._crowd.steered(at_s, factor)
        for user in self._users.values():
            user.kept_ns = 0
        self._invite()

    def _after(self, user: User, done_ns: int) -> int:
        """When a user's next journey is due."""
        if self._every_ns is None:
            first = user.route.legs[0]
            if first.pause_ns is not None:
                return done_ns + first.pause_ns
            pause = pause_s(first.think, self._task.seed, user.who, user.nth + 1, first.name)
            return done_ns + round(pause * NANOS)
        planned = user.due_ns + self._every_ns
        if done_ns - user.lag_ns > planned:  # else it is this process that was late, and lag says so
            self._road.behind()
        return max(planned, done_ns)

    def _begin(self, user: User, due_ns: int) -> None:
        user.present = True
        user.next_ns = FAR_NS
        nth = user.nth + 1
        feed = user.route.feed
        row = {} if feed is NO_DATA else feed.row(user.who, nth)
        if row is None:
            self._road.never(user.route, due_ns, Outcome.SPENT)  # and it leaves for good
            return
        user.nth = nth
        user.due_ns = due_ns
        user.lag_ns = 0
        user.variables = row
        self._road.begin(user)

    def _wanted(self, user: User, at_ns: int) -> bool:
        if at_ns < user.kept_ns:
            return True
        at_s = (at_ns - self._epoch_ns) / NANOS
        if not self._crowd.wants(user.who, at_s):
            return False
        until_s = self._crowd.keeps_until(at_s)
        user.kept_ns = FAR_NS if until_s == inf else self._epoch_ns + int(until_s * NANOS)
        return True

    def _send_away(self, user: User, at_ns: int) -> None:
        user.present = False
        user.from_s = (at_ns - self._epoch_ns) / NANOS
        self._enter(user)

    def _invite(self) -> None:
        """Reckon anew when everybody who is not there will come."""
        for number in range(self._task.shard, self._crowd.most(), self._task.of):
            if number not in self._users:
                route = self._stream.routes[pick(self._weights, number, self._stream.chance)]
                user = self._users[number] = User(self, route, number)
                user.paced = self._every_ns is not None
                plain = self._iterations == inf and route.feed is NO_DATA
                user.restless = plain and not user.paced and route.legs[0].pause_ns == 0
        for user in self._users.values():
            if not user.present:
                self._enter(user)
        self._look_ahead()

    def _enter(self, user: User) -> None:
        at_s = self._crowd.enters(user.who, user.from_s)
        self._schedule(user, FAR_NS if at_s == inf else self._epoch_ns + int(at_s * NANOS))

    def _schedule(self, user: User, due_ns: int) -> None:
        user.next_ns = due_ns
        if due_ns < FAR_NS:
            heapq.heappush(self._coming, (due_ns, user.who))

    def _look_ahead(self) -> None:
        """Know the next one due; forget what is stale."""
        coming = self._coming
        while coming and self._users[coming[0][1]].next_ns != coming[0][0]:
            heapq.heappop(coming)
        self.next_ns = coming[0][0] if coming else FAR_NS
