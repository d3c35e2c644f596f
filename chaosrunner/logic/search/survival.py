"""How long until recovery, over repeated runs of which some were cut off before it came.

Kaplan and Meier, J. Am. Stat. Assoc. 53, 1958. A run that had not recovered when it was no longer watched says that its
time is longer than that, and no more; the mean of the others would flatter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from chaosrunner.logic.stats import Z


@dataclass(frozen=True, slots=True, order=True)
class Time:
    """One run's time to recover in seconds."""

    seconds: float
    seen: bool = True
    """False: it had not recovered by then."""


@dataclass(frozen=True, slots=True)
class Step:
    """From `seconds` on, `share` of all runs have not recovered yet; its 95 % interval is `low` to `high`."""

    seconds: float
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Median:
    """The time by which half of all runs have recovered, and its 95 % interval; None = later than was watched, and in
    an interval also: there are too few runs to tell.
    """

    seconds: float | None
    low: float | None
    high: float | None


def curve(times: Sequence[Time]) -> list[Step]:
    """The share that has not recovered, a step at each time of a recovery.

    The interval is Greenwood's on the scale of log(−log S), which stays within 0 and 1 (Kalbfleisch and Prentice, The
    Statistical Analysis of Failure Time Data, 2002, 1.4).
    """
    steps, share, spread = [], 1.0, 0.0
    for at in sorted({time.seconds for time in times if time.seen}):
        there = sum(time.seconds >= at for time in times)
        gone = sum(time.seen and time.seconds == at for time in times)
        share *= 1 - gone / there
        if share > 0:
            spread += gone / (there * (there - gone))
            half = Z * math.sqrt(spread) / abs(math.log(share))
            steps.append(Step(at, share, share ** math.exp(half), share ** math.exp(-half)))
        else:
            last = steps[-1].high if steps else 1.0
            steps.append(Step(at, 0.0, 0.0, last))
    return steps


def median(times: Sequence[Time]) -> Median:
    """The median of the curve, with its interval.

    Where every recovery was seen it is between two of the times, by counting (Conover, Practical Nonparametric
    Statistics, §3.2), which takes six runs; else that of Brookmeyer and Crowley, Biometrics 38, 1982: where the curve's
    own interval reaches ½.
    """
    steps = curve(times)

    def first(value: str) -> float | None:
        return next((step.seconds for step in steps if getattr(step, value) <= 0.5 + 1e-12), None)

    if not all(time.seen for time in times) or not times:
        return Median(first("share"), first("low"), first("high"))
    ordered = sorted(time.seconds for time in times)
    outside = _outside(len(ordered))
    low, high = (ordered[outside - 1], ordered[-outside]) if outside else (None, None)
    return Median(first("share"), low, high)


def _outside(runs: int) -> int:
    """The rank from either end that still has no more than 2.5 % of the binomial below it; 0 if there is none."""
    return sum(below / 2**runs <= 0.025 for below in accumulate(math.comb(runs, nth) for nth in range(runs)))


def log_rank(one: Sequence[Time], other: Sequence[Time]) -> float:
    """The log-rank statistic: recoveries of `one` seen less those expected if both were alike (Mantel 1966).

    Below zero `one` is slower to recover.
    """
    both = [*one, *other]
    seen = expected = 0.0
    for at in sorted({time.seconds for time in both if time.seen}):
        there = sum(time.seconds >= at for time in both)
        gone = sum(time.seen and time.seconds == at for time in both)
        ours = sum(time.seconds >= at for time in one)
        seen += sum(time.seen and time.seconds == at for time in one)
        expected += gone * ours / there
    return seen - expected
