"""The books: which raw hits are kept, and what a frame holds."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.load.ledger import ALL_HITS_PER_S, Ledger, RawHits
from chaosrunner.model.histogram import cell_of
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Hit
from chaosrunner.model.units import NANOS, SLOT_NS

KINDS = st.tuples(st.integers(0, 1), st.sampled_from([Outcome.OK, Outcome.OK, Outcome.RESET, Outcome.STATUS]))


def kept_of(kinds: list[tuple[int, Outcome]], *, before: int) -> tuple[list[Hit], list[Hit]]:
    """All hits of one second after `before` others of name 0, and those kept."""
    raw = RawHits(2)
    for n in range(before):
        raw.add(Hit(n, 0, Outcome.OK, 1, 0), NANOS)
    raw.take(last=False)
    hits = [Hit(before + n, name, outcome, 1, 0) for n, (name, outcome) in enumerate(kinds)]
    for hit in hits:
        raw.add(hit, NANOS)
    return hits, list(raw.take(last=True))


@settings(deadline=None)
@given(st.lists(KINDS, max_size=60))
def test_failures_and_both_ends_of_each_run_are_always_kept(kinds: list[tuple[int, Outcome]]) -> None:
    """Above the limit exactly the failures and the first and last of each run of outcomes of a name are kept, once."""
    hits, kept = kept_of(kinds, before=ALL_HITS_PER_S)
    wanted = {hit for hit in hits if hit.outcome is not Outcome.OK}
    for name in (0, 1):
        runs = [list(run) for _, run in groupby([h for h in hits if h.name == name], key=lambda hit: hit.outcome)]
        if name == 0 and runs and runs[0][0].outcome is Outcome.OK:
            wanted.add(runs[0][-1])  # continues the run of the hits before
            runs = runs[1:]
        for run in runs:
            wanted |= {run[0], run[-1]}
    assert len(kept) == len(set(kept))
    assert set(kept) - {Hit(ALL_HITS_PER_S - 1, 0, Outcome.OK, 1, 0)} == wanted


@settings(deadline=None)
@given(st.lists(KINDS, max_size=60))
def test_below_the_limit_every_hit_is_kept(kinds: list[tuple[int, Outcome]]) -> None:
    """Up to 2,000 hits a second nothing is thinned."""
    hits, kept = kept_of(kinds, before=0)
    assert kept == hits


def test_the_limit_counts_anew_each_second() -> None:
    """A second with many hits does not thin the next one."""
    raw = RawHits(1)
    for n in range(ALL_HITS_PER_S + 500):
        raw.add(Hit(n, 0, Outcome.OK, 1, 0), NANOS)
    assert len(raw.take(last=False)) == ALL_HITS_PER_S
    raw.add(Hit(9999, 0, Outcome.OK, 1, 0), 2 * NANOS)
    assert [hit.due_us for hit in raw.take(last=False)] == [9999]


def test_the_four_times_of_a_hit() -> None:
    """Response is done − due, adjusted is response − lag, lag is fired − due, wait is sent − fired."""
    ledger = Ledger(worker=3, names=1, epoch_ns=NANOS)
    due = NANOS + 5 * SLOT_NS
    ledger.fired(0, due, due + 2_000_000)
    ledger.done(0, Outcome.OK, (due, due + 2_000_000, due + 9_000_000, due + 30_000_000))
    frame = ledger.cut(due + SLOT_NS, connects=4)
    slot = frame.slots[5, 0]
    micros = [list(histogram) for histogram in (slot.ok, slot.adjusted, slot.lag, slot.wait)]
    assert micros == [[(cell_of(value), 1)] for value in (30_000, 28_000, 2_000, 7_000)]
    assert (frame.worker, frame.seq, frame.until_us, frame.connects) == (3, 0, 600_000, 4)
    assert frame.hits == (Hit(500_000, 0, Outcome.OK, 30_000, 2_000),)


def test_a_hit_without_a_connection_waited_all_its_life() -> None:
    """What was never sent waited for a connection from when it was fired until its end."""
    ledger = Ledger(worker=0, names=1, epoch_ns=0)
    ledger.fired(0, 0, 1_000_000)
    ledger.done(0, Outcome.TIMEOUT, (0, 1_000_000, 0, 500_000_000))
    slot = ledger.cut(NANOS, connects=0).slots[0, 0]
    assert slot.wait.rank(1) // 1000 == 499
    assert slot.ok.total == slot.adjusted.total == 0
    assert slot.failed.total == 1


def test_frames_are_deltas() -> None:
    """What one frame held is not in the next, which has the next number."""
    ledger = Ledger(worker=0, names=1, epoch_ns=0)
    ledger.fired(0, 0, 0)
    ledger.journeys, ledger.skipped, ledger.behind = 2, 3, 1
    first = ledger.cut(SLOT_NS, connects=5)
    ledger.done(0, Outcome.OK, (0, 0, 0, 1000))
    second = ledger.cut(2 * SLOT_NS, connects=6, last=True)
    assert (first.seq, first.journeys, first.skipped, first.connects, first.last) == (0, 2, 3, 5, False)
    assert (second.seq, second.journeys, second.skipped, second.connects, second.last) == (1, 0, 0, 1, True)
    assert (first.behind, second.behind) == (1, 0)
    assert (first.slots[0, 0].open, second.slots[0, 0].open) == (1, -1)


def test_before_the_epoch_nothing_was_due() -> None:
    """A frame cut before the epoch says so with 0, not with a negative instant."""
    assert Ledger(worker=0, names=1, epoch_ns=NANOS).cut(0, connects=0).until_us == 0
