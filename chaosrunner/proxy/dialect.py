"""What a proxy that understands its traffic puts in front of a connection's stages: the seam for HTTP and Postgres.

A dialect sees everything both sides send, as it was sent, and decides for each request or statement what becomes of
it. It is sans-io: items come in by `ask` and `answer`, go out by `Wires.up` and `Wires.down`, and time is an agenda.
Where no toxic matches, what goes out is byte for byte what came in, at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from chaosrunner.proxy.agenda import Agenda
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics.stage import Item, Sink

# A dialect that holds more than this of one direction is sent no more of it.
ROOM_BYTES = 6 * 1024 * 1024


class Dialect(Protocol):
    """One connection's interpreter."""

    @property
    def held_up(self) -> int:
        """Bytes from the client that it holds back now."""
        ...

    @property
    def held_down(self) -> int:
        """Bytes from the server that it holds back now."""
        ...

    def ask(self, item: Item) -> None:
        """Take one item from the client: bytes in any cut, or the end of its stream behind them."""
        ...

    def answer(self, item: Item) -> None:
        """Take one item from the server."""
        ...

    def refit(self) -> None:
        """Look at the toxics again: what one that is gone holds back goes on now, in order."""
        ...

    def drop(self) -> None:
        """The connection is over: forget everything, do nothing any more."""
        ...


@dataclass(frozen=True, slots=True)
class Wires:
    """What a dialect works with.

    Attributes:
        up: Where items for the server go, in order; behind it are the upstream toxics.
        down: Where items for the client go; `End.CLOSE` closes both sides once what came before it was sent,
            `End.RESET` resets both at once.
        toxics: The toxics of the dialect's family at work now, in the order they were added.
        random: The draws of this connection for a toxic; the luck of each request is its next `random()`.
        review: To be called whenever `held_up` or `held_down` changed other than within `ask` and `answer`.
        agenda: To do something later.
        tally: Counters of the proxy for this dialect; shown as they are under `stats`.
    """

    up: Sink
    down: Sink
    toxics: Callable[[], Sequence[AppliedToxic]]
    random: Callable[[AppliedToxic], Random]
    review: Callable[[], None]
    agenda: Agenda
    tally: dict[str, Any]
