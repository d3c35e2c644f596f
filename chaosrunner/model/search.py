"""What a search is made of: trials, each of them one run at one level, and the boundary that they enclose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from chaosrunner.model.verdict import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run at one level of load or dose, and what users saw in it."""

    level: float
    """Journeys per second, users, or the dose in the unit of its parameter."""
    outcome: Outcome
    """HELD: everything asked of it held. UNKNOWN says nothing of the level."""
    why: str = ""
    run: str = ""
    """The run's id; its directory is beside the search."""
    seconds: float = 0.0
    """What the figures are about: the plateau, or with faults the time in which they were in place."""
    offered: float = 0.0
    """Requests that became due, per second."""
    goodput: float = 0.0
    """Requests that succeeded, per second of the time in which their answers came."""
    errors: float = 0.0
    """Share of the requests that failed, 0..1."""
    p50: float | None = None
    """Response in seconds, failures infinitely slow; so are the two below."""
    p95: float | None = None
    p99: float | None = None
    beyond: float | None = None
    """Share of the requests that broke the tolerance that was nearest to its limit; None where those asked about
    something else than shares of requests, which is what quantiles and errors do, and under faults."""
    allowed: float | None = None
    """The share that this tolerance allows."""
    inside: float = 0.0
    """Requests in the system at once, on average: responses added up, per second (Little's law)."""
    service: float | None = None
    """p95 of done − sent in seconds, of what succeeded: what the target took once it had been asked."""
    slowed: float | None = None
    """Median of done − sent over that of the run's first requests: how much slower the target became."""
    taken: float = 0.0
    """Connections of ours that were taken at once, on average; 0 where hardly any request had to wait for one."""
    lasted_s: float = 0.0
    """The whole run, with all that came before and after it."""


class Known(StrEnum):
    """How a boundary is known."""

    BETWEEN = "between"
    """It lies between two levels, as surely as was asked; trials agreed as precisely as was asked, too."""
    BELOW = "below"
    """Already the first level does not hold."""
    BEYOND = "beyond"
    """The last level still holds."""
    LIMITED = "limited"
    """It is no lower than what held; above that the trials said nothing, twice at the same level."""
    UNDECIDED = "undecided"
    """The trials allowed for it were used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Where what held begins to break. Levels are in the order of harm, which may be downwards (a bandwidth)."""

    known: Known
    holds: float | None
    """The highest level that holds with the confidence asked; None if none does."""
    breaks: float | None
    """The lowest that breaks with that confidence; None if none does."""
    best: float | None
    """The most likely highest level that holds; None if not even the first does."""
    confidence: float
    """The probability that the boundary is within the interval that is told."""
    against: int = 0
    """Trials on the wrong side of `best`: some are expected, many mean that there is no sharp boundary."""
    trials: int = 0
    """Trials that said anything."""
    why: str = ""
    by: str = ""
    """What the interval rests on, where that may be one thing or another."""
