"""Slots and frames: merging and the wire form."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.model.histogram import Histogram
from chaosrunner.model.load import OURS, Outcome
from chaosrunner.model.slots import Frame, Hit, Slot, from_json, to_json

MICROS = st.integers(0, 10**9)


def histogram(values: list[int]) -> Histogram:
    filled = Histogram()
    for value in values:
        filled.record(value)
    return filled


HISTOGRAMS = st.lists(MICROS, max_size=8).map(histogram)
SLOTS = st.builds(
    Slot,
    st.integers(0, 1000),
    st.dictionaries(st.sampled_from(Outcome), st.integers(1, 100), max_size=4),
    HISTOGRAMS,
    HISTOGRAMS,
    HISTOGRAMS,
    HISTOGRAMS,
    HISTOGRAMS,
)
FRAMES = st.builds(
    Frame,
    worker=st.integers(0, 9),
    seq=st.integers(0, 10**6),
    until_us=MICROS,
    slots=st.dictionaries(st.tuples(st.integers(0, 10**6), st.integers(0, 5)), SLOTS, max_size=4),
    hits=st.lists(st.builds(Hit, MICROS, st.integers(0, 5), st.sampled_from(Outcome), MICROS, MICROS)).map(tuple),
    skipped=st.integers(0, 99),
    journeys=st.integers(0, 99),
    behind=st.integers(0, 99),
    connects=st.integers(0, 99),
    cpu_us=st.integers(0, 99),
    last=st.booleans(),
)


def merged(*parts: Slot) -> Slot:
    whole = Slot()
    for part in parts:
        whole.add(deepcopy(part))
    return whole


@settings(deadline=None)
@given(SLOTS, SLOTS, SLOTS)
def test_merging_slots_is_associative_and_commutative(a: Slot, b: Slot, c: Slot) -> None:
    """The order in which deltas arrive does not matter."""
    assert merged(merged(a, b), c) == merged(a, merged(b, c)) == merged(c, a, b)


@settings(deadline=None)
@given(SLOTS, SLOTS)
def test_merging_loses_nothing(a: Slot, b: Slot) -> None:
    """Counts and values of a sum are the sums of counts and values."""
    whole = merged(a, b)
    assert whole.due == a.due + b.due
    assert whole.finished == a.finished + b.finished
    assert whole.errors == a.errors + b.errors
    assert whole.open == whole.due - whole.finished == a.open + b.open
    totals = [x.total + y.total for x, y in zip(a.histograms(), b.histograms(), strict=True)]
    assert [h.total for h in whole.histograms()] == totals


@settings(deadline=None)
@given(FRAMES)
def test_a_frame_survives_json(frame: Frame) -> None:
    """A frame is the same after a trip through JSON text."""
    assert from_json(json.loads(json.dumps(to_json(frame)))) == frame


def test_what_is_ours_and_ok_are_no_errors_of_the_target() -> None:
    """What never reached the target is ours and OK is nobody's; everything else counts as an error."""
    slot = Slot(due=30, done=dict.fromkeys(Outcome, 1))
    assert slot.errors == len(Outcome) - 1 - len(OURS)
    assert slot.ours == len(OURS)


def test_a_histogram_may_be_said_to_equal_one_before_it() -> None:
    """An index stands for that histogram of the same slot, and the two can be filled apart from each other."""
    raw = {**GOOD, "slots": [[0, 0, 3, {"ok": 3}, [[7, 3]], [], [[5, 3]], [], [], 2]]}
    slot = from_json(raw).slots[0, 0]
    assert slot.service == slot.adjusted == Histogram({5: 3}, 3)
    slot.service.record(9)
    assert slot.adjusted == Histogram({5: 3}, 3)


GOOD = to_json(Frame(worker=0, seq=0, until_us=0, slots={(0, 0): Slot(due=1, done={Outcome.OK: 1})}))


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({k: v for k, v in GOOD.items() if k != "worker"}, id="a field is missing"),
        pytest.param({**GOOD, "seq": "0"}, id="a number is a text"),
        pytest.param({**GOOD, "slots": [[0, 0, 1]]}, id="a slot is too short"),
        pytest.param({**GOOD, "slots": [[0, 0, 1, {"fine": 1}, [], [], [], [], []]]}, id="an unknown outcome"),
        pytest.param({**GOOD, "hits": [[0, 0, "fine", 0, 0]]}, id="a hit of an unknown outcome"),
        pytest.param({**GOOD, "slots": 3}, id="no list"),
        pytest.param({**GOOD, "slots": [[0, 0, 1, {}, [], 1, [], [], [], []]]}, id="equal to none before it"),
    ],
)
def test_what_is_no_frame_is_refused(bad: dict[str, object]) -> None:
    """A malformed frame raises; it is never half read."""
    with pytest.raises((LookupError, TypeError, ValueError)):
        from_json(bad)
