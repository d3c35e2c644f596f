"""The plan is `decide` run against an imagined healthy world: every step the engine would take, and when.

In that world the load arrives as scheduled, every request is answered at once, and every inject and heal works
at the first try, so the time line is the shortest a real run can take. Nothing is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import assert_never

from chaosrunner.logic.decide import decide
from chaosrunner.logic.fold import State, step
from chaosrunner.model import events as e
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Hit, Slot
from chaosrunner.model.steps import Abort, Done, Enter, Heal, Inject, Step, Wait
from chaosrunner.model.units import NANOS, SLOT_NS

SLOT_US = SLOT_NS // 1000
ENOUGH = 20
"""Imagined hits in a slot and name: enough for any tolerance to be judged, few enough to be quick."""
LIMIT = 100_000
"""Steps after which an imagined run is given up: a bug, not a plan. A fault is looked at four times a second."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A step and when it would be taken, in seconds after the load begins."""

    at_s: float
    step: Step


def imagine(
    experiment: Experiment, *, without_undo: frozenset[int] = frozenset(), limit: int = LIMIT
) -> Iterator[Planned]:
    """The steps of a run in which all goes well, in order.

    Args:
        experiment: what would be played; its tolerances are taken to hold.
        without_undo: indices of faults that cannot be undone (kills).
        limit: steps after which it is given up.

    Raises:
        RuntimeError: the imagined run does not end.
    """
    # With so few imagined hits nothing could be proven: the shortest run is the one in which it is at the first look.
    proven = replace(experiment.recover, margin=None)
    healthy = replace(experiment, hypothesis=Hypothesis(), abort=(), recover=proven)
    world = _World(healthy, without_undo)
    for _ in range(limit):
        chosen = decide(healthy, world.state, world.now)
        if not isinstance(chosen, Wait):
            yield Planned(world.now / NANOS, chosen)
        if isinstance(chosen, Done | Abort):
            return
        world.do(chosen)
    raise RuntimeError("the imagined run does not end")


class _World:
    """A journal in memory, a clock that jumps, and traffic that is always answered in 1 ms."""

    def __init__(self, experiment: Experiment, without_undo: frozenset[int]) -> None:
        self.experiment = experiment
        self.without_undo = without_undo
        self.now = 0
        self.state = State()
        self._slot = 0
        self._seq = 0
        self._write(e.LoadStarted(epoch_ns=0, workers=1))

    def do(self, chosen: Wait | Enter | Inject | Heal) -> None:
        """Let a step happen at once and perfectly."""
        match chosen:
            case Wait(until):
                self.now = max(until, self.now + 1)
                self._traffic()
            case Enter(phase, at):
                self._write(e.PhaseEntered(phase=phase, at_ns=at))
            case Inject(fault):
                self._decided(f"inject {fault}")
                recipe = {
                    "injector": self.experiment.faults[fault].injector,
                    "reversible": fault not in self.without_undo,
                }
                self._write(e.Prepared(fault=fault, recipe=recipe, deadline_ns=0))
                self._write(e.Injecting(fault=fault, called_ns=self.now))
                self._write(e.Injected(fault=fault, called_ns=self.now, answered_ns=self.now))
                self._write(e.Verified(fault=fault, ok=True, says="imagined", at_ns=self.now))
            case Heal(fault):
                self._decided(f"heal {fault}")
                self._write(e.Undone(fault=fault, called_ns=self.now, answered_ns=self.now, attempts=1, says=""))
            case _:
                assert_never(chosen)

    def _decided(self, name: str) -> None:
        self._write(e.Decided(step=name, why="", now_ns=self.now))

    def _write(self, event: e.Event) -> None:
        entry = e.Entry(n=self.state.n + 1, at_ns=self.now, wall="", epoch=0, event=event)
        self.state = step(self.state, entry)

    def _traffic(self) -> None:
        """Report every slot that is over by now."""
        until = self.now // SLOT_NS
        names = range(len(self.experiment.load.steps))
        slots: dict[tuple[int, int], Slot] = {}
        hits: list[Hit] = []
        for number in range(self._slot, until):
            for name in names:
                slot = Slot(due=ENOUGH, done={Outcome.OK: ENOUGH})
                for nth in range(ENOUGH):
                    for histogram in (slot.ok, slot.adjusted):
                        histogram.record(1000)
                    slot.lag.record(0)
                    slot.wait.record(0)
                    due = number * SLOT_US + nth * (SLOT_US // ENOUGH)
                    hits.append(Hit(due, name, Outcome.OK, 1000, 0))
                slots[number, name] = slot
        self._slot = max(self._slot, until)
        frame = Frame(worker=0, seq=self._seq, until_us=self._slot * SLOT_US, slots=slots, hits=tuple(hits))
        self._seq += 1
        self._write(e.SlotsArrived(frame=frame))
