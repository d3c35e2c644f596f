"""Frames as lines."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.load.act import OpenHit
from chaosrunner.load.journey import Journey, Leg, Route
from chaosrunner.load.ledger import Ledger
from chaosrunner.load.wire import line, line_in_turns, pieces
from chaosrunner.model.histogram import Histogram
from chaosrunner.model.journey import Think
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Frame, Hit, Slot, from_json

HISTOGRAMS = st.integers(0, 450).map(lambda n: Histogram({(7 * i) % 451: i + 1 for i in range(n)}, n * (n + 1) // 2))
SLOTS = st.builds(Slot, st.integers(0, 9), st.just({Outcome.OK: 1}), HISTOGRAMS, adjusted=HISTOGRAMS)
FRAMES = st.builds(
    Frame,
    worker=st.integers(0, 3),
    seq=st.integers(0, 9),
    until_us=st.integers(0, 9),
    slots=st.dictionaries(st.tuples(st.integers(0, 99), st.integers(0, 4)), SLOTS, max_size=5),
    hits=st.integers(0, 350).map(lambda n: tuple(Hit(i, 0, Outcome.OK, i, 0) for i in range(n))),
    last=st.booleans(),
)


@settings(deadline=None)
@given(FRAMES)
def test_a_line_in_pieces_is_the_frame(frame: Frame) -> None:
    """However a frame is cut for encoding, its one line holds exactly that frame."""
    whole = line(frame)
    assert from_json(json.loads(whole)["frame"]) == frame
    assert whole.count(b"\n") == 1
    assert whole.endswith(b"\n")
    parts = sum(-(-len(histogram.cells) // 200) for slot in frame.slots.values() for histogram in slot.histograms())
    assert len(list(pieces(frame))) == 3 + 2 * len(frame.slots) + parts + -(-len(frame.hits) // 50)


def test_a_worker_s_books_are_their_frame() -> None:
    """What a ledger hands out is on the line as it is when it is asked for all at once."""

    def booked() -> Frame:
        ledger = Ledger(worker=0, names=1)
        journey = Journey(None, Route([Leg(0, None, Think(), None, 1)]), 0, 0, 0)  # type: ignore[arg-type]
        for n in range(1, 500):
            hit = OpenHit(None, journey, 0, n * 1_000_000, n * 1_000_000 + n % 7 * 1000)  # type: ignore[arg-type]
            hit.sent_ns = hit.fired_ns
            ledger.done(hit, Outcome.OK if n % 9 else Outcome.RESET, hit.due_ns + n * 1_000_003)
        return replace(ledger.cut(0, connects=0), cpu_us=0)

    frame = booked()
    whole = replace(frame, slots=dict(frame.slots), hits=tuple(frame.hits))
    assert from_json(json.loads(line(booked()))["frame"]) == whole


async def test_the_loop_gets_its_turn_after_each_piece() -> None:
    """Between any two pieces of a frame other work is done."""
    frame = Frame(worker=0, seq=0, until_us=0, slots={(n, 0): Slot(due=n) for n in range(20)})
    turns = 0
    encoding = asyncio.create_task(line_in_turns(frame))
    while not encoding.done():
        turns += 1
        await asyncio.sleep(0)
    assert encoding.result() == line(frame)
    assert turns > 20
