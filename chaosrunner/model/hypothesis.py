"""A Hypothesis: load statistics and probes with tolerances; it gates before, is watched during, is judged after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Stat(StrEnum):
    """What a tolerance is about."""

    QUANTILE = "quantile"
    MEAN = "mean"
    MAX = "max"
    ERRORS = "errors"
    """Share of hits that failed, 0..1."""
    RATE = "rate"
    """Successful hits per second."""
    PROBE = "probe"
    """The answer of a named probe; `errors` of a probe is not a load statistic."""


class Against(StrEnum):
    """What the bound is counted from."""

    ABSOLUTE = "absolute"
    TIMES_BASELINE = "times"
    """`2x baseline`."""
    PLUS_BASELINE = "plus"
    """`baseline + 1%`, `baseline + 50ms`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """`p95 of log in`: a statistic, overall or of one request name."""

    stat: Stat
    quantile: float = 0.0
    """0..1 for QUANTILE (0.95 for p95)."""
    probe: str = ""
    of: str = ""
    """Request name; empty = overall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """One line: metric, comparison, bound; for its whole phase unless `window_s`."""

    text: str
    """As the user wrote it; the name of the finding."""
    metric: Metric
    cmp: str
    """`<=`, `<`, `>=` or `>`."""
    against: Against
    value: float
    """Seconds, share 0..1, per second, a factor, or a plain number for a probe."""
    window_s: float = 0.0
    """`in any 10s`: must hold in every window of this length; 0 = the whole phase."""
    for_s: float = 0.0
    """`for 10s` (abort conditions): trips when violated without interruption for this long."""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question asked every `every_s`; an error is an answer."""

    name: str
    kind: str
    """`http`, `tcp` or `process`."""
    args: Mapping[str, object] = field(default_factory=dict)
    every_s: float = 1.0
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """Tolerances by phase."""

    before: tuple[Tolerance, ...] = ()
    during: tuple[Tolerance, ...] = ()
    after: tuple[Tolerance, ...] = ()
