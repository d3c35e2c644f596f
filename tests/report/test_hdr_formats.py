"""HdrHistogram's formats, read back by HdrHistogram's own library."""

from __future__ import annotations

from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import EPOCH_NS, sample

from chaosrunner.model import events as e
from chaosrunner.model.histogram import HOUR_US, TOP_CELL, Histogram, highest_in
from chaosrunner.model.slots import Slot
from chaosrunner.report.hdr import encode, encode_compressed, interval_log, zig_zag

CELLS = st.dictionaries(st.integers(0, TOP_CELL), st.integers(1, 1 << 40), max_size=60)
QUANTILES = (0.0001, 0.5, 0.9, 0.99, 0.999, 1.0)


def of(cells: dict[int, int]) -> Histogram:
    return Histogram(cells, sum(cells.values()))


def counts_in(decoded: HdrHistogram) -> dict[int, int]:
    """Cell → count, as the other library has them."""
    every = ((cell, decoded.get_count_at_index(cell)) for cell in range(decoded.counts_len))
    return {cell: count for cell, count in every if count}


@settings(deadline=None, max_examples=50)
@given(CELLS)
def test_the_library_decodes_the_same_counts(cells: dict[int, int]) -> None:
    """Whatever was counted, HdrHistogram's library decodes it to the same counts in the same cells."""
    decoded = HdrHistogram.decode(encode_compressed(of(cells)))
    assert counts_in(decoded) == cells
    assert decoded.get_total_count() == sum(cells.values())
    assert (decoded.lowest_trackable_value, decoded.highest_trackable_value) == (1, HOUR_US)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, HOUR_US), min_size=1, max_size=100))
def test_the_library_gives_the_same_quantiles(values: list[int]) -> None:
    """Our quantiles of recorded times are those the library gives after decoding."""
    ours = Histogram()
    for value in values:
        ours.record(value)
    decoded = HdrHistogram.decode(encode_compressed(ours))
    for nth in range(1, len(values) + 1):
        assert decoded.get_value_at_percentile(100 * nth / len(values)) == ours.rank(nth)
    assert decoded.get_max_value() == ours.max()


@settings(deadline=None, max_examples=50)
@given(CELLS)
def test_what_the_library_encodes_is_what_we_encode(cells: dict[int, int]) -> None:
    """Decoded and encoded again by the library, the counts are byte for byte ours."""
    ours = encode(of(cells))
    library = HdrHistogram.decode(encode_compressed(of(cells)))
    again = library.encoder.encode()  # base64 of the compressed form
    assert HdrHistogram.decode(again).equals(library)
    assert int.from_bytes(ours[:4], "big") == 0x1C849313
    assert int.from_bytes(ours[4:8], "big") == len(ours) - 40


def test_the_compressed_form_begins_as_every_tool_expects() -> None:
    """The V2 compressed form in base64 begins with HISTFAAAA, also when there is nothing in it."""
    assert encode_compressed(Histogram()).startswith("HISTFAAAA")
    assert encode_compressed(of({5: 1})).startswith("HISTFAAAA")
    assert HdrHistogram.decode(encode_compressed(Histogram())).get_total_count() == 0


@pytest.mark.parametrize(
    ("number", "spelled"),
    [
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (63, "7e"),
        (64, "8001"),
        (-23_220, "e7ea02"),
        ((1 << 55) - 1, "feffffffffffff7f"),
        (1 << 55, "808080808080808001"),
        ((1 << 63) - 1, "feffffffffffffffff"),
    ],
)
def test_zig_zag_numbers(number: int, spelled: str) -> None:
    """Small numbers of either sign are short; a ninth byte carries eight bits."""
    assert zig_zag(number).hex() == spelled


def read(path: Path, text: str) -> list[HdrHistogram]:
    path.write_text(text)
    reader = HistogramLogReader(str(path), HdrHistogram(1, HOUR_US, 3))
    found = []
    while (one := reader.get_next_interval_histogram()) is not None:
        found.append(one)
    reader.close()
    return found


def test_an_interval_log_has_every_request_once(tmp_path: Path) -> None:
    """The library reads the log of a run: by tag, the intervals add up to the histograms of the run."""
    one = sample("broken")
    read_back = read(tmp_path / "latency.hlog", interval_log(one.experiment, one.state, one.entries))
    wanted: dict[str, Histogram] = {}
    for slots in one.state.slots.values():
        for index, slot in slots.items():
            name = one.experiment.load.names[index].replace(" ", "_")
            for kind, histogram in (("response", slot.ok), ("failed", slot.failed), ("lag", slot.lag)):
                wanted.setdefault(f"{kind}:{name}", Histogram()).add(histogram)
    for tag, histogram in wanted.items():
        whole = HdrHistogram(1, HOUR_US, 3)
        for part in read_back:
            if part.get_tag() == tag:
                whole.add(part)
        assert counts_in(whole) == dict(histogram.cells), tag
    assert "response:log_in" in wanted


def test_a_log_says_when_its_epoch_was(tmp_path: Path) -> None:
    """Instants count from the load's epoch, and the head says when that was on the wall clock."""
    one = sample("held")
    started = next(entry for entry in one.entries if isinstance(entry.event, e.LoadStarted))
    text = interval_log(one.experiment, one.state, one.entries)
    epoch_s = float(text.split("#[BaseTime: ")[1].split()[0])
    from datetime import datetime

    assert epoch_s == pytest.approx(
        datetime.fromisoformat(started.wall).timestamp() + (EPOCH_NS - started.at_ns) / 1e9, abs=0.01
    )
    read_back = read(tmp_path / "a.hlog", text)
    begins = [part.get_start_time_stamp() / 1000 - epoch_s for part in read_back]
    assert min(begins) == pytest.approx(0, abs=0.01)
    assert max(begins) <= max(one.state.slots) / 10


def test_a_long_run_has_longer_intervals_and_its_sums(tmp_path: Path) -> None:
    """After ten minutes intervals are ten seconds; what was merged by phase is one interval of its own."""
    one = sample("held")
    slot = Slot()
    slot.ok.record(5_000)
    state = type(one.state)(load_epoch_ns=EPOCH_NS, coarse_until=20_000)
    state.coarse = {(phase, 0): slot for phase in ("warmup", "baseline")}  # type: ignore[misc]
    state.slots = {number: {0: slot} for number in (20_000, 20_099, 20_100)}
    lines = [
        line for line in interval_log(one.experiment, state, one.entries).splitlines() if line.startswith("Tag=resp")
    ]
    assert [line.split(",")[1:3] for line in lines] == [
        ["0.000", "2000.000"],
        ["2000.000", "10.000"],
        ["2010.000", "10.000"],
    ]
    totals = [part.get_total_count() for part in read(tmp_path / "b.hlog", "\n".join(lines) + "\n")]
    assert totals == [2, 2, 1]


def test_nothing_measured_is_a_log_without_intervals() -> None:
    """A run whose load never began has a head and no line."""
    one = sample("held")
    text = interval_log(one.experiment, type(one.state)(), ())
    assert text.splitlines()[-1].startswith('"StartTimestamp"')


def test_the_highest_cell_is_within_reach_of_other_tools() -> None:
    """A time beyond an hour decodes to what we say of it."""
    beyond = Histogram()
    beyond.record(3 * HOUR_US)
    decoded = HdrHistogram.decode(encode_compressed(beyond))
    assert decoded.get_max_value() == highest_in(TOP_CELL)
