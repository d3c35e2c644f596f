"""The shelf of slots: a mapping of which the old part is packed."""

from __future__ import annotations

import pytest

from chaosrunner.logic.shelf import Shelf
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Slot


def filled() -> Shelf:
    """Numbers 0 to 4, of which the first three are packed and the first two merged."""
    shelf = Shelf()
    for number in range(5):
        shelf.to_add(number)[0] = Slot(due=number + 1, done={Outcome.OK: 1})
    shelf.seal(3, 2)
    return shelf


def test_a_shelf_is_a_mapping_whatever_is_packed() -> None:
    """Packed or open, a number has its slots, is there, counts, and can be replaced or taken away."""
    shelf = filled()
    assert {number: names[0].due for number, names in shelf.items()} == {0: 1, 1: 2, 2: 3, 3: 4, 4: 5}
    assert (len(shelf), 2 in shelf, 4 in shelf, 5 in shelf) == (5, True, True, False)
    shelf[0] = {0: Slot(due=9)}
    assert shelf[0][0].due == 9
    del shelf[0], shelf[1]
    assert sorted(shelf) == [2, 3, 4]
    with pytest.raises(KeyError):
        del shelf[0]
    with pytest.raises(KeyError):
        shelf[0]
    assert shelf == {number: names for number, names in filled().items() if number > 1}


def test_only_the_original_can_be_added_to() -> None:
    """What is read of a packed number is a copy; what is added to the original stays, and can be packed again."""
    shelf = filled()
    shelf[1][0].due = 7
    assert shelf[1][0].due == 2
    shelf.to_add(1)[0].due = 7
    shelf.seal(3, 2)
    assert shelf[1][0].due == 7
    assert shelf.to_add(8) == {}


def test_what_is_merged_is_weighed() -> None:
    """The weight is that of packed merged slots, and nothing when they are gone."""
    shelf = filled()
    assert 0 < shelf.weight < shelf.size()
    for number in (0, 1):
        del shelf[number]
    assert (shelf.weight, shelf.size() > 0) == (0, True)


def test_counts_are_known_without_unpacking() -> None:
    """Answers and open hits of a number are the same before and after packing; an unknown number has none."""
    shelf = filled()
    assert [shelf.answered(number) for number in range(6)] == [1, 1, 1, 1, 1, 0]
    assert [shelf.unanswered(number) for number in range(6)] == [False, True, True, True, True, False]
