"""Live counters: what passed, and what each toxic has touched since it was added."""

import time
from dataclasses import dataclass, field
from typing import Any

from chaosrunner.proxy.toxics import Toxic


@dataclass(slots=True)
class StreamTally:
    """Bytes handed on in one direction, counted as they pass."""

    bytes: int = 0


@dataclass(slots=True)
class ProxyTally:
    """What happened at one proxy since it was created.

    Attributes:
        opened: Connections accepted.
        refused: Connections that ended because the upstream could not be reached.
        cut: Connections cut because the proxy was disabled, changed or deleted.
        upstream: Bytes from clients to the server.
        downstream: Bytes from the server to clients.
    """

    opened: int = 0
    refused: int = 0
    cut: int = 0
    upstream: StreamTally = field(default_factory=StreamTally)
    downstream: StreamTally = field(default_factory=StreamTally)


@dataclass(slots=True, eq=False)
class AppliedToxic:
    """A toxic at work on a proxy, with the proof of its work. Compared by identity.

    Attributes:
        toxic: What it is now; replaced when it is changed.
        connections: Connections it has touched.
        bytes: Bytes that entered it.
        delayed_chunks: Pieces it held back and then passed on.
        delayed_s: How long it held them back, summed, in seconds.
        added_at: Monotonic clock at which it was added, in seconds.
    """

    toxic: Toxic
    connections: int = 0
    bytes: int = 0
    delayed_chunks: int = 0
    delayed_s: float = 0.0
    added_at: float = field(default_factory=time.monotonic)

    def as_json(self) -> dict[str, Any]:
        """The counters as the stats call shows them."""
        return {
            "type": self.toxic.type,
            "stream": self.toxic.stream,
            "connections": self.connections,
            "bytes": self.bytes,
            "delayed_ms_total": round(self.delayed_s * 1000, 3),
            "delayed_chunks": self.delayed_chunks,
            "added_seconds_ago": round(time.monotonic() - self.added_at, 6),
        }
