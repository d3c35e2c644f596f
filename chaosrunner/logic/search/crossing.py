"""Where the share of requests that break a tolerance crosses the share allowed, from levels looked at too briefly.

Whether a brief look at a busy queue holds is nearly chance: in most of them hardly anybody waits too long, in some of
them nearly everybody does. Their median is not their mean, so a boundary by majority lies too high; but the share of
requests that waited too long says more than whether it was too large. Its logit is taken to rise in a straight line
with the logarithm of the level, with normal scatter around it: log(share / (1 − share)) = a + k · log(level) + σ · ε.
The boundary is where the *mean* share is what is allowed, as it would be in one long look. None at all, or all, is
censored, as in Tobin's model (Econometrica 26, 1958): a limit that is sharp stays so.

k and σ are not known; all that are likely enough count, by Bayes' rule on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from chaosrunner.model.search import Trial
from chaosrunner.model.verdict import Outcome

FEWEST = 6
"""Trials near the boundary that it takes before their scatter says anything."""

SCATTERS = tuple(0.7 * 1.3**nth for nth in range(7))
"""σ, in logits: 0.7 to 3.4. Less is not believed of a few trials that happen to agree."""

SLOPES = tuple(4.0 * 1.6**nth for nth in range(11))
"""k, in logits per e-fold of the level: 4 to 440. An M/M/4 queue whose p95 is 7 service times has 30."""

REACH = 2.5
"""So many logits around what is allowed the line is taken to be straight; what is further off is only known to be so.
Of a queue that is overloaded the share rises ever more steeply, of one that has little to do hardly at all."""

TINY = 1e-12
"""No censored trial is taken to be less likely than that: a line is only a model."""

Point = tuple[float, float, int]
"""log(level), logit of the share less that of what is allowed, and −1 or 1 if none or all requests broke it."""


def point(trial: Trial) -> Point | None:
    """What a trial says of the line; None if it says nothing."""
    if trial.outcome is Outcome.UNKNOWN or trial.beyond is None or not trial.allowed:
        return None
    hits = max(1, round(trial.offered * trial.seconds))
    broke = round(trial.beyond * hits)
    height = _logit((broke + 0.5) / (hits + 1)) - _logit(trial.allowed)
    cut = -1 if not broke or height < -REACH else 1 if broke >= hits or height > REACH else 0
    return math.log(trial.level), min(max(height, -REACH), REACH) if cut else height, cut


def evidence(points: Sequence[Point], places: Sequence[float], allowed: float, turn: float = 1.0) -> list[float]:
    """How likely the points are were the boundary at each place, beside the likeliest of them.

    Args:
        points: one at least.
        places: log(level) of each.
        allowed: the share of requests that may break the tolerance.
        turn: 1 if more harms more, −1 if less does.
    """
    lines = [(turn * slope, scatter) for slope in SLOPES for scatter in SCATTERS]
    begins = {scatter: below(allowed, scatter) for scatter in SCATTERS}
    logs = []
    for at in places:
        near = _Sums.of(points, at)
        logs.append([near.log_likelihood(slope, scatter, begins[scatter]) for slope, scatter in lines])
    most = max(map(max, logs))
    return [math.fsum(math.exp(one - most) for one in row) for row in logs]


@dataclass(frozen=True, slots=True)
class _Sums:
    """All that a line's likelihood takes of the points, which are counted from where the boundary would be."""

    count: int
    x: float
    y: float
    xx: float
    xy: float
    yy: float
    cut: tuple[tuple[float, float, int], ...]

    @classmethod
    def of(cls, points: Sequence[Point], at: float) -> _Sums:
        whole = [(level - at, height) for level, height, cut in points if not cut]
        products = [(x, y, x * x, x * y, y * y) for x, y in whole]
        x, y, xx, xy, yy = map(math.fsum, zip(*products, strict=True)) if products else (0.0,) * 5
        cut = tuple((level - at, height, cut) for level, height, cut in points if cut)
        return cls(len(whole), x, y, xx, xy, yy, cut)

    def log_likelihood(self, slope: float, scatter: float, begin: float) -> float:
        """Of the line height = begin + slope · x, with that scatter around it."""
        squares = self.yy + self.count * begin**2 + slope**2 * self.xx
        squares += 2 * (slope * begin * self.x - begin * self.y - slope * self.xy)
        total = -squares / (2 * scatter**2) - self.count * math.log(scatter)
        for x, height, cut in self.cut:
            off = cut * (height - begin - slope * x) / scatter
            total += math.log(math.erfc(off / math.sqrt(2)) / 2 + TINY)
        return total


@lru_cache(maxsize=64)
def below(allowed: float, scatter: float) -> float:
    """How far the median of shares that scatter lies below their mean, in logits, where that is what is allowed."""
    middle, low, high = _logit(allowed), -2.0 * scatter * scatter - 1.0, 1.0 + scatter * scatter
    for _ in range(40):
        at = (low + high) / 2
        mean = math.fsum(1 / (1 + math.exp(-(middle + at + scatter * one))) for one in _NORMAL) / len(_NORMAL)
        low, high = (at, high) if mean < allowed else (low, at)
    return low


_NORMAL = tuple(NormalDist().inv_cdf((nth + 0.5) / 41) for nth in range(41))


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
