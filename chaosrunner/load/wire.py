"""A frame as one line, written in pieces: encoding all of it at once would stall the firing loop for milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import orjson

from chaosrunner.load.tally import Slots, Tally
from chaosrunner.model.slots import Frame, Slot, to_json

HITS_A_PIECE = 50


def pieces(frame: Frame) -> Iterator[bytes]:
    """The line `{"frame": …}` of a frame, cut where a pause does no harm: after each histogram and every 50 raw hits.

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
        for histogram in slot.histograms():
            yield b"," + orjson.dumps(sorted(histogram.cells.items()))
        yield b"]"
        between = b","
    yield b'],"hits":['
    between = b""
    for begin in range(0, len(frame.hits), HITS_A_PIECE):
        part = replace(bare, hits=frame.hits[begin : begin + HITS_A_PIECE])
        yield between + orjson.dumps(to_json(part)["hits"])[1:-1]
        between = b","
    yield b"]}}\n"


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
