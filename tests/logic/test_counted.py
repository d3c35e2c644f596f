"""Counts beside the hits, by phase."""

from __future__ import annotations

from chaosrunner.logic.counted import ROOM, Counted
from chaosrunner.model.experiment import Phase


def test_a_phase_that_is_named_later_has_what_was_counted_in_it() -> None:
    """AFTER begins in the past: what was reported before it was named, and after it began, is AFTER's."""
    counts = Counted()
    for number in (10, 20, 30):
        counts.add(number, "reconnects", 1, lambda _: Phase.FAULT)
    counts.outside(None, "reconnects", 5)
    seen = counts.by_phase(lambda number: Phase.AFTER if number >= 20 else Phase.FAULT)
    assert seen == {(Phase.FAULT, "reconnects"): 1, (Phase.AFTER, "reconnects"): 2, (None, "reconnects"): 5}


def test_counts_need_no_more_room_than_there_is() -> None:
    """A long run settles its older half by the phases known then, and loses nothing."""
    counts = Counted()
    for number in range(ROOM + 10):
        counts.add(number, "reconnects", 1, lambda _: Phase.BASELINE)
    assert len(counts.recent) < ROOM
    assert counts.settled == {(Phase.BASELINE, "reconnects"): ROOM // 2}
    assert counts.by_phase(lambda _: Phase.BASELINE) == {(Phase.BASELINE, "reconnects"): ROOM + 10}
