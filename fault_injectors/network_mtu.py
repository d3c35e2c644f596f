"""Lower the MTU of a network namespace's interface: what is longer is cut, refused or lost, and small talk goes on.

What was before is written into the interface's alias (`ip link`, the kernel's ifalias) by the very request that lowers
the MTU: so whoever finds the alias knows that it is ours, whose, and the way back.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from fault_injectors import network_namespace as namespace
from fault_injectors.network import SETTLE_S
from fault_injectors.network_namespace import Namespace, said, targets_from

LEAST = 68
"""Every IPv4 host can forward as much, RFC 791; below it the kernel takes IPv4 from an interface."""
LEAST_IPV6 = 1280
"""Below it the kernel takes IPv6 from an interface, RFC 8200, 5, with addresses that it would not give back."""
_ALIAS = re.compile(r"(chaosrunner/\S+) mtu=(\d+) sent=(\d+)")


@dataclass(frozen=True, slots=True)
class _Lowered:
    """What our alias says."""

    tag: str
    before: int
    """The MTU to go back to, bytes."""
    sent: int
    """Packets that the interface had sent when its MTU was lowered."""


class Mtu:
    """Makes an interface carry only short packets."""

    name: ClassVar[str] = "network.mtu"
    about: ClassVar[str] = "Lowers the MTU of a network namespace's interface: long packets are cut, refused or lost."
    needs: ClassVar[tuple[str, ...]] = ("namespaces",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How short, and where."""

        mtu: int = field(metadata={"help": "The longest packet, in bytes with its IP header."})
        interface: str = field(default="", metadata={"help": "Which one; none: the only one beside loopback."})

        def __post_init__(self) -> None:
            """What IP can do with."""
            if not LEAST <= self.mtu <= 65535:
                raise ValueError(f"'mtu' is {LEAST} to 65535")

    def available(self) -> Availability:
        """Where there is ip and namespaces can be entered."""
        return namespace.available("ip")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Find the interface, and refuse what could not be put back exactly."""
        params = fault.params
        assert isinstance(params, Mtu.Params)
        spaces = namespace.targets_of(fault, context)
        members = [
            {**raw, "interface": await asyncio.to_thread(_interface, space, params)}
            for space, raw in zip(spaces, namespace.to_json(spaces), strict=True)
        ]
        return self._recipe(
            spaces,
            f"{said(spaces)} carries packets of at most {params.mtu} bytes",
            {"namespaces": members, "mtu": params.mtu, "tag": context.tag(fault)},
            fault.for_s,
        )

    def _recipe(self, spaces: list[Namespace], says: str, data: dict[str, object], lasts_s: float = 0.0) -> Recipe:
        return Recipe(
            injector=self.name,
            says=f"{says}, put back by setting the MTU that the interface's alias remembers",
            data=data,
            claims=tuple(f"{space.claim}:mtu" for space in spaces),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=lasts_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Lower the MTU and write the alias, in one request."""
        for space, interface in _members(recipe):
            link = await asyncio.to_thread(_link, space, interface)
            if not link:
                raise InjectorError(f"{interface} of {space.says} was gone before its MTU could be lowered")
            alias = f"{recipe.data['tag']} mtu={link['mtu']} sent={_sent(link)}"
            lower = ["ip", "link", "set", "dev", interface, "mtu", str(recipe.data["mtu"]), "alias", alias]
            await asyncio.to_thread(namespace.run, space, lower)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel's own MTU of the interface, and its count of packets sent since."""
        sent: dict[str, int] = {}
        says = []
        for space, interface in _members(recipe):
            link = await asyncio.to_thread(_link, space, interface)
            ours = _ours(link, recipe)
            if ours is None or link["mtu"] != recipe.data["mtu"]:
                return namespace.missing(space, f"the MTU of {interface} of {space.says} is not as we set it")
            sent[space.says] = count = _sent(link) - ours.sent
            says.append(f"{link['mtu']} bytes instead of {ours.before}, packets sent since by {space.says}: {count}")
        return Evidence(ok=True if all(sent.values()) else None, says="; ".join(says), data=sent)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Set the MTU before and remove the alias, in one request, if the alias is ours."""
        for space, interface in _members(recipe):
            ours = _ours(await asyncio.to_thread(_link, space, interface), recipe)
            if ours is not None:
                back = ["ip", "link", "set", "dev", interface, "mtu", str(ours.before), "alias", ""]
                await asyncio.to_thread(namespace.run, space, back)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No alias is ours."""
        for space, interface in _members(recipe):
            if _ours(await asyncio.to_thread(_link, space, interface), recipe) is not None:
                return Evidence(ok=False, says=f"{interface} of {space.says} has still the MTU that we set")
        return Evidence(ok=True, says="no MTU of ours is left")

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """A recipe that puts it back for each interface with an alias of ours in a namespace of the system."""
        spaces = [one for part in system.components.values() if part.namespaces for one in namespace.instances(part)]
        found = []
        for space in spaces:
            for interface in await asyncio.to_thread(namespace.interfaces, space):
                lowered = _lowered(await asyncio.to_thread(_link, space, interface))
                if lowered is not None:
                    member = {**namespace.to_json([space])[0], "interface": interface}
                    says = f"MTU of {interface} of {space.says} lowered by {lowered.tag}"
                    found.append(self._recipe([space], says, {"namespaces": [member], "tag": lowered.tag}))
        return found


def _members(recipe: Recipe) -> list[tuple[Namespace, str]]:
    raw: Any = recipe.data["namespaces"]
    return [(space, str(member["interface"])) for space, member in zip(targets_from(recipe), raw, strict=True)]


def _interface(space: Namespace, params: Mtu.Params) -> str:
    chosen = namespace.interface_of(space, params.interface)
    link, which, claimed = _link(space, chosen), f"{chosen} of {space.says}", [f"{space.claim}:mtu"]
    if params.mtu >= link["mtu"]:
        raise InjectorError(
            f"{which} carries at most {link['mtu']} bytes already; 'mtu' is less than that", claims=claimed
        )
    if link.get("ifalias"):
        raise InjectorError(f"{which} has an alias, where our mark would be: {link['ifalias']}", claims=claimed)
    if params.mtu < LEAST_IPV6 and _has_ipv6(space, chosen):
        raise InjectorError(
            f"{which} has IPv6, which the kernel ends below {LEAST_IPV6} bytes, with addresses that would not come back"
        )
    return chosen


def _link(space: Namespace, interface: str) -> Mapping[str, Any]:
    """An interface as the kernel has it; empty when it or the namespace is gone."""
    try:
        printed = namespace.run(space, ["ip", "-j", "-s", "link", "show", "dev", interface])
    except InjectorError as error:
        if "does not exist" in str(error):
            return {}
        raise
    links: list[Mapping[str, Any]] = json.loads(printed or "[]")
    return links[0] if links else {}


def _has_ipv6(space: Namespace, interface: str) -> bool:
    printed = namespace.run(space, ["ip", "-j", "-6", "address", "show", "dev", interface])
    return any(one.get("addr_info") for one in json.loads(printed or "[]"))


def _sent(link: Mapping[str, Any]) -> int:
    return int(link["stats64"]["tx"]["packets"])


def _lowered(link: Mapping[str, Any]) -> _Lowered | None:
    found = _ALIAS.fullmatch(str(link.get("ifalias", "")))
    return _Lowered(found[1], int(found[2]), int(found[3])) if found else None


def _ours(link: Mapping[str, Any], recipe: Recipe) -> _Lowered | None:
    lowered = _lowered(link)
    return lowered if lowered is not None and lowered.tag == recipe.data["tag"] else None
