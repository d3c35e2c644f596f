"""The interval that a search over load says: where the share of bad requests crosses the share that is allowed.

Whether a brief look at a busy queue holds is nearly chance: in most of them hardly anybody waits too long, in some of
them nearly everybody does. So levels beside the boundary hold more often than not, and an interval that is told by
outcomes alone lies too high, and is too narrow. How many requests were bad says more. Their mean share is taken to rise
in a straight line on the scale of log(share / (1 − share)), k for each e-fold of the level, and to be what is allowed
at the boundary; single looks scatter around it in proportion to mean · (1 − mean), a busy look as much as a calm one.
That is Wedderburn's quasi-likelihood (Biometrika 61, 1974), and takes nothing else to be known of how they scatter.

For each place of the boundary all slopes count that explain the looks, by the t-distribution that follows from a
scatter which is estimated as well. Nothing here says when a search ends, or what it tries: outcomes do that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from chaosrunner.logic.search.boundary import Ladder, made, quantile
from chaosrunner.model.search import Boundary, Known, Trial
from chaosrunner.model.verdict import Outcome

FEWEST, LEVELS = 6, 3
"""Looks that must lie where the share rises, and levels that were looked at; of fewer the outcomes say as much."""

SLOPES = tuple(2.0 * 1.5**nth for nth in range(14))
"""k, 2 to 389: an M/M/1 queue whose p95 is five service times has 2, an M/M/4 queue whose p95 is 7 has 30."""

REACH = 2.5
"""So many logits below what is allowed a share is as good as none, and the line ends: a tail is always there."""

MOST = 0.98
"""From this share on it is as good as all."""

LOOKS, SQUARES = 2, 6.0
"""What is believed of the scatter beforehand: as if so many looks had strayed by so many squares. A few looks may agree
by chance, and a search ends sooner where they do."""

BENT, ALIKE = 4.0, 0.5
"""Where two shares alone, one below and one above, explain the looks so many times better, the share is no line; by so
little any looks are off."""


@dataclass(frozen=True, slots=True)
class Look:
    """A trial as a point of the line, which ends REACH below what is allowed, and at MOST."""

    at: float
    """log(level)."""
    share: float
    """Of the requests that were bad."""
    height: float
    """The same as a logit."""
    goal: float
    """The share that is allowed, as a logit."""
    held: bool

    def mean(self, above: float) -> float:
        """The mean share, as a logit, at so many logits above what is allowed."""
        return min(max(self.goal + above, self.goal - REACH), _TOP)

    def off(self, mean: float) -> float:
        """Wedderburn's deviance of the share from a mean (a logit): 0 where it is the mean."""
        odds, rest = math.exp(-mean), 1 - self.share
        return 2 * ((self.share - rest) * (self.height - mean) - 1 + self.share * odds + rest / odds)

    def strays(self, mean: float) -> float:
        """How far the share is from a mean (a logit), in units of mean · (1 − mean)."""
        odds = math.exp(-mean)
        return (1 + 1 / odds) * (self.share * (1 + odds) - 1)

    def tells(self, mean: float) -> bool:
        """Whether the mean, or the share itself, is neither at one end of the line nor at the other."""
        return self.goal - REACH < mean < _TOP or self.height != mean


def told(ladder: Ladder, trials: Sequence[Trial], boundary: Boundary) -> Boundary:
    """A boundary as it is to be said: with the interval of the line, where there is one, and with what that rests on.

    Args:
        ladder: of the search.
        trials: all of them.
        boundary: what outcomes alone say.
    """
    if boundary.known not in (Known.BETWEEN, Known.UNDECIDED) or all(one.beyond is None for one in trials):
        return boundary
    found = crossing(ladder, tuple(trials))
    if isinstance(found, str):
        return replace(boundary, by=f"which trials held and which broke; {found}")
    edge = (1 - ladder.asked.confidence) / 2
    begin, until = quantile(found, edge), quantile(found, 1 - edge)
    seen = made(ladder, trials, found, (boundary.known, begin, until))
    by = "a line through the shares of bad requests"
    if not seen.holds or not seen.breaks or seen.breaks > seen.holds * (1 + ladder.asked.precision + 1e-9):
        by += f", which scatter too much for {ladder.asked.precision * 100:.3g} %: look longer at each level"
    return replace(seen, why=boundary.why, by=by)


@lru_cache(maxsize=8)
def crossing(ladder: Ladder, trials: tuple[Trial, ...]) -> list[float] | str:
    """The probability of each number of rungs that hold, from none to all, by the line; or why there is none."""
    looks = [seen for one in trials if (seen := look(one))]
    if len({one.at for one in looks}) < LEVELS or len({one.held for one in looks}) < 2:
        return "there are too few levels for a line"
    lines = [[(_off(looks, place, slope), place, slope) for slope in SLOPES] for place in _places(ladder)]
    least, place, slope = min(min(row) for row in lines)
    means = [(one, one.mean(slope * (one.at - place))) for one in looks]
    telling = sum(one.tells(mean) for one, mean in means)
    if telling < FEWEST:
        return "in too few of them the share of bad requests was near what is allowed"
    if least > BENT * (_of_two_shares(looks) + ALIKE):
        return "the share of bad requests leaps, and is no line"
    # The t-distribution, as the scatter is not known but estimated. Nothing is known of the line's height and of
    # log(k), either; so a place counts in proportion to k, which is how fast the height at the looks changes with it.
    squares, power = SQUARES + math.fsum(one.strays(mean) ** 2 for one, mean in means), (telling + LOOKS - 1) / 2
    weights = [math.fsum(k * (1 + (off - least) / squares) ** -power for off, _, k in row) for row in lines]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def look(trial: Trial) -> Look | None:
    """What a trial says of the line; None if it says nothing."""
    if trial.outcome is Outcome.UNKNOWN or trial.beyond is None or not 0 < (trial.allowed or 0.0) < MOST:
        return None
    goal = _logit(trial.allowed or 0.0)
    share = min(max(trial.beyond, _share(goal - REACH)), MOST)
    return Look(math.log(trial.level), share, _logit(share), goal, trial.outcome is Outcome.HELD)


def _off(looks: Sequence[Look], place: float, slope: float) -> float:
    """The deviance of all looks from a line."""
    return math.fsum(one.off(one.mean(slope * (one.at - place))) for one in looks)


def _of_two_shares(looks: Sequence[Look]) -> float:
    """The least deviance from one share at all levels up to some one, and another one at all above it."""
    ordered = sorted(looks, key=lambda one: one.at)
    cuts = [nth for nth in range(1, len(ordered)) if ordered[nth - 1].at < ordered[nth].at]
    return min(_of_one_share(ordered[:nth]) + _of_one_share(ordered[nth:]) for nth in cuts)


def _of_one_share(looks: Sequence[Look]) -> float:
    mean = _logit(math.fsum(one.share for one in looks) / len(looks))
    return math.fsum(one.off(mean) for one in looks)


def _places(ladder: Ladder) -> list[float]:
    """log(level) of the boundary where none of the rungs hold, where one does, and so on: half way to the next one."""
    logs = [math.log(rung) for rung in ladder.rungs]
    ends = (2 * logs[0] - logs[1], 2 * logs[-1] - logs[-2])
    return [(one + other) / 2 for one, other in pairwise([ends[0], *logs, ends[1]])]


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def _share(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


_TOP = _logit(MOST)
