"""What a toxic is: its type, its stream, how many connections it strikes, and its checked attributes.

Attribute names and units are Toxiproxy's: durations in milliseconds (slicer: microseconds), sizes in bytes, rates in
kilobytes (1,000 bytes) a second.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chaosrunner.proxy import decode
from chaosrunner.proxy.refusals import RefusedError, bad_value

Stream = Literal["upstream", "downstream"]


@dataclass(frozen=True, slots=True)
class Noop:
    """Passes everything on; its counters still show what went through."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Everything arrives `latency` ± `jitter` (uniform) milliseconds late, in order."""

    latency: float = 0
    jitter: float = 0

    def __post_init__(self) -> None:
        _not_negative("latency", self.latency)
        _not_negative("jitter", self.jitter)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """At most `rate` kilobytes (1,000 bytes) a second pass."""

    rate: float = 0

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise bad_value("rate must be greater than 0 KB/s")


@dataclass(frozen=True, slots=True)
class SlowClose:
    """The end of the stream arrives `delay` milliseconds late."""

    delay: float = 0

    def __post_init__(self) -> None:
        _not_negative("delay", self.delay)


@dataclass(frozen=True, slots=True)
class Timeout:
    """Nothing passes; the connection is closed `timeout` milliseconds after the toxic took hold, at 0 never."""

    timeout: float = 0

    def __post_init__(self) -> None:
        _not_negative("timeout", self.timeout)


@dataclass(frozen=True, slots=True)
class ResetPeer:
    """From its first byte on nothing passes, and `timeout` milliseconds later both sides see a TCP reset."""

    timeout: float = 0

    def __post_init__(self) -> None:
        _not_negative("timeout", self.timeout)


@dataclass(frozen=True, slots=True)
class Slicer:
    """Data passes in pieces of `average_size` ± `size_variation` bytes, `delay` microseconds apart."""

    average_size: int = 0
    size_variation: int = 0
    delay: float = 0

    def __post_init__(self) -> None:
        if self.average_size <= 0:
            raise bad_value("average_size must be greater than 0 bytes")
        _not_negative("size_variation", self.size_variation)
        if self.size_variation >= self.average_size:
            raise bad_value("size_variation must be smaller than average_size")
        _not_negative("delay", self.delay)


@dataclass(frozen=True, slots=True)
class LimitData:
    """The connection is closed after `bytes` bytes have passed since the toxic took hold."""

    bytes: int = 0

    def __post_init__(self) -> None:
        _not_negative("bytes", self.bytes)


Attributes = Noop | Latency | Bandwidth | SlowClose | Timeout | ResetPeer | Slicer | LimitData

TYPES: Mapping[str, type[Attributes]] = {
    "noop": Noop,
    "latency": Latency,
    "bandwidth": Bandwidth,
    "slow_close": SlowClose,
    "timeout": Timeout,
    "reset_peer": ResetPeer,
    "slicer": Slicer,
    "limit_data": LimitData,
}


@dataclass(frozen=True, slots=True)
class Toxic:
    """One toxic as it was asked for; a change makes a new value of the same name.

    Attributes:
        name: Unique within its proxy, over both streams.
        type: A key of `TYPES`.
        stream: `upstream` is from client to server, `downstream` the way back.
        toxicity: The probability, 0 to 1, that a connection is struck; each connection is drawn once.
        attributes: What it does.
    """

    name: str
    type: str
    stream: Stream
    toxicity: float = 1
    attributes: Attributes = field(default_factory=Noop)

    def amended(self, fields: decode.Fields) -> "Toxic":
        """This toxic with the attributes and toxicity that `fields` names changed.

        Raises:
            RefusedError: 400 with a sentence if a value is of the wrong type or out of range.
        """
        toxicity = _toxicity(fields, self.toxicity)
        changes = _numbers(type(self.attributes), decode.nested(fields, "attributes"))
        attributes = dataclasses.replace(self.attributes, **changes)
        return dataclasses.replace(self, toxicity=toxicity, attributes=attributes)

    def as_json(self) -> dict[str, Any]:
        """The toxic as Toxiproxy shows it."""
        return dataclasses.asdict(self)


def parse_toxic(fields: decode.Fields) -> Toxic:
    """The toxic that a request body asks for, with Toxiproxy's defaults.

    Raises:
        RefusedError: 400 with a sentence for an unknown type or stream, or a bad name, toxicity or attribute.
    """
    kind = decode.text(fields, "type")
    if kind not in TYPES:
        raise RefusedError(400, "invalid toxic type")
    stream = _stream(fields)
    attributes = TYPES[kind]
    return Toxic(
        name=decode.name(fields, default=f"{kind}_{stream}"),
        type=kind,
        stream=stream,
        toxicity=_toxicity(fields, 1),
        attributes=attributes(**_numbers(attributes, decode.nested(fields, "attributes"))),
    )


def _stream(fields: decode.Fields) -> Stream:
    match (decode.text(fields, "stream") or "downstream").lower():
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


def _numbers(kind: type[Attributes], fields: decode.Fields) -> dict[str, Any]:
    wanted = ((item.name, item.type is int) for item in dataclasses.fields(kind))
    found = ((key, decode.number(fields, key, whole=whole)) for key, whole in wanted)
    return {key: value for key, value in found if value is not None}


def _not_negative(key: str, value: float) -> None:
    if value < 0:
        raise bad_value(f"{key} must not be negative")
