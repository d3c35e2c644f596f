"""The faults of a fault proxy, each with its parameters; they act on every open connection at once.

`direction` is seen from the target: `downstream` is what it answers, `upstream` what it is asked. `share` is the part
of connections that is struck, drawn once a connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from chaosrunner.model.units import Bytes, BytesPerSecond, Seconds, Share, human_duration
from fault_injectors.proxy_control import Json
from fault_injectors.proxy_fault import Down, Toxic
from fault_injectors.proxy_params import OneWay, Some, milliseconds, toxic, whole


class ProxyLatency(Toxic):
    """Answers come late."""

    name: ClassVar[str] = "proxy.latency"
    about: ClassVar[str] = "Delays all data by a time, in order, through the fault proxy; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """How late."""

        add: Seconds = field(metadata={"help": "Time added."})
        jitter: Seconds = field(default=Seconds(0), metadata={"help": "Each piece varies by up to this, either way."})

    def change(self, params: object) -> Json:
        """A latency toxic."""
        assert isinstance(params, ProxyLatency.Params)
        spread = f" ± {human_duration(params.jitter)}" if params.jitter else ""
        attributes = {"latency": milliseconds(params.add), "jitter": milliseconds(params.jitter)}
        return toxic(params, "latency", attributes, f"+{human_duration(params.add)}{spread}")


class ProxyJitter(Toxic):
    """Answers come unevenly."""

    name: ClassVar[str] = "proxy.jitter"
    about: ClassVar[str] = "Delays data unevenly, in order, through the fault proxy; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """How unevenly."""

        spread: Seconds = field(metadata={"help": "Each piece is late by around ± this; never early."})
        around: Seconds = field(default=Seconds(0), metadata={"help": "The middle of the delays."})

    def change(self, params: object) -> Json:
        """A latency toxic with jitter."""
        assert isinstance(params, ProxyJitter.Params)
        attributes = {"latency": milliseconds(params.around), "jitter": milliseconds(params.spread)}
        says = f"+{human_duration(params.around)} ± {human_duration(params.spread)}"
        return toxic(params, "latency", attributes, says)


class ProxyBandwidth(Toxic):
    """A thin line."""

    name: ClassVar[str] = "proxy.bandwidth"
    about: ClassVar[str] = "Limits the data rate of each connection; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """How thin."""

        rate: BytesPerSecond = field(metadata={"help": "Bytes a second that pass, for each connection."})

        def __post_init__(self) -> None:
            """Nothing at all is another fault."""
            Some.__post_init__(self)
            if self.rate <= 0:
                raise ValueError("'rate' is more than 0B/s; for nothing at all use proxy.timeout")

    def change(self, params: object) -> Json:
        """A bandwidth toxic; its rate is in thousands of bytes a second."""
        assert isinstance(params, ProxyBandwidth.Params)
        return toxic(params, "bandwidth", {"rate": whole(params.rate / 1000)}, f"{params.rate / 1000:g} KB/s")


class ProxyReset(Toxic):
    """Connections break."""

    name: ClassVar[str] = "proxy.reset"
    about: ClassVar[str] = "Resets each connection (RST) a time after its next byte; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """When."""

        after: Seconds = field(default=Seconds(0), metadata={"help": "Time from the next byte to the reset."})

    def change(self, params: object) -> Json:
        """A reset_peer toxic."""
        assert isinstance(params, ProxyReset.Params)
        says = f"reset {human_duration(params.after)} after the next byte"
        return toxic(params, "reset_peer", {"timeout": milliseconds(params.after)}, says)


class ProxyTimeout(Toxic):
    """A black hole."""

    name: ClassVar[str] = "proxy.timeout"
    about: ClassVar[str] = "Swallows all data and closes each connection after a time; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """When."""

        after: Seconds = field(metadata={"help": "Time until a connection is closed; 0s = never, it just hangs."})

    def change(self, params: object) -> Json:
        """A timeout toxic."""
        assert isinstance(params, ProxyTimeout.Params)
        end = f"closed after {human_duration(params.after)}" if params.after else "never closed"
        return toxic(params, "timeout", {"timeout": milliseconds(params.after)}, f"all data swallowed, {end}")


class ProxySlice(Toxic):
    """Data in crumbs."""

    name: ClassVar[str] = "proxy.slice"
    about: ClassVar[str] = "Cuts data into small pieces with pauses between them; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """How small, how slow."""

        size: Bytes = field(metadata={"help": "Size of a piece."})
        pause: Seconds = field(metadata={"help": "Pause between pieces."})

        def __post_init__(self) -> None:
            """A piece holds something."""
            Some.__post_init__(self)
            if self.size < 1:
                raise ValueError("'size' is at least 1B")

    def change(self, params: object) -> Json:
        """A slicer toxic; its delay is in microseconds."""
        assert isinstance(params, ProxySlice.Params)
        attributes = {"average_size": int(params.size), "size_variation": 0, "delay": whole(params.pause * 1e6)}
        return toxic(params, "slicer", attributes, f"pieces of {params.size} B, {human_duration(params.pause)} apart")


class ProxyLimit(Toxic):
    """Data that ends too soon."""

    name: ClassVar[str] = "proxy.limit"
    about: ClassVar[str] = "Closes each connection after so many bytes; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """How many."""

        after: Bytes = field(metadata={"help": "Bytes that pass before a connection is closed."})

    def change(self, params: object) -> Json:
        """A limit_data toxic."""
        assert isinstance(params, ProxyLimit.Params)
        return toxic(params, "limit_data", {"bytes": int(params.after)}, f"closed after {params.after} B")


class ProxyCorrupt(Toxic):
    """Data that arrives wrong."""

    name: ClassVar[str] = "proxy.corrupt"
    about: ClassVar[str] = "Changes single bytes on their way, none is added or lost; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """How often."""

        bytes: Share = field(default=Share(0.001), metadata={"help": "Part of the bytes that is changed."})

        def __post_init__(self) -> None:
            """Some byte may be struck."""
            Some.__post_init__(self)
            if not 0 < self.bytes <= 1:
                raise ValueError("'bytes' is more than 0% and at most 100%")

    def change(self, params: object) -> Json:
        """A corrupt toxic; ours only."""
        assert isinstance(params, ProxyCorrupt.Params)
        return toxic(params, "corrupt", {"probability": params.bytes}, f"{params.bytes * 100:g}% of bytes changed")


class ProxyDrop(Toxic):
    """One way is lost."""

    name: ClassVar[str] = "proxy.drop"
    about: ClassVar[str] = "Loses all data of one direction, the other works; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """Which way: `direction`."""

    def change(self, params: object) -> Json:
        """A drop toxic; ours only."""
        assert isinstance(params, ProxyDrop.Params)
        return toxic(params, "drop", {}, "all data lost")


class ProxySilence(Toxic):
    """A peer that vanished."""

    name: ClassVar[str] = "proxy.silence"
    about: ClassVar[str] = "Half-open connections: nothing arrives, not even their end; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(OneWay):
        """Which side hears nothing: `direction`."""

    def change(self, params: object) -> Json:
        """A silence toxic; ours only."""
        assert isinstance(params, ProxySilence.Params)
        return toxic(params, "silence", {}, "nothing arrives, not even an end,")


class ProxyRefuse(Toxic):
    """No new connections."""

    name: ClassVar[str] = "proxy.refuse"
    about: ClassVar[str] = "Resets new connections as they are made, open ones live on; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Some):
        """Which part: `share`."""

    def change(self, params: object) -> Json:
        """A refuse_connect toxic; ours only."""
        assert isinstance(params, ProxyRefuse.Params)
        return toxic(params, "refuse_connect", {}, "new connections reset")


class ProxyConnectDelay(Toxic):
    """Connecting takes long."""

    name: ClassVar[str] = "proxy.connect_delay"
    about: ClassVar[str] = (
        "Lets new connections reach the target late, open ones live on; undone by removing the toxic."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Some):
        """How long."""

        add: Seconds = field(metadata={"help": "Time added."})

    def change(self, params: object) -> Json:
        """A delay_connect toxic; ours only."""
        assert isinstance(params, ProxyConnectDelay.Params)
        says = f"connects +{human_duration(params.add)}"
        return toxic(params, "delay_connect", {"latency": milliseconds(params.add)}, says)


class ProxyCrowd(Toxic):
    """The target takes no more connections."""

    name: ClassVar[str] = "proxy.crowd"
    about: ClassVar[str] = "Resets new connections while so many are open; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Some):
        """How many."""

        connections: int = field(metadata={"help": "Connections that may be open through the proxy."})

        def __post_init__(self) -> None:
            """A count."""
            Some.__post_init__(self)
            if self.connections < 0:
                raise ValueError("'connections' is 0 or more")

    def change(self, params: object) -> Json:
        """A limit_connections toxic; ours only."""
        assert isinstance(params, ProxyCrowd.Params)
        says = f"new connections reset above {params.connections} open"
        return toxic(params, "limit_connections", {"connections": params.connections}, says)


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
