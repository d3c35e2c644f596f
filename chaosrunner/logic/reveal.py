"""References in the load's texts, resolved at the last moment: what is journalled never holds a value."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chaosrunner.logic.parse.substitute import Reference, parts
from chaosrunner.model.secret import Secret

if TYPE_CHECKING:
    from chaosrunner.model.fault import Tools
    from chaosrunner.model.load import LoadProfile


def revealed(profile: LoadProfile, tools: Tools) -> LoadProfile:
    """The same load with every `${…}` of its paths, headers and bodies replaced by its value.

    `auth` stays a Secret; see `reveal_text`.

    Raises:
        InjectorError: names a reference that cannot be resolved, never a value.
    """
    steps = tuple(
        replace(
            step,
            path=reveal_text(step.path, tools),
            headers={name: reveal_text(value, tools) for name, value in step.headers.items()},
            body=_revealed(step.body, tools),
        )
        for step in profile.steps
    )
    return replace(profile, steps=steps)


def reveal_text(template: str, tools: Tools) -> str:
    """A text with its references replaced; a '<' in a value is doubled, because it begins no placeholder.

    Raises:
        InjectorError: names a reference that cannot be resolved, never a value.
    """
    return "".join(_value(part, tools) if isinstance(part, Reference) else part for part in parts(template))


def _value(reference: Reference, tools: Tools) -> str:
    return tools.reveal(Secret(reference.text)).replace("<", "<<")


def _revealed(body: object, tools: Tools) -> object:
    match body:
        case str():
            return reveal_text(body, tools)
        case dict():
            return {key: _revealed(value, tools) for key, value in body.items()}
        case list():
            return [_revealed(value, tools) for value in body]
        case _:
            return body
