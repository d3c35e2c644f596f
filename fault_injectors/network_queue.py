"""What faults have in common that are one queue of the kernel's: root of an interface where nobody has set another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from fault_injectors import network_namespace as namespace
from fault_injectors.network import SETTLE_S
from fault_injectors.network_namespace import Namespace, said, targets_from


class Queued:
    """A queue (qdisc) on an interface of each target; its handle is how we know it is ours: it has no other name."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("namespaces",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    tagged: ClassVar[bool] = False
    """A queue does not say which run set it."""
    kind: ClassVar[str]
    """As tc calls it."""
    handle: ClassVar[str]
    """Of this fault alone."""

    def available(self) -> Availability:
        """Where there is tc and namespaces can be entered."""
        return namespace.available("tc", "ip")

    def shape(self, params: object) -> Sequence[str]:
        """How the queue is to be: the words for tc after its kind."""
        raise NotImplementedError

    def does(self, params: object) -> str:
        """What the target does under it, for people: `sends at most 50 KB/s`."""
        raise NotImplementedError

    def works(self, queue: Mapping[str, Any], shape: Sequence[str]) -> tuple[bool, int, str]:
        """Whether the kernel's own counts of the queue show that it acts, how often it did, and what was counted."""
        raise NotImplementedError

    def differs(self, queue: Mapping[str, Any], shape: Sequence[str]) -> bool:
        """Whether the queue, as the kernel has it, is of another shape than we gave it."""
        return False

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Find the interface; one with a queue that somebody has set is refused."""
        spaces = namespace.targets_of(fault, context)
        wanted = str(getattr(fault.params, "interface", ""))
        members = [
            {**raw, "interface": await asyncio.to_thread(_interface, space, wanted)}
            for space, raw in zip(spaces, namespace.to_json(spaces), strict=True)
        ]
        says = f"{said(spaces)} {self.does(fault.params)}, put back by removing the {self.kind} queue {self.handle}"
        return self._recipe(spaces, members, says, list(self.shape(fault.params)), fault.for_s)

    def _recipe(
        self, spaces: list[Namespace], members: list[dict[str, object]], says: str, shape: list[str], lasts_s: float
    ) -> Recipe:
        return Recipe(
            injector=self.name,
            says=says,
            data={"namespaces": members, "shape": shape},
            claims=tuple(f"{space.claim}:queue" for space in spaces),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=lasts_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Add the queue."""
        for space, interface in _members(recipe):
            add = ["tc", "qdisc", "add", "dev", interface, "root", "handle", self.handle, self.kind, *_shape(recipe)]
            if await asyncio.to_thread(namespace.run, space, add) is None:
                raise InjectorError(f"{space.says} was gone before its queue could be set")

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The queue is as we set it, and the kernel's own counts show that it acts on what the target sends."""
        acts, counts, says = True, {}, []
        for space, interface in _members(recipe):
            queue = await asyncio.to_thread(_root, space, interface)
            if not self._ours(queue):
                return namespace.missing(space, f"our queue is not on {interface} of {space.says}")
            if self.differs(queue, _shape(recipe)):
                return Evidence(ok=False, says=f"our queue on {interface} of {space.says} is not as we set it")
            seen, counts[space.says], what = self.works(queue, _shape(recipe))
            acts = acts and seen
            says.append(f"{what} {space.says}")
        return Evidence(ok=True if acts else None, says=", ".join(says), data=counts)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Remove the queue if it is ours; the kernel compares the handle again."""
        for space, interface in _members(recipe):
            if self._ours(await asyncio.to_thread(_root, space, interface)):
                remove = ["tc", "qdisc", "del", "dev", interface, "root", "handle", self.handle]
                await asyncio.to_thread(namespace.run, space, remove)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No queue is ours."""
        for space, interface in _members(recipe):
            if self._ours(await asyncio.to_thread(_root, space, interface)):
                return Evidence(ok=False, says=f"our queue is left on {interface} of {space.says}")
        return Evidence(ok=True, says="no queue of ours is left")

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """A recipe that removes it for each queue with our handle in a namespace of the system."""
        spaces = [one for part in system.components.values() if part.namespaces for one in namespace.instances(part)]
        found = []
        for space in spaces:
            for interface in await asyncio.to_thread(namespace.interfaces, space):
                if self._ours(await asyncio.to_thread(_root, space, interface)):
                    member = {**namespace.to_json([space])[0], "interface": interface}
                    says = f"{self.kind} queue {self.handle} on {interface} of {space.says}, put back by removing it"
                    found.append(self._recipe([space], [member], says, [], 0.0))
        return found

    def _ours(self, queue: Mapping[str, Any]) -> bool:
        return queue.get("handle") == self.handle and queue.get("kind") == self.kind


def _members(recipe: Recipe) -> list[tuple[Namespace, str]]:
    raw: Any = recipe.data["namespaces"]
    return [(space, str(member["interface"])) for space, member in zip(targets_from(recipe), raw, strict=True)]


def _shape(recipe: Recipe) -> list[str]:
    shape: Any = recipe.data["shape"]
    return list(shape)


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
