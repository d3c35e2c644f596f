"""Rows of data for journeys: in turn, at random, or each one once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.logic.feed import NO_DATA, Feed

ROWS = tuple({"n": str(n)} for n in range(10))


def test_in_turn() -> None:
    """Arrivals get row after row and begin again; a user keeps its row, whichever journey it makes."""
    feed = Feed(ROWS, "sequential", 1, shard=0, of=1)
    assert [feed.row(who, 0) for who in range(12)] == [*ROWS, *ROWS[:2]]
    assert feed.row(3, 7) == ROWS[3]


def test_at_random() -> None:
    """Rows are drawn by the seed alone, whatever worker draws them, and all of them come up."""
    draws = [Feed(ROWS, "random", 5, shard=shard, of=3).row(who, nth) for shard in range(3) for who in range(200)
             for nth in range(2)]  # fmt: skip
    assert draws[:400] == draws[400:800] == draws[800:]
    assert len({row["n"] for row in draws if row}) == 10
    assert draws != [Feed(ROWS, "random", 6, shard=0, of=1).row(who, nth) for who in range(200) for nth in range(2)] * 3


@given(rows=st.integers(1, 50), of=st.integers(1, 8))
def test_each_row_once(rows: int, of: int) -> None:
    """Over all workers every row is dealt exactly once, and after that there is none."""
    data = tuple({"n": str(n)} for n in range(rows))
    dealt: Counter[str] = Counter()
    for shard in range(of):
        feed = Feed(data, "unique", 1, shard=shard, of=of)
        while (row := feed.row(0, 0)) is not None:
            dealt[str(row["n"])] += 1
        assert feed.row(1, 1) is None
    assert dealt == {str(n): 1 for n in range(rows)}


@pytest.mark.parametrize("who", [0, 9])
def test_a_row_is_the_journeys_own(who: int) -> None:
    """What a journey writes into its row is seen by nobody else."""
    feed = Feed(ROWS, "sequential", 1, shard=0, of=1)
    row = feed.row(who, 0)
    assert row is not None
    row["n"] = "mine"
    assert feed.row(who, 0) == ROWS[who]


def test_no_data() -> None:
    """Without a data file a journey begins knowing nothing."""
    assert NO_DATA.row(3, 0) == {}
