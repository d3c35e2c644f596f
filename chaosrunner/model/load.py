"""A LoadProfile: scenarios, journeys of steps, and who makes them.

Open model: journeys arrive on a schedule that never depends on replies. Closed model: so many users, each of whom
begins a journey when the one before is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from chaosrunner.model.http_client import Tls
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import SERIES
from chaosrunner.model.postgres_step import Mix, Query
from chaosrunner.model.secret import Secret
from chaosrunner.model.websocket_step import SocketStep

Order = Literal["sequential", "random", "unique"]

Step = Request | SocketStep | Query | Mix
"""A step of any protocol; each class says in `kind` which."""


class Outcome(StrEnum):
    """What became of a hit. Everything but OK is an error; SKIPPED is neither (it was never asked)."""

    OK = "ok"
    STATUS = "status"
    """Answered with a status the step did not expect."""
    CHECK = "check"
    """Answered, but something to keep was not in the reply, or a check failed."""
    TIMEOUT = "timeout"
    REFUSED = "refused"
    """The connection was refused."""
    RESET = "reset"
    """The connection broke before a whole reply had come."""
    PROTOCOL = "protocol"
    """The reply was not HTTP."""
    DNS = "dns"
    TLS = "tls"
    CONNECT = "connect"
    """Any other failure to connect (unreachable, connect timeout, out of local ports)."""
    SHED = "shed"
    """Due, but never sent: `max_in_flight` journeys were already open. An error, not silence."""
    UNFINISHED = "unfinished"
    """Still open when the load ended: censored at its age."""
    LOST = "lost"
    """Acknowledged, or numbered by the target, and missing."""
    REPEATED = "repeated"
    """A message that came a second time."""
    REORDERED = "reordered"
    """A message that came after a later one."""
    STALLED = "stalled"
    """Nothing came although the connection was open and something was due."""
    CLOSED = "closed"
    """The peer closed properly while an answer was due."""
    SQL = "sql"
    """The database reported an error."""
    CONFLICT = "conflict"
    """A serialization failure or a deadlock, also at the last of all retries."""
    POOL = "pool"
    """No connection of the pool came free in time."""
    SPENT = "spent"
    """Due, but the data had no row left that was not used before. Not the target's either."""
    LATE = "late"
    """Due before the load ended, never started by the generator. Ours, not the target's."""
    LOCAL = "local"
    """This host had no port, descriptor or memory left to send it. Ours as well."""


OURS = frozenset({Outcome.LATE, Outcome.LOCAL, Outcome.SPENT})
"""The outcomes of hits that never reached the target, for want of something on the generator's side."""

ERRORS = frozenset(Outcome) - OURS - {Outcome.OK}
"""The outcomes that blame the target. Those that are ours make findings UNKNOWN instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """From `start` to `end` linearly, over `lasts_s` seconds (`None` = until the run ends).

    What it counts is the profile's matter: journeys per second (open model) or users (closed model).
    """

    start: float
    end: float
    lasts_s: float | None

    @property
    def peak(self) -> float:
        """The highest value."""
        return max(self.start, self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """A sinusoid between two rates: `mean + swing · sin(2πt / period)` journeys per second, for whole periods.

    It begins and ends at its mean, rising.
    """

    low: float
    high: float
    period_s: float
    lasts_s: float | None
    """Whole periods, or `None` = until the run ends."""

    @property
    def mean(self) -> float:
        """Its level over whole periods."""
        return (self.low + self.high) / 2

    @property
    def swing(self) -> float:
        """How far it strays from its mean."""
        return (self.high - self.low) / 2

    @property
    def start(self) -> float:
        """The rate it begins with: its mean."""
        return self.mean

    @property
    def end(self) -> float:
        """The rate it ends with: its mean."""
        return self.mean

    @property
    def peak(self) -> float:
        """The highest rate."""
        return self.high


Shape = Stage | Wave


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The closed model: the stages say how many users there are; each has one journey under way at a time."""

    every_s: float | None = None
    """Pacing: a journey is due this long after the one before was, or when that is done if that is later. None: when
    the one before is done and the first step's think time has passed."""
    iterations: int | None = None
    """Journeys after which a user leaves for good; None: as long as the load lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What one kind of user does: a journey, with all that belongs to it."""

    name: str = ""
    """Empty when it is the only one."""
    steps: tuple[Step, ...]
    weight: float = 1.0
    """Its share of the stream's journeys (closed model: of its users), beside the weights of the others."""
    tags: tuple[str, ...] = ()
    """Words that stand for all steps of the scenarios that have them, in tolerances and reports."""
    auth: Secret | None = None
    """`bearer <token>` or a fixed header value; sent as `Authorization` once every variable in it is known."""
    data: tuple[Mapping[str, str], ...] = ()
    """Rows of the data file."""
    order: Order = "sequential"
    """How rows are dealt to journeys. `sequential`: in turn; in a closed model each user keeps its row. `random`: any
    row. `unique`: each row to one journey, over all workers and users; without one left a journey is SPENT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Who comes, when, and what they do: one scenario, or several by weight."""

    scenarios: tuple[Scenario, ...]
    stages: tuple[Shape, ...]
    """At least one; only the last may be open-ended, and then it is flat or a wave. Journeys per second; in a closed
    model users, without waves."""
    at_random: bool = False
    """Journeys arrive as a Poisson process of that rate instead of evenly. Not in a closed model."""
    closed: Closed | None = None
    """None: the open model."""
    starts_s: float = 0.0
    """Its stages begin this long after the load does."""
    max_in_flight: int = 1000
    """Journeys open at once, over all workers; one more is SHED. Not in a closed model: users are its limit."""

    @property
    def plateau(self) -> float:
        """Journeys per second (closed model: users) once the ramp is over; of a wave its mean."""
        return self.stages[-1].end

    @property
    def peak(self) -> float:
        """The most journeys per second, or users, that it ever asks for."""
        return max(shape.peak for shape in self.stages)

    @property
    def steps_a_journey(self) -> float:
        """How many steps a journey has on average; one that is repeated for a while, without a pace, counts once."""
        weights = sum(scenario.weight for scenario in self.scenarios)
        steps = ((one.weight, step.again) for one in self.scenarios for step in one.steps)
        return sum(weight * (again.known if again else 1) for weight, again in steps) / weights


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProfile:
    """Streams of journeys at once, and what they share."""

    streams: tuple[Stream, ...]
    timeout_s: float = 10.0
    """A hit without a whole reply after this long, counted from its due time, is a TIMEOUT."""
    connections: int = 200
    """Connections open at once, over all workers; a hit that must wait for one counts the wait as the target's."""
    workers: int | None = 1
    """Processes that send; None: as many as the host they run on has CPUs free for the load."""
    warmup_s: float = 0.0
    """Traffic before this is not judged; the ramp, unless the file says otherwise."""
    tls: Tls | None = None
    """Of https and of whatever else speaks TLS; None = the system's."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """All scenarios, in the order of the file."""
        return tuple(scenario for stream in self.streams for scenario in stream.scenarios)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps of all scenarios, in order; a hit's `name` is an index into these."""
        return tuple(step for scenario in self.scenarios for step in scenario.steps)

    @property
    def names(self) -> Mapping[int, str]:
        """What a slot's name index means: the steps from 0 on; from `SERIES` on, what is measured beside them."""
        steps = self.steps
        series = (one for step in steps for one in step.series)
        return {**dict(enumerate(step.name for step in steps)), **dict(enumerate(series, SERIES))}

    @property
    def places(self) -> frozenset[str]:
        """The components whose DSN its steps need."""
        return frozenset(place for step in self.steps for place in step.places)

    @property
    def closed(self) -> bool:
        """Whether any stream is of the closed model."""
        return any(stream.closed is not None for stream in self.streams)

    def called(self, name: str) -> frozenset[int]:
        """The name indices that a word means: a step or series, a scenario's, a tag's; all steps' when it is empty.

        Raises KeyError for a word that means nothing.
        """
        found = {index for index, known in self.names.items() if known == name}
        first = 0
        for scenario in self.scenarios:
            after = first + len(scenario.steps)
            if not name or name == scenario.name or name in scenario.tags:
                found.update(range(first, after))
            first = after
        if name and not found:
            raise KeyError(name)
        return frozenset(found)


def single(  # noqa: PLR0913 - one value a field, all by keyword
    *,
    steps: tuple[Step, ...],
    stages: tuple[Shape, ...],
    at_random: bool = False,
    closed: Closed | None = None,
    auth: Secret | None = None,
    data: tuple[Mapping[str, str], ...] = (),
    max_in_flight: int = 1000,
    timeout_s: float = 10.0,
    connections: int = 200,
    workers: int = 1,
    warmup_s: float = 0.0,
) -> LoadProfile:
    """A profile with one stream of one scenario; see their fields."""
    scenario = Scenario(steps=steps, auth=auth, data=data)
    stream = Stream(
        scenarios=(scenario,), stages=stages, at_random=at_random, closed=closed, max_in_flight=max_in_flight
    )
    return LoadProfile(
        streams=(stream,), timeout_s=timeout_s, connections=connections, workers=workers, warmup_s=warmup_s
    )
