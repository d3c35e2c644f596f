"""Narrow a network namespace's interface: a token bucket (tc tbf) as its root queue, where nobody has set another."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import BytesPerSecond
from fault_injectors import network_namespace as namespace
from fault_injectors.network import SETTLE_S
from fault_injectors.network_namespace import Namespace, said, targets_from

HANDLE = "c4a0:"
"""The queue's handle is how we know it is ours: a queue has no other name."""
LEAST_BURST = 16 * 1024
"""A bucket smaller than a packet after segmentation offload lets nothing through, tc-tbf(8)."""


class Bandwidth:
    """Limits what the target sends; what it receives is limited where it is sent."""

    name: ClassVar[str] = "network.bandwidth"
    about: ClassVar[str] = (
        "Limits the rate at which a network namespace sends, by a token bucket on its interface (tc tbf)."
    )
    needs: ClassVar[tuple[str, ...]] = ("namespaces",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    tagged: ClassVar[bool] = False
    """A queue does not say which run set it."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How narrow, and where."""

        rate: BytesPerSecond = field(metadata={"help": "Bytes a second that get through."})
        interface: str = field(default="", metadata={"help": "Which one; none: the only one beside loopback."})

        def __post_init__(self) -> None:
            """What tbf can do."""
            if self.rate < 1000:
                raise ValueError("'rate' is at least 1KB/s")

    def available(self) -> Availability:
        """Where there is tc and namespaces can be entered."""
        return namespace.available("tc", "ip")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Find the interface; one with a queue that somebody has set is refused."""
        params = fault.params
        assert isinstance(params, Bandwidth.Params)
        spaces = namespace.targets_of(fault, context)
        members = [
            {**raw, "interface": await asyncio.to_thread(_interface, space, params.interface)}
            for space, raw in zip(spaces, namespace.to_json(spaces), strict=True)
        ]
        return Recipe(
            injector=self.name,
            says=f"{said(spaces)} sends at most {params.rate / 1000:g} KB/s, put back by removing the queue {HANDLE}",
            data={"namespaces": members, "rate": params.rate},
            claims=tuple(f"{space.claim}:queue" for space in spaces),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Add the queue."""
        rate = float(str(recipe.data["rate"]))
        shape = ["rate", f"{int(rate * 8)}bit", "burst", str(max(LEAST_BURST, int(rate / 50))), "latency", "400ms"]
        for space, interface in _members(recipe):
            add = ["tc", "qdisc", "add", "dev", interface, "root", "handle", HANDLE, "tbf", *shape]
            if await asyncio.to_thread(namespace.run, space, add) is None:
                raise InjectorError(f"{space.says} was gone before it could be narrowed")

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel's own count of packets that had to wait or were dropped for the rate."""
        held: dict[str, int] = {}
        for space, interface in _members(recipe):
            queue = await asyncio.to_thread(_root, space, interface)
            if not _ours(queue):
                return namespace.missing(space, f"our queue is not on {interface} of {space.says}")
            held[space.says] = int(queue["overlimits"]) + int(queue["drops"])
        says = ", ".join(f"{count} times the rate held back {who}" for who, count in held.items())
        return Evidence(ok=True if all(held.values()) else None, says=says, data=held)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Remove the queue if it is ours."""
        for space, interface in _members(recipe):
            if _ours(await asyncio.to_thread(_root, space, interface)):
                remove = ["tc", "qdisc", "del", "dev", interface, "root", "handle", HANDLE]
                await asyncio.to_thread(namespace.run, space, remove)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No queue is ours."""
        for space, interface in _members(recipe):
            if _ours(await asyncio.to_thread(_root, space, interface)):
                return Evidence(ok=False, says=f"our queue is left on {interface} of {space.says}")
        return Evidence(ok=True, says="no queue of ours is left")

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """A recipe that removes it for each queue with our handle in a namespace of the system."""
        spaces = [one for part in system.components.values() if part.namespaces for one in namespace.instances(part)]
        return [
            Recipe(
                injector=self.name,
                says=f"queue {HANDLE} on {interface} of {space.says}, put back by removing it",
                data={"namespaces": [{**namespace.to_json([space])[0], "interface": interface}], "rate": 0},
                claims=(f"{space.claim}:queue",),
                settle_s=SETTLE_S,
                guard=self.guard,
            )
            for space in spaces
            for interface in await asyncio.to_thread(namespace.interfaces, space)
            if _ours(await asyncio.to_thread(_root, space, interface))
        ]


def _members(recipe: Recipe) -> list[tuple[Namespace, str]]:
    raw: Any = recipe.data["namespaces"]
    return [(space, str(member["interface"])) for space, member in zip(targets_from(recipe), raw, strict=True)]


def _interface(space: Namespace, wanted: str) -> str:
    chosen = namespace.interface_of(space, wanted)
    queue = _root(space, chosen)
    if queue and queue.get("handle", "0:") != "0:":
        raise InjectorError(
            f"{chosen} of {space.says} has a queue already: {queue['kind']} {queue['handle']}",
            claims=[f"{space.claim}:queue"],
        )
    return chosen


def _root(space: Namespace, interface: str) -> dict[str, Any]:
    """The root queue of an interface; empty when the namespace or the interface is gone."""
    try:
        printed = namespace.run(space, ["tc", "-s", "-j", "qdisc", "show", "dev", interface])
    except InjectorError as error:
        if "Cannot find device" in str(error):
            return {}
        raise
    queues: list[dict[str, Any]] = json.loads(printed or "[]")
    return next((queue for queue in queues if queue.get("root")), {})


def _ours(queue: dict[str, Any]) -> bool:
    return queue.get("handle") == HANDLE and queue.get("kind") == "tbf"
