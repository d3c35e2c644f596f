"""The pool exhaustion curve: how long a connection is waited for, by how many ask at once."""

from __future__ import annotations

from chaosrunner.model.histogram import Histogram

STEPS_ABOVE = 8
"""Beyond the pool's size, levels grow by powers of two: this many of them."""


class Crowding:
    """Waits for a connection, apart by the level of concurrency a job met: itself and all others that had or wanted
    a line.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._waits: dict[int, Histogram] = {}
        self._at_once: dict[int, int] = {}
        """Level → how many waited not at all: the hot path."""

    def record(self, level: int, wait_us: int) -> None:
        """A job got its line, or gave up, after a wait in µs."""
        bucket = self._bucket(level)
        waits = self._waits.get(bucket)
        if waits is None:
            waits = self._waits[bucket] = Histogram()
        waits.record(wait_us)

    def at_once(self, level: int) -> None:
        """A job found a line free."""
        self._at_once[level] = self._at_once.get(level, 0) + 1

    def curve(self) -> list[dict[str, object]]:
        """One row a level, rising: {asking: its highest, of: the pool's size, n, p50_ms, p95_ms, p99_ms, max_ms}."""
        rows: dict[int, Histogram] = {}
        for level, n in self._at_once.items():
            rows.setdefault(self._bucket(level), Histogram()).add(Histogram({0: n}, n))
        for bucket, waits in self._waits.items():
            rows.setdefault(bucket, Histogram()).add(waits)
        return [self._row(level, rows[level]) for level in sorted(rows)]

    def _bucket(self, level: int) -> int:
        """The level a row stands for: each up to 8, every eighth of the size up to it, powers of two above."""
        size = self._size
        if level <= size:
            width = max(1, size // 8)
            return min(size, -(-level // width) * width)
        for power in range(STEPS_ABOVE):
            if level <= size << (power + 1):
                return size << (power + 1)
        return size << (STEPS_ABOVE + 1)

    def _row(self, level: int, waits: Histogram) -> dict[str, object]:
        shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
        found = {name: (waits.quantile(share) or 0.0) / 1000 for name, share in shares.items()}
        return {"asking": level, "of": self._size, "n": waits.total, **found}
