"""Packed slots are the same slots, in less room."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.model.histogram import TOP_CELL, Histogram
from chaosrunner.model.load import Outcome
from chaosrunner.model.packed import pack, unpack
from chaosrunner.model.slots import Slot

histograms = st.dictionaries(st.integers(0, TOP_CELL), st.integers(1, 10**12), max_size=8).map(
    lambda cells: Histogram(cells, sum(cells.values()))
)
slots = st.builds(
    Slot,
    st.integers(-(10**9), 10**12),
    st.dictionaries(st.sampled_from(Outcome), st.integers(-(10**6), 10**12), max_size=4),
    *[histograms] * 6,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.integers(0, 1 << 21), slots, max_size=4))
def test_what_is_unpacked_is_what_was_packed(names: dict[int, Slot]) -> None:
    """Whatever the counts and however many, slots come back equal; what comes back can be packed and added to."""
    packed = pack(names)
    again = unpack(packed)
    assert again == names
    assert names == again
    assert pack(dict(reversed(again.items()))) == packed
    for name, slot in again.items():
        due, slowest = slot.due, slot.ok.max()
        slot.add(names[name])
        assert (slot.due, slot.ok.total, slot.ok.max()) == (2 * due, 2 * names[name].ok.total, slowest)


def test_two_bytes_a_cell_are_enough() -> None:
    """A histogram of a thousand neighbouring cells with small counts takes less than 2,100 bytes, unpacked 40,000."""
    busy = Histogram.of([[1000 + n, 1 + n * n % 101] for n in range(1000)])
    assert len(pack({0: Slot(ok=busy)})) < 2_100


def test_an_unpacked_histogram_has_no_other_attributes() -> None:
    """Only its cells come late; it is no other thing than a histogram."""
    seen = unpack(pack({0: Slot()}))[0].ok
    with pytest.raises(AttributeError, match="nothing"):
        _ = seen.nothing  # type: ignore[attr-defined]
    assert seen != {}
