"""What a protocol driver is given in a worker: its orders, the books, and the indices of its series."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaosrunner.load.ledger import Ledger
    from chaosrunner.load.orders import Orders


@dataclass(frozen=True, slots=True)
class Bench:
    """Where a driver works."""

    orders: Orders
    """Of this worker, limits cut to its share."""
    ledger: Ledger
    _indices: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Know every name's index."""
        indices = {name: index for index, name in self.orders.profile.names.items()}
        object.__setattr__(self, "_indices", indices)

    def series(self, name: str) -> int:
        """The name index of a series, such as `read.acquire`. Raises KeyError for one that no step declares."""
        return self._indices[name]
