"""A frame as one line, written in pieces: encoding all of it at once would stall the firing loop for milliseconds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

from chaosrunner.model.slots import Frame, to_json

HITS_A_PIECE = 100


def pieces(frame: Frame) -> Iterator[str]:
    """The line `{"frame": …}` of a frame, cut where a pause does no harm: after each slot and every 100 raw hits."""
    bare = replace(frame, slots={}, hits=())
    rest = to_json(bare)
    del rest["slots"], rest["hits"]
    yield '{"frame":' + _dumps(rest)[:-1] + ',"slots":['
    between = ""
    for key in sorted(frame.slots):
        yield between + _inside("slots", replace(bare, slots={key: frame.slots[key]}))
        between = ","
    yield '],"hits":['
    between = ""
    for begin in range(0, len(frame.hits), HITS_A_PIECE):
        yield between + _inside("hits", replace(bare, hits=frame.hits[begin : begin + HITS_A_PIECE]))
        between = ","
    yield "]}}\n"


def line(frame: Frame) -> bytes:
    """All of it at once."""
    return "".join(pieces(frame)).encode()


async def line_in_turns(frame: Frame) -> bytes:
    """The same, with a turn of the loop after each piece."""
    parts = []
    for piece in pieces(frame):
        parts.append(piece)
        await asyncio.sleep(0)
    return "".join(parts).encode()


def _inside(field: str, part: Frame) -> str:
    return _dumps(to_json(part)[field])[1:-1]


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
