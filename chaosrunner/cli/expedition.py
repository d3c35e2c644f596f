"""Many runs after each other, in a directory of their own: what searches, repeats and matrices have in common."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from chaosrunner.errors import ChaosrunnerError, Exit, Mistake, Mistakes

if TYPE_CHECKING:
    from chaosrunner.cli.interrupts import Interrupts
    from chaosrunner.cli.perform import Played
    from chaosrunner.logic.search.draft import Draft
    from chaosrunner.model.experiment import Experiment
    from chaosrunner.report.searching import Ahead, SearchView

TICK_S = 0.5

STOPPING = (Exit.NOT_RESTORED, Exit.INTERRUPTED, Exit.INTERNAL)
"""After a run that ends like this there is no other: something is wrong that is not what the search is about."""


class Stopped(Exception):
    """No more runs: the last one ended by an exit code that forbids it."""

    def __init__(self, code: Exit, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass(slots=True, kw_only=True)
class Expedition:
    """Where runs go and how they are told of.

    Each run is whole: its own journal, verdict and reports. What is to differ is in the text it is played from.
    """

    experiment: Experiment
    folder: Path
    """Of the whole; run directories lie in it."""
    seed: int
    rest_s: float = 0.0
    """Pause between runs, for what the one before has left in queues."""
    cluster: str | None = None
    view: SearchView
    quiet: bool = False
    played: int = 0
    planned_s: float = 0.0
    """An upper bound of the run under way."""
    took_s: list[float] = field(default_factory=list)

    def begin(self) -> None:
        """Make the directory. Raises Mistakes when it cannot be made."""
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            why = f"{self.folder} cannot be made: {error.strerror}"
            raise Mistakes([Mistake("--runs", 0, 0, why)]) from error

    def read(self, draft: Draft) -> Experiment:
        """The experiment that a draft spells. Raises Mistakes."""
        from chaosrunner.logic.parse import Source, parse_experiment
        from chaosrunner.world.files import around_here

        original = self.experiment
        system = Source(original.system.file, original.system_source)
        return parse_experiment(Source(original.file, draft.text), system, around_here())

    async def play(self, draft: Draft, interrupts: Interrupts) -> Played:
        """Play a draft, quietly.

        Raises:
            Stopped: it ended so that nothing may follow, or could not be played although others before it could.
            ChaosrunnerError: the first one could not be played; nothing was touched.
        """
        from chaosrunner.cli.perform import Wishes, performed

        experiment = self.read(draft)
        self.planned_s = experiment.longest_s
        if self.played and self.rest_s:
            await asyncio.sleep(self.rest_s)
        wishes = Wishes(runs=self.folder, seed=self.seed + self.played, quiet=True, cluster=self.cluster)
        began = time.monotonic()
        try:
            seen = await performed(experiment, wishes, interrupts)
        except ChaosrunnerError as error:
            if not self.played:
                with suppress(OSError):  # with a run in it, it stays
                    self.folder.rmdir()
                raise
            code = Exit.UNKNOWN if isinstance(error, Mistakes) else error.exit_code
            raise Stopped(code, f"another run was not possible: {error}") from error
        self.played += 1
        self.took_s.append(time.monotonic() - began)
        if seen.exit in STOPPING:
            raise Stopped(seen.exit, f"run {seen.run_dir.name} ended with exit code {int(seen.exit)}")
        return seen

    @property
    def each_s(self) -> float:
        """How long one more run will take, by those there were or by what is planned."""
        if self.took_s:
            return sum(self.took_s) / len(self.took_s) + self.rest_s
        return self.planned_s + self.rest_s

    async def playing(self, draft: Draft, level: float, left: int, interrupts: Interrupts) -> Played:
        """Play a draft with a bar, with about so many runs left, this one included. Raises what `play` raises."""
        ticking = asyncio.create_task(self._tick(level, left))
        try:
            return await self.play(draft, interrupts)
        finally:
            ticking.cancel()
            with suppress(asyncio.CancelledError):
                await ticking

    def ahead(self, left: int) -> Ahead:
        """How far it has come, with so many runs left."""
        from chaosrunner.report.searching import Ahead

        return Ahead(done=self.played, left=left, each_s=self.each_s)

    async def _tick(self, level: float, left: int) -> None:
        began = time.monotonic()
        while True:
            self.view.tick(level, self.ahead(left), time.monotonic() - began)
            await asyncio.sleep(TICK_S)


def folder_for(runs: Path, kind: str) -> Path:
    """A new name `<kind>-<id>` among the runs; `Expedition.begin` makes it."""
    from chaosrunner.cli.compose import new_run_id

    return runs / f"{kind}-{new_run_id()}"
