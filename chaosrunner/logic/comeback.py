"""Responses that came back little by little: by which law, and when did a quantile cross its bound?

A change point says when a share of slow responses turned, as if at once. Where responses become faster little by
little, that is early or late by seconds. So laws (`return_laws`) are fitted to the logarithms of the responses, first
to winsorised means of short stretches. The likeliest is used (Schwarz 1978), if it is much better than a step and
leaves no more than the scatter of single hits explains (lack of fit, Fisher 1922); then it is fitted anew, with what is
far off left out (Beaton and Tukey 1974).

What was usual before tells the level of the end, and the quantile, better than the few hits after a return do. It is
one more stretch, at which every law is over, unless that fits much worse: not every target comes back to what it was.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import mul
from statistics import fmean, median

from chaosrunner.logic.crossing import Comeback, Fitted, crossing
from chaosrunner.logic.return_laws import Fit, Stretches, cut, exponential, fitted, line
from chaosrunner.logic.return_starts import falling, swinging

STRETCHES = 100
"""At most so many stretches to choose a law by, each of at least `LEAST` hits, and no fewer than `FEWEST`."""

LEAST = 8
FEWEST = 6
FINE = 400
"""At most so many stretches to fit the law that was chosen."""

MUCH_BETTER = 6.0
"""Difference of Schwarz' criterion: odds of e³, 20 to 1."""

AS_USUAL = 4.0
"""A return to what was usual before may fit worse by this than one to any level: two standard deviations."""

WELL, CHANCE = 1.0, 6.0
"""By how many standard deviations χ² may be too large for a fit that is good enough, and for one that may be used."""

TAME = 3.0
"""Hits that are more scatters than this off their stretch count as this far off."""

TUKEY = 4.685
"""Hits that are more scatters than this off the law are left out: as good as least squares but for 5 % (Tukey)."""

ROUNDS = 2
"""Of leaving out and fitting anew; the first is nearly there."""

Hits = Sequence[tuple[float, float, int]]
"""(seconds, logarithm of the response, kind of request)."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """A law and how well it explains the means of stretches, in scatters²."""

    fit: Fit
    as_usual: bool
    misfit: float
    stretches: int

    @property
    def cost(self) -> float:
        """Schwarz' criterion; what was usual before is a stretch for the number that it saves."""
        return self.misfit + math.log(self.stretches) * (self.fit.unknowns - self.as_usual)

    @property
    def free(self) -> int:
        """Stretches more than numbers."""
        return self.stretches + self.as_usual - self.fit.unknowns

    def explained(self, sigmas: float) -> bool:
        """Whether the rest is chance."""
        return _chance(self.misfit, self.free, sigmas)

    @property
    def excess(self) -> float:
        """How many times as large the rest is as scatter alone, at least 1 (Birge 1932): doubts are as much larger."""
        return max(1.0, math.sqrt(self.misfit / self.free))


@dataclass(frozen=True, slots=True)
class _Stretched:
    """Means of stretches, the scatter of a single hit, and the usual response before with its number of hits."""

    means: Stretches
    scatter: float
    before: tuple[float, int] | None

    def choice(self, alone: Fit) -> _Choice:
        """A fit, to what was usual before as well if that is no much worse."""
        count, scatter2 = len(self.means.means), self.scatter**2
        if self.before is not None:
            joint = fitted(alone.law, self.means.with_usual(*self.before), alone.numbers)
            if joint.misfit - alone.misfit < AS_USUAL * scatter2:
                return _Choice(joint, True, joint.misfit / scatter2, count)
        return _Choice(alone, False, alone.misfit / scatter2, count)


def comeback(hits: Hits, before: Hits, bound: float, share: float) -> Comeback | None:
    """When the quantile crossed the bound for good, if responses came back little by little.

    Args:
        hits: what succeeded, by time; from the end of the effect until it held.
        before: what succeeded before there was an effect; may be empty.
        bound: logarithm of the bound.
        share: which quantile of these, 0..1.

    Returns:
        None if they came back at once, or in no way that is known, or never were beyond the bound.
    """
    size = max(LEAST, math.ceil(len(hits) / STRETCHES))
    if len(hits) < FEWEST * size:
        return None
    begin = hits[0][0]
    instants = [at - begin for at, _, _ in hits]
    logs, usual = _centred(hits, before)
    # Of neighbours' differences: what changes slowly is no scatter.
    scatter = 1.4826 * median(abs(a - b) for a, b in pairwise(logs)) / math.sqrt(2)
    if scatter <= 0:
        return None
    chosen = _chosen(_stretched(instants, logs, usual, (size, TAME * scatter)))
    if chosen is None:
        return None
    if not chosen.as_usual:
        usual = []
    fit, sigma = _sharper(chosen.fit, (instants, logs), usual, scatter)
    levels = fit.law(instants, fit.numbers)
    rest = [y - level for (_, y, _), level in zip(hits, levels, strict=True)]
    return crossing(
        Fitted(fit, chosen.excess * sigma, instants, rest, [y for _, y, _ in before if usual]), (bound, share), begin
    )


def _centred(hits: Hits, before: Hits) -> tuple[list[float], list[float]]:
    """Logarithms less what was typical of their kind before.

    Slow and fast kinds of request side by side would be scatter. A kind hardly seen before is taken as any other.
    """
    kinds = defaultdict(list)
    for _, y, kind in before:
        kinds[kind].append(y)
    middle = median(y for _, y, _ in before) if before else 0.0
    typical = dict.fromkeys((kind for _, _, kind in (*hits, *before)), middle)
    typical |= {kind: median(own) for kind, own in kinds.items() if len(own) >= LEAST}
    after, usual = ([y - typical[kind] for _, y, kind in some] for some in (hits, before))
    return after, usual


def _stretched(
    instants: Sequence[float], logs: Sequence[float], usual: Sequence[float], limits: tuple[int, float]
) -> _Stretched:
    """Winsorised means of stretches of some hits, none further off than a limit."""
    size, reach = limits
    tame: list[float] = []
    for at in range(0, len(logs), size):
        own = logs[at : at + size]
        middle = median(own)
        tame += [min(middle + reach, max(middle - reach, y)) for y in own]
    scatter = math.sqrt(fmean((a - b) ** 2 for a, b in pairwise(tame)) / 2)
    before = None
    if len(usual) >= LEAST:
        before = fmean(min(reach, max(-reach, y)) for y in usual), len(usual)
    return _Stretched(cut(instants, tame, size), scatter, before)


def _chosen(seen: _Stretched) -> _Choice | None:
    """The likeliest law that explains what was seen, if a step does not."""
    means = seen.means.means
    step = _step_misfit(seen.means) / seen.scatter**2
    end = fmean(means[-3:])
    best = min((seen.choice(falling(law, seen.means, end)) for law in (line, exponential)), key=lambda one: one.cost)
    stepped = step + math.log(len(means)) * 3  # two levels and a moment
    if not best.explained(WELL) and not _chance(step, len(means) - 3, WELL) and len(means) > 2 * FEWEST:
        swung = seen.choice(swinging(seen.means, end))
        best = swung if swung.cost + MUCH_BETTER < best.cost else best
    return best if best.explained(CHANCE) and best.cost + MUCH_BETTER < stepped else None


def _chance(misfit: float, free: int, sigmas: float) -> bool:
    """Whether chance explains a misfit: χ², by its mean and deviation."""
    return misfit <= free + sigmas * math.sqrt(2 * free)


def _step_misfit(seen: Stretches) -> float:
    """The least sum of squares of two levels, one after the other; the stretch of the step itself may be anywhere."""
    count = len(seen.means)
    hits = list(accumulate(seen.hits, initial=0))
    sums = list(accumulate((n * y for n, y in zip(seen.hits, seen.means, strict=True)), initial=0.0))
    squares = list(accumulate((n * y * y for n, y in zip(seen.hits, seen.means, strict=True)), initial=0.0))

    def around(first: int, last: int) -> float:
        return squares[last] - squares[first] - (sums[last] - sums[first]) ** 2 / (hits[last] - hits[first])

    return min(around(0, at) + around(at + 1, count) for at in range(1, count - 1))


def _sharper(
    fit: Fit, seen: tuple[Sequence[float], Sequence[float]], usual: Sequence[float], scatter: float
) -> tuple[Fit, float]:
    """The fit to single hits, without those far off; and by how much a hit counts as scattered, those left out too."""
    instants, logs = seen
    size = math.ceil(len(logs) / FINE)
    sigma = scatter
    for _ in range(ROUNDS):
        levels = [level + fit.usual for level in fit.law(instants, fit.numbers)]
        left = [y - level for y, level in zip(logs, levels, strict=True)] + [y - fit.usual for y in usual]
        pulls = _pulls(left, TUKEY * scatter)
        sigma = math.sqrt(fmean(map(mul, pulls, pulls)))
        means = cut(instants, list(map(float.__add__, levels, pulls)), size)
        if usual:
            means = means.with_usual(fit.usual + fmean(pulls[len(logs) :]), len(usual))
        fit = fitted(fit.law, means, fit.numbers)
    return fit, sigma


def _pulls(left: Sequence[float], reach: float) -> list[float]:
    """By how much each hit draws a law towards itself: Tukey's biweight, stretched to unit slope."""
    parts = [min(1.0, (one / reach) ** 2) for one in left]
    steep = max(0.2, fmean((1.0 - part) * (1.0 - 5.0 * part) for part in parts))
    return [one * (1.0 - part) ** 2 / steep for one, part in zip(left, parts, strict=True)]
