"""Later steps of journeys are taken out in the order due, whichever way they were put in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.alarm import FAR_NS
from chaosrunner.load.journey import Journey, Route
from chaosrunner.load.later import Later

JOURNEY = Journey(None, Route([]), 0, 0, 0)  # type: ignore[arg-type]
STEPS = st.tuples(st.integers(0, 5), st.sampled_from(["soon", "thinks", "take"]), st.integers(0, 9))
"""Time passes; then a step is due at once or after so long, or one is taken out."""


@given(st.lists(STEPS, max_size=40))
def test_the_earliest_is_next(steps: list[tuple[int, str, int]]) -> None:
    """However steps with and without think time mix, the next is one that is due first, and none is lost."""
    later, now, waiting = Later(), 0, list[tuple[int, int]]()
    for leg, (passed, what, think) in enumerate([*steps, *[(0, "take", 0)] * len(steps)]):
        now += passed
        assert later.next_ns() == min((due for due, _ in waiting), default=FAR_NS)
        if what == "soon":
            later.add_soon(now, leg, JOURNEY)
            waiting.append((now, leg))
        elif what == "thinks":
            later.add(now + think, leg, JOURNEY)
            waiting.append((now + think, leg))
        elif waiting:
            due_ns, taken, _ = later.take()
            assert due_ns == min(waiting)[0]
            waiting.remove((due_ns, taken))
    assert waiting == []


def test_only_the_first_that_is_due_at_once_is_told() -> None:
    """Who adds the only step that is due at once is told so, and again after it was taken out."""
    later = Later()
    assert [later.add_soon(now, 0, JOURNEY) for now in (1, 2)] == [True, False]
    assert [later.take()[0], later.take()[0]] == [1, 2]
    assert later.add_soon(3, 0, JOURNEY)
