"""References in the load's texts, resolved at the last moment: what is journalled never holds a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from chaosrunner.logic.parse.substitute import Reference, parts
from chaosrunner.model.postgres_step import Query, Statement
from chaosrunner.model.secret import Secret

if TYPE_CHECKING:
    from chaosrunner.model.fault import Tools
    from chaosrunner.model.load import LoadProfile, Scenario, Step

PLAIN = ("name", "kind", "keep")
"""Texts of a step that hold no references."""


def revealed(profile: LoadProfile, tools: Tools) -> LoadProfile:
    """The same load with every `${…}` in its steps' texts replaced by its value.

    `auth` stays a Secret; see `revealed_auth`.

    Raises:
        InjectorError: names a reference that cannot be resolved, never a value.
    """
    streams = tuple(
        replace(stream, scenarios=tuple(_scenario(scenario, tools) for scenario in stream.scenarios))
        for stream in profile.streams
    )
    tls = profile.tls
    if tls is not None and tls.password:
        tls = replace(tls, password=tools.reveal(Secret(tls.password)))
    return replace(profile, streams=streams, tls=tls)


def revealed_auth(scenario: Scenario, tools: Tools) -> str | None:
    """The scenario's Authorization with its references replaced. Raises InjectorError like `revealed`."""
    return None if scenario.auth is None else reveal_text(scenario.auth.template, tools)


def reveal_text(template: str, tools: Tools) -> str:
    """A text with its references replaced; a '<' in a value is doubled, because it begins no placeholder.

    Raises:
        InjectorError: names a reference that cannot be resolved, never a value.
    """
    return "".join(_value(part, tools) if isinstance(part, Reference) else part for part in parts(template))


def _value(reference: Reference, tools: Tools) -> str:
    return tools.reveal(Secret(reference.text)).replace("<", "<<")


def _scenario(scenario: Scenario, tools: Tools) -> Scenario:
    return replace(scenario, steps=tuple(_step(step, tools) for step in scenario.steps))


def _step(step: Step, tools: Tools) -> Step:
    """Every text of a step, except what it is called."""
    texts = {it.name: _revealed(getattr(step, it.name), tools) for it in fields(step) if it.name not in PLAIN}
    return replace(step, **texts)


def _revealed(value: object, tools: Tools) -> Any:
    match value:
        case str():
            return reveal_text(value, tools)
        case Mapping():
            return {key: _revealed(inner, tools) for key, inner in value.items()}
        case list():
            return [_revealed(inner, tools) for inner in value]
        case Statement():
            return replace(value, args=_revealed(value.args, tools))
        case Query():
            return _step(value, tools)
        case tuple():
            return tuple(_revealed(inner, tools) for inner in value)
        case _:
            return value
