"""Which replica gets the next request, and who is out of rotation."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Condition(IntEnum):
    """What is known of a replica, best first."""

    READY = 0
    """It says that it can serve in full."""
    UNREADY = 1
    """It lives, but something behind it does not."""
    GONE = 2
    """It did not answer the last time it was asked anything."""


@dataclass(slots=True)
class Replica:
    """One replica as the gateway sees it."""

    name: str
    url: str
    condition: Condition = Condition.READY


class Rotation(Protocol):
    """A way to choose."""

    replicas: Sequence[Replica]

    def order(self, key: str | None) -> list[Replica]:
        """The replicas to try for one request, best first; `key` says which requests belong together."""


class CarefulRotation:
    """Those that are ready first; requests of one key to one replica, so that its memory of them is of use.

    When none is ready, the living are better than nobody: they can still answer from memory. When none lives, all
    are tried, because what we know may be out of date.
    """

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = replicas
        self._turn = itertools.count()

    def order(self, key: str | None) -> list[Replica]:
        """All replicas by condition, then by rendezvous hash of the key, or in turns where there is no key."""
        if key is None:
            turn = next(self._turn) % len(self.replicas)
            rotated = [*self.replicas[turn:], *self.replicas[:turn]]
            return sorted(rotated, key=lambda replica: replica.condition)
        return sorted(self.replicas, key=lambda replica: (replica.condition, _distance(key, replica.name)))


class BlindRotation:
    """Everyone in turn, for ever, dead or alive, and nobody else is asked when that fails."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = replicas
        self._turn = itertools.cycle(replicas)

    def order(self, key: str | None) -> list[Replica]:
        """The next in turn."""
        del key  # defect: nothing is remembered about anyone
        return [next(self._turn)]


def _distance(key: str, name: str) -> bytes:
    return hashlib.blake2b(f"{key}|{name}".encode(), digest_size=8).digest()
