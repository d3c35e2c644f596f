"""Live counters: what passed, and what each toxic has touched since it was added."""

import time
from dataclasses import dataclass, field
from typing import Any

from chaosrunner.model.histogram import Histogram
from chaosrunner.proxy.toxics.toxic import Toxic

SHOWN_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))


@dataclass(slots=True)
class StreamTally:
    """What went in one direction, counted as it passes.

    Attributes:
        bytes: Bytes handed on.
        received: Bytes that came in, whatever became of them.
    """

    bytes: int = 0
    received: int = 0


@dataclass(slots=True)
class ProxyTally:
    """What happened at one proxy since it was created.

    Attributes:
        opened: Connections accepted.
        refused: Connections that ended because the upstream could not be reached, or a toxic would not have them.
        cut: Connections cut because the proxy was disabled, changed or deleted.
        tls_failed: Connections that ended because TLS failed on one side, in the handshake or later.
        tls_truncated: Streams that ended without TLS's farewell, so that nobody knows whether they were whole.
        upstream: Bytes from clients to the server.
        downstream: Bytes from the server to clients.
        dialect: What the proxy's dialect counts, in its own words; empty for plain TCP.
    """

    opened: int = 0
    refused: int = 0
    cut: int = 0
    tls_failed: int = 0
    tls_truncated: int = 0
    upstream: StreamTally = field(default_factory=StreamTally)
    downstream: StreamTally = field(default_factory=StreamTally)
    dialect: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class AppliedToxic:
    """A toxic at work on a proxy, with the proof of its work. Compared by identity.

    Attributes:
        toxic: What it is now; replaced when it is changed.
        connections: Connections it has touched.
        bytes: Bytes that entered it.
        delays: How long it held back each piece (or request, or statement, or connect) that it then let go, in µs.
        delayed_s: Their sum, in seconds.
        matched: Requests or statements that it was meant for, struck or not.
        struck: Requests or statements it acted on.
        drawn: Connections for which it has drawn; the number of the next one.
        added_at: Monotonic clock at which it was added, in seconds.
    """

    toxic: Toxic
    connections: int = 0
    bytes: int = 0
    delays: Histogram = field(default_factory=Histogram)
    delayed_s: float = 0.0
    matched: int = 0
    struck: int = 0
    drawn: int = 0
    added_at: float = field(default_factory=time.monotonic)

    def delayed(self, seconds: float) -> None:
        """Count one piece that was held back for so long and has been let go."""
        self.delayed_s += seconds
        self.delays.record(int(seconds * 1e6))

    def as_json(self) -> dict[str, Any]:
        """The counters as the stats call shows them."""
        requests = {"matched": self.matched, "struck": self.struck}
        return {
            "type": self.toxic.type,
            "stream": self.toxic.stream,
            "connections": self.connections,
            "bytes": self.bytes,
            **(requests if self.toxic.family in {"http", "postgres"} else {}),
            "delayed_ms_total": round(self.delayed_s * 1000, 3),
            "delayed_chunks": self.delays.total,
            "delay_ms": self._quantiles_ms(),
            "added_seconds_ago": round(time.monotonic() - self.added_at, 6),
        }

    def _quantiles_ms(self) -> dict[str, float]:
        found = {name: self.delays.quantile(share) for name, share in SHOWN_QUANTILES}
        return {name: micros / 1000 for name, micros in found.items() if micros is not None}
