"""Runs made up for tests: a script of traffic and facts → entries → state, exactly as a journal would hold them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from chaosrunner.logic.fold import State, fold
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment, Phase, RecoveryTarget
from chaosrunner.model.fault import Fault
from chaosrunner.model.http_step import Request
from chaosrunner.model.hypothesis import Against, Hypothesis, Metric, Stat, Tolerance
from chaosrunner.model.load import LoadProfile, Outcome, Stage, single
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.model.system import System
from chaosrunner.model.units import NANOS

EPOCH = 1_000 * NANOS
SLOT_US = 100_000

Answer = Callable[[float, int], tuple[Outcome, float]]
"""(due in seconds, request name) → outcome and response in seconds."""


def errors(share: float, *, of: str = "", cmp: str = "<", **more: object) -> Tolerance:
    """`errors of … < share`."""
    metric = Metric(stat=Stat.ERRORS, of=of)
    return tolerance(f"errors {cmp} {share * 100:g}%", metric, cmp, share, **more)


def p95(seconds: float, *, cmp: str = "<=", **more: object) -> Tolerance:
    """`p95 <= seconds`."""
    return tolerance(f"p95 {cmp} {seconds:g}s", Metric(stat=Stat.QUANTILE, quantile=0.95), cmp, seconds, **more)


def tolerance(text: str, metric: Metric, cmp: str, value: float, /, **more: object) -> Tolerance:
    """Any tolerance; absolute unless said."""
    plain = Tolerance(text=text, metric=metric, cmp=cmp, against=Against.ABSOLUTE, value=value)
    return replace(plain, **more)  # type: ignore[arg-type]


def fault(index: int = 0, **changes: object) -> Fault:
    """A noop on nothing in particular, for 5 s."""
    return replace(Fault(index=index, injector="noop", target=None, params=None, for_s=5.0), **changes)  # type: ignore[arg-type]


def experiment(**changes: object) -> Experiment:
    """One fault; errors < 1 % before and after, < 50 % during; recover within 20 s, hold 10 s; 20 s of baseline."""
    plain = Experiment(
        question="Does it hold?",
        file="x.yaml",
        source="",
        system=System(name="shop", file="shop.yaml", environment="test"),
        system_source="",
        load=single(
            steps=(Request(name="read", method="GET", path="/"),),
            stages=(Stage(start=100.0, end=100.0, lasts_s=None),),
        ),
        baseline_s=20.0,
        faults=(fault(),),
        hypothesis=Hypothesis(before=(errors(0.01),), during=(errors(0.5),), after=(errors(0.01),)),
        recover=RecoveryTarget(within_s=20.0, hold_s=10.0),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def steps(*names: str) -> LoadProfile:
    """A profile of these request names."""
    made = tuple(Request(name=name, method="GET", path="/") for name in names)
    return single(steps=made, stages=(Stage(start=100.0, end=100.0, lasts_s=None),))


def well(_due: float, _name: int) -> tuple[Outcome, float]:
    """Everything is answered in 5 ms."""
    return Outcome.OK, 0.005


def away(begin: float, end: float, *, outcome: Outcome = Outcome.RESET, otherwise: Answer = well) -> Answer:
    """The target fails at once in [begin, end)."""
    return lambda due, name: (outcome, 0.001) if begin <= due < end else otherwise(due, name)


def noisy(seed: int, *, wrong: float = 0.002, slow: float = 0.04, slow_s: float = 1.0) -> Answer:
    """A few hits fail or are slow all the time."""
    chance = random.Random(seed)

    def answer(_due: float, _name: int) -> tuple[Outcome, float]:
        luck = chance.random()
        if luck < wrong:
            return Outcome.STATUS, 0.004
        return Outcome.OK, slow_s if luck < wrong + slow else 0.004 + 0.004 * chance.random()

    return answer


@dataclass(kw_only=True)
class Script:
    """When things happen, in seconds after the load's epoch. The default: baseline 2–22, fault 22.5–27.5."""

    answer: Answer = well
    rate: float = 100.0
    """Hits a second, of each name in turn."""
    dues: Sequence[float] | None = None
    """Instead of evenly spaced hits."""
    names: int = 1
    baseline: float | None = 2.0
    fault: float | None = 22.2
    inject: tuple[float, float] | None = (22.5, 22.5)
    """[called, answered]."""
    heal: tuple[float, float] | None = (27.5, 27.5)
    recovery: float | None = 27.5
    after: float | None = None
    end: float = 60.0
    proven: bool | None = True
    lag: float = 0.0
    """Generator lag of every hit, within the response."""
    raw: bool = True
    """Whether raw hits are reported."""
    extra: Sequence[tuple[float, e.Event]] = ()
    """Further facts and when they are written."""
    ended: str = "proven"
    reversible: bool = True

    def entries(self) -> list[e.Entry]:
        """The journal, in order of time."""
        facts = [(0.0, fact) for fact in self._begin()]
        facts += self._faults()
        facts += [(at, e.SlotsArrived(frame=frame)) for at, frame in self.frames()]
        facts += self.extra
        if self.ended:
            facts.append((self.end, e.Ended(why=self.ended, at_ns=ns(self.end))))
            facts.append((self.end, e.LoadEnded(at_ns=ns(self.end))))
        return number(event for _, event in sorted(facts, key=lambda fact: fact[0]))

    def state(self) -> State:
        """The fold of all of it."""
        return fold(self.entries())

    def frames(self) -> list[tuple[float, Frame]]:
        """(when, frame): one a half second, every hit with its outcome."""
        hits = [self._hit(due, nth % self.names) for nth, due in enumerate(self._dues())]
        frames = []
        for nth in range(round(self.end * 2)):
            upto = (nth + 1) * 500_000
            mine = [hit for hit in hits if upto - 500_000 <= hit.due_us < upto]
            frames.append((upto / 1e6, frame_of(mine, seq=nth, until_us=upto, raw=self.raw)))
        return frames

    def _dues(self) -> Sequence[float]:
        return self.dues if self.dues is not None else [nth / self.rate for nth in range(int(self.end * self.rate))]

    def _hit(self, due: float, name: int) -> Hit:
        outcome, response = self.answer(due, name)
        return Hit(round(due * 1e6), name, outcome, round((response + self.lag) * 1e6), round(self.lag * 1e6))

    def _begin(self) -> list[e.Event]:
        started = e.RunStarted(
            run="7f3a",
            question="?",
            file="x.yaml",
            source="",
            system="shop",
            system_file="",
            system_source="",
            seed=1,
            boot="b",
            version="0",
        )
        return [
            started,
            e.LoadStarted(epoch_ns=EPOCH, workers=1),
            e.PhaseEntered(phase=Phase.WARMUP, at_ns=EPOCH),
        ]

    def _faults(self) -> list[tuple[float, e.Event]]:
        facts: list[tuple[float, e.Event]] = []
        times = {
            Phase.BASELINE: self.baseline,
            Phase.FAULT: self.fault,
            Phase.RECOVERY: self.recovery,
            Phase.AFTER: self.after,
        }
        facts += [(at, e.PhaseEntered(phase=phase, at_ns=ns(at))) for phase, at in times.items() if at is not None]
        if self.inject:
            recipe = {"injector": "noop", "says": "does nothing", "reversible": self.reversible}
            called, answered = map(ns, self.inject)
            facts += [
                (self.inject[0], e.Prepared(fault=0, recipe=recipe, deadline_ns=0)),
                (self.inject[0], e.Injecting(fault=0, called_ns=called)),
                (self.inject[1], e.Injected(fault=0, called_ns=called, answered_ns=answered)),
            ]
            if self.proven is not None:
                facts.append((self.inject[1], e.Verified(fault=0, ok=self.proven, says="seen", at_ns=answered)))
        if self.heal and self.reversible:
            called, answered = map(ns, self.heal)
            facts += [
                (self.heal[0], e.Undoing(fault=0, attempt=1, called_ns=called)),
                (
                    self.heal[1],
                    e.Undone(fault=0, called_ns=called, answered_ns=answered, attempts=1, says="gone"),
                ),
            ]
        return facts


def frame_of(hits: Iterable[Hit], *, seq: int, until_us: int, raw: bool = True, worker: int = 0) -> Frame:
    """A frame in which these hits became due and were finished."""
    kept = tuple(hits)
    slots: dict[tuple[int, int], Slot] = {}
    for hit in kept:
        slot = slots.setdefault((hit.due_us // SLOT_US, hit.name), Slot())
        slot.due += 1
        count(slot, hit)
    return Frame(worker=worker, seq=seq, until_us=until_us, slots=slots, hits=kept if raw else ())


def count(slot: Slot, hit: Hit) -> None:
    """Count an outcome as a load worker does."""
    slot.done[hit.outcome] = slot.done.get(hit.outcome, 0) + 1
    if hit.outcome is Outcome.OK:
        slot.ok.record(hit.response_us)
        slot.adjusted.record(hit.response_us - hit.lag_us)
    elif hit.outcome not in (Outcome.SHED, Outcome.LATE):
        slot.failed.record(hit.response_us)
    if hit.outcome is not Outcome.LATE:
        slot.lag.record(hit.lag_us)
        slot.wait.record(0)


def number(events: Iterable[e.Event]) -> list[e.Entry]:
    """Entries numbered from 0."""
    return [e.Entry(n=n, at_ns=EPOCH, wall="", epoch=0, event=event) for n, event in enumerate(events)]


def ns(seconds: float) -> int:
    """An instant, given in seconds after the load's epoch."""
    return EPOCH + round(seconds * NANOS)


HOGS = e.Pressure(
    at_ns=0, cpu_some=0.9, target_wait_s=0.5, target_cpu=0.1, our_cpu=0.1, others_cpu=1.8, busiest="hog (7)"
)
"""Others have nearly all of two CPUs."""


def host(seen: e.Pressure, first: int, last: int) -> list[tuple[float, e.Event]]:
    """The host was like that in these seconds."""
    return [(float(at), replace(seen, at_ns=ns(float(at)))) for at in range(first + 1, last + 1)]


def slow(begin: float, end: float, seconds: float) -> Answer:
    """It takes so long between these moments, and little before and after."""
    return lambda due, name: (Outcome.OK, seconds) if begin <= due < end else well(due, name)
