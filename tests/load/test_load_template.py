"""Placeholders, orders and JSON paths."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosrunner.load.orders import Orders, cut, from_line, share, to_line
from chaosrunner.load.template import Template, compiled, json_path, look_up, names_in
from chaosrunner.model.http_step import Request
from chaosrunner.model.journey import Think
from chaosrunner.model.load import Closed, Stage, Wave, single

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("<a>", "1"),
        ("x<a>y<b>z", "x1ytwoz"),
        ("<<a>", "<a>"),
        ("<<<a>", "<1"),
        ("<<<<", "<<"),
        ("1 < 2 <3> <", "1 < 2 <3> <"),
        ("<yes><no><nothing><list>", 'truefalsenull[1, "ü"]'),
    ],
)
def test_texts_are_filled(text: str, filled: str) -> None:
    """Placeholders are replaced, `<<` is `<`, and any other `<` is itself."""
    variables = {"a": 1, "b": "two", "yes": True, "no": False, "nothing": None, "list": [1, "ü"]}
    assert Template.of(text).fill(variables) == filled


@settings(deadline=None)
@given(JSON)
def test_a_value_survives_as_a_whole(value: object) -> None:
    """A placeholder that is a whole string gives back the value itself, however it is typed."""
    assert compiled({"v": "<v>", "l": ["<v>", 3, None]})({"v": value}) == {"v": value, "l": [value, 3, None]}


@settings(deadline=None)
@given(JSON)
def test_a_body_with_doubled_brackets_is_itself(body: object) -> None:
    """A JSON value whose every `<` is doubled has no placeholder and stays what it is."""

    def doubled(value: object) -> object:
        match value:
            case str():
                return value.replace("<", "<<")
            case dict():
                return {key.replace("<", "<<"): doubled(inner) for key, inner in value.items()}
            case list():
                return [doubled(inner) for inner in value]
        return value

    assert names_in(doubled(body)) == frozenset()
    assert compiled(doubled(body))({}) == body


def test_keys_are_filled_too() -> None:
    """A placeholder in a key is filled as text."""
    assert compiled({"<k>-1": "<<"})({"k": "a"}) == {"a-1": "<"}
    assert names_in({"<k>": ["<v>", {"x": "<w>"}]}) == {"k", "v", "w"}


def test_an_unknown_name_is_an_error() -> None:
    """Nothing is ever filled with nothing."""
    with pytest.raises(KeyError):
        Template.of("<a>").fill({})
    with pytest.raises(KeyError):
        compiled("<a>")({})


@pytest.mark.parametrize(
    ("path", "steps", "found"),
    [
        ("$", (), {"a": {"b": [10, 20]}, "c d": None}),
        ("$.a.b[1]", ("a", "b", 1), 20),
        ("$.c d", ("c d",), None),
    ],
)
def test_json_paths(path: str, steps: tuple[str | int, ...], found: object) -> None:
    """Paths go through objects by key and through arrays by index; null is a value."""
    assert json_path(path) == steps
    assert look_up({"a": {"b": [10, 20]}, "c d": None}, steps) == found


@pytest.mark.parametrize("path", ["$.x", "$.a.b[2]", "$.a[0]", "$[0]", "$.a.b.c"])
def test_nothing_is_found_where_nothing_is(path: str) -> None:
    """A missing key, an index too far, or a step of the wrong kind finds nothing."""
    with pytest.raises(LookupError):
        look_up({"a": {"b": [10, 20]}}, json_path(path))


@pytest.mark.parametrize("path", ["", "a", "$a", "$.", "$[x]", "$.a]"])
def test_what_is_no_path(path: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="JSON path"):
        json_path(path)


ORDERS = Orders(
    profile=single(
        steps=(
            Request(name="a", method="POST", path="/", body={"x": [1, None]}, headers={"X": "1"}, expect=(200, 201)),
            Request(name="b", method="GET", path="/b", keep={"id": "$.id"}, think=Think(0.5)),
        ),
        stages=(Stage(start=0, end=5, lasts_s=2), Stage(start=5, end=5, lasts_s=None)),
        data=({"u": "ü"},),
        connections=10,
        max_in_flight=7,
    ),
    entry="http://x",
    auths=("bearer <t>",),
    places={"db": "postgres://x"},
    run="7f3a",
    shard=1,
    of=3,
    seed=7,
    longest_s=9,
)


def test_orders_survive_the_wire() -> None:
    """Orders are the same after a trip through their line."""
    line = to_line(ORDERS)
    assert line.count(b"\n") == 1
    assert json.loads(line)["auths"] == ["bearer <t>"]
    assert from_line(line) == ORDERS


def test_every_load_model_survives_the_wire() -> None:
    """Waves, chance, users and every kind of pause are the same after a trip through a line."""
    pauses = (Think(), Think(0.5), Think(1.0, to_s=3.0), Think(2.0, sigma=0.5))
    steps = tuple(Request(name=str(n), method="GET", path="/", think=think) for n, think in enumerate(pauses))
    stages = (Wave(low=1, high=2, period_s=3, lasts_s=6), Stage(start=1.5, end=1.5, lasts_s=None))
    waves = replace(ORDERS, profile=single(steps=steps, stages=stages, at_random=True))
    users = replace(ORDERS, profile=single(steps=steps, stages=stages[1:], closed=Closed(every_s=9, iterations=2)))
    for orders in (waves, users):
        assert from_line(to_line(orders)) == orders


@settings(deadline=None)
@given(st.integers(1, 10_000), st.integers(1, 16))
def test_shares_add_up(total: int, of: int) -> None:
    """The shares of all workers are the whole, and differ by at most one."""
    shares = [share(total, shard, of) for shard in range(of)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def test_orders_are_cut_to_a_share() -> None:
    """A worker gets its share of connections and of journeys in flight."""
    mine = cut(ORDERS).profile
    assert (mine.connections, mine.streams[0].max_in_flight) == (3, 2)
