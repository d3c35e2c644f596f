"""A Verdict: the worst finding, the recovery, and whether everything was restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from chaosrunner.errors import Exit
from chaosrunner.model.experiment import Phase
from chaosrunner.model.fault import Group


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
    by_chance: bool = False
    """UNKNOWN because what violates is no more than chance explains: a search counts it by what was seen."""


class Return(StrEnum):
    """Whether the system came back to its own baseline, by equivalence, never by a first good sample."""

    RECOVERED = "RECOVERED"
    """Every metric is proven to be within its margin of the baseline."""
    NOT_RECOVERED = "NOT RECOVERED"
    """Some metric is proven to be worse than its margin, or `after` never held."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """Too little data to tell."""
    RELAPSED = "RELAPSED"
    """It had come back and was ill again within the watch."""


class Change(StrEnum):
    """What the 95 % interval of a change proves."""

    EQUAL = "equal"
    """Wholly within the margin, on both sides."""
    BETTER = "better"
    """Proven not to be worse than the margin; it may be better than it, or is."""
    WORSE = "worse"
    """Wholly beyond the margin."""
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """What remains of one metric: a later stretch beside the baseline, with a 95 % interval."""

    metric: str
    """`p95`, `errors of log in`, `mean`, `rate` (goodput)."""
    scale: str
    """`ratio` (1 = as before) or `difference` (of shares, 0 = as before)."""
    before: float | None
    """Seconds, share or per second; infinite where the quantile is a failure. None without data."""
    after: float | None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    """On its scale; an end that is open is infinite (or 0, the lowest ratio)."""
    margin: float = 0.0
    """What is allowed: 0.1 = a tenth worse (ratio), 0.01 = a point more (difference)."""
    proves: Change = Change.UNCLEAR
    why: str = ""
    """Unclear: what is missing, and what would do."""
    judged: bool = True
    """Whether the verdict rests on it; otherwise it is told for information."""


class Degradation(StrEnum):
    """The worst that befell users between the first injection and recovery. See `logic.impact`."""

    NONE = "none"
    DEGRADED = "degraded"
    PARTIAL = "partial outage"
    OUTAGE = "outage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relapse:
    """It was well and became ill again. Seconds after the end of the last fault's effect."""

    well_s: float
    """When the illness before it had ended."""
    begin_s: float
    end_s: float
    """The last bad hit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What the faults did to users, beside the times."""

    degradation: Degradation
    sure_s: float | None = None
    """Detection time: from the first injection until the evidence was such that chance explains it once in a hundred
    runs. The onset is `Recovery.detected_s`. None when nothing was detected."""
    budget_s: float | None = None
    """Error budget spent: how long the load may run until it has had as many failures. None without an SLO."""
    budget_share: float | None = None
    """The SLO it is counted by: the share of requests that may fail."""
    drain_s: float | None = None
    """From the end of the effect until no more requests were in flight than usual; None if that was not seen."""
    in_flight: int | None = None
    """The most requests in flight at once in that time."""
    early: tuple[Residual, ...] = ()
    """Overshoot: the first seconds after recovery beside the baseline."""
    curve: tuple[tuple[float, float], ...] = ()
    """Resilience curve: (seconds after the first injection, goodput ÷ goodput of the baseline)."""
    step_s: float = 1.0
    """Length of a point of the curve."""
    area_s: float | None = None
    """Area between the curve and 1 until recovery: seconds of full service lost; negative = caught up."""


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
    depth_low: float | None = None
    depth_high: float | None = None
    """95 % interval of it, simultaneous over all the seconds among which the worst was chosen."""
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
    verdict: Return | None = None
    """Whether it came back to its baseline; `state` is about the `after` tolerances. None: nothing to recover from."""
    verdict_why: str = ""
    """What the verdict rests on, in words."""
    beneath: Return | None = None
    """What the verdict would be without its relapses; None unless it is RELAPSED."""
    asked: float | None = None
    """The margin the user wrote (`to within 10% of baseline`): then the verdict decides the finding, too."""
    residuals: tuple[Residual, ...] = ()
    """The time after recovery (or the last hold time of the watch) beside the baseline, metric by metric."""
    relapses: tuple[Relapse, ...] = ()
    longer_than_s: float | None = None
    """Cut off: not recovered for at least this long, seconds from the end of the effect."""
    impact: Impact | None = None


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
    group: Group | None = None
    """The composite it is part of."""


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
    success: Spread = Spread()
    """Time to success: due to the first success, retries and pauses between them included, of those that had one."""
    throughput: float = 0.0
    """Answers per second, good or bad; `rate` is the goodput."""


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
    """Every debt is paid, and nothing of this run was found when all was over."""
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
    residue: tuple[str, ...] = ()
    """What was found of this run when all was over, beside faults that were not restored."""
    notes: tuple[Mapping[str, object], ...] = ()
    """What they noted: `{"about": …, "worker": …, "data": {…}}`."""
    users: float | None = None
    """Closed model: how many users there are once the ramp is over; None without any."""
    arriving: float | None = None
    """Beside such users: the journeys per second that open streams ask for; None without any."""
