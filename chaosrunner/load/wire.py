"""A frame as one line, written in pieces: encoding all of it at once would stall the firing loop for milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace

import orjson

from chaosrunner.load.raw_hits import Kept
from chaosrunner.load.tally import Slots, Tally, in_parts
from chaosrunner.model.histogram import Histogram
from chaosrunner.model.slots import Frame, Slot, row, to_json

HITS_A_PIECE = 50


def pieces(frame: Frame) -> Iterator[bytes]:
    """The line `{"frame": …}` of a frame, cut where a pause does no harm: every 200 cells and every 50 raw hits.

    A histogram or a raw hit is asked for when its turn comes: a ledger's frame works it out only then.
    """
    bare = replace(frame, slots={}, hits=())
    rest = to_json(bare)
    del rest["slots"], rest["hits"]
    yield b'{"frame":' + orjson.dumps(rest)[:-1] + b',"slots":['
    between = b""
    for key in sorted(frame.slots):
        slot: Tally | Slot
        if isinstance(frame.slots, Slots):
            slot = frame.slots.tally(key)
            for _ in slot.unfold():
                yield b""
        else:
            slot = frame.slots[key]
        done = {outcome.value: count for outcome, count in slot.done.items()}
        yield between + orjson.dumps([*key, slot.due, done])[:-1]
        yield from _histograms(slot.histograms())
        between = b","
    yield b'],"hits":['
    between = b""
    for begin in range(0, len(frame.hits), HITS_A_PIECE):
        part = slice(begin, begin + HITS_A_PIECE)
        rows = frame.hits.rows(part) if isinstance(frame.hits, Kept) else [row(hit) for hit in frame.hits[part]]
        yield between + orjson.dumps(rows)[1:-1]
        between = b","
    yield b"]}}\n"


def _histograms(histograms: Iterable[Histogram]) -> Iterator[bytes]:
    """The rest of a slot: cells in any order; of a histogram that is one before it only that one's index."""
    text = b""
    before: list[Histogram] = []
    for histogram in histograms:
        same = [at for at, one in enumerate(before) if one is histogram]
        before.append(histogram)
        if same:
            text += b",%d" % same[0]
            continue
        between = b",["
        for cells in in_parts(histogram.cells):
            yield text + between + orjson.dumps(cells)[1:-1]
            text, between = b"", b","
        text += b"]" if histogram.cells else b",[]"
    yield text + b"]"


def line(frame: Frame) -> bytes:
    """All of it at once."""
    return b"".join(pieces(frame))


async def line_in_turns(frame: Frame) -> bytes:
    """The same, with a turn of the loop after each piece."""
    parts = []
    for piece in pieces(frame):
        parts.append(piece)
        await asyncio.sleep(0)
    return b"".join(parts)
