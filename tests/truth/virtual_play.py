"""A whole run on a virtual clock: the product's own `decide`, `fold` and `judge`, before a scripted target.

Hits are reported as load workers do: a slot counts them when they are due, their outcome follows when it is there.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import assert_never

from scripted_target import TIMEOUT_S, USUAL_S, Noise, Target

from chaosrunner.logic.decide import decide
from chaosrunner.logic.fold import State, step
from chaosrunner.logic.judge import judge
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.histogram import Histogram, cell_of
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.model.steps import Abort, Done, Enter, Heal, Inject, Wait
from chaosrunner.model.units import NANOS
from chaosrunner.model.verdict import Verdict

EPOCH = 1_000 * NANOS
SLOT_US = 100_000
STEPS = 10_000


@dataclass(kw_only=True)
class World:
    """A clock that jumps, traffic before a scripted target, and a fault whose call takes 20 ms to take effect."""

    experiment: Experiment
    target: Target
    noise: Noise
    rate: float
    seed: int
    look_s: float = 1.0
    """How far the clock jumps at least while something is awaited."""
    silent_from_s: float = math.inf
    """The generator reports no hit due later: no traffic."""
    late: float = 0.0
    """Saturated generator: the share of hits it never starts while the fault is in place and later."""
    lag_s: float = 0.0
    """Saturated generator: how late it starts the others."""
    state: State = field(default_factory=State)
    now: int = EPOCH
    began_s: float = math.inf
    """When the effect truly began and ended, in seconds after the epoch."""
    ended_s: float = math.inf
    _called: int = 0
    _until_us: int = 0
    _seq: int = 0

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self._names = len(self.experiment.load.steps)
        self._nth = 0
        self._due = self.chance.random() / self.rate if self.rate else math.inf
        self._pending: list[tuple[int, int, Hit]] = []
        self._wander, self._second = 0.0, -1
        started = e.RunStarted(
            run="t", question="?", file="x", source="", system="x", system_file="", system_source="", seed=1,
            boot="b", version="0",
        )  # fmt: skip
        self.write(started)
        self.write(e.LoadStarted(epoch_ns=EPOCH, workers=1))

    def play(self) -> Verdict:
        """From the first step to the verdict."""
        for _ in range(STEPS):
            chosen = decide(self.experiment, self.state, self.now)
            if not isinstance(chosen, Wait):
                self.write(e.Decided(step=_name(chosen), why="", now_ns=self.now))
            match chosen:
                case Wait(until):
                    self.now = max(until, self.now + int(self.look_s * NANOS))
                    self._report()
                case Enter(phase, at):
                    self.write(e.PhaseEntered(phase=phase, at_ns=at))
                case Inject(fault):
                    self._inject(fault)
                case Heal(fault):
                    self._heal(fault)
                case Abort():
                    pass
                case Done(why):
                    self.write(e.Ended(why=why, at_ns=self.now))
                    self._close()
                    return judge(self.experiment, self.state)
                case _:
                    assert_never(chosen)
        raise AssertionError("the run does not end")

    def write(self, event: e.Event) -> None:
        """Fold a fact in."""
        self.state = step(self.state, e.Entry(n=self.state.n + 1, at_ns=self.now, wall="", epoch=0, event=event))

    def _inject(self, fault: int) -> None:
        called, answered = self._call()
        self.began_s = (called + (answered - called) * self.chance.random() - EPOCH) / NANOS
        self.write(e.Prepared(fault=fault, recipe={"injector": "noop", "reversible": True}, deadline_ns=0))
        self.write(e.Injecting(fault=fault, called_ns=called))
        self.write(e.Injected(fault=fault, called_ns=called, answered_ns=answered))
        self.write(e.Verified(fault=fault, ok=True, says="scripted", at_ns=answered))

    def _heal(self, fault: int) -> None:
        called, answered = self._call()
        self.ended_s = (called + (answered - called) * self.chance.random() - EPOCH) / NANOS
        self.write(e.Undoing(fault=fault, attempt=1, called_ns=called))
        self.write(e.Undone(fault=fault, called_ns=called, answered_ns=answered, attempts=1, says=""))

    def _call(self) -> tuple[int, int]:
        called = self.now + int(self.chance.random() * 1_000_000)
        return called, called + 20_000_000

    def _report(self, *, last: bool = False) -> None:
        """A frame of everything that became due or was done since the last one."""
        until_us = (self.now - EPOCH) // 1000
        slots: dict[tuple[int, int], Slot] = {}
        while self._due * 1e6 < until_us:
            hit = self._hit(self._due)
            slots.setdefault((hit.due_us // SLOT_US, hit.name), Slot()).due += 1
            heapq.heappush(self._pending, (hit.due_us + hit.response_us, self._nth, hit))
            self._nth += 1
            self._due += self._gap()
            if self._due > self.silent_from_s:
                self._due = math.inf
        done: list[Hit] = []
        while self._pending and (last or self._pending[0][0] < until_us):
            done.append(heapq.heappop(self._pending)[2])
        _finish(slots, done)
        self.write(
            e.SlotsArrived(
                frame=Frame(worker=0, seq=self._seq, until_us=until_us, slots=slots, hits=tuple(done), last=last)
            )
        )
        self._seq += 1

    def _close(self) -> None:
        self._report(last=True)
        self.write(e.LoadEnded(at_ns=self.now))

    def _gap(self) -> float:
        return self.chance.expovariate(self.rate) if self.noise.spikes else 1.0 / self.rate

    def _hit(self, due: float) -> Hit:
        name = self._nth % self._names
        outcome, response = self.answer(due, name)
        if due >= self.began_s and (self.late or self.lag_s):
            if self.chance.random() < self.late:
                return Hit(round(due * 1e6), name, Outcome.LATE, 0, 0)
            lag = self.lag_s * (0.5 + self.chance.random())
            return Hit(round(due * 1e6), name, outcome, round((response + lag) * 1e6), round(lag * 1e6))
        return Hit(round(due * 1e6), name, outcome, round(response * 1e6), 0)

    def answer(self, due: float, name: int) -> tuple[Outcome, float]:
        """How a request of a name, due so many seconds after the epoch, fares."""
        chance, noise = self.chance, self.noise
        level = 1.0
        if due >= self.began_s:
            t = due - self.ended_s if due >= self.ended_s else -1.0
            if ill := self.target.fails(t, name, chance.random()):
                return ill
            level = self.target.level(t)
        if noise.errors and chance.random() < noise.errors:
            return Outcome.STATUS, 0.004
        response = USUAL_S * level * math.exp(noise.sigma * chance.gauss(0.0, 1.0) + self._wandering(due))
        if noise.spikes and chance.random() < noise.spikes:
            response *= 5
        return (Outcome.OK, response) if response < TIMEOUT_S else (Outcome.TIMEOUT, TIMEOUT_S)

    def _wandering(self, due: float) -> float:
        if self.noise.wander and int(due) != self._second:
            self._second = int(due)
            self._wander = 0.5 * self._wander + self.noise.wander * math.sqrt(0.75) * self.chance.gauss(0.0, 1.0)
        return self._wander


def _finish(slots: dict[tuple[int, int], Slot], done: Sequence[Hit]) -> None:
    """Count outcomes as a load worker does; without lag two of the histograms are the same, and none is long."""
    for hit in done:
        slot = slots.setdefault((hit.due_us // SLOT_US, hit.name), Slot())
        slot.done[hit.outcome] = slot.done.get(hit.outcome, 0) + 1
        if hit.outcome is Outcome.OK:
            _count(slot.ok, hit.response_us)
            _count(slot.adjusted, hit.response_us - hit.lag_us)
        elif hit.outcome is not Outcome.LATE:
            _count(slot.failed, hit.response_us)
        if hit.outcome is not Outcome.LATE:
            _count(slot.lag, hit.lag_us)
            _count(slot.wait, 0)


def _count(histogram: Histogram, micros: int) -> None:
    cell = cell_of(micros)
    histogram.cells[cell] = histogram.cells.get(cell, 0) + 1
    histogram.total += 1


def _name(chosen: Enter | Inject | Heal | Abort | Done) -> str:
    match chosen:
        case Inject(fault=fault):
            return f"inject {fault}"
        case Heal(fault=fault):
            return f"heal {fault}"
        case Abort():
            return "abort"
        case _:
            return "step"
