"""Raw hits, kept by due time, so that the order in which frames arrive does not matter."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from chaosrunner.model.slots import Hit


def keep(kept: list[Hit], hits: Sequence[Hit]) -> None:
    """Insert hits into those that are kept already."""
    if hits:
        place = bisect_left(kept, min(hit.due_us for hit in hits), key=_due)
        kept[place:] = sorted([*kept[place:], *hits], key=_order)


def forget_before(kept: list[Hit], due_us: int) -> None:
    """Take away what was due before an instant, in µs after the load's epoch."""
    del kept[: bisect_left(kept, due_us, key=_due)]


def _due(hit: Hit) -> int:
    return hit.due_us


def _order(hit: Hit) -> tuple[int, int, str, int, int]:
    return hit.due_us, hit.name, hit.outcome.value, hit.response_us, hit.lag_us
