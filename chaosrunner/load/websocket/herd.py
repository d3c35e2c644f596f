"""How reconnects bunch up: a herd that comes back at once can kill what has just come back. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from chaosrunner.model.units import NANOS


def peak(instants_ns: Sequence[int]) -> int:
    """The most instants (ascending, ns) in any one second: windows [t, t + 1 s) that begin at one of them."""
    most = begin = 0
    for end, at_ns in enumerate(instants_ns):
        while at_ns - instants_ns[begin] >= NANOS:
            begin += 1
        most = max(most, end - begin + 1)
    return most


def factor(most: int, attempts: int, lasted_s: float) -> float:
    """Peak ÷ mean attempts a second over the whole load, which is taken as a second at least."""
    return most * max(1.0, lasted_s) / attempts


def by_second(instants_ns: Sequence[int], epoch_ns: int) -> dict[int, int]:
    """Second of the load → attempts in it: what several workers can add up."""
    counts: dict[int, int] = {}
    for at_ns in instants_ns:
        second = (at_ns - epoch_ns) // NANOS
        counts[second] = counts.get(second, 0) + 1
    return counts
