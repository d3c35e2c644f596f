"""What a toxic is: its type, its stream, how many it strikes, its seed, and its checked attributes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol, get_args, get_type_hints

from chaosrunner.proxy import decode
from chaosrunner.proxy.http import kinds as http_kinds
from chaosrunner.proxy.postgres import kinds as postgres_kinds
from chaosrunner.proxy.refusals import RefusedError, bad_value
from chaosrunner.proxy.toxics import kinds
from chaosrunner.proxy.toxics.kinds import Family

Stream = Literal["upstream", "downstream"]


class Attributes(Protocol):
    """A frozen dataclass of numbers and texts with defaults; its constructor raises `RefusedError` for bad ones.

    Attributes:
        family: What the toxic acts on.
    """

    family: Family


TYPES: Mapping[str, type[Any]] = {
    "noop": kinds.Noop,
    "latency": kinds.Latency,
    "bandwidth": kinds.Bandwidth,
    "slow_close": kinds.SlowClose,
    "timeout": kinds.Timeout,
    "reset_peer": kinds.ResetPeer,
    "slicer": kinds.Slicer,
    "limit_data": kinds.LimitData,
    "corrupt": kinds.Corrupt,
    "drop": kinds.Drop,
    "silence": kinds.Silence,
    "refuse_connect": kinds.RefuseConnect,
    "delay_connect": kinds.DelayConnect,
    "limit_connections": kinds.LimitConnections,
    "http_status": http_kinds.HttpStatus,
    "http_latency": http_kinds.HttpLatency,
    "http_truncate": http_kinds.HttpTruncate,
    "http_malformed": http_kinds.HttpMalformed,
    "postgres_delay": postgres_kinds.PostgresDelay,
    "postgres_fail": postgres_kinds.PostgresFail,
}


@dataclass(frozen=True, slots=True)
class Toxic:
    """One toxic as it was asked for; a change makes a new value of the same name.

    Attributes:
        name: Unique within its proxy, over both streams.
        type: A key of `TYPES`.
        stream: `upstream` is from client to server, `downstream` the way back.
        toxicity: The probability, 0 to 1, that a connection (or request, or statement) is struck; drawn once for each.
        attributes: What it does.
        seed: What its draws start from; None: from the proxy's.
    """

    name: str
    type: str
    stream: Stream
    toxicity: float
    attributes: Attributes
    seed: int | None = None

    @property
    def family(self) -> Family:
        """What it acts on."""
        return self.attributes.family

    def amended(self, fields: decode.Fields) -> "Toxic":
        """This toxic with the attributes and toxicity that `fields` names changed.

        Raises:
            RefusedError: 400 with a sentence if a value is of the wrong type or out of range, or the seed another one.
        """
        seed = decode.number(fields, "seed", whole=True)
        if seed is not None and seed != self.seed:  # its draws have begun; one that comes back as it was shown is fine
            raise bad_value("the seed of a toxic cannot be changed; remove the toxic and add it anew")
        toxicity = _toxicity(fields, self.toxicity)
        changes = _given(type(self.attributes), decode.nested(fields, "attributes"))
        attributes: Any = self.attributes
        return dataclasses.replace(self, toxicity=toxicity, attributes=dataclasses.replace(attributes, **changes))

    def values(self, fields: decode.Fields) -> dict[str, Any]:
        """What those attributes, and the toxicity, that `fields` would change are now."""
        named = _given(type(self.attributes), decode.nested(fields, "attributes"))
        now = {name: getattr(self.attributes, name) for name in named}
        return now if fields.get("toxicity") is None else {**now, "toxicity": self.toxicity}

    def restored(self, values: Mapping[str, Any]) -> "Toxic":
        """This toxic with attributes and toxicity put back to earlier `values`.

        Raises:
            RefusedError: 400 if they do not go together with the others.
        """
        attributes: Any = self.attributes
        changes = {name: value for name, value in values.items() if name != "toxicity"}
        return dataclasses.replace(
            self,
            toxicity=values.get("toxicity", self.toxicity),
            attributes=dataclasses.replace(attributes, **changes),
        )

    def as_json(self) -> dict[str, Any]:
        """The toxic as Toxiproxy shows it; what Toxiproxy has no word for only if it was given."""
        attributes: Any = self.attributes
        shown = {
            field.name: getattr(attributes, field.name)
            for field in dataclasses.fields(attributes)
            if field.name != "distribution" or getattr(attributes, field.name) != field.default
        }
        seed = {} if self.seed is None else {"seed": self.seed}
        return {
            "attributes": shown,
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": self.toxicity,
            **seed,
        }


def parse_toxic(fields: decode.Fields) -> Toxic:
    """The toxic that a request body asks for, with Toxiproxy's defaults.

    Raises:
        RefusedError: 400 with a sentence for an unknown type or stream, or a bad name, toxicity, seed or attribute.
    """
    kind = decode.text(fields, "type")
    if kind not in TYPES:
        raise RefusedError(400, "invalid toxic type")
    stream, spelled = _stream(fields), decode.text(fields, "stream", "downstream")
    attributes = TYPES[kind]
    if stream not in getattr(attributes, "streams", get_args(Stream)):
        raise bad_value(f"the stream of {kind} can only be {', '.join(attributes.streams)}")
    seed = decode.number(fields, "seed", whole=True)
    return Toxic(
        name=decode.name(fields, default=f"{kind}_{spelled}"),
        type=kind,
        stream=stream,
        toxicity=_toxicity(fields, 1),
        attributes=attributes(**_given(attributes, decode.nested(fields, "attributes"))),
        seed=None if seed is None else int(seed),
    )


def _stream(fields: decode.Fields) -> Stream:
    match decode.text(fields, "stream", "downstream").lower():
        case "upstream":
            return "upstream"
        case "downstream":
            return "downstream"
        case _:
            raise RefusedError(400, "stream was invalid, can be either upstream or downstream")


def _toxicity(fields: decode.Fields, default: float) -> float:
    toxicity = decode.number(fields, "toxicity")
    if toxicity is None:
        return default
    if not 0 <= toxicity <= 1:
        raise bad_value("toxicity must be between 0 and 1")
    return toxicity


def _given(kind: type[Attributes], fields: decode.Fields) -> dict[str, Any]:
    found = {key: _value(fields, key, hint) for key, hint in _hints(kind).items()}
    return {key: value for key, value in found.items() if value is not None}


def _value(fields: decode.Fields, key: str, hint: Any) -> Any:
    if fields.get(key) is None:
        return None
    if hint in (int, float):
        return decode.number(fields, key, whole=hint is int)
    text = decode.text(fields, key)
    choices = get_args(hint)
    if choices and text not in choices:
        raise bad_value(f"{key} must be one of {', '.join(choices)}")
    return text


@cache
def _hints(kind: type[Attributes]) -> Mapping[str, Any]:
    """Attribute → float, int, str, or the Literal of its choices; lower-case, as fields are read."""
    hints, found = get_type_hints(kind), dataclasses.fields(kind)  # type: ignore[arg-type]
    return {field.name: hints[field.name] for field in found}
