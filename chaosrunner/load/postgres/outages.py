"""The failover timeline: from the last good commit before a server went away to the first one after."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaosrunner.model.load import Outcome

SHORTEST_NS = 100_000_000
"""Shorter gaps are what the loss of one session among many looks like, and are not told."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A gap without a good commit, with the first sign that the server was away. Instants are CLOCK_MONOTONIC ns."""

    last_good_ns: int
    """0: there was none before."""
    first_failure_ns: int
    reconnected_ns: int
    """When the first new connection was open; 0: none was needed, or none came."""
    first_good_ns: int
    """0: it never came back."""
    failures: dict[str, int]
    """Outcome → how many hits and attempts to connect failed so."""

    def lasted_ns(self, end_ns: int) -> int:
        """From the last good commit (or the first failure) to the first good one, or to the end."""
        return (self.first_good_ns or end_ns) - (self.last_good_ns or self.first_failure_ns)

    def told(self, epoch_ns: int, end_ns: int) -> dict[str, object]:
        """It in words for the journal; instants in ms after the load's epoch."""

        def at(instant_ns: int) -> float | None:
            return round((instant_ns - epoch_ns) / 1e6, 3) if instant_ns else None

        return {
            "last_good_commit_ms": at(self.last_good_ns),
            "first_failure_ms": at(self.first_failure_ns),
            "reconnected_ms": at(self.reconnected_ns),
            "first_good_commit_ms": at(self.first_good_ns),
            "lasted_ms": round(self.lasted_ns(end_ns) / 1e6, 3),
            "over": bool(self.first_good_ns),
            "failures": dict(self.failures),
        }


@dataclass(slots=True)
class Outages:
    """Of one component; of its writes, if the load has any, else of everything."""

    last_good_ns: int = 0
    since_ns: int = 0
    """First failure since the last good commit; 0 = none."""
    reconnected_ns: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def bad(self, outcome: Outcome, now_ns: int) -> None:
        """A sign that the server is away."""
        if not self.since_ns:
            self.since_ns = now_ns
        self.failures[outcome.value] += 1

    def connected(self, now_ns: int) -> None:
        """A new connection is open."""
        if self.since_ns and not self.reconnected_ns:
            self.reconnected_ns = now_ns

    def good(self, now_ns: int) -> Outage | None:
        """A commit was acknowledged: the outage that ends by it, if one worth telling does."""
        if not self.since_ns:
            self.last_good_ns = now_ns
            return None
        ended = self._outage(now_ns)
        self.last_good_ns, self.since_ns, self.reconnected_ns = now_ns, 0, 0
        self.failures.clear()
        return ended if ended.lasted_ns(now_ns) >= SHORTEST_NS else None

    def unended(self, now_ns: int) -> Outage | None:
        """The outage that still lasts, if one does that is worth telling."""
        if not self.since_ns:
            return None
        outage = self._outage(0)
        return outage if outage.lasted_ns(now_ns) >= SHORTEST_NS else None

    def _outage(self, first_good_ns: int) -> Outage:
        return Outage(self.last_good_ns, self.since_ns, self.reconnected_ns, first_good_ns, dict(self.failures))
