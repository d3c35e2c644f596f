"""A LoadProfile: journeys of steps that arrive on a schedule which never depends on replies (open model)."""

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
    think_s: float = 0.0
    """Pause between the previous step's done and this step's due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """From `start` to `end` journeys per second, linearly, over `lasts_s` seconds (`None` = until the run ends)."""

    start: float
    end: float
    lasts_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProfile:
    """Journeys arriving in stages."""

    steps: tuple[Step, ...]
    stages: tuple[Stage, ...]
    """At least one; only the last may be open-ended, and then it is flat."""
    auth: Secret | None = None
    """`bearer <token>` or a fixed header value; sent as `Authorization` once every variable in it is known."""
    data: tuple[Mapping[str, str], ...] = ()
    """Rows of the data file, dealt to journeys in turn."""
    timeout_s: float = 10.0
    """A hit without a whole reply after this long, counted from its due time, is a TIMEOUT."""
    max_in_flight: int = 1000
    """Journeys open at once, over all workers; one more is SHED."""
    connections: int = 200
    """Connections open at once, over all workers; a hit that must wait for one counts the wait as the target's."""
    workers: int = 1
    warmup_s: float = 0.0
    """Traffic before this is not judged; the ramp, unless the file says otherwise."""

    @property
    def plateau(self) -> float:
        """Journeys per second once the ramp is over."""
        return self.stages[-1].end
