"""Two versions, several runs of each: what differs, by how much, and what may be said of it at all.

Each metric is tested by permuting runs, corrected for their number (Holm 1979), and has the interval of Hodges and
Lehmann; what is smaller than the noise floor (`permute.noise_floor`) is not claimed however small its p-value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median

from chaosrunner.logic.search.figures import QUANTITIES, Figures, times, values
from chaosrunner.logic.search.permute import (
    SURE,
    mean_difference,
    noise_floor,
    p_value,
    shift,
    shift_interval,
    smallest_p,
)
from chaosrunner.logic.search.survival import log_rank

RATIOS = frozenset({"goodput", "p50", "p95", "p99"})
"""Compared as ratios: on the scale of logarithms."""

BETTER_UP = frozenset({"goodput"})

TIME = "time to recover"


class Claim(StrEnum):
    """What may be said of a metric."""

    WORSE = "WORSE"
    BETTER = "BETTER"
    SAME = "SAME"
    """The whole interval is within the margin."""
    UNCLEAR = "UNCLEAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of two versions."""

    metric: str
    claim: Claim
    p: float | None = None
    """Corrected for the number of metrics."""
    shift: float | None = None
    """Ratio − 1 for goodput and latencies; else the difference, in shares or seconds. Above zero B has more."""
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    """What alike runs differ by, in the same unit."""
    allowed: float = 0.0
    """What counts as none, if the whole interval is within it; in the same unit."""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """What is compared, and how."""

    one: tuple[Figures, ...]
    other: tuple[Figures, ...]
    noise: tuple[Figures, ...] = ()
    """A/A runs; without any the floor comes from the repeats themselves."""
    margin: float = 0.1
    """A difference within this share is none, if the whole interval is within it; of errors, a tenth of it in shares of
    all requests."""
    seed: int = 0


def differences(groups: Groups) -> list[Difference]:
    """Every metric, the time to recover first."""
    found = [_time(groups), *(_quantity(groups, name) for name in QUANTITIES)]
    corrected = _holm([one.p for one in found])
    return [_claimed(replace(one, p=p)) for one, p in zip(found, corrected, strict=True)]


def unlike(groups: Groups) -> str:
    """Why these runs cannot be compared at all, because not the same was done; empty when they can.

    A/A runs break nothing, so their faults are their own. Faults that chance chooses differ among alike runs, too: they
    are held against the other side only where each side always had the same.
    """
    every = (*groups.one, *groups.other, *groups.noise)
    for what, found in (("questions", {run.question for run in every}), ("loads", {run.load for run in every})):
        if len(found) > 1:
            return f"runs of different {what} are no versions of one thing: {' / '.join(sorted(found))}"
    if not any(run.faults for run in (*groups.one, *groups.other)):
        return "nothing was broken in these runs, and what is compared is what users saw while something was"
    sides = [{run.faults for run in side} for side in (groups.one, groups.other)]
    if sides[0] != sides[1] and max(map(len, sides)) == 1:
        said = [", ".join(*side) or "none" for side in sides]
        return f"runs of different faults are no versions of one thing: {said[0]} / {said[1]}"
    return ""


def too_few(groups: Groups) -> str:
    """Why no comparison can ever show anything; empty when it can."""
    sizes = [sum(run.usable for run in runs) for runs in (groups.one, groups.other)]
    if min(sizes) and smallest_p(sizes[0], sizes[1]) * (1 + len(QUANTITIES)) <= SURE:
        return ""
    return f"{sizes[0]} and {sizes[1]} usable runs can never differ for sure; it takes 5 and 5"


def _time(groups: Groups) -> Difference:
    one, other = times(groups.one), times(groups.other)
    unclear = Difference(metric=TIME, claim=Claim.UNCLEAR)
    if why := _unusable(len(one), len(other)):
        return replace(unclear, why=why)
    tested = replace(unclear, p=p_value(one, other, log_rank, seed=groups.seed))
    cut = sum(not time.seen for time in (*one, *other))
    seconds = [[time.seconds for time in side] for side in (one, other)]
    alike = [[time.seconds for time in times(runs)] for runs in _alike(groups)]
    low, high = shift_interval(*seconds)
    return replace(
        tested,
        shift=shift(*seconds),
        low=None if cut else low,
        high=None if cut else high,
        floor=noise_floor(alike, seed=groups.seed),
        allowed=groups.margin * median(seconds[0]),
        why=f"{cut} runs were cut off before they had recovered: at least so much" if cut else "",
    )


def _quantity(groups: Groups, name: str) -> Difference:
    one, other = values(groups.one, name), values(groups.other, name)
    unclear = Difference(metric=name, claim=Claim.UNCLEAR)
    if why := _unusable(len(one), len(other)):
        return replace(unclear, why=why)
    log = name in RATIOS
    if log and not all(0 < value < math.inf for value in (*one, *other)):
        return replace(unclear, why="in some runs it is a failure or nothing, so there is no ratio")
    scale = math.log if log else float
    sides = [[scale(value) for value in side] for side in (one, other)]
    alike = [
        [scale(value) for value in values(runs, name) if not log or 0 < value < math.inf] for runs in _alike(groups)
    ]
    low, high = shift_interval(*sides)
    floor = noise_floor(alike, seed=groups.seed)
    back = math.expm1 if log else float
    return replace(
        unclear,
        p=p_value(sides[0], sides[1], mean_difference, seed=groups.seed),
        shift=back(shift(*sides)),
        low=-1.0 if log and low == -math.inf else back(low),
        high=back(high) if high < math.inf else high,
        floor=None if floor is None else back(floor),
        allowed=groups.margin if log else groups.margin / 10,
    )


def _unusable(one: int, other: int) -> str:
    return "" if one and other and smallest_p(one, other) <= SURE else f"known of {one} and {other} runs only"


def _alike(groups: Groups) -> Sequence[Sequence[Figures]]:
    return (groups.noise,) if groups.noise else (groups.one, groups.other)


def _holm(found: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number, in the same order; None stays."""
    order = sorted((p, nth) for nth, p in enumerate(found) if p is not None)
    corrected: list[float | None] = [None] * len(found)
    least = 0.0
    for rank, (p, nth) in enumerate(order):
        least = max(least, min(1.0, p * (len(order) - rank)))
        corrected[nth] = least
    return corrected


def _claimed(seen: Difference) -> Difference:
    """What may be said: a claim needs a small p-value and more than the noise floor; sameness a narrow interval."""
    if seen.p is None or seen.shift is None:
        return seen
    if seen.low is not None and seen.high is not None and max(-seen.low, seen.high) <= seen.allowed:
        return replace(seen, claim=Claim.SAME)
    if seen.p > SURE:
        return replace(seen, why=_said(seen.why, f"p = {seen.p:.2g}: alike runs differ as much"))
    if seen.floor is None:
        return replace(seen, why=_said(seen.why, "no noise floor: it takes four alike runs, or --noise"))
    if abs(seen.shift) <= abs(seen.floor):
        return replace(seen, why=_said(seen.why, "below the noise floor, so it is not claimed"))
    more = seen.shift > 0
    return replace(seen, claim=Claim.BETTER if more is (seen.metric in BETTER_UP) else Claim.WORSE)


def _said(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
