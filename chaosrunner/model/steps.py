"""What the engine may do next. `logic.decide` chooses one; `run.play` does it."""

from __future__ import annotations

from dataclasses import dataclass

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
class Done:
    """The play is over."""

    why: str
    """`proven`, `not recovered`, `no fault`, `steady state …`, `aborted: …`, `interrupted: …` or `failed: …`."""


Step = Wait | Enter | Inject | Heal | Done
