"""When journeys arrive: a pure function of the stages, known before anything is sent and never moved by replies.

The rate is piecewise linear, or a sinusoid, in time; its integral counts journeys. The n-th journey (n from 0) is due
where the integral reaches n + ½: the count of arrivals then never strays more than ½ from the integral, however the
rate bends, and no worker begins with a burst at the epoch.

At random, it is due where the integral reaches the n-th arrival of a Poisson process of rate 1: by time-rescaling
(Brown et al., Neural Computation 14, 2002) the journeys are then a Poisson process of exactly the stages' rate.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import inf

from chaosrunner.logic import chance
from chaosrunner.logic.shapes import area, check, length_s, reaches
from chaosrunner.model.load import Shape


@dataclass(frozen=True, slots=True)
class Bend:
    """From the instant where the unsteered integral is `raw`, the rate is `factor` times the stages' rate."""

    raw: float
    steered: float
    """The steered integral at that instant."""
    factor: float


@dataclass(frozen=True, slots=True)
class Pace:
    """A schedule: stages, and how they were steered so far. Times are seconds after the load's epoch."""

    stages: tuple[Shape, ...]
    starts: tuple[float, ...]
    """When each stage begins, and at last when the final one ends (`inf` if it never does)."""
    counts: tuple[float, ...]
    """The unsteered integral at each of `starts`."""
    bends: tuple[Bend, ...] = ()
    seed: int | None = None
    """Of a Poisson process; None: evenly."""

    @classmethod
    def of(cls, stages: Sequence[Shape], seed: int | None = None) -> Pace:
        """The pace of `stages`; with a seed, journeys arrive at random, as a Poisson process of that rate.

        Raises:
            ValueError: no stage, a negative or infinite rate, a length that is not positive, or an open end that is not
                flat or not last.
        """
        if not stages:
            raise ValueError("a load needs at least one stage")
        for stage in stages[:-1]:
            if stage.lasts_s is None:
                raise ValueError("only the last stage may be open-ended")
        for stage in stages:
            check(stage)
        starts = accumulate((length_s(stage) for stage in stages), initial=0.0)
        counts = accumulate((area(stage, length_s(stage)) for stage in stages), initial=0.0)
        return cls(tuple(stages), tuple(starts), tuple(counts), seed=seed)

    def count(self, until_s: float) -> float:
        """The integral of the steered rate over [0, until_s]: how many journeys are due by then, give or take ½.

        At random it is the mean of that number.
        """
        raw = self._raw(until_s)
        for bend in reversed(self.bends):
            if raw >= bend.raw:
                return bend.steered + bend.factor * (raw - bend.raw)
        return raw

    def due(self, n: int) -> float:
        """When the n-th journey (from 0) is due; `inf` if the rate ends or is held at zero before it."""
        target = n + 0.5 if self.seed is None else chance.arrival(self.seed, n)
        for bend in reversed(self.bends):
            if target >= bend.steered:
                if not bend.factor:
                    return inf
                return self._when(bend.raw + (target - bend.steered) / bend.factor)
        return self._when(target)

    def steered(self, at_s: float, factor: float) -> Pace:
        """The same schedule with `factor` times the stages' rate from `at_s` on; 0 pauses, 1 is as planned.

        Journeys due before `at_s` stay where they were. `at_s` must not lie before an earlier steering.

        Raises:
            ValueError: the factor is negative or infinite.
        """
        if not 0 <= factor < inf:
            raise ValueError(f"the factor must be a number from 0 up, not {factor}")
        return replace(self, bends=(*self.bends, Bend(self._raw(at_s), self.count(at_s), factor)))

    def _raw(self, at_s: float) -> float:
        if at_s <= 0:
            return 0.0
        if at_s >= self.starts[-1]:
            return self.counts[-1]
        i = bisect_right(self.starts, at_s) - 1
        return self.counts[i] + area(self.stages[i], at_s - self.starts[i])

    def _when(self, raw: float) -> float:
        if raw >= self.counts[-1]:
            return inf
        i = bisect_right(self.counts, raw) - 1
        return self.starts[i] + reaches(self.stages[i], raw - self.counts[i])


def due(stages: Sequence[Shape], n: int) -> float:
    """When the n-th journey (from 0) is due, in seconds; `inf` if the stages end before it."""
    return Pace.of(stages).due(n)


def count(stages: Sequence[Shape], until_s: float) -> float:
    """The integral of the rate over [0, until_s]; the number of journeys due by then differs by at most ½."""
    return Pace.of(stages).count(until_s)


def arrivals(pace: Pace, *, shard: int = 0, of: int = 1) -> Iterator[tuple[int, float]]:
    """(n, due in seconds) of every journey of one shard, in order: those with n mod `of` = `shard`."""
    n = shard
    while (at := pace.due(n)) < inf:
        yield n, at
        n += of
