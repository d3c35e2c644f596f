"""Slot frames on disk: `slots/<number>.seg`, one file for ten seconds, closed for ever after.

A record is `SLOT`, its length, a CRC, the number and instant (ns) of its last event, then zlib(JSON of its frames). A
reader that meets a broken record looks for the next `SLOT`, so a crash or a flipped bit costs one record.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import orjson

from chaosrunner.model.events import Entry, SlotsArrived
from chaosrunner.model.slots import from_json, to_json
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from chaosrunner.model.histogram import Histogram
    from chaosrunner.model.slots import Frame

FOLDER = "slots"
SEGMENT_NS = 10 * NANOS
MAGIC = b"SLOT"
_HEAD = struct.Struct("<4sIIQQ")
"""Magic, length of the payload, CRC-32 of number, instant and payload, event number, instant."""
_FIXED = 4
"""What stands before the histograms of a slot in the wire form: its number, name, hits due, hits done."""
_LEVEL = 4
"""Of compression: 6 takes three times as long for a fifteenth less."""
_SIGNED = struct.Struct("<QQ")


@dataclass(slots=True)
class Damage:
    """What a reader had to skip."""

    lines: int = 0
    """Lines of `events.jsonl` that could not be decoded."""
    records: int = 0
    """Places in segments where a record should have begun or was broken."""

    def __bool__(self) -> bool:
        """Whether anything was skipped."""
        return bool(self.lines or self.records)


@dataclass(frozen=True, slots=True)
class Record:
    """Some frames, one or a whole segment's, as they lie on disk, not yet decoded."""

    n: int
    at_ns: int
    payload: bytes = field(repr=False)


def segment_of(at_ns: int) -> str:
    """The name of the segment that holds what arrived at an instant."""
    return f"{at_ns // SEGMENT_NS:012d}.seg"


def end_of(segment: Path) -> int:
    """The instant at which a segment was closed for good (ns)."""
    return (int(segment.stem) + 1) * SEGMENT_NS


def encode(entries: Sequence[Entry]) -> bytes:
    """One record for some frames, under the number of the last."""
    frames = [[it.n, it.at_ns, _packed(it.event.frame)] for it in entries if isinstance(it.event, SlotsArrived)]
    payload = zlib.compress(orjson.dumps(frames, option=orjson.OPT_NON_STR_KEYS), _LEVEL)
    return framed(Record(entries[-1].n, entries[-1].at_ns, payload))


def _packed(frame: Frame) -> dict[str, object]:
    """The wire form with each histogram as two columns, steps from cell to cell and counts: a third of the size."""
    raw = to_json(replace(frame, slots={}))
    raw["slots"] = [
        [*key, slot.due, slot.done, *_histograms(slot.histograms())] for key, slot in sorted(frame.slots.items())
    ]
    return raw


def _unpacked(raw: dict[str, Any]) -> Frame:
    slots = [[*slot[:_FIXED], *map(_pairs, slot[_FIXED:])] for slot in raw["slots"]]
    return from_json({**raw, "slots": slots})


def _histograms(histograms: Sequence[Histogram]) -> list[int | list[list[int]]]:
    """Each as its columns; of one that equals one before it only that one's index, as on the wire."""
    return [
        histograms.index(histogram) if histogram in histograms[:at] else _columns(histogram)
        for at, histogram in enumerate(histograms)
    ]


def _columns(histogram: Histogram) -> list[list[int]]:
    cells = sorted(histogram.cells)
    counts = histogram.cells
    return [[cell - before for before, cell in pairwise([0, *cells])], [counts[cell] for cell in cells]]


def _pairs(one: int | tuple[Sequence[int], Sequence[int]]) -> int | list[tuple[int, int]]:
    return one if isinstance(one, int) else list(zip(accumulate(one[0]), one[1], strict=True))


def framed(record: Record) -> bytes:
    """A record as bytes."""
    crc = zlib.crc32(record.payload, zlib.crc32(_SIGNED.pack(record.n, record.at_ns)))
    return _HEAD.pack(MAGIC, len(record.payload), crc, record.n, record.at_ns) + record.payload


def decode(record: Record) -> list[Entry]:
    """The entries in a record. Raises ValueError when it holds none: of another version, or not ours."""
    try:
        frames = orjson.loads(zlib.decompress(record.payload))
        return [Entry(n, at_ns, "", 0, SlotsArrived(frame=_unpacked(frame))) for n, at_ns, frame in frames]
    except (zlib.error, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"record {record.n} holds no frame: {error}") from error


def records(data: bytes, damage: Damage) -> Iterator[Record]:
    """The whole records in a segment's bytes; a last one that is still being written is not damage."""
    at = 0
    while at < len(data):
        record, size = _record_at(data, at)
        if record is not None:
            yield record
            at += size
            continue
        found = data.find(MAGIC, at + 1)
        if found < 0:
            damage.records += data[at : at + 4] != MAGIC[: len(data) - at]
            return
        damage.records += 1
        at = found


def entries(run_dir: Path, damage: Damage) -> Iterator[Entry]:
    """Every frame of a run, in order of its number. A segment is read whole: a few MB at most."""
    for segment in _segments(run_dir):
        yield from read_segment(segment, damage)


def read_segment(segment: Path, damage: Damage) -> Iterator[Entry]:
    """Every frame of one segment."""
    for record in records(segment.read_bytes(), damage):
        try:
            yield from decode(record)
        except ValueError:
            damage.records += 1


def last_number(run_dir: Path) -> int:
    """The highest event number in any segment; -1 without any."""
    for segment in reversed(_segments(run_dir)):
        numbers = [record.n for record in records(segment.read_bytes(), Damage())]
        if numbers:
            return max(numbers)
    return -1


def _segments(run_dir: Path) -> list[Path]:
    return sorted((run_dir / FOLDER).glob("*.seg"))


def _record_at(data: bytes, at: int) -> tuple[Record | None, int]:
    if len(data) - at < _HEAD.size:
        return None, 0
    magic, length, crc, n, at_ns = _HEAD.unpack_from(data, at)
    size = _HEAD.size + length
    payload = data[at + _HEAD.size : at + size]
    if magic != MAGIC or len(payload) < length:
        return None, 0
    if zlib.crc32(payload, zlib.crc32(_SIGNED.pack(n, at_ns))) != crc:
        return None, 0
    return Record(n, at_ns, payload), size
