"""Reservations: what each run of a state directory is going to have under faults, known to the others before it begins.

A run reserves all that its plan names, or is refused; so of two runs that start at the same moment, one is. The file
is locked for as long as the run lives and means nothing without its lock. Claims (`chaosrunner.world.claims`) are held
on top, fault by fault, for as long as the resource is under it.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.errors import Busy
from chaosrunner.logic.rules import struck_by, together, too_much
from chaosrunner.model.rules import Struck
from chaosrunner.world.lock import FileLock, held, said
from chaosrunner.world.state_home import RESERVED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from chaosrunner.model.experiment import Experiment
    from chaosrunner.model.fault import Fault, Recipe
    from chaosrunner.world.state_home import StateHome

TURN = "turn.lock"
"""Held while somebody reads all reservations and writes one: a moment."""
TURN_S = 10.0


@dataclass(frozen=True, slots=True)
class Reserved:
    """What one run has said."""

    run_dir: str
    system: str
    claims: frozenset[str]
    struck: tuple[Struck, ...]


class Reservation:
    """What this run has reserved."""

    def __init__(self, home: StateHome, experiment: Experiment, run_dir: Path) -> None:
        self._folder = home.folder(RESERVED)
        self._experiment = experiment
        self._lock: FileLock | None = None
        self._mine = Reserved(str(run_dir.absolute()), experiment.system.name, frozenset(), ())

    async def take(self, plan: Sequence[Recipe]) -> None:
        """Reserve all that a plan names.

        Raises:
            Busy: another run has reserved one of the resources, or both together are more than a rule allows.
        """
        pairs = list(zip(self._experiment.faults, plan, strict=True))
        drawn = {fault.index: recipe for fault, recipe in pairs}
        async with self._turn():
            for group in together(self._experiment.faults):
                self._refuse([(fault, drawn[fault.index]) for fault in group])
            self._say(pairs)

    async def also(self, now: Sequence[tuple[Fault, Recipe]]) -> None:
        """Look again, when a fault is about to be injected.

        Args:
            now: the faults of this run that have something under them, the new one among them.

        Raises:
            Busy: as `take`.
        """
        async with self._turn():
            self._refuse(now)
            self._say(now)

    def release(self) -> None:
        """Give it back; once or many times."""
        if self._lock is not None:
            self._lock.release(remove=True)

    def _refuse(self, pairs: Sequence[tuple[Fault, Recipe]]) -> None:
        claims, struck = _claims(pairs), _struck(pairs)
        others = [other for other in self._others() if other.run_dir != self._mine.run_dir]
        for other in others:
            if both := sorted(claims & other.claims):
                raise Busy(f"{both[0]} is under a fault of another run, or will be: {other.run_dir}")
        beside = [one for other in others if other.system == self._mine.system for one in other.struck]
        if why := too_much(self._experiment.all_rules, [*struck, *beside]) if struck else "":
            raise Busy(why)

    def _others(self) -> Iterator[Reserved]:
        for file in sorted(self._folder.glob("*.run")):
            if not held(file):
                continue  # its run is gone; what it left under a fault is in its journal
            try:
                raw = json.loads(said(file))
                yield Reserved(
                    raw["run_dir"],
                    raw["system"],
                    frozenset(raw["claims"]),
                    tuple(Struck(**{**one, "names": tuple(one["names"])}) for one in raw["struck"]),
                )
            except (ValueError, KeyError, TypeError):
                continue  # of another version

    def _say(self, pairs: Sequence[tuple[Fault, Recipe]]) -> None:
        """Add this to what was said before."""
        mine, run = self._mine, Path(self._mine.run_dir).name
        fresh = [replace(one, by=f"{one.by} of run {run}") for one in _struck(pairs)]
        struck = tuple(dict.fromkeys([*mine.struck, *fresh]))
        self._mine = replace(mine, claims=mine.claims | _claims(pairs), struck=struck)
        text = json.dumps({**asdict(self._mine), "claims": sorted(self._mine.claims)})
        if self._lock is None:
            self._lock = FileLock.take(self._folder / f"{run}.run", says=text)
        else:
            self._lock.say(text)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        until = time.monotonic() + TURN_S
        while True:
            try:
                lock = FileLock.take(self._folder / TURN)
                break
            except Busy:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.01)
        try:
            yield
        finally:
            lock.release(remove=True)


@contextmanager
def reserving(home: StateHome, experiment: Experiment, run_dir: Path) -> Iterator[Reservation]:
    """A reservation that is given back after the body."""
    reservation = Reservation(home, experiment, run_dir)
    try:
        yield reservation
    finally:
        reservation.release()


def _claims(pairs: Sequence[tuple[Fault, Recipe]]) -> frozenset[str]:
    return frozenset(claim for _, recipe in pairs for claim in recipe.claims)


def _struck(pairs: Sequence[tuple[Fault, Recipe]]) -> list[Struck]:
    return [struck for fault, recipe in pairs if (struck := struck_by(fault, recipe)) is not None]
