"""The luck of connections: the same seed and the same traffic give the same faults."""

from functools import cached_property
from random import Random

from chaosrunner.proxy.stats import AppliedToxic


class Luck:
    """The draws of one connection for one toxic: made once, whatever happens to its neighbours.

    They start from the toxic's own seed, or the proxy's, and from how many connections the toxic had drawn for before;
    so a toxic of the same seed strikes the same of the connections that come in the same order.
    """

    __slots__ = ("__dict__", "_applied", "_seed", "_touched")

    def __init__(self, seed: str, applied: AppliedToxic) -> None:
        """Draw as the next connection of `applied`; `seed` is the proxy's."""
        toxic = applied.toxic
        origin = f"{seed}/{toxic.name}" if toxic.seed is None else str(toxic.seed)
        self._seed = f"{origin}/{applied.drawn}"
        self._applied = applied
        self._touched = False
        applied.drawn += 1

    def strikes(self) -> bool:
        """Whether the connection is struck at the toxicity of now."""
        toxicity = self._applied.toxic.toxicity
        return toxicity >= 1 or self._once < toxicity

    def touch(self) -> None:
        """Count the connection as touched by the toxic: once, however often its toxicity turns it off and on again."""
        if not self._touched:
            self._touched = True
            self._applied.connections += 1

    @cached_property
    def random(self) -> Random:
        """Further draws: for jitter, sizes, single requests."""
        return Random(self._seed)

    @cached_property
    def _once(self) -> float:
        return Random(f"{self._seed}/luck").random()
