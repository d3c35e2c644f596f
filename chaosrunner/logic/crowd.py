"""Who is there in a closed model: a pure function of the stages, as the schedule of an open one is.

The stages say how many users there should be. User k (from 0) is wanted while that number is at least k + ½: their
count is then always the number asked for, rounded. A user begins a moment after it is first wanted, each at another
one, spread evenly over `spread_s`: so many users do not begin with so many requests in the same instant, and users
with pacing do not come in step for ever. One that is no longer wanted goes when its journey is over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil, inf

from chaosrunner.logic.shapes import check, length_s, value
from chaosrunner.model.load import Closed, Stage, Wave
from chaosrunner.model.load import Shape as AnyShape

GOLDEN = 0.6180339887498949
"""1 ÷ the golden ratio: multiples of it, without their whole part, are spread evenly however many there are."""

SPREAD_S = 1.0
"""Users without pacing begin within this long after they are wanted."""

NEARLY = 1e-9
"""A number of users that is short by less than this is reached."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time with a linear number of users: from `first` to `last` over [begin, end)."""

    begin_s: float
    end_s: float
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many users there are: stages, and how they were scaled so far. Times are seconds after the load's epoch."""

    stages: tuple[Stage, ...]
    starts: tuple[float, ...]
    spread_s: float
    factors: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    """(from when, times as many users), in order of time."""

    @classmethod
    def of(cls, stages: Sequence[AnyShape], closed: Closed) -> Crowd:
        """The crowd of `stages`.

        Raises:
            ValueError: no stage, a wave, a negative or infinite number, a length that is not positive, or an open end
                that is not flat or not last.
        """
        plain = tuple(stage for stage in stages if not isinstance(stage, Wave))
        if not plain or len(plain) < len(stages):
            raise ValueError("a closed load needs at least one stage, and no waves")
        if any(stage.lasts_s is None for stage in plain[:-1]):
            raise ValueError("only the last stage may be open-ended")
        for stage in plain:
            check(stage)
        starts = accumulate((length_s(stage) for stage in plain), initial=0.0)
        return cls(plain, tuple(starts), spread_s(closed))

    def number(self, at_s: float) -> float:
        """How many users there should be at an instant."""
        if not 0 <= at_s < self.starts[-1]:
            return 0.0
        i = bisect_right(self.starts, at_s) - 1
        return self._factor(at_s) * value(self.stages[i], at_s - self.starts[i])

    def wants(self, user: int, at_s: float) -> bool:
        """Whether a user (from 0) should be there at an instant."""
        return self.number(at_s) >= user + 0.5 - NEARLY

    def enters(self, user: int, from_s: float) -> float:
        """When a user begins that is not there: a moment after it is first wanted from `from_s` on; `inf` for never."""
        delay = self.spread_s * ((user + 1) * GOLDEN % 1.0)
        for span in self._spans(from_s):
            if (at := _rises_to(span, user + 0.5)) is not None:
                return at + delay
        return inf

    def keeps_until(self, at_s: float) -> float:
        """An instant before which nobody who is wanted at `at_s` becomes unwanted; `at_s` itself if there is none."""
        span = next(self._spans(at_s), None)
        return at_s if span is None or span.last < span.first else span.end_s

    def most(self) -> int:
        """No user with this number or a higher one is ever wanted."""
        return max((ceil(max(span.first, span.last) + 0.5) for span in self._spans(0.0)), default=0)

    def steered(self, at_s: float, factor: float) -> Crowd:
        """The same crowd with `factor` times the stages' users from `at_s` on; 0 sends all away, 1 is as planned.

        `at_s` must not lie before an earlier steering.

        Raises:
            ValueError: the factor is negative or infinite.
        """
        if not 0 <= factor < inf:
            raise ValueError(f"the factor must be a number from 0 up, not {factor}")
        return replace(self, factors=(*self.factors, (at_s, factor)))

    def _factor(self, at_s: float) -> float:
        return next(factor for since, factor in reversed(self.factors) if at_s >= since)

    def _spans(self, from_s: float) -> Iterator[Span]:
        """The linear stretches from an instant on."""
        cuts = sorted({max(0.0, from_s), *self.starts, *(since for since, _ in self.factors)})
        for begin, end in zip(cuts, [*cuts[1:], inf], strict=True):
            if begin >= max(0.0, from_s) and begin < self.starts[-1]:
                i = bisect_right(self.starts, begin) - 1
                stage, factor = self.stages[i], self._factor(begin)
                last = stage.end if end == inf else value(stage, end - self.starts[i])
                yield Span(begin, end, factor * value(stage, begin - self.starts[i]), factor * last)


def spread_s(closed: Closed) -> float:
    """Over how long users who are wanted at once begin: their pacing, or a second."""
    return SPREAD_S if closed.every_s is None else closed.every_s


def _rises_to(span: Span, number: float) -> float | None:
    """When a stretch first has so many users; None if it never does: its end is the next one's beginning."""
    if span.first >= number - NEARLY:
        return span.begin_s
    if span.last <= number or span.end_s == inf:
        return None
    return span.begin_s + (number - span.first) / (span.last - span.first) * (span.end_s - span.begin_s)
