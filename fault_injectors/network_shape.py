"""Narrow a network namespace's interface: a token bucket (tc tbf) as its root queue, where nobody has set another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from chaosrunner.model.units import BytesPerSecond
from fault_injectors.network_queue import Queued

LEAST_BURST = 16 * 1024
"""A bucket smaller than a packet after segmentation offload lets nothing through, tc-tbf(8)."""


class Bandwidth(Queued):
    """Limits what the target sends; what it receives is limited where it is sent."""

    name: ClassVar[str] = "network.bandwidth"
    about: ClassVar[str] = (
        "Limits the rate at which a network namespace sends, by a token bucket on its interface (tc tbf)."
    )
    kind: ClassVar[str] = "tbf"
    handle: ClassVar[str] = "c4a0:"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How narrow, and where."""

        rate: BytesPerSecond = field(metadata={"help": "Bytes a second that get through."})
        interface: str = field(default="", metadata={"help": "Which one; none: the only one beside loopback."})

        def __post_init__(self) -> None:
            """What tbf can do."""
            if self.rate < 1000:
                raise ValueError("'rate' is at least 1KB/s")

    def shape(self, params: object) -> Sequence[str]:
        """A bucket that holds what flows in 20 ms, behind which at most 400 ms are waited for."""
        assert isinstance(params, Bandwidth.Params)
        burst = max(LEAST_BURST, int(params.rate / 50))
        return ["rate", f"{int(params.rate * 8)}bit", "burst", str(burst), "latency", "400ms"]

    def does(self, params: object) -> str:
        """The fault for people."""
        assert isinstance(params, Bandwidth.Params)
        return f"sends at most {params.rate / 1000:g} KB/s"

    def works(self, queue: Mapping[str, Any], shape: Sequence[str]) -> tuple[bool, int, str]:
        """The kernel's own count of packets that had to wait or were dropped for the rate."""
        held = int(queue["overlimits"]) + int(queue["drops"])
        return bool(held), held, f"{held} times the rate held back"
