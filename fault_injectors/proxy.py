"""The faults of a fault proxy, each with its parameters; they act on every open connection at once.

`direction` is seen from the target: `downstream` is what it answers, `upstream` what it is asked. `share` is the part
of connections that is struck, drawn once a connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from chaosrunner.model.units import Bytes, BytesPerSecond, Seconds, Share, human_duration
from fault_injectors.proxy_control import Json
from fault_injectors.proxy_fault import Down, Toxic


@dataclass(frozen=True, slots=True, kw_only=True)
class Everywhere:
    """What every toxic may be told."""

    share: Share = field(default=Share(1.0), metadata={"help": "Part of the connections that is struck."})
    direction: Literal["downstream", "upstream"] = field(
        default="downstream", metadata={"help": "downstream: what the target answers; upstream: what it is asked."}
    )

    def __post_init__(self) -> None:
        """A share of nothing is no fault."""
        if not 0 < self.share <= 1:
            raise ValueError("'share' is more than 0% and at most 100%")


class ProxyLatency(Toxic):
    """Answers come late."""

    name: ClassVar[str] = "proxy.latency"
    about: ClassVar[str] = "Delays all data by a time, in order, through the fault proxy; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Everywhere):
        """How late."""

        add: Seconds = field(metadata={"help": "Time added."})
        jitter: Seconds = field(default=Seconds(0), metadata={"help": "Each piece varies by up to this, either way."})

    def change(self, params: object) -> Json:
        """A latency toxic."""
        assert isinstance(params, ProxyLatency.Params)
        spread = f" ± {human_duration(params.jitter)}" if params.jitter else ""
        attributes = {"latency": _ms(params.add), "jitter": _ms(params.jitter)}
        return _toxic(params, "latency", attributes, f"+{human_duration(params.add)}{spread}")


class ProxyJitter(Toxic):
    """Answers come unevenly."""

    name: ClassVar[str] = "proxy.jitter"
    about: ClassVar[str] = "Delays data unevenly, in order, through the fault proxy; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Everywhere):
        """How unevenly."""

        spread: Seconds = field(metadata={"help": "Each piece is late by around ± this; never early."})
        around: Seconds = field(default=Seconds(0), metadata={"help": "The middle of the delays."})

    def change(self, params: object) -> Json:
        """A latency toxic with jitter."""
        assert isinstance(params, ProxyJitter.Params)
        attributes = {"latency": _ms(params.around), "jitter": _ms(params.spread)}
        says = f"+{human_duration(params.around)} ± {human_duration(params.spread)}"
        return _toxic(params, "latency", attributes, says)


class ProxyBandwidth(Toxic):
    """A thin line."""

    name: ClassVar[str] = "proxy.bandwidth"
    about: ClassVar[str] = "Limits the data rate of each connection; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Everywhere):
        """How thin."""

        rate: BytesPerSecond = field(metadata={"help": "Bytes a second that pass, for each connection."})

        def __post_init__(self) -> None:
            """Nothing at all is another fault."""
            Everywhere.__post_init__(self)
            if self.rate <= 0:
                raise ValueError("'rate' is more than 0B/s; for nothing at all use proxy.timeout")

    def change(self, params: object) -> Json:
        """A bandwidth toxic; its rate is in thousands of bytes a second."""
        assert isinstance(params, ProxyBandwidth.Params)
        return _toxic(params, "bandwidth", {"rate": _whole(params.rate / 1000)}, f"{params.rate / 1000:g} KB/s")


class ProxyReset(Toxic):
    """Connections break."""

    name: ClassVar[str] = "proxy.reset"
    about: ClassVar[str] = "Resets each connection (RST) a time after its next byte; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Everywhere):
        """When."""

        after: Seconds = field(default=Seconds(0), metadata={"help": "Time from the next byte to the reset."})

    def change(self, params: object) -> Json:
        """A reset_peer toxic."""
        assert isinstance(params, ProxyReset.Params)
        says = f"reset {human_duration(params.after)} after the next byte"
        return _toxic(params, "reset_peer", {"timeout": _ms(params.after)}, says)


class ProxyTimeout(Toxic):
    """A black hole."""

    name: ClassVar[str] = "proxy.timeout"
    about: ClassVar[str] = "Swallows all data and closes each connection after a time; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Everywhere):
        """When."""

        after: Seconds = field(metadata={"help": "Time until a connection is closed; 0s = never, it just hangs."})

    def change(self, params: object) -> Json:
        """A timeout toxic."""
        assert isinstance(params, ProxyTimeout.Params)
        end = f"closed after {human_duration(params.after)}" if params.after else "never closed"
        return _toxic(params, "timeout", {"timeout": _ms(params.after)}, f"all data swallowed, {end}")


class ProxySlice(Toxic):
    """Data in crumbs."""

    name: ClassVar[str] = "proxy.slice"
    about: ClassVar[str] = "Cuts data into small pieces with pauses between them; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Everywhere):
        """How small, how slow."""

        size: Bytes = field(metadata={"help": "Size of a piece."})
        pause: Seconds = field(metadata={"help": "Pause between pieces."})

        def __post_init__(self) -> None:
            """A piece holds something."""
            Everywhere.__post_init__(self)
            if self.size < 1:
                raise ValueError("'size' is at least 1B")

    def change(self, params: object) -> Json:
        """A slicer toxic; its delay is in microseconds."""
        assert isinstance(params, ProxySlice.Params)
        attributes = {"average_size": int(params.size), "size_variation": 0, "delay": _whole(params.pause * 1e6)}
        return _toxic(params, "slicer", attributes, f"pieces of {params.size} B, {human_duration(params.pause)} apart")


class ProxyLimit(Toxic):
    """Data that ends too soon."""

    name: ClassVar[str] = "proxy.limit"
    about: ClassVar[str] = "Closes each connection after so many bytes; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Everywhere):
        """How many."""

        after: Bytes = field(metadata={"help": "Bytes that pass before a connection is closed."})

    def change(self, params: object) -> Json:
        """A limit_data toxic."""
        assert isinstance(params, ProxyLimit.Params)
        return _toxic(params, "limit_data", {"bytes": int(params.after)}, f"closed after {params.after} B")


class ProxyDown(Down):
    """Nobody at home."""

    name: ClassVar[str] = "proxy.down"
    about: ClassVar[str] = "Cuts all connections and refuses new ones; undone by opening the proxy as it was before."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Nothing to say: down is down."""

    def change(self, params: object) -> Json:
        """Not a toxic: the proxy is disabled."""
        return {"enabled": False, "says": "all connections cut and new ones refused"}


def _toxic(params: Everywhere, kind: str, attributes: Json, says: str) -> Json:
    part = "" if params.share >= 1 else f" on {params.share * 100:g}% of connections"
    return {
        "type": kind,
        "stream": params.direction,
        "toxicity": params.share,
        "attributes": attributes,
        "says": f"{says}{part} {params.direction}",
    }


def _ms(seconds: float) -> int | float:
    return _whole(seconds * 1000)


def _whole(number: float) -> int | float:
    """The same number, as an integer where it is one: a plain Toxiproxy takes no others."""
    rounded = round(number, 6)
    return int(rounded) if rounded == int(rounded) else rounded
