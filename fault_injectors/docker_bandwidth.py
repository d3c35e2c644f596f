"""Containers that can send only so much: a token bucket (tc tbf) at the interfaces in their network namespace.

What they send waits in a queue of 400 ms and is dropped beyond it, as at a slow link; what they receive is not limited.
A queueing discipline has no name, so its handle says that it is ours: `c4a5:`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import BytesPerSecond
from fault_injectors import docker_engine as engine
from fault_injectors import docker_namespace as namespace
from fault_injectors.docker_aim import aim, each, host_process, processes_of
from fault_injectors.docker_namespace import Ended
from fault_injectors.docker_packets import entered
from fault_injectors.processes import Process

SETTLE_S = 0.5
HANDLE = "c4a5:"
LATENCY = "400ms"
LEAST_BURST = 16_384
"""A full packet with offloads is up to 64 KiB, which tbf cuts to pieces; a bucket must hold one of those."""
TICKS_A_SECOND = 100
"""The bucket holds what flows in a tick of the slowest common kernel, else it could never be emptied in time."""


class Bandwidth:
    """Limits what containers send."""

    name: ClassVar[str] = "docker.bandwidth"
    about: ClassVar[str] = "Limits how much containers send, at the interfaces in their network namespace (tc tbf)."
    needs: ClassVar[tuple[str, ...]] = ("containers",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How much is left."""

        rate: BytesPerSecond = field(metadata={"help": "Bytes a second that each interface may send."})

        def __post_init__(self) -> None:
            """A rate that lets something through; nothing at all is `docker.drop`."""
            if self.rate < 1000:
                raise ValueError("'rate' is at least 1KB/s; docker.drop lets nothing through")

    def available(self) -> Availability:
        """Where the SDK, root and tc are, and the kernel has tbf."""
        here = engine.available()
        return here if not here.ok else namespace.can("tc", tuple(_add("lo", 1_000_000)))

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose, and find interfaces whose queue nobody else has set up."""
        assert isinstance(fault.params, Bandwidth.Params)
        chosen = await aim(fault, context)
        members, places = entered(chosen), {}
        for member in members:
            places[str(member.pid)] = namespace.interfaces(member)
            for queue in await _queues(member):
                if queue["dev"] != "lo" and queue["handle"] != "0:":
                    raise InjectorError(
                        f"{member.says} has a {queue['kind']} at {queue['dev']} already", claims=chosen.claims("net")
                    )
        rate = int(fault.params.rate)
        return Recipe(
            injector=self.name,
            says=f"at most {rate:,} bytes/s from {chosen.says}, put back by deleting tbf {HANDLE}",
            data={
                **chosen.data(),
                "processes": [member.to_json() for member in members],
                "interfaces": places,
                "rate": rate,
            },
            claims=chosen.claims("net"),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Put the bucket at every interface."""
        rate: Any = recipe.data["rate"]
        for member, names in _places(recipe):
            for name in names:
                await namespace.inside(member, ("tc", *_add(name, rate)))

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel has sent bytes through every container's bucket since it is there."""
        says, quiet = [], []
        for member, names in _places(recipe):
            try:
                ours = [queue for queue in await _queues(member) if _is_ours(queue)]
            except Ended:
                return Evidence(ok=False, says=f"{member.says} ended, and its namespace with it", ended=True)
            if not set(names) <= {queue["dev"] for queue in ours}:
                return Evidence(ok=False, says=f"the limit is not there at {member.says}")
            sent = sum(int(queue["bytes"]) for queue in ours)
            held = sum(int(queue["overlimits"]) for queue in ours)
            if not sent:
                quiet.append(member.says)
            says.append(f"{sent:,} bytes of {member.says} went through it, packets waited {held:,} times")
        if quiet:
            return Evidence(ok=None, says=f"nothing was sent yet by {', '.join(quiet)}")
        return Evidence(ok=True, says="; ".join(says))

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Delete it where it is."""
        for member, _ in _places(recipe):
            try:
                for queue in await _queues(member):
                    if _is_ours(queue):
                        command = ("tc", "qdisc", "del", "dev", queue["dev"], "root", "handle", HANDLE)
                        await namespace.inside(member, command)
            except Ended:
                continue  # its namespace is gone: nothing is left in it

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No bucket of ours at any interface."""
        left = []
        for member, _ in _places(recipe):
            try:
                left += [f"{q['dev']} of {member.says}" for q in await _queues(member) if _is_ours(q)]
            except Ended:
                continue
        if left:
            return Evidence(ok=False, says=f"the limit is still at {', '.join(left)}")
        return Evidence(ok=True, says="no limit of ours is left")

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """A recipe that deletes them for each container of the system with buckets of our handle."""
        found = []
        for component in system.components.values():
            for alone in await each(component) if component.containers else ():
                member = host_process(alone.boxes[0])
                places = [queue["dev"] for queue in await _queues(member) if _is_ours(queue)]
                data = {**alone.data(), "processes": [member.to_json()], "interfaces": {str(member.pid): places}}
                recipe = Recipe(
                    injector=self.name,
                    says=f"tbf {HANDLE} at {alone.says}, put back by deleting it",
                    data={**data, "rate": 0},
                    claims=alone.claims("net"),
                    settle_s=SETTLE_S,
                )
                found += [recipe] if places else []
        return found


def _add(name: str, rate: int) -> list[str]:
    burst = max(LEAST_BURST, rate // TICKS_A_SECOND)
    bucket = ["tbf", "rate", f"{rate}bps", "burst", f"{burst}b", "latency", LATENCY]
    return ["qdisc", "add", "dev", name, "root", "handle", HANDLE, *bucket]


async def _queues(member: Process) -> list[dict[str, Any]]:
    queues: list[dict[str, Any]] = json.loads(await namespace.inside(member, ("tc", "-s", "-j", "qdisc", "show")))
    return queues


def _is_ours(queue: Mapping[str, Any]) -> bool:
    return bool(queue["kind"] == "tbf" and queue["handle"] == HANDLE)


def _places(recipe: Recipe) -> list[tuple[Process, list[str]]]:
    places = recipe.data["interfaces"]
    assert isinstance(places, Mapping)
    return [(member, places[str(member.pid)]) for member in processes_of(recipe)]
