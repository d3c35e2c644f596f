"""Claims: two faults never overlap on one resource, within a run or between runs of one state directory.

A claim is a locked file that names its run, and holds the recipe once there is one. It is removed when the debt is
paid; one that is left without a lock names a run that died. Whether that run still owes is in its journal; should that
be gone, the way back is still in the claim.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaosrunner.errors import Busy, ChaosrunnerError, Orphaned
from chaosrunner.model.fault import recipe_from_json, recipe_to_json
from chaosrunner.world.lock import FileLock, held, said
from chaosrunner.world.orphans import advice, debts_of, is_lost

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaosrunner.model.fault import Recipe
    from chaosrunner.world.state_home import StateHome


@dataclass(slots=True)
class Held:
    """Claims held by this process."""

    locks: list[FileLock] = field(default_factory=list)

    def remember(self, recipe: Recipe) -> None:
        """Put the way back into each of them, durably, before any harm. Raises ChaosrunnerError when it cannot be."""
        for lock in self.locks:
            try:
                lock.add(json.dumps({**json.loads(lock.says), "recipe": recipe_to_json(recipe)}))
            except OSError as error:
                why = f"the way back could not be written to {lock.path}: {error.strerror}"
                raise ChaosrunnerError(why) from None

    def release(self) -> None:
        """Give them back and remove their files; once or many times."""
        while self.locks:
            self.locks.pop().release(remove=True)


def hold(home: StateHome, claims: Iterable[str], run_dir: Path) -> Held:
    """Lock every claim, or none.

    Raises:
        Busy: another active run, or another fault of this one, holds a claim; nothing was touched.
        Orphaned: a run that died owes on a claim.
    """
    holding = Held()
    try:
        for claim in sorted(set(claims)):
            _refuse_owed(home, claim, run_dir)
            word = json.dumps({"claim": claim, "run_dir": str(run_dir.absolute())})
            try:
                holding.locks.append(FileLock.take(_file(home, claim), says=word))
            except Busy:
                raise _busy(home, claim) from None
    except BaseException:
        holding.release()
        raise
    return holding


def refuse_held(home: StateHome, claims: Iterable[str]) -> None:
    """Look whether claims are free, before anything is touched; holding them comes later.

    Raises:
        Busy: another active run holds one.
        Orphaned: a run that died owes on one.
    """
    for claim in sorted(set(claims)):
        if held(_file(home, claim)):
            raise _busy(home, claim)
        _refuse_owed(home, claim, None)


def refuse_ours(home: StateHome, what: str, claims: Iterable[str]) -> None:
    """Say whose it is, when a target is in a state that a run of ours has claimed to bring it into.

    Args:
        home: the state directory.
        what: the state, for people.
        claims: of the resource that is in it.

    Raises:
        Busy: it is of a run that is active.
        Orphaned: it is of a run that died and owes.
    """
    try:
        refuse_held(home, claims)
    except (Busy, Orphaned) as ours:
        raise type(ours)(f"{what}: {ours}", advice=ours.advice) from None


def recipes_of(home: StateHome, run_dir: Path) -> list[Recipe]:
    """What a dead run has claimed to do and has not given back, by its claims alone; for when its journal is gone."""
    found: dict[str, Recipe] = {}
    for file in sorted(home.folder("claims").glob("*.lock")):
        word = _word(file)
        # Without a recipe that can be read it died before that was on disk, and has done nothing.
        if word is not None and "recipe" in word and Path(word["run_dir"]) == run_dir.absolute() and not held(file):
            found[json.dumps(word["recipe"], sort_keys=True)] = recipe_from_json(word["recipe"])
    return list(found.values())


def forget(home: StateHome, claims: Iterable[str], run_dir: Path) -> None:
    """Remove what a dead run left of claims whose debt has been paid."""
    for claim in claims:
        if _holder(home, claim) != run_dir.absolute():
            continue
        try:
            FileLock.take(_file(home, claim)).release(remove=True)
        except (Busy, OSError):
            pass  # somebody alive has it by now, or it cannot be removed: a claim whose debt is paid stops nobody


def left(home: StateHome, claim: str) -> Path | None:
    """The run that held a claim and died with it, as its file says; None if nobody did, or somebody holds it now."""
    return None if held(_file(home, claim)) else _holder(home, claim)


def _refuse_owed(home: StateHome, claim: str, run_dir: Path | None) -> None:
    before = _holder(home, claim)
    if before is None or (run_dir is not None and before == run_dir.absolute()) or held(_file(home, claim)):
        return
    may = f"{claim} may still be under a fault of an earlier run"
    if any(claim in debt.recipe.claims for debt in debts_of(before)):
        raise Orphaned(may, advice=advice([before]))
    for run in home.runs() if is_lost(before) else ():
        if run.run_dir == before:
            scan = f"chaosrunner recover --scan {shlex.quote(run.system)}"
            raise Orphaned(f"{may}, and its journal {before} is gone", advice=scan)


def _busy(home: StateHome, claim: str) -> Busy:
    return Busy(f"{claim} is under a fault of another run, {_holder(home, claim) or 'which does not say its name'}")


def _holder(home: StateHome, claim: str) -> Path | None:
    word = _word(_file(home, claim))
    return None if word is None else Path(word["run_dir"])


def _word(file: Path) -> dict[str, Any] | None:
    """The last line of a claim that was written whole: whose it is, and the recipe once there was one."""
    for line in reversed(said(file).splitlines()):
        try:
            word: dict[str, Any] = json.loads(line)
            Path(word["run_dir"])
        except (ValueError, KeyError, TypeError):
            continue
        return word
    return None


def _file(home: StateHome, claim: str) -> Path:
    return home.folder("claims") / f"{hashlib.sha256(claim.encode()).hexdigest()}.lock"
