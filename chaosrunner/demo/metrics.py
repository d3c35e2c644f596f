"""What one replica counts about itself, in Prometheus' text format."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaosrunner.demo.sessions import PoolStatistics
    from chaosrunner.demo.trail import Trail

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts answered requests by method, route and status, and the seconds they took."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: Counter[tuple[str, str]] = Counter()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            method: HTTP method.
            route: The route's pattern, not the path: a path a label would be one series a user.
            status: Status of the answer.
            seconds: How long it took.
        """
        self._requests[method, route, status] += 1
        self._seconds[method, route] += seconds  # type: ignore[assignment]  # a Counter adds floats as well

    def text(self, pool: PoolStatistics, *, sockets: int, trail: Trail | None = None) -> str:
        """All metrics; `pool`, the number of open WebSockets and the audit trail, if there is one, are as of now."""
        lines = ["# HELP demo_requests_total Requests answered.", "# TYPE demo_requests_total counter"]
        for (method, route, status), count in sorted(self._requests.items()):
            lines.append(f'demo_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}')
        lines += ["# HELP demo_request_seconds Seconds spent answering.", "# TYPE demo_request_seconds summary"]
        for (method, route), seconds in sorted(self._seconds.items()):
            labels = f'{{method="{method}",route="{route}"}}'
            count = sum(n for (m, r, _), n in self._requests.items() if (m, r) == (method, route))
            lines += [f"demo_request_seconds_sum{labels} {seconds:.6f}", f"demo_request_seconds_count{labels} {count}"]
        lines += _gauge("demo_pool_size", "Open database sessions.", pool.size)
        lines += _gauge("demo_pool_idle", "Idle database sessions.", pool.idle)
        lines += _gauge("demo_pool_waiting", "Requests waiting for a database session.", pool.waiting)
        lines += _gauge(
            "demo_breaker_closed", "1 while the breaker lets requests to the database.", int(pool.breaker == "closed")
        )
        lines += _gauge("demo_sockets", "Open WebSockets.", sockets)
        lines += [
            "# HELP demo_pool_acquire_timeouts_total Requests that got no database session in time.",
            "# TYPE demo_pool_acquire_timeouts_total counter",
            f"demo_pool_acquire_timeouts_total {pool.acquire_timeouts}",
        ]
        if trail is not None:
            lines += _gauge("demo_trail_waiting", "Lines that the audit trail's disk has not taken yet.", trail.waiting)
            lines += [
                "# HELP demo_trail_lost_total Lines that will never be in the audit trail.",
                "# TYPE demo_trail_lost_total counter",
                f"demo_trail_lost_total {trail.lost}",
            ]
        return "\n".join(lines) + "\n"


def _gauge(name: str, meaning: str, value: int) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", f"{name} {value}"]
