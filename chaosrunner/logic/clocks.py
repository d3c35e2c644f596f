"""Two machines' clocks, compared by asking one of them for the time.

A question leaves at `sent`, is answered with `there`, and the answer is back at `back`. The other clock showed `there`
at some moment between the two, so it is ahead by `there − (sent + back) / 2`, and by no more and no less than half the
round trip away from that, however lopsided the way (Cristian's algorithm, 1989; NTP's delay bound, RFC 5905 §8).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ping:
    """One question. Nanoseconds: `sent_ns` and `back_ns` of our clock, `there_ns` of the other."""

    sent_ns: int
    there_ns: int
    back_ns: int


@dataclass(frozen=True, slots=True)
class Compared:
    """The other clock shows ours + `offset_ns`, to ± `error_ns`."""

    offset_ns: int
    error_ns: int


def compared(pings: Iterable[Ping]) -> Compared:
    """What the quickest of some questions says. Raises ValueError when there is none."""
    best = min(pings, key=lambda ping: ping.back_ns - ping.sent_ns)
    return Compared(
        offset_ns=best.there_ns - (best.sent_ns + best.back_ns) // 2,
        error_ns=-(-(best.back_ns - best.sent_ns) // 2),
    )


def error_now(then: Compared, pings: Iterable[Ping]) -> int:
    """The most by which an offset measured earlier may be wrong by now, in nanoseconds: clocks drift apart."""
    now = compared(pings)
    return abs(now.offset_ns - then.offset_ns) + now.error_ns
