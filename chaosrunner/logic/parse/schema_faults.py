"""JSON Schema of the faults: every installed injector with its parameters, and what stands beside and around them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping

from chaosrunner.logic.parse import scalars
from chaosrunner.logic.parse.faults import ACCEPT, COMPOSITES
from chaosrunner.logic.parse.params import accepted
from chaosrunner.logic.parse.ramp import MOST_STEPS
from chaosrunner.logic.parse.scalars import DURATION, PERCENT, SIZE
from chaosrunner.logic.parse.schema_words import Schema, number, pattern, ref, several, table
from chaosrunner.logic.parse.target import COMPONENT
from chaosrunner.model import units
from chaosrunner.model.fault import Injector
from chaosrunner.model.secret import Secret

TARGET = rf"(?:[0-9]+ of [0-9]+ |{PERCENT} of |all (?:of )?)?{COMPONENT}"
LIST: Schema = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/fault"}}


def fault(injectors: Iterable[Injector]) -> Schema:
    """The schema of an entry of `faults`.

    Args:
        injectors: the faults it knows, with their parameters.
    """
    known = {injector.name: _injector(injector) for injector in injectors}
    choice = {
        "choose": number("How many of them, chosen by the run's seed.", least=1),
        "of": {**LIST, "description": "The faults to choose from."},
        "within": ref("duration", "Where in time, one after the other, the seed chooses as well."),
    }
    accept: Schema = {"enum": list(ACCEPT)}
    properties: Schema = {
        **known,
        "in turn": {**LIST, "description": "One after the other: each begins when the one before has ended."},
        "together": {**LIST, "description": "At once, or at their own `at`: they overlap."},
        "random": table(choice, "Some of several, at random within a window.", *choice),
        "for": ref("duration", "How long; 30s unless said."),
        "at": ref("duration", "How long after the first fault may begin; at once unless said."),
        "steps": number("Equal steps of a dose that goes `50ms to 300ms`.", least=2, most=MOST_STEPS),
        "pause": ref("duration", "Between those in turn; none unless said."),
        "every": ref("duration", "Again and again, so long after the one before began."),
        "times": number("How often.", least=2),
        "within": ref("duration", "As often as it fits into this."),
        "accept": {**several(accept), "description": "`all`: nothing is left of the target; `unguarded`."},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "oneOf": [{"required": [name]} for name in (*known, *COMPOSITES)],
        "dependentRequired": {"times": ["every"], "within": ["every"], "pause": ["in turn"]},
    }


def doses() -> Schema:
    """The values that can rise and fall, by name, as the parameters refer to them."""
    about = "; or from one to another, `X to Y`, in as many `steps` as stand beside the fault."
    words = {
        "dose_duration": (DURATION, "A number and us, ms, s, m, min or h"),
        "dose_share": (PERCENT, "A number and %"),
        "dose_size": (SIZE, "A number and B, KB, MB, GB (1000s) or KiB, MiB, GiB (1024s)"),
        "dose_rate": (rf"{SIZE} ?/s", "A size a second, such as 64KB/s"),
    }
    return {name: pattern(rf"(?:{one})(?: to (?:{one}))*", what + about) for name, (one, what) in words.items()}


def _injector(injector: Injector) -> Schema:
    hints = typing.get_type_hints(injector.Params)
    fields = dataclasses.fields(injector.Params)
    properties = {field.name: _param(hints[field.name], field) for field in fields}
    required = [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]
    if injector.needs:
        about = "A component of the system: `1 of 3 api`, `30% of api`, `all api`, `database`."
        properties = {"target": pattern(TARGET, about), **properties}
        required = ["target", *required]
    return {
        "type": "object" if required else ["object", "null"],
        "description": injector.about,
        "additionalProperties": False,
        "properties": properties,
        "required": required,
    }


def _param(hint: object, field: dataclasses.Field[object]) -> Schema:
    kind = accepted(hint)
    about = str(field.metadata.get("help", ""))
    if field.default is not dataclasses.MISSING and field.default not in (None, ""):
        about = f"{about} {_written(kind, field.default)} unless said.".strip()
    if typing.get_origin(kind) is typing.Literal:
        return {"enum": list(typing.get_args(kind)), "description": about}
    if kind in REFERENCES:
        return ref(REFERENCES[kind], about)
    return {"type": JSON_TYPES.get(kind, ["string", "number"]), "description": about}


REFERENCES: Mapping[object, str] = {
    units.Seconds: "dose_duration",
    units.Share: "dose_share",
    units.BytesPerSecond: "dose_rate",
    units.Bytes: "dose_size",
}
JSON_TYPES: Mapping[object, str | list[str]] = {
    int: ["integer", "string"],
    float: ["number", "string"],
    bool: ["boolean", "string"],
    Secret: "string",
}
"""A text is allowed everywhere, because it may hold `${NAME}`."""


def _written(kind: object, value: object) -> str:
    """A default as a file would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float):
        return str(value)
    number = scalars.number_text(float(value))
    match kind:
        case units.Seconds:
            return scalars.duration_text(float(value))
        case units.Share:
            return scalars.percent_text(float(value))
        case units.Bytes:
            return f"{number}B"
        case units.BytesPerSecond:
            return f"{number}B/s"
        case _:
            return number
