"""Facts survive the journal, and facts of a later version are kept."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase

JSON = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=3)


def values(kind: object) -> st.SearchStrategy[object]:
    """Any value of a field's type."""
    if isinstance(kind, types.UnionType):
        return st.one_of(*map(values, typing.get_args(kind)))
    plain: dict[object, st.SearchStrategy[object]] = {
        str: st.text(max_size=20),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
        Phase: st.sampled_from(Phase),
        Mapping[str, object]: JSON,
        Mapping[str, str]: st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    }
    return plain[kind]


def events_of(kind: type[e.Event]) -> st.SearchStrategy[e.Event]:
    """Any event of a kind."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{item.name: values(hints[item.name]) for item in fields(kind)})


@given(st.one_of(*map(events_of, e.KINDS.values())))
def test_every_event_survives_json(event: e.Event) -> None:
    """What is read from a line is what was written."""
    raw = json.loads(json.dumps(e.to_json(event)))
    assert raw["kind"] == type(event).__name__
    assert e.from_json(raw) == event


def test_every_kind_has_a_line_but_frames() -> None:
    """Each event class is known by its name, except slots, which have segments of their own."""
    kinds = {kind for kind in vars(e).values() if isinstance(kind, type) and issubclass(kind, e.Event)}
    assert set(e.KINDS.values()) == kinds - {e.Event, e.SlotsArrived, e.Unknown}
    assert [kind.__name__ for kind in e.KINDS.values()] == list(e.KINDS)


def test_a_kind_of_a_later_version_is_kept() -> None:
    """An unknown kind is no error: it is kept as it is, and written back as it was."""
    raw = {"kind": "Teleported", "to": "the moon"}
    kept = e.from_json(raw)
    assert kept == e.Unknown(kind="Teleported", raw=raw)
    assert e.to_json(kept) == raw


def test_a_field_of_a_later_version_is_ignored() -> None:
    """Fields that this version does not know do not hide the event."""
    assert e.from_json({"kind": "Signalled", "signal": "SIGINT", "from": "pid 1"}) == e.Signalled(signal="SIGINT")


def test_an_event_that_lacks_a_field_is_not_guessed_at() -> None:
    """A known kind without a needed field is kept as unknown."""
    raw = {"kind": "Injected", "fault": 0}
    assert e.from_json(raw) == e.Unknown(kind="Injected", raw=raw)


def test_a_phase_that_does_not_exist_is_an_error() -> None:
    """A phase of no version is a damaged line, not a phase."""
    with pytest.raises(ValueError, match="elsewhere"):
        e.from_json({"kind": "PhaseEntered", "phase": "elsewhere", "at_ns": 1})
