"""A journey: steps one after the other, each of some protocol. What all steps have, whatever they speak."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

SERIES = 1 << 20
"""Name indices from here on are series: what is measured beside the hits, never part of an overall figure."""


@dataclass(frozen=True, slots=True)
class Think:
    """A pause before a step: always the same, evenly spread over a range, or lognormal."""

    at_s: float = 0.0
    """The pause; the shortest one of a range; the median of a lognormal."""
    to_s: float | None = None
    """The longest pause of a range."""
    sigma: float = 0.0
    """Standard deviation of the pause's natural logarithm; above zero, the pause is lognormal."""

    @property
    def constant(self) -> bool:
        """Whether chance has no part in it."""
        return self.to_s is None and not self.sigma


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A step that is done more than once before its journey goes on: `times` of them, or for a while.

    Its failures are counted and do not end the journey.
    """

    times: int | None = None
    for_s: float | None = None
    """None is due later than this after the first one. At least one of both bounds is given."""
    every_s: float | None = None
    """Due so long after one another, whether or not earlier ones have ended. None: when the one before has ended and
    the step's think time has passed."""

    @property
    def known(self) -> int:
        """How many times, as far as is known beforehand; at least one."""
        by_time = [ceil(self.for_s / self.every_s)] if self.for_s and self.every_s else []
        return min([*([self.times] if self.times else []), *by_time], default=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One step of a journey. `<name>` in texts is a kept variable or a data column."""

    name: str
    think: Think = Think()
    """Pause between the previous step's done and this step's due. Before the first step: nothing in the open model; in
    the closed one the pause since the user's previous journey."""
    again: Again | None = None
    timeout_s: float | None = None
    """A hit without its answer after this long, counted from its due time, is a TIMEOUT; None = the load's."""

    @property
    def series(self) -> tuple[str, ...]:
        """Names of what is measured beside its hits, such as `read.acquire`."""
        return ()

    @property
    def places(self) -> tuple[str, ...]:
        """The components whose DSN it needs."""
        return ()

    @property
    def keeps(self) -> tuple[str, ...]:
        """The variables that later steps may use."""
        return ()
