"""The parts of the WebSocket driver that are pure: numbering, herds, backoff, patterns, texts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.load.websocket.herd import by_second, factor, peak
from chaosrunner.load.websocket.numbering import KEPT, LOST_AFTER_NS, Numbering
from chaosrunner.load.websocket.pattern import contains, parsed
from chaosrunner.load.websocket.policy import gives_up, pause_s
from chaosrunner.load.websocket.texts import DIGITS, STAND_IN, Ids, flag_at, number_at, text_of
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS
from chaosrunner.model.websocket_step import Reconnect

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
OK, REPEATED, REORDERED = Outcome.OK, Outcome.REPEATED, Outcome.REORDERED


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80))
def test_every_number_between_the_lowest_and_the_highest_is_accounted_for(numbers: list[int]) -> None:
    """Different numbers are OK or REORDERED once, the same again REPEATED, and what never came is lost."""
    numbering, found = Numbering(), []
    for number in numbers:
        outcome, went_on = numbering.came(number, 0)
        found.append(outcome)
        assert went_on is None
    different = len(set(numbers))
    assert found.count(OK) + found.count(REORDERED) == different
    assert found.count(REPEATED) == len(numbers) - different
    assert numbering.take_lost(all_missing=True) == max(numbers) - min(numbers) + 1 - different
    assert numbering.take_lost(all_missing=True) == 0
    assert numbering.last == max(numbers)
    assert not numbering.waiting


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40, unique=True))
def test_numbers_in_order_are_all_fine(numbers: list[int]) -> None:
    """In ascending order nothing is repeated or reordered."""
    numbering = Numbering()
    assert {numbering.came(number, 0)[0] for number in sorted(numbers)} == {OK}


def test_what_is_missing_for_a_second_is_lost() -> None:
    """A missing number is waited for a second; should it come after all, it is no news."""
    numbering = Numbering()
    numbering.came(1, 0)
    numbering.came(3, 10)
    assert numbering.waiting
    numbering.came(4, LOST_AFTER_NS + 9)
    assert numbering.take_lost() == 0
    numbering.came(5, LOST_AFTER_NS + 10)
    assert numbering.take_lost() == 1
    assert numbering.came(2, LOST_AFTER_NS + 11)[0] is REPEATED


def test_no_more_than_a_thousand_numbers_are_waited_for() -> None:
    """A server that jumps a billion ahead costs a thousand entries, and all of the gap is lost."""
    numbering = Numbering()
    numbering.came(0, 0)
    numbering.came(1_000_000_001, 0)
    assert numbering.take_lost() == 1_000_000_000 - KEPT
    assert numbering.take_lost(all_missing=True) == KEPT


def test_after_a_reconnect_the_next_number_tells_whether_it_went_on() -> None:
    """On where it was, or with an overlap: it went on; from where it had begun, or below: it is a fresh one."""
    cases = ((13, True, OK, 0), (11, True, REPEATED, 1), (10, False, OK, 3), (1, False, OK, 12))
    for first, went_on, outcome, lost in cases:
        numbering = Numbering()
        for number in (10, 11, 12):
            numbering.came(number, 0)
        numbering.reopened()
        assert numbering.came(first, 0) == (outcome, went_on)
        assert numbering.came(14, 0)[1] is None
        assert numbering.take_lost(all_missing=True) == lost
    unspoken = Numbering()
    unspoken.reopened()
    assert unspoken.came(5, 0) == (OK, None)


@given(st.lists(st.integers(0, 10 * NANOS), max_size=60))
def test_a_peak_is_the_most_in_any_second(instants: list[int]) -> None:
    """No window of one second, wherever it begins, holds more than the peak, and one holds as many."""
    instants.sort()
    most = peak(instants)
    windows = [sum(begin <= at < begin + NANOS for at in instants) for begin in instants]
    assert most == max(windows, default=0)
    assert sum(by_second(instants, 0).values()) == len(instants)
    assert most <= 2 * max(by_second(instants, 0).values(), default=0)


def test_the_factor_of_a_herd() -> None:
    """A hundred in one second of a minute are sixty times the mean; evenly spread ones are about once."""
    assert factor(100, 100, 60.0) == 60.0
    assert factor(2, 120, 60.0) == 1.0
    assert factor(5, 5, 0.2) == 1.0


@given(st.integers(0, 5_000), st.integers(0, 100), st.integers(0, 9))
def test_a_backoff_is_jittered_and_bounded(attempt: int, who: int, seed: int) -> None:
    """Every pause lies between nothing and the ceiling, and the same seed draws the same pauses."""
    policy = Reconnect(first_s=0.1, most_s=5.0)
    pause = pause_s(policy, attempt, seed, who)
    assert 0 < pause < min(5.0, 0.1 * 2.0 ** min(attempt, 60))
    assert pause == pause_s(policy, attempt, seed, who)


def test_policies_without_backoff() -> None:
    """At once is no pause, a constant pause is always the same; only a bound makes a client give up."""
    assert pause_s(Reconnect(), 7, 1, 2) == 0.0
    assert pause_s(Reconnect(first_s=1.5), 7, 1, 2) == 1.5
    assert not gives_up(Reconnect(), 1_000_000)
    assert [gives_up(Reconnect(attempts=3), failed) for failed in (2, 3)] == [False, True]
    spread = {round(pause_s(Reconnect(first_s=1.0, most_s=1.0), 0, 1, who), 1) for who in range(100)}
    assert len(spread) > 8


@pytest.mark.parametrize(
    ("found", "expected", "does"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": {"b": [1, {"c": None}]}}, {"a": {"b": [1, {"c": None}]}}, True),
        ({"a": {"b": [1, {"c": 0}]}}, {"a": {"b": [1, {"c": None}]}}, False),
        ([1, 2, 3], [1, 2], True),
        ([1], [1, 2], False),
        ({"a": True}, {"a": 1}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ("text", "text", True),
        ("text", {"a": 1}, False),
        ({"a": 1}, [1], False),
        ("anything", None, True),
        ({}, {}, True),
    ],
)
def test_what_contains_what(found: object, expected: object, does: bool) -> None:
    """A pattern holds when all it names is there and the same; what it does not name may be anything."""
    assert contains(found, expected) is does


@given(VALUES)
def test_everything_contains_itself(value: object) -> None:
    """Any JSON value contains itself, and is read back from its text."""
    assert contains(value, value)
    assert parsed(json.dumps(value)) == value


def test_what_is_no_json_is_its_text() -> None:
    """A message that is no JSON, or too deep for the reader, is a text."""
    assert parsed("hello") == "hello"
    assert parsed("[" * 100_000) == "[" * 100_000


def test_ids_are_numbers_of_one_length_that_no_other_worker_gives() -> None:
    """Fifteen digits, exact in a double, ascending, and begun differently by each of 256 workers."""
    marks = set()
    for shard in range(256):
        ids = Ids(42, shard)
        first, second = ids.next(), ids.next()
        assert len(first) == DIGITS
        assert first.startswith(ids.mark)
        assert int(second) == int(first) + 1 < 2**53
        marks.add(ids.mark)
    assert len(marks) == 256
    assert not any(STAND_IN.startswith(mark) for mark in marks)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"id": "<id>"}, '{"id":7}'),
        ({"id": "r<id>", "t": "ü"}, '{"id":"r7","t":"ü"}'),
        ({"a": "<id>", "b": ["<id>", "<id>"]}, '{"a":7,"b":[7,7]}'),
        ({"id": "<id>", "who": "<who>"}, '{"id":7,"who":"ann"}'),
        ("ask <id> of <who>", "ask 7 of ann"),
        ("<id>", "7"),
        ("plain <<", "plain <"),
        ({"plain": [1, None, True]}, '{"plain":[1,null,true]}'),
        (5, "5"),
    ],
)
def test_a_message_is_written_as_it_is_meant(message: object, text: str) -> None:
    """Texts go out as they are, anything else as JSON; an id that is a whole value is a number."""
    assert text_of(message)({"who": "ann"}, "7") == text


def test_looking_into_messages() -> None:
    """A number is a whole number; a flag is what JSON holds to be true; what is not there is None."""
    message = {"n": 3, "b": True, "f": 1.5, "off": 0}
    assert [number_at(message, (key,)) for key in ("n", "b", "f", "x")] == [3, None, None, None]
    assert [flag_at(message, (key,)) for key in ("n", "b", "off", "x")] == [True, True, False, None]
    assert number_at("text", ("n",)) is None
