"""The faults of a composite told as one: a line with `3 of 3 proven`, not a line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol, TypeVar

from chaosrunner.model.fault import Group
from chaosrunner.model.units import human_duration
from chaosrunner.model.verdict import FaultReport
from chaosrunner.report.prose import fault_lines


class Grouped(Protocol):
    """Something that may be of a composite."""

    @property
    def group(self) -> Group | None:
        """The composite; None when it stands by itself."""
        ...


G = TypeVar("G", bound=Grouped)


def together(faults: Iterable[G]) -> list[list[G]]:
    """The faults in order, those of one composite in one list."""
    numbered = enumerate(faults)
    runs = groupby(numbered, key=lambda pair: (pair[1].group, pair[0] if pair[1].group is None else 0))
    return [[fault for _, fault in members] for _, members in runs]


def lines(members: Sequence[FaultReport]) -> tuple[str, str]:
    """What was done, and its proof and end, of a fault that stands by itself or of all of a composite."""
    group = members[0].group
    if group is None or len(members) == 1:
        return fault_lines(members[0])
    parts = [f"{sum(fault.proven is True for fault in members)} of {len(members)} proven"]
    for number, fault in enumerate(members, start=1):
        if fault.proven is not True:
            parts.append(f"number {number} {fault_lines(fault)[1] or 'not proven'}")
            break  # the first tells why; the report's table has them all
    lasted = [fault.lasted_s for fault in members if fault.lasted_s is not None]
    if lasted:
        parts.append(f"undone after {_between(min(lasted), max(lasted))} each")
    left = sum(not fault.restored for fault in members)
    if left:
        parts.append(f"{left} MAY STILL BE IN PLACE")
    return group.title, "; ".join(parts)


def well(members: Sequence[FaultReport]) -> bool | None:
    """True: all proven and restored; None: restored, but not all proven; False: something may be left."""
    if not all(fault.restored for fault in members):
        return False
    return True if all(fault.proven for fault in members) else None


def _between(least_s: float, most_s: float) -> str:
    low, high = human_duration(least_s), human_duration(most_s)
    return low if low == high else f"{low} to {high}"
