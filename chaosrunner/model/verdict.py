"""A Verdict: the worst finding, the recovery, and whether everything was restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from chaosrunner.errors import Exit
from chaosrunner.model.experiment import Phase


class Outcome(IntEnum):
    """HELD < UNKNOWN < BROKEN, merged by max; validity is asked before merging."""

    HELD = 0
    UNKNOWN = 1
    BROKEN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Expected, observed, outcome, evidence."""

    name: str
    """`during: errors < 2%`."""
    phase: Phase | None
    expected: str
    observed: str
    outcome: Outcome
    why: str = ""
    """Why it is UNKNOWN, or a detail that explains BROKEN."""
    value: float | None = None
    """Observed, in seconds, share or per second; None without data."""
    baseline: float | None = None
    evidence: tuple[int, ...] = ()
    """Numbers of the events it rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Measured from user traffic. All durations in seconds from the end of the last fault's effect unless said."""

    state: str
    """`recovered`, `late`, `never`, `unknown`, `none` (nothing to recover from)."""
    at_ns: int | None = None
    """The moment of recovery (due time of the hit from which `after` holds); None unless recovered or late."""
    time_s: float | None = None
    """Time to recover; None unless recovered or late."""
    low_s: float | None = None
    high_s: float | None = None
    """Bounds of it: the width of heal and the resolution of the traffic."""
    from_inject_s: float | None = None
    """The same moment counted from the first injection."""
    detected_s: float | None = None
    """From injection to the first bad hit; None when users never noticed."""
    outage_s: float | None = None
    """From the first to the last bad hit of the episode."""
    outage_low_s: float | None = None
    outage_high_s: float | None = None
    depth: float | None = None
    """Worst share of bad hits in any one second of the episode, 0..1."""
    lost: int = 0
    """Requests that failed between injection and recovery: the area lost."""
    waited_s: float = 0.0
    """Waiting of users over the baseline's median between injection and recovery, seconds summed over requests."""
    residual: float | None = None
    """p95 after ÷ p95 of the baseline."""
    held_s: float | None = None
    """How long `after` was seen to hold from recovery on."""
    target_s: float = 120.0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultReport:
    """What became of one fault."""

    title: str
    says: str
    proven: bool | None
    """True: evidence seen; False: evidence of the contrary; None: none."""
    evidence: str
    lasted_s: float | None
    restored: bool
    """Undone and verified absent, or nothing to undo (a kill)."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Quantiles of some times, in seconds; None without any."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class Of(StrEnum):
    """What a line of figures is about."""

    ALL = "all"
    STEP = "step"
    GROUP = "group"
    """All steps of a scenario, or of the scenarios with a tag."""
    SERIES = "series"
    """Something measured beside the hits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStats:
    """What the traffic of one phase looked like, overall or of one name. Seconds, shares, per second."""

    phase: Phase
    name: str
    """Empty = overall."""
    of: Of = Of.STEP
    seconds: float
    hits: int
    errors: int
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None
    rate: float
    by_outcome: Mapping[str, int] = field(default_factory=dict)
    service: Spread = Spread()
    """done − sent of requests that succeeded: what the target took once it had been asked."""
    wait: Spread = Spread()
    """sent − fired: the wait for a connection, the target's as well. Of every request that was fired."""
    lag: Spread = Spread()
    """fired − due: the generator's."""
    amplification: float | None = None
    """Requests sent for each that was due, retries included; None when no request of these is ever retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How far the generator may be believed."""

    lag_p99_s: float | None
    offered: int
    """Hits due."""
    fired: int
    """Hits that were asked of the target, on schedule or late; what is missing to `offered` was ours to send."""
    unaccounted: int
    """Hits due without any outcome in the journal. Must be 0."""
    skipped: int = 0
    response_p99_s: float | None = None
    """Infinite if more than a hundredth failed."""
    service_p99_s: float | None = None
    wait_p99_s: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer."""

    run: str
    question: str
    system: str
    environment: str
    outcome: Outcome
    exit: Exit
    headline: str
    """One line: why this exit code."""
    restored: bool
    findings: tuple[Finding, ...]
    recovery: Recovery
    faults: tuple[FaultReport, ...]
    phases: tuple[PhaseStats, ...]
    trust: Trust
    seconds: float
    users_per_s: float
    """Journeys begun per second: as asked (open model), or as they came about in the baseline (closed model)."""
    requests_per_s: float
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """What load workers counted beside their hits: name → phase (empty: outside any) → how often."""
    notes: tuple[Mapping[str, object], ...] = ()
    """What they noted: `{"about": …, "worker": …, "data": {…}}`."""
    users: float | None = None
    """Closed model: how many users there are once the ramp is over; None without any."""
    arriving: float | None = None
    """Beside such users: the journeys per second that open streams ask for; None without any."""
