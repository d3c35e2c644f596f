"""Claims: two faults never overlap on one resource, within a run or between runs of one state directory.

A claim is a locked file that names its run. It is removed when the debt is paid; one that is left without a lock names
a run that died, and whether that run still owes is in its journal.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.errors import Busy, Orphaned
from chaosrunner.world.lock import FileLock, held, said
from chaosrunner.world.orphans import advice, debts_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaosrunner.world.state_home import StateHome


@dataclass(slots=True)
class Held:
    """Claims held by this process."""

    locks: list[FileLock] = field(default_factory=list)

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
    if any(claim in debt.recipe.claims for debt in debts_of(before)):
        raise Orphaned(f"{claim} may still be under a fault of an earlier run", advice=advice([before]))


def _busy(home: StateHome, claim: str) -> Busy:
    return Busy(f"{claim} is under a fault of another run, {_holder(home, claim) or 'which does not say its name'}")


def _holder(home: StateHome, claim: str) -> Path | None:
    try:
        return Path(json.loads(said(_file(home, claim)))["run_dir"])
    except (ValueError, KeyError, TypeError):
        return None


def _file(home: StateHome, claim: str) -> Path:
    return home.folder("claims") / f"{hashlib.sha256(claim.encode()).hexdigest()}.lock"
