"""Playing one experiment for real: build the world, play, judge, report, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosrunner.errors import Exit, Mistake, Mistakes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaosrunner.cli.compose import Plan
    from chaosrunner.model.experiment import Experiment
    from chaosrunner.model.fault import Injector
    from chaosrunner.model.verdict import Verdict
    from chaosrunner.run import World
    from chaosrunner.world.journal import Journal

AFTERWARDS_S = 60.0
"""The load may live this much longer than the longest run, for heals that need retries; then it ends by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line may ask for."""

    runs: Path = Path("runs")
    plan: str = ""
    seed: int | None = None
    plain: bool = False
    quiet: bool = False


async def perform(experiment: Experiment, wishes: Wishes) -> Exit:
    """Play an experiment once and say what came of it.

    Raises:
        Mistakes: a target is not as the experiment says, or the plan's targets changed; nothing was touched.
        Orphaned: an earlier run left debts on this system; nothing was touched.
        Busy: another active run holds a claim; nothing was touched.
    """
    from chaosrunner.cli.compose import injectors_of, resolve
    from chaosrunner.world.orphans import refuse_orphans

    injectors = injectors_of(experiment)
    refuse_orphans(experiment.system.name)
    seed = _seed(experiment, wishes)
    plan = await resolve(experiment, injectors, seed)
    _insist_on_plan(wishes.plan, plan)
    _insist_on_guard(experiment, plan)
    async with journalling(experiment, wishes, seed) as journal:
        with signals_as_facts(journal):
            return await _play(experiment, injectors, journal, wishes)


def _seed(experiment: Experiment, wishes: Wishes) -> int:
    from chaosrunner.cli.compose import new_seed, seed_of

    if wishes.plan:
        return seed_of(wishes.plan)
    given = (wishes.seed, experiment.seed)
    return next((seed for seed in given if seed is not None), None) or new_seed()
