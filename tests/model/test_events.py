"""Facts survive the journal, and facts of a later version are kept."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from chaosrunner.model import events as e
from chaosrunner.model.experiment import Phase

SAMPLES: dict[str, object] = {
    "str": "x",
    "int": 7,
    "float": 0.5,
    "bool": True,
    "float | None": None,
    "Phase": Phase.FAULT,
    "Mapping[str, object]": {"a": [1, None]},
}


@pytest.mark.parametrize("kind", e.KINDS.values(), ids=lambda kind: kind.__name__)
def test_every_kind_survives_json(kind: type[e.Event]) -> None:
    """Event → JSON text → event gives an equal event."""
    event = kind(**{field.name: SAMPLES[str(field.type)] for field in fields(kind)})
    raw = json.loads(json.dumps(e.to_json(event)))
    assert raw["kind"] == kind.__name__
    assert e.from_json(raw) == event


def test_every_event_but_slots_and_unknown_has_a_kind() -> None:
    """No event class is forgotten in the table of kinds."""
    assert set(e.Event.__subclasses__()) - set(e.KINDS.values()) == {e.SlotsArrived, e.Unknown}


def test_a_later_kind_is_kept_as_it_is() -> None:
    """A kind this version does not know is kept whole and written back unchanged."""
    raw = {"kind": "Moonrise", "at_ns": 5}
    event = e.from_json(raw)
    assert event == e.Unknown(kind="Moonrise", raw=raw)
    assert e.to_json(event) == raw


def test_a_later_field_is_ignored() -> None:
    """A field this version does not know does not hide the rest."""
    assert e.from_json({"kind": "WatchdogReady", "pid": 7, "colour": "red"}) == e.WatchdogReady(pid=7)


def test_a_missing_field_is_not_guessed() -> None:
    """An event that lacks a field is kept as unknown; a field with a default may be missing."""
    assert e.from_json({"kind": "WatchdogReady"}) == e.Unknown(kind="WatchdogReady", raw={"kind": "WatchdogReady"})
    assert e.from_json({"kind": "ProbeAnswered", "probe": "db", "at_ns": 1, "ok": True, "value": 1.0}) == (
        e.ProbeAnswered(probe="db", at_ns=1, ok=True, value=1.0, says="")
    )
