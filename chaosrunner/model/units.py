"""Units, in types: what a number in a fault's parameters means, so that files may say `300ms` and `10 %`."""

from __future__ import annotations

from typing import NewType

Seconds = NewType("Seconds", float)
"""A duration in seconds; written `250us`, `300ms`, `30s`, `2min`, `1h`."""

Share = NewType("Share", float)
"""A fraction 0..1; written `30%`."""

BytesPerSecond = NewType("BytesPerSecond", float)
"""A rate of bytes a second; written `64KB/s`, `1MB/s`."""

Bytes = NewType("Bytes", int)
"""A size in bytes; written `512B`, `64KB`, `1MB` (powers of 1000), `64KiB` (powers of 1024)."""

NANOS = 1_000_000_000
"""Nanoseconds in a second; instants are integers of CLOCK_BOOTTIME nanoseconds."""

SLOT_NS = 100_000_000
"""The length of a slot, 100 ms; phases begin on multiples of it after the load's epoch."""


def human_duration(seconds: float) -> str:
    """A duration as people write it: `250 µs`, `300 ms`, `11.3 s`, `2 min`, `3 min 06 s`, `1 h 05 min`."""
    if seconds < 0:
        return "-" + human_duration(-seconds)
    if seconds == 0:
        return "0 s"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.{0 if seconds >= 0.1 else 1}f} ms".replace(".0 ms", " ms")
    if seconds < 120 and seconds != 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min" + (f" {rest:02d} s" if rest else "")
    hours, rest = divmod(whole, 3600)
    return f"{hours} h" + (f" {rest // 60:02d} min" if rest >= 60 else "")
