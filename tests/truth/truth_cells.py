"""The cells of the table: which target, how much load, how much noise, what is asked, and what the truth is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import scripted_target as target
from scripted_target import CALM, MARGIN, NOISY, TIMEOUT_S, WANDERING, Make, Noise, Target
from virtual_play import World

from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.fault import Fault
from chaosrunner.model.http_step import Request
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat, Tolerance
from chaosrunner.model.load import Stage, single
from chaosrunner.model.system import System
from chaosrunner.model.verdict import Return, Verdict

NAMES = ("home", "search", "basket", "order", "log in")
FEW_ERRORS = Tolerance(
    text="errors < 1%", metric=Metric(stat=Stat.ERRORS), cmp="<", against=Against.ABSOLUTE, value=0.01
)
QUEUE = Tolerance(
    text="queue < 5", metric=Metric(stat=Stat.PROBE, probe="queue"), cmp="<", against=Against.ABSOLUTE, value=5.0
)
AS_BEFORE = Tolerance(
    text="p95 <= 1.1x baseline",
    metric=Metric(stat=Stat.QUANTILE, quantile=0.95),
    cmp="<=",
    against=Against.TIMES_BASELINE,
    value=1.1,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One line of the table."""

    says: str
    make: Make
    kind: str
    """What is asked of it: `outage`, `return`, `never`, `nothing`, `unknown`."""
    rate: float
    noise: Noise
    longest_s: float = 10.0
    """The longest time to recover that is drawn."""
    baseline_s: float = 10.0
    fault_s: float = 2.0
    hold_s: float = 10.0
    after: tuple[Tolerance, ...] = ()
    """Instead of `errors < 1%` and `p95 <=` the bound."""
    world: tuple[tuple[str, float], ...] = ()
    """Fields of the world: a generator that is saturated, or falls silent."""

    @property
    def expected(self) -> Return | None:
        """What is to be said of its return, if anything can be: None where nothing may be known."""
        if self.kind == "unknown":
            return None
        if self.kind == "never":
            return Return.NOT_RECOVERED
        return Return.RELAPSED if self.make is target.relapse else Return.RECOVERED

    @property
    def play_share(self) -> float:
        """p: the share of requests affected."""
        return self.make(Random(0), self.longest_s).share

    def play(self, seed: int) -> tuple[World, Target, Verdict]:
        """Play it once; the seed decides everything."""
        scripted = self.make(Random(seed), self.longest_s)
        world = World(
            experiment=self.experiment(),
            target=scripted,
            noise=self.noise,
            rate=self.rate,
            seed=seed,
            look_s=self.hold_s / 8,
            **dict(self.world),  # type: ignore[arg-type]
        )
        return world, scripted, world.play()

    def experiment(self) -> Experiment:
        """What is asked, as a file would say it."""
        within = 1.5 * self.longest_s + 25.0 * (self.make is target.relapse)
        slow = Tolerance(
            text="p95 <= bound",
            metric=Metric(stat=Stat.QUANTILE, quantile=0.95),
            cmp="<=",
            against=Against.ABSOLUTE,
            value=MARGIN * self.noise.p95(),
        )
        return Experiment(
            question="Is the number right?",
            file="x.yaml",
            source="",
            system=System(name="scripted", file="x.yaml", environment="test"),
            system_source="",
            load=single(
                steps=tuple(Request(name=name, method="GET", path="/") for name in NAMES),
                stages=(Stage(start=self.rate, end=self.rate, lasts_s=None),),
                timeout_s=TIMEOUT_S,
            ),
            baseline_s=self.baseline_s,
            faults=(Fault(index=0, injector="noop", target=None, params=None, for_s=self.fault_s),),
            hypothesis=Hypothesis(before=(FEW_ERRORS, slow), after=self.after or (FEW_ERRORS, slow)),
            recover=RecoveryTarget(within_s=within, hold_s=self.hold_s),
        )


def cells() -> Iterator[Cell]:
    """All of them, in the order of the table."""
    yield from _outages()
    yield from _returns()
    yield from _others()


BROWN_OUT = target.brown_out()

OUTAGES = (
    ("connection reset", target.reset()),
    ("connection refused", target.refused()),
    ("accepts, never answers", target.never_answers()),
    ("half-open: every other waits in vain", target.half_open()),
    ("one endpoint of five", target.one_of_five()),
    ("brown-out of 3 %", BROWN_OUT),
    ("relapse after 20 s", target.relapse),
)


def _outages() -> Iterator[Cell]:
    for says, make in OUTAGES:
        for noise in (CALM, NOISY):
            slow = {"says": says, "make": make, "kind": "outage", "noise": noise}
            slow["fault_s"] = 10.0 if make is BROWN_OUT else 2.0
            hold = 30.0 if make is target.relapse else 15.0
            yield Cell(**slow, rate=20.0, longest_s=30.0, baseline_s=15.0, hold_s=hold)  # type: ignore[arg-type]
            if make is target.relapse:
                continue
            yield Cell(**slow, rate=200.0, longest_s=10.0, baseline_s=5.0, hold_s=5.0)  # type: ignore[arg-type]
    for noise in (CALM, NOISY):
        yield Cell(
            says="connection reset, up to 120 s", make=target.reset(), kind="outage", noise=noise, rate=20.0,
            longest_s=120.0, baseline_s=15.0, hold_s=15.0,
        )  # fmt: skip
    for says, make in (OUTAGES[0], OUTAGES[4], OUTAGES[5]):
        yield Cell(
            says=says, make=make, kind="outage", noise=NOISY, rate=2000.0, longest_s=2.0, baseline_s=1.0, fault_s=0.5,
            hold_s=1.0,
        )  # fmt: skip


RETURNS = (
    ("3 × as slow, a step back", target.step),
    ("back in a straight line", target.line),
    ("back exponentially", target.exponential),
    ("back in swings", target.oscillation),
    ("slow start: refused, then warming up", target.slow_start),
)


def _returns() -> Iterator[Cell]:
    for says, make in RETURNS:
        for noise in (CALM, NOISY):
            for rate, longest in ((20.0, 20.0), (200.0, 10.0)):
                hold = 15.0 if rate < 100 else 5.0
                yield Cell(
                    says=says, make=make, kind="return", noise=noise, rate=rate, longest_s=longest, baseline_s=hold,
                    hold_s=hold,
                )  # fmt: skip


def _others() -> Iterator[Cell]:
    for rate, hold in ((20.0, 60.0), (200.0, 15.0)):
        for noise in (CALM, NOISY, WANDERING):
            yield Cell(
                says="+25 % remains", make=target.quarter_remains, kind="never", noise=noise, rate=rate, longest_s=5.0,
                baseline_s=hold, hold_s=hold, after=(FEW_ERRORS, AS_BEFORE),
            )  # fmt: skip
    for rate, hold in ((20.0, 15.0), (200.0, 5.0)):
        for noise in (CALM, NOISY, WANDERING):
            plain = {"rate": rate, "noise": noise, "longest_s": 5.0, "baseline_s": hold, "hold_s": hold}
            yield Cell(says="A/A: nothing happens", make=target.nothing, kind="nothing", **plain)  # type: ignore[arg-type]
        plain = {"rate": rate, "noise": NOISY, "longest_s": 5.0, "baseline_s": hold, "hold_s": hold}
        yield Cell(says="dead", make=target.dead, kind="never", **plain)  # type: ignore[arg-type]
        unknown = {"make": target.nothing, "kind": "unknown", **plain}
        yield Cell(says="no traffic since the fault", world=(("silent_from_s", hold + 1.0),), **unknown)  # type: ignore[arg-type]
        yield Cell(says="no traffic at all", world=(("silent_from_s", 0.0),), **unknown)  # type: ignore[arg-type]
        yield Cell(says="no answer of the probe", after=(FEW_ERRORS, QUEUE), **unknown)  # type: ignore[arg-type]
        yield Cell(says="generator starts 80 % only", world=(("late", 0.2),), **unknown)  # type: ignore[arg-type]
        yield Cell(says="generator lags 100 ms", world=(("lag_s", 0.1),), **unknown)  # type: ignore[arg-type]
