"""What the engine may do next. `logic.decide` chooses one; `run.play` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from chaosrunner.model.experiment import Phase


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until_ns`, unless there is news."""

    until_ns: int


@dataclass(frozen=True, slots=True)
class Enter:
    """Enter a phase at an instant on a slot edge."""

    phase: Phase
    at_ns: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Inject:
    """Start injecting a fault."""

    fault: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Heal:
    """Start undoing a fault."""

    fault: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Abort:
    """Give up: from here on only heal. Journalling it is acting on it."""

    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """The play is over."""

    why: str
    """`proven`, `not recovered`, `no fault`, `steady state …`, `aborted: …`, `interrupted: …` or `failed: …`."""


Step = Wait | Enter | Inject | Heal | Abort | Done


def name_of(step: Step) -> str:
    """How a step is called in the journal: `enter fault`, `inject 0`, `heal 0`, `abort`, `done`, `wait`."""
    match step:
        case Wait():
            return "wait"
        case Enter(phase=phase):
            return f"enter {phase}"
        case Inject(fault=fault):
            return f"inject {fault}"
        case Heal(fault=fault):
            return f"heal {fault}"
        case Abort():
            return "abort"
        case Done():
            return "done"
        case _:
            assert_never(step)


def why_of(step: Step) -> str:
    """The numbers a step rests on, in words; empty for a Wait."""
    return "" if isinstance(step, Wait) else step.why
