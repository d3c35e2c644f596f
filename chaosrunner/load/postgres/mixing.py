"""The act of a mix: one of several queries each time."""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from chaosrunner.load.postgres.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaosrunner.load.act import OpenHit
    from chaosrunner.load.postgres.asking import Ask
    from chaosrunner.model.load import Outcome
    from chaosrunner.model.postgres_step import Mix


class Mixed:
    """Chooses by weight, at random; what was chosen does the rest."""

    def __init__(self, mix: Mix, asks: Sequence[Ask], seed: str) -> None:
        self._asks = list(asks)
        self._ends = list(accumulate(mix.weights))
        self._chance = Random(f"{seed}/{mix.name}")

    def begin(self, hit: OpenHit) -> None:
        """Do one of them."""
        (ask,) = self._chance.choices(self._asks, cum_weights=self._ends)
        ask.begin(hit)

    def cancel(self, hit: OpenHit) -> Outcome:
        """Let go of it."""
        job = hit.link
        assert isinstance(job, Job)
        return job.act.cancel(hit)
