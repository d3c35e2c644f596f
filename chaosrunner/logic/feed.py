"""How the rows of a data file are dealt to journeys: in turn, at random, or each one once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chaosrunner.logic.chance import ROWS, uniform
from chaosrunner.model.load import Order


class Feed:
    """The rows of one scenario in one worker.

    Unique rows are dealt in strides: worker `shard` of `of` has the rows whose number is `shard` modulo `of`, so that
    no two workers ever deal the same one and none needs to ask another.
    """

    def __init__(self, rows: Sequence[Mapping[str, str]], order: Order, seed: int, *, shard: int, of: int) -> None:
        self._rows = rows
        self._order = order
        self._seed = seed
        self._shard = shard
        self._of = of
        self._dealt = 0

    def row(self, who: int, nth: int) -> dict[str, object] | None:
        """The row for a journey; None when every row was used once.

        Args:
            who: number of the arrival, or of the user.
            nth: how many journeys the same user made before.
        """
        if not self._rows:
            return {}
        count = len(self._rows)
        if self._order == "unique":
            index = self._shard + self._of * self._dealt
            if index >= count:
                return None
            self._dealt += 1
        elif self._order == "random":
            index = int(uniform(self._seed, ROWS, who, nth) * count)
        else:
            index = who % count
        return {**self._rows[index]}


NO_DATA = Feed((), "sequential", 0, shard=0, of=1)
"""For scenarios without a data file."""
