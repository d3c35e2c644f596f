"""HdrHistogram's own formats, so that other tools read our latencies: V2 encoding, and an interval log of a run.

The encoding is HdrHistogram's V2 (the `HISTFAAAA…` of its tools when compressed): a head of six numbers, then the
counts cell by cell as zig-zag LEB128, a run of empty cells as one negative number. Our cells *are* HdrHistogram's at
three digits from 1 µs to 1 h, so nothing is lost or rounded. The log is the one that its `HistogramLogProcessor` and
`HistogramLogAnalyzer` read, format 1.3; unlike most such logs its values are microseconds, as everywhere here.

Sources: HdrHistogram's `AbstractHistogram.encodeIntoByteBuffer`, `ZigZagEncoding` and `HistogramLogWriter`.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from chaosrunner.logic.fold import State
from chaosrunner.logic.traffic import SLOTS_A_SECOND
from chaosrunner.model.events import Entry, LoadStarted
from chaosrunner.model.experiment import Experiment
from chaosrunner.model.histogram import DIGITS, HOUR_US, Histogram
from chaosrunner.model.slots import Slot
from chaosrunner.model.units import NANOS

PLAIN_COOKIE = 0x1C849303 | 0x10
COMPRESSED_COOKIE = 0x1C849304 | 0x10
"""V2; the 0x10 stands for words of one byte."""

FINE_S, COARSE_S = 1, 10
LONG_S = 600
"""Intervals are a second; ten in a run longer than this, or so busy that its slots were merged."""

KINDS = {
    "response": "ok",
    "failed": "failed",
    "service": "service",
    "lag": "lag",
    "wait": "wait",
}
"""What a tag says → the histogram of a slot."""


def encode(histogram: Histogram) -> bytes:
    """HdrHistogram's V2 encoding, uncompressed: 40 bytes of head, then the counts."""
    counts = b"".join(_runs(histogram))
    return struct.pack(">iiiiqqd", PLAIN_COOKIE, len(counts), 0, DIGITS, 1, HOUR_US, 1.0) + counts


def encode_compressed(histogram: Histogram) -> str:
    """The same deflated, in base64: one word that begins with `HISTFAAAA`."""
    packed = zlib.compress(encode(histogram), 6)
    return base64.b64encode(struct.pack(">ii", COMPRESSED_COOKIE, len(packed)) + packed).decode()


def _runs(histogram: Histogram) -> Iterator[bytes]:
    """The counts in order of their cells; gaps as one negative number each."""
    following = 0
    for cell, count in histogram:
        if cell > following:
            yield zig_zag(following - cell)
        yield zig_zag(count)
        following = cell + 1


def zig_zag(number: int) -> bytes:
    """A signed number of at most 64 bits in LEB128-64b9B: seven bits a byte, all eight in a ninth."""
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 0x7F and len(out) < 8:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


# --- the interval log


def interval_log(experiment: Experiment, state: State, entries: Sequence[Entry]) -> str:
    """The latencies of a run as an HdrHistogram interval log, format 1.3.

    One line an interval, request name and kind; its tag is `<kind>:<name>`, the kind one of `response` (of requests
    that succeeded, from when they were due), `failed` (the same of those that failed), `service` (from when they were
    sent), `lag` (the generator's) and `wait` (for a connection). Instants are seconds after the load's epoch, which
    the head gives as wall time; times are microseconds, the column `Interval_Max` is in milliseconds.

    Args:
        experiment: has the request names.
        state: the fold of the journal. What it keeps only as sums, of very long runs, is one interval.
        entries: the journal, for the wall time of the epoch.
    """
    epoch_s = _wall_s(state, entries)
    head = [
        "#[Histogram log format version 1.3]",
        "#[values in microseconds; tags are kind:request]",
        f"#[StartTime: {epoch_s:.3f} (seconds since epoch), {datetime.fromtimestamp(epoch_s).astimezone():%c}]",
        f"#[BaseTime: {epoch_s:.3f} (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    return "\n".join([*head, *_lines(experiment, state)]) + "\n"


def _lines(experiment: Experiment, state: State) -> Iterator[str]:
    numbers = state.slots.keys() | state.series.keys()
    if not numbers:
        return
    last = max(numbers) + 1
    fine = last / SLOTS_A_SECOND <= LONG_S and not state.detail.until
    wide = (FINE_S if fine else COARSE_S) * SLOTS_A_SECOND
    if state.coarse:
        sums: dict[int, Slot] = {}
        for (_, name), slot in state.coarse.items():
            sums.setdefault(name, Slot()).add(slot)
        yield from _interval(experiment, (0, state.coarse_until), sums)
    for begin in range(min(numbers) // wide * wide, last, wide):
        sums = {}
        for number in range(begin, begin + wide):
            for kind in (state.slots, state.series):
                for name, slot in kind.get(number, {}).items():
                    sums.setdefault(name, Slot()).add(slot)
        yield from _interval(experiment, (begin, begin + wide), sums)


def _interval(experiment: Experiment, span: tuple[int, int], sums: dict[int, Slot]) -> Iterator[str]:
    begin_s, long_s = span[0] / SLOTS_A_SECOND, (span[1] - span[0]) / SLOTS_A_SECOND
    for name, slot in sorted(sums.items()):
        tag = _tag(experiment.load.names[name])
        for kind, field in KINDS.items():
            histogram: Histogram = getattr(slot, field)
            if histogram.total:
                most_ms = (histogram.max() or 0.0) / 1000
                packed = encode_compressed(histogram)
                yield f"Tag={kind}:{tag},{begin_s:.3f},{long_s:.3f},{most_ms:.3f},{packed}"


def _tag(name: str) -> str:
    """A request name as a tag may be written: readers end a tag at a comma or at white space."""
    return "".join("_" if char in ',"#=' or char.isspace() or not char.isprintable() else char for char in name)


def _wall_s(state: State, entries: Sequence[Entry]) -> float:
    """The load's epoch in seconds since 1970; 0 if it never began."""
    for entry in entries:
        if isinstance(entry.event, LoadStarted) and state.load_epoch_ns is not None:
            return datetime.fromisoformat(entry.wall).timestamp() + (state.load_epoch_ns - entry.at_ns) / NANOS
    return 0.0
