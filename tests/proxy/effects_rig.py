"""What a connection goes through, measured in the same way through any fault proxy, and how measurements compare."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHOT = bytes(range(250)) * 8
DEADLINE_S = 30.0


@dataclass(slots=True)
class Life:
    """One connection to an echo server: it sends one shot, reads it back, finishes, and waits for the end.

    Attributes:
        began: Before it was opened; monotonic seconds, as all the others.
        sent: When the shot was sent.
        reads: When something was read, and how much.
        finished: When it said that it sends no more; None if it ended before.
        ended: When it was over.
        end: How: fin or reset.
    """

    began: float = field(default_factory=time.monotonic)
    sent: float = 0.0
    reads: list[tuple[float, int]] = field(default_factory=list)
    finished: float | None = None
    ended: float = 0.0
    end: str = ""

    @property
    def echoed(self) -> int:
        """How many bytes came back."""
        return sum(size for _, size in self.reads)

    @property
    def whole_s(self) -> float:
        """Seconds from the shot until the last byte of it was back; infinite if it never was."""
        return self.reads[-1][0] - self.sent if self.echoed == len(SHOT) else math.inf

    @property
    def closing_s(self) -> float:
        """Seconds from finishing to the end."""
        return self.ended - self.finished if self.finished is not None else math.inf

    @property
    def lasted_s(self) -> float:
        """Seconds from the beginning to the end."""
        return self.ended - self.began


async def live(port: int) -> Life:
    """Live through one connection to a local port."""
    life = Life()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(DEADLINE_S):
            writer.write(SHOT)
            life.sent = time.monotonic()
            while data := await reader.read(65536):
                life.reads.append((time.monotonic(), len(data)))
                if life.echoed == len(SHOT):
                    writer.write_eof()
                    life.finished = time.monotonic()
        life.end = "fin"
    except ConnectionError:
        life.end = "reset"
    finally:
        life.ended = time.monotonic()
        writer.transport.abort()
    return life


def likely_hits(tries: int, chance: float) -> range:
    """How often something of that chance happens, but for one case in a million (5 standard deviations)."""
    if chance in {0, 1}:
        return range(round(tries * chance), round(tries * chance) + 1)
    spread = 5 * math.sqrt(tries * chance * (1 - chance))
    return range(math.floor(tries * chance - spread), math.ceil(tries * chance + spread) + 1)


def distance(drawn: Sequence[float], cdf: Callable[[float], float]) -> float:
    """How far an empirical distribution is from an analytic one: Kolmogorov and Smirnov's D, from 0 to 1.

    `cdf` may jump: at each value the empirical function just below is held against the analytic one just below.
    """
    ordered, count = sorted(drawn), len(drawn)
    above = max(number / count - cdf(value) for number, value in enumerate(ordered, start=1))
    below = max(cdf(math.nextafter(value, -math.inf)) - number / count for number, value in enumerate(ordered))
    return max(above, below)


def distance_between(one: Sequence[float], other: Sequence[float]) -> float:
    """How far two empirical distributions are from each other: the two-sample D, from 0 to 1."""
    return max(abs(_share(one, value) - _share(other, value)) for value in (*one, *other))


def critical(*counts: int) -> float:
    """The D that chance exceeds once in a million: for one sample, or between two (Smirnov's asymptotic formula)."""
    return math.sqrt(-math.log(1e-6 / 2) / 2 * sum(1 / count for count in counts))


def quantiles(values: Sequence[float], shares: Sequence[float] = (0.25, 0.5, 0.75)) -> list[float]:
    """Nearest-rank quantiles."""
    ordered = sorted(values)
    return [ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in shares]


def boundaries(sizes: Sequence[int]) -> list[int]:
    """Where pieces of those sizes end, as places in the stream."""
    places, total = [], 0
    for size in sizes:
        total += size
        places.append(total)
    return places


def gaps(instants: Sequence[float]) -> list[float]:
    """Seconds between neighbours."""
    return [later - earlier for earlier, later in pairwise(instants)]


def _share(values: Sequence[float], limit: float) -> float:
    return sum(value <= limit for value in values) / len(values)
