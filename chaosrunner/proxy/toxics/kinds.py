"""The kinds of toxics that act on bytes and on connections: their checked attributes, each with its default.

Attribute names and units are Toxiproxy's where it has them: durations in milliseconds (slicer: microseconds), sizes in
bytes, rates in kilobytes (1,000 bytes) a second.
"""

from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from chaosrunner.proxy.refusals import bad_value

Family = Literal["stream", "connect", "http", "postgres"]
"""What a toxic acts on: the bytes of one direction, connections as they are made, requests, or statements."""
Distribution = Literal["uniform", "normal", "pareto"]

# netem's Pareto: shape 3, moved and scaled to mean 0 and standard deviation 1 (iproute2, netem/pareto.c).
_PARETO_SHAPE = 3.0
_PARETO_MEAN = 1.5
_PARETO_DEVIATION = 0.75**0.5


def not_negative(**values: float) -> None:
    """Refuse values below 0.

    Raises:
        RefusedError: 400 that names the first one.
    """
    for key, value in values.items():
        if value < 0:
            raise bad_value(f"{key} must not be negative")


def at_least(least: int, **values: float) -> None:
    """Refuse values below `least`.

    Raises:
        RefusedError: 400 that names the first one.
    """
    for key, value in values.items():
        if value < least:
            raise bad_value(f"{key} must be at least {least}")


@dataclass(frozen=True, slots=True)
class Delay:
    """How late: `latency` ms, varied by `jitter` ms.

    `uniform` varies by up to ± jitter (Toxiproxy's), `normal` has jitter as its standard deviation, and so has
    `pareto`, which has netem's long tail. No delay is below 0.
    """

    latency: float = 0
    jitter: float = 0
    distribution: Distribution = "uniform"

    def __post_init__(self) -> None:
        not_negative(latency=self.latency, jitter=self.jitter)

    def draw_s(self, random: Random) -> float:
        """One delay in seconds, at least 0."""
        if not self.jitter:
            return self.latency / 1000
        match self.distribution:
            case "uniform":
                varied = random.uniform(-1, 1)
            case "normal":
                varied = random.gauss(0, 1)
            case "pareto":
                varied = (random.paretovariate(_PARETO_SHAPE) - _PARETO_MEAN) / _PARETO_DEVIATION
        return max(self.latency + varied * self.jitter, 0.0) / 1000


@dataclass(frozen=True, slots=True)
class Noop:
    """Passes everything on; its counters still show what went through."""

    family: ClassVar[Family] = "stream"


@dataclass(frozen=True, slots=True)
class Latency(Delay):
    """Everything arrives late by a `Delay`, in order."""

    family: ClassVar[Family] = "stream"


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """At most `rate` kilobytes (1,000 bytes) a second pass; at 0 nothing does for now, and nothing is lost."""

    family: ClassVar[Family] = "stream"
    rate: float = 0

    def __post_init__(self) -> None:
        not_negative(rate=self.rate)


@dataclass(frozen=True, slots=True)
class SlowClose:
    """The end of the stream arrives `delay` milliseconds late."""

    family: ClassVar[Family] = "stream"
    delay: float = 0

    def __post_init__(self) -> None:
        not_negative(delay=self.delay)


@dataclass(frozen=True, slots=True)
class Timeout:
    """Data is lost, its end arrives; the connection is closed `timeout` ms after the toxic took hold, at 0 never."""

    family: ClassVar[Family] = "stream"
    timeout: float = 0

    def __post_init__(self) -> None:
        not_negative(timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class ResetPeer:
    """From its first byte on nothing passes, and `timeout` milliseconds later both sides see a TCP reset."""

    family: ClassVar[Family] = "stream"
    timeout: float = 0

    def __post_init__(self) -> None:
        not_negative(timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class Slicer:
    """Data passes in pieces of `average_size` ± `size_variation` bytes (0: as it came), `delay` microseconds apart."""

    family: ClassVar[Family] = "stream"
    average_size: int = 0
    size_variation: int = 0
    delay: float = 0

    def __post_init__(self) -> None:
        not_negative(average_size=self.average_size, size_variation=self.size_variation, delay=self.delay)
        if self.size_variation >= max(self.average_size, 1):
            raise bad_value("size_variation must be smaller than average_size")


@dataclass(frozen=True, slots=True)
class LimitData:
    """The connection is closed after `bytes` bytes have passed since the toxic took hold."""

    family: ClassVar[Family] = "stream"
    bytes: int = 0

    def __post_init__(self) -> None:
        not_negative(bytes=self.bytes)


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Each byte is changed into another one with this `probability`; none is added or lost."""

    family: ClassVar[Family] = "stream"
    probability: float = 0.001

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise bad_value("probability must be between 0 and 1")


@dataclass(frozen=True, slots=True)
class Drop:
    """What is sent this way is lost, its end arrives; the other way works, and the connection stays open."""

    family: ClassVar[Family] = "stream"


@dataclass(frozen=True, slots=True)
class Silence:
    """A peer that vanished: this way nothing passes any more, not even an end, so the connection stays half-open.

    The side that does not hear learns of nothing until the toxic goes; then, if something is missing, it is reset.
    """

    family: ClassVar[Family] = "stream"


@dataclass(frozen=True, slots=True)
class RefuseConnect:
    """A new connection is reset as soon as it is made, open ones live on; to refuse it by not listening, disable."""

    family: ClassVar[Family] = "connect"


@dataclass(frozen=True, slots=True)
class DelayConnect(Delay):
    """A new connection reaches the server late by a `Delay`."""

    family: ClassVar[Family] = "connect"


@dataclass(frozen=True, slots=True)
class LimitConnections:
    """While `connections` are open through the proxy, further ones are reset as soon as they are made."""

    family: ClassVar[Family] = "connect"
    connections: int = 0

    def __post_init__(self) -> None:
        not_negative(connections=self.connections)
