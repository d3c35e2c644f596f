"""A scripted target whose every instant is known: how it fails, how it comes back, and when that is over.

Time in a script counts in seconds from the end of the fault's effect: negative while the fault is in place. The truth
is the moment from which every later request meets `errors < 1%` and `p95 <= bound` in expectation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from statistics import NormalDist

from chaosrunner.model.load import Outcome

USUAL_S = 0.02
"""The median response of a healthy target, in seconds."""

TIMEOUT_S = 2.0
"""When the load gives a request up."""

MARGIN = 1.5
"""The bound of p95, as a multiple of the true p95 of a healthy target."""

Answer = tuple[Outcome, float]
"""Outcome, and how long it took in seconds."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What a healthy target does to its requests at any time."""

    name: str
    sigma: float
    """Of the logarithm of a response."""
    spikes: float = 0.0
    """Share of responses that take five times as long."""
    errors: float = 0.0
    wander: float = 0.0
    """Standard deviation of a level that all requests of a second share; φ = 0.5 from one second to the next."""

    def p95(self) -> float:
        """The true p95 of a healthy target in seconds, failures infinitely slow (by bisection)."""
        low, high = USUAL_S / 10, USUAL_S * 100
        spread = NormalDist(0.0, math.hypot(self.sigma, self.wander))
        for _ in range(60):
            middle = math.sqrt(low * high)
            usual, spiked = spread.cdf(math.log(middle / USUAL_S)), spread.cdf(math.log(middle / USUAL_S / 5))
            within = (1 - self.errors) * ((1 - self.spikes) * usual + self.spikes * spiked)
            low, high = (middle, high) if within < 0.95 else (low, middle)
        return high


CALM = Noise("calm", 0.02)
NOISY = Noise("noisy", 0.3, spikes=0.01, errors=0.002)
WANDERING = Noise("wandering", 0.3, spikes=0.01, errors=0.002, wander=0.05)


def always(_t: float) -> float:
    """The level of a target that is as usual."""
    return 1.0


def never(_t: float, _name: int, _luck: float) -> Answer | None:
    """A target of which nothing fails."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One script, all its numbers drawn."""

    fails: Callable[[float, int, float], Answer | None] = never
    """(time, request name, a uniform number) → how a request due then fails; None if it does not."""
    level: Callable[[float], float] = always
    """Time → what a usual response is multiplied by."""
    truth_s: float | None = 0.0
    """Time to recover from the end of the effect; None = it never does."""
    share: float = 1.0
    """p: the share of requests that the illness affects."""
    shape: str = ""
    """What the oracle is told: `step`, `line`, `exponential`, `oscillation`."""
    known: Mapping[str, float] | None = None
    """Numbers of the shape that are constants of the cell."""


Make = Callable[[Random, float], Target]
"""(chance, longest duration in seconds) → a target."""


def _lasting(chance: Random, longest: float, shortest: float = 0.3) -> float:
    """A duration, its logarithm uniformly distributed."""
    return shortest * (longest / shortest) ** chance.random()


def outage(how: Answer, share: float = 1.0, only: int | None = None) -> Make:
    """Requests fail until some time after the fault, all or a share of them or those of one name; then all is well."""

    def make(chance: Random, longest: float) -> Target:
        ends = _lasting(chance, longest)

        def fails(t: float, name: int, luck: float) -> Answer | None:
            return how if t < ends and luck < share and only in (None, name) else None

        return Target(fails=fails, truth_s=ends, share=share if only is None else share / 5)

    return make


def reset() -> Make:
    """Connections are reset somewhere on the way."""
    return outage((Outcome.RESET, 0.008))


def refused() -> Make:
    """Connections are refused at once."""
    return outage((Outcome.REFUSED, 0.0003))


def never_answers() -> Make:
    """Connections are accepted and never answered."""
    return outage((Outcome.TIMEOUT, TIMEOUT_S))


def half_open() -> Make:
    """Half of the requests are sent on connections that the peer has forgotten: they wait in vain."""
    return outage((Outcome.TIMEOUT, TIMEOUT_S), share=0.5)


def one_of_five() -> Make:
    """One endpoint of five fails, the others do not."""
    return outage((Outcome.STATUS, 0.004), only=3)


def brown_out() -> Make:
    """Three percent of the requests fail."""
    return outage((Outcome.STATUS, 0.004), share=0.03)


def step(chance: Random, longest: float) -> Target:
    """Three times as slow, then at once as usual."""
    ends = _lasting(chance, longest)
    return Target(level=lambda t: 3.0 if t < ends else 1.0, truth_s=ends, shape="step")


def line(chance: Random, longest: float) -> Target:
    """Four times as slow, then better in a straight line."""
    lasts = _lasting(chance, longest, 2.0)
    return Target(
        level=lambda t: 1.0 + 3.0 * min(1.0, max(0.0, 1.0 - t / lasts)),
        truth_s=lasts * (1.0 - (MARGIN - 1.0) / 3.0),
        shape="line",
    )


def exponential(chance: Random, longest: float) -> Target:
    """Four times as slow, then better exponentially."""
    tau = _lasting(chance, longest / 3, 1.0)
    return Target(
        level=lambda t: 1.0 + 3.0 * math.exp(-max(0.0, t) / tau),
        truth_s=tau * math.log(3.0 / (MARGIN - 1.0)),
        shape="exponential",
    )


def oscillation(chance: Random, longest: float) -> Target:
    """It swings between usual and slow, less each time; the period is shorter than the hold time."""
    tau, period = _lasting(chance, longest / 3, 1.5), 2.0

    def level(t: float) -> float:
        return 4.0 if t < 0 else 1.0 + 3.0 * math.exp(-t / tau) * math.cos(math.pi * t / period) ** 2

    # The last instant above the bound, to 0.1 ms: swings that can reach it end at tau · ln 6.
    end = tau * math.log(3.0 / (MARGIN - 1.0)) + 1e-3
    while level(end) <= MARGIN:
        end -= 1e-4
    return Target(level=level, truth_s=end, shape="oscillation", known={"period": period, "tau": tau})


def slow_start(chance: Random, longest: float) -> Target:
    """Refused until it listens again, then slow until it is warm."""
    back, tau = _lasting(chance, longest / 2), _lasting(chance, longest / 6, 1.0)

    def fails(t: float, _name: int, _luck: float) -> Answer | None:
        return (Outcome.REFUSED, 0.0003) if t < back else None

    return Target(
        fails=fails,
        level=lambda t: 1.0 + 3.0 * math.exp(-max(0.0, t - back) / tau),
        truth_s=back + tau * math.log(3.0 / (MARGIN - 1.0)),
        shape="exponential",
        known={"since": back},
    )


def quarter_remains(_chance: Random, _longest: float) -> Target:
    """Three times as slow, and a quarter of the usual response remains for ever."""
    return Target(level=lambda t: 3.0 if t < 0 else 1.25, truth_s=None)


def relapse(chance: Random, longest: float) -> Target:
    """Gone, back for twenty seconds, gone again for five, then back."""
    ends = _lasting(chance, longest)

    def fails(t: float, _name: int, _luck: float) -> Answer | None:
        return (Outcome.RESET, 0.008) if t < ends or ends + 20 <= t < ends + 25 else None

    return Target(fails=fails, truth_s=ends + 25)


def nothing(_chance: Random, _longest: float) -> Target:
    """A fault that does nothing: A/A."""
    return Target()


def dead(_chance: Random, _longest: float) -> Target:
    """Gone for good."""
    return Target(fails=lambda t, _n, _l: (Outcome.REFUSED, 0.0003), truth_s=None)
