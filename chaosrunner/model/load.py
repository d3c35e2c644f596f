"""A LoadProfile: journeys of steps, and who makes them.

Open model: journeys arrive on a schedule that never depends on replies. Closed model: so many users, each of whom
begins a journey when the one before is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chaosrunner.model.secret import Secret


class Outcome(StrEnum):
    """What became of a hit. Everything but OK is an error; SKIPPED is neither (it was never asked)."""

    OK = "ok"
    STATUS = "status"
    """Answered with a status the step did not expect."""
    CHECK = "check"
    """Answered, but a variable to keep was not in the reply."""
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
    LATE = "late"
    """Due before the load ended, never started by the generator. Ours, not the target's."""


ERRORS = frozenset(Outcome) - {Outcome.OK, Outcome.LATE}
"""The outcomes that blame the target. LATE blames the generator and makes findings UNKNOWN instead."""


@dataclass(frozen=True, slots=True)
class Think:
    """A pause before a step: always the same, evenly spread over a range, or lognormal."""

    at_s: float = 0.0
    """The pause; the shortest one of a range; the median of a lognormal."""
    to_s: float | None = None
    """The longest pause of a range."""
    sigma: float = 0.0
    """Standard deviation of the pause's natural logarithm; above zero, the pause is lognormal."""

    @property
    def constant(self) -> bool:
        """Whether chance has no part in it."""
        return self.to_s is None and not self.sigma


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request of a journey. `<name>` in texts is a kept variable or a data column."""

    name: str
    method: str
    path: str
    """Path relative to the system's entry, or an absolute http(s) URL."""
    body: object = None
    """JSON value; a placeholder that is a whole string keeps its JSON type."""
    headers: Mapping[str, str] = field(default_factory=dict)
    expect: tuple[int, ...] = ()
    """Statuses that are ok; empty = any below 400."""
    keep: Mapping[str, str] = field(default_factory=dict)
    """Variable → JSON path (`$.a.b[0]`) in the reply."""
    think: Think = Think()
    """Pause between the previous step's done and this step's due. Before the first step: nothing in the open model; in
    the closed one the pause since the user's previous journey."""


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
class LoadProfile:
    """Journeys, and who makes them."""

    steps: tuple[Step, ...]
    stages: tuple[Shape, ...]
    """At least one; only the last may be open-ended, and then it is flat or a wave. Journeys per second; in a closed
    model users, without waves."""
    at_random: bool = False
    """Journeys arrive as a Poisson process of that rate instead of evenly. Not in a closed model."""
    closed: Closed | None = None
    """None: the open model."""
    auth: Secret | None = None
    """`bearer <token>` or a fixed header value; sent as `Authorization` once every variable in it is known."""
    data: tuple[Mapping[str, str], ...] = ()
    """Rows of the data file, dealt to journeys in turn; in a closed model each user keeps its row."""
    timeout_s: float = 10.0
    """A hit without a whole reply after this long, counted from its due time, is a TIMEOUT."""
    max_in_flight: int = 1000
    """Journeys open at once, over all workers; one more is SHED. Not in a closed model: users are its limit."""
    connections: int = 200
    """Connections open at once, over all workers; a hit that must wait for one counts the wait as the target's."""
    workers: int = 1
    warmup_s: float = 0.0
    """Traffic before this is not judged; the ramp, unless the file says otherwise."""

    @property
    def plateau(self) -> float:
        """Journeys per second (closed model: users) once the ramp is over; of a wave its mean."""
        return self.stages[-1].end

    @property
    def peak(self) -> float:
        """The most journeys per second, or users, that it ever asks for."""
        return max(shape.peak for shape in self.stages)
