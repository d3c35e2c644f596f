"""Find where something stops holding, from trials of which any may be wrong: bisection that is confirmed as it goes.

Levels are a ladder in the order of harm. The boundary is a rung: all below it hold, it and all above break. What is
believed of it is a probability a rung; each trial multiplies those it agrees with by 1 − ERR and the others by ERR, and
the next one is asked at the median: probabilistic bisection (Horstein, IEEE Trans. Inf. Theory 9, 1963; Waeber, Frazier
and Henderson, SIAM J. Control Optim. 51, 2013). Near the boundary that repeats levels by itself, until it is sure.

Escalation is safe: nothing is tried that is more than `stride` times the largest level that has held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate

from chaosrunner.model.search import Boundary, Known, Trial
from chaosrunner.model.verdict import Outcome

ERR = 0.1
"""How often a trial is taken to say the wrong thing; more often, where trials contradict each other more."""

ENDS = 0.1
"""What is believed at first of each of: not even the first rung holds; even the last one does."""

FINE = 3
"""Rungs in the precision that was asked for."""

MOST_RUNGS = 2_000

LIKELY = 0.5
"""Once no more than this is believed to be outside the likeliest interval, its ends are tried."""

SILENT = 3
"""So many trials that said nothing at a level and above, and none that did, make it a ceiling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How well a boundary is to be known."""

    precision: float = 0.05
    """The interval ends at most this much (a share) above where it begins."""
    confidence: float = 0.95
    stride: float = 2.0
    """The most by which a level may exceed the largest that has held."""
    most: int = 40
    """Trials after which it is given up."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Levels in the order of harm, and what is asked about them."""

    rungs: tuple[float, ...]
    asked: Asked = Asked()

    @classmethod
    def between(cls, first: float, last: float, asked: Asked | None = None, *, whole: bool = False) -> Ladder:
        """Rungs at equal ratios, rounded to what people can read; downwards when `last` is below `first`.

        Args:
            first: the most harmless level, above zero.
            last: the most harmful one.
            asked: how well the boundary is to be known.
            whole: only whole numbers.

        Raises:
            ValueError: a level is not above zero, both are the same, or the ladder would have too many rungs.
        """
        asked = asked or Asked()
        if first <= 0 or last <= 0:
            raise ValueError("levels begin above zero")
        if first == last:
            raise ValueError("the first level is the last one, too")
        count = math.ceil(abs(math.log(last / first)) / (math.log1p(asked.precision) / FINE))
        if count > MOST_RUNGS:
            raise ValueError("too wide a range for this precision")
        exact = [first * (last / first) ** (nth / count) for nth in range(count + 1)]
        inside = (float(round(level) if whole else f"{level:.4g}") for level in exact[1:-1])
        low, high = min(first, last), max(first, last)
        kept = sorted({first, last, *(level for level in inside if low < level < high)}, reverse=last < first)
        return cls(tuple(kept), asked)

    def rung(self, level: float) -> int:
        """The number of a level that was asked."""
        return self.rungs.index(level)

    def ratio(self, one: float, other: float) -> float:
        """How far two levels are apart, 1 or more."""
        return max(one / other, other / one)


def believed(ladder: Ladder, trials: Sequence[Trial]) -> list[float]:
    """The probability of each number of rungs that hold, from none to all of them."""
    count = len(ladder.rungs)
    held, broken = [0] * (count + 1), [0] * (count + 1)
    for trial in trials:
        if trial.outcome is not Outcome.UNKNOWN:
            (held if trial.outcome is Outcome.HELD else broken)[ladder.rung(trial.level)] += 1
    told = sum(held) + sum(broken)
    # Of so many rungs that hold, those trials are wrong that broke below or held from there on.
    wrong = [below + above for below, above in zip(_before(broken), _from(held), strict=True)]
    err = max(ERR, (min(wrong) + 1) / (told + 1 / ERR))
    odds = err / (1 - err)
    weights = [prior * odds**bad for prior, bad in zip(_prior(count), wrong, strict=True)]
    total = sum(weights)
    return [weight / total for weight in weights]


def _prior(count: int) -> list[float]:
    return [ENDS, *[(1 - 2 * ENDS) / max(1, count - 1)] * (count - 1), ENDS]


def _before(counts: list[int]) -> list[int]:
    return [0, *accumulate(counts)][:-1]


def _from(counts: list[int]) -> list[int]:
    return [*accumulate(reversed(counts))][::-1]


def next_level(ladder: Ladder, trials: Sequence[Trial]) -> float | None:
    """The level to try next; None once there is an answer."""
    return None if found(ladder, trials) else ladder.rungs[_wanted(ladder, trials)]


def found(ladder: Ladder, trials: Sequence[Trial]) -> Boundary | None:
    """The answer; None while there is none."""
    belief = believed(ladder, trials)
    begin, until = _likeliest(ladder, belief)
    if sum(belief[begin : until + 1]) >= ladder.asked.confidence:
        return _boundary(ladder, trials, belief)
    if _at_the_ceiling(ladder, trials):
        return _limited(ladder, trials, belief, _why(trials))
    return so_far(ladder, trials) if len(trials) >= ladder.asked.most else None


def so_far(ladder: Ladder, trials: Sequence[Trial]) -> Boundary:
    """What is known of a boundary that is no longer looked for: where it lies with the confidence asked.

    Of levels between those that were tried only the prior speaks, so the interval ends at levels that were.
    """
    belief, edge = believed(ladder, trials), (1 - ladder.asked.confidence) / 2
    held = _highest_held(ladder, trials)
    above = [at for one in trials if one.outcome is Outcome.BROKEN and (at := ladder.rung(one.level)) > held]
    begin = min(quantile(belief, edge), held + 1)
    until = max(quantile(belief, 1 - edge), min(above, default=len(ladder.rungs)))
    seen = made(ladder, trials, belief, (Known.UNDECIDED, begin, until))
    best = seen.best if above else seen.holds
    return replace(seen, best=best, why=f"{len(trials)} trials were not enough to be as precise as asked")


def left(ladder: Ladder, trials: Sequence[Trial]) -> int:
    """About how many trials are still to come, should the boundary be where it now seems to be."""
    ahead, holding = list(trials), quantile(believed(ladder, trials), 0.5)
    while (level := next_level(ladder, ahead)) is not None:
        outcome = Outcome.HELD if holding > ladder.rung(level) else Outcome.BROKEN
        ahead.append(Trial(level=level, outcome=outcome))
    return len(ahead) - len(trials)


def _wanted(ladder: Ladder, trials: Sequence[Trial]) -> int:
    """The rung to try: the median of what is believed, or an end of the likeliest interval; as far as one may go."""
    belief = believed(ladder, trials)
    (begin, until), last = _likeliest(ladder, belief), len(ladder.rungs)
    below, above = sum(belief[:begin]), sum(belief[until + 1 :])
    edge = begin - 1 if below >= above else until
    wanted = min(quantile(belief, 0.5), last - 1) if below + above > LIKELY else edge
    return min(wanted, _allowed(ladder, trials))


def _allowed(ladder: Ladder, trials: Sequence[Trial]) -> int:
    """The highest rung that may be tried: one stride beyond the largest level that has held; at first the first. Below
    a ceiling it is half way to it.
    """
    held = _highest_held(ladder, trials)
    if held < 0:
        return 0
    ceiling = _ceiling(ladder, trials)
    if ceiling is not None:
        return max(held + 1, (held + ceiling) // 2)
    within = [
        nth
        for nth, level in enumerate(ladder.rungs)
        if ladder.ratio(level, ladder.rungs[held]) <= ladder.asked.stride + 1e-9
    ]
    return max([min(held + 1, len(ladder.rungs) - 1), *within])


def _boundary(ladder: Ladder, trials: Sequence[Trial], belief: list[float]) -> Boundary:
    """The likeliest interval, without what the confidence does not need of it."""
    begin, until = _narrowed(belief, *_likeliest(ladder, belief), ladder.asked.confidence)
    known = Known.BELOW if until == 0 else Known.BEYOND if begin == len(ladder.rungs) else Known.BETWEEN
    if known is Known.BETWEEN:
        begin, until = _zone(ladder, trials, begin, until)
    return made(ladder, trials, belief, (known, begin, until))


def _zone(ladder: Ladder, trials: Sequence[Trial], begin: int, until: int) -> tuple[int, int]:
    """The interval with the levels beside it of which trials say otherwise: a boundary may be a zone."""
    near = 1 + ladder.asked.precision + 1e-9
    low, high = ladder.rungs[max(0, begin - 1)], ladder.rungs[min(until, len(ladder.rungs) - 1)]
    first, last = begin, until
    for trial in trials:
        at = ladder.rung(trial.level)
        if trial.outcome is Outcome.BROKEN and at < begin and ladder.ratio(trial.level, low) <= near:
            first = min(first, at)
        if trial.outcome is Outcome.HELD and at >= until and ladder.ratio(trial.level, high) <= near:
            last = max(last, at + 1)
    return first, last


def _likeliest(ladder: Ladder, belief: list[float]) -> tuple[int, int]:
    """How many rungs hold, from and to: none, all, or a stretch of rungs as wide as the precision allows."""
    last, sums = len(ladder.rungs), [0.0, *accumulate(belief)]
    choices = [(belief[0], (0, 0)), (belief[last], (last, last))]
    choices += [(sums[until + 1] - sums[begin], (begin, until)) for begin, until in _stretches(ladder)]
    return max(choices, key=lambda one: one[0])[1]


@lru_cache(maxsize=8)
def _stretches(ladder: Ladder) -> tuple[tuple[int, int], ...]:
    """From each rung on the longest stretch that is no wider than the precision; two neighbours at least."""
    found, until, widest = [], 1, 1 + ladder.asked.precision + 1e-9
    for begin in range(1, len(ladder.rungs)):
        until = max(until, begin)
        while (
            until + 1 < len(ladder.rungs) and ladder.ratio(ladder.rungs[until + 1], ladder.rungs[begin - 1]) <= widest
        ):
            until += 1
        found.append((begin, until))
    return tuple(found)


def _narrowed(belief: list[float], begin: int, until: int, confidence: float) -> tuple[int, int]:
    """Without rungs at either end that the confidence does not need."""
    while begin < until:
        lighter = begin if belief[begin] <= belief[until] else until
        rest = sum(belief[begin : until + 1]) - belief[lighter]
        if rest < confidence:
            break
        begin, until = (begin + 1, until) if lighter == begin else (begin, until - 1)
    return begin, until


def _limited(ladder: Ladder, trials: Sequence[Trial], belief: list[float], why: str) -> Boundary:
    begin = min(quantile(belief, 1 - ladder.asked.confidence), _highest_held(ladder, trials) + 1)
    return replace(made(ladder, trials, belief, (Known.LIMITED, begin, len(ladder.rungs))), why=why)


def made(ladder: Ladder, trials: Sequence[Trial], belief: list[float], place: tuple[Known, int, int]) -> Boundary:
    """What is believed as it is told.

    Args:
        ladder: of the search.
        trials: all of them.
        belief: the probability of each number of rungs that hold.
        place: how it is known, and the interval: from so many rungs that hold to so many.
    """
    known, begin, until = place
    rungs = ladder.rungs
    median = min(max(quantile(belief, 0.5), begin), until)
    telling = [trial for trial in trials if trial.outcome is not Outcome.UNKNOWN]
    wrong = sum((ladder.rung(trial.level) < median) is not (trial.outcome is Outcome.HELD) for trial in telling)
    return Boundary(
        known=known,
        holds=rungs[begin - 1] if begin else None,
        breaks=rungs[until] if until < len(rungs) else None,
        best=rungs[median - 1] if median and telling else None,
        confidence=min(1.0, math.fsum(belief[begin : until + 1])),
        against=wrong,
        trials=len(telling),
    )


def _ceiling(ladder: Ladder, trials: Sequence[Trial]) -> int | None:
    """The lowest rung from which on nothing is ever said; None if there is none.

    Where a trial said something there or above, what was in the way of others is not the level's doing, and may pass.
    """
    told = max((ladder.rung(one.level) for one in trials if one.outcome is not Outcome.UNKNOWN), default=-1)
    mute = [ladder.rung(one.level) for one in trials if ladder.rung(one.level) > told]
    return min(mute) if len(mute) >= SILENT else None


def _at_the_ceiling(ladder: Ladder, trials: Sequence[Trial]) -> bool:
    """Whether there is nothing left to try below the ceiling."""
    ceiling, held = _ceiling(ladder, trials), _highest_held(ladder, trials)
    if ceiling is None:
        return False
    return held < 0 or ladder.ratio(ladder.rungs[ceiling], ladder.rungs[held]) <= 1 + ladder.asked.precision


def _why(trials: Sequence[Trial]) -> str:
    """What the last trial that said nothing said about that."""
    return next(one.why for one in reversed(trials) if one.outcome is Outcome.UNKNOWN)


def _highest_held(ladder: Ladder, trials: Sequence[Trial]) -> int:
    """The number of the largest rung that has held; −1 if none has."""
    return max((ladder.rung(trial.level) for trial in trials if trial.outcome is Outcome.HELD), default=-1)


def quantile(belief: Sequence[float], share: float) -> int:
    """The smallest number of rungs by which so much of the belief is reached."""
    return next(nth for nth, seen in enumerate(accumulate(belief)) if seen >= share - 1e-9)
