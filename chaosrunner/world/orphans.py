"""Debts: what journals say may still be broken, and which of it nobody alive is looking after."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosrunner.errors import Orphaned
from chaosrunner.logic.fault_state import FaultStatus
from chaosrunner.logic.fold import State, step
from chaosrunner.model.fault import Recipe, recipe_from_json
from chaosrunner.world.journal import read_events
from chaosrunner.world.lock import OWNER, held
from chaosrunner.world.paper import EVENTS
from chaosrunner.world.segments import Damage
from chaosrunner.world.state_home import StateHome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from chaosrunner.world.state_home import Registered


@dataclass(frozen=True, slots=True)
class Debt:
    """A prepared, reversible recipe that has not been undone."""

    fault: int
    recipe: Recipe
    answered: bool
    """The inject has a recorded answer. Otherwise it may still land, until the recipe's settle time has passed."""
    deadline_ns: int = 0
    attempts: int = 0


def debts(state: State) -> list[Debt]:
    """What a state says is owed, newest first."""
    owed = [(fault.inject_called_ns, index, fault) for index, fault in state.faults.items() if fault.debt]
    found = []
    for _, index, fault in sorted(owed, key=lambda it: (it[0] is None, it[0] or 0, it[1]), reverse=True):
        assert fault.recipe is not None
        # A failed inject has an answer, but not one that says whether it landed.
        answered = fault.inject_answered_ns is not None and fault.status is not FaultStatus.FAILED
        found.append(Debt(index, recipe_from_json(fault.recipe), answered, fault.deadline_ns, fault.attempts))
    return found


def known(run_dir: Path) -> State:
    """What the small facts of a run add up to. Raises FileNotFoundError when there is no journal."""
    state = State()
    for entry in read_events(run_dir, Damage()):
        state = step(state, entry)
    return state


def debts_of(run_dir: Path) -> list[Debt]:
    """What a run owes by its journal, newest first; nothing when there is no journal."""
    try:
        return debts(known(run_dir))
    except FileNotFoundError:
        return []


def is_lost(run_dir: Path) -> bool:
    """Whether the journal of a run is gone."""
    return not (run_dir / EVENTS).exists()


def orphaned(home: StateHome, system: str | None = None) -> list[Registered]:
    """Runs whose owner is gone and that owe, or whose journal is gone, so that nobody can say what they owe.

    A run whose owner is gone and that owes nothing is signed off on the way.
    """
    found = []
    for run in home.runs(system):
        if held(run.run_dir / OWNER):
            continue
        try:
            owes = bool(known(run.run_dir).debts())
        except FileNotFoundError:
            owes = True
        if owes:
            found.append(run)
        elif not held(run.run_dir / OWNER):
            home.sign_off(run)
    return found


def is_over(state: State) -> bool:
    """Whether a run is over for its runner: it has ended, or somebody has taken its place."""
    return bool(state.ended or state.epoch)


def being_paid(home: StateHome, system: str | None = None) -> list[Registered]:
    """Runs that are over and owe, whose runner or heir is at it just now."""
    found = []
    for run in home.runs(system):
        if not held(run.run_dir / OWNER):
            continue
        try:
            state = known(run.run_dir)
        except FileNotFoundError:
            continue  # it has only just begun
        if state.debts() and is_over(state):
            found.append(run)
    return found


def refuse_orphans(system: str, home: StateHome | None = None, *, scan: str = "") -> None:
    """Look for orphaned debts on a system, before anything is touched.

    Args:
        system: its name.
        home: the state directory; this user's own unless given.
        scan: the system's file, for the command that needs it; its name unless given.

    Raises:
        Orphaned: there are some, or they are just being paid; the advice is the one command that pays them, or waits
            until they are.
    """
    home = home or StateHome.find()
    if paying := being_paid(home, system):
        raise Orphaned(
            f"a fault of an earlier run on {system} is still being undone",
            advice="chaosrunner abort " + " ".join(shlex.quote(str(run.run_dir)) for run in paying),
        )
    found = orphaned(home, system)
    if not found:
        return
    lost = [run for run in found if is_lost(run.run_dir)]
    if lost:
        raise Orphaned(
            f"an earlier run on {system} may have left a fault in place, and its journal {lost[0].run_dir} is gone",
            advice=f"chaosrunner recover --scan {shlex.quote(scan or system)}",
        )
    said = "; ".join(debt.recipe.says for run in found for debt in debts_of(run.run_dir))
    raise Orphaned(
        f"an earlier run on {system} may have left a fault in place: {said}",
        advice=advice([run.run_dir for run in found]),
    )


def advice(run_dirs: Sequence[Path]) -> str:
    """The one command that pays the debts of these runs."""
    return "chaosrunner recover " + " ".join(shlex.quote(str(run_dir)) for run_dir in run_dirs)
