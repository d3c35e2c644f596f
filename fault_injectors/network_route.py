"""Take the way to a peer from a network namespace: a route that leads nowhere, marked by a protocol number of ours.

Unlike a packet that a rule drops, the sender is told at once, by the error that a broken network gives.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from fault_injectors import network_namespace as namespace
from fault_injectors.network import SETTLE_S
from fault_injectors.network_namespace import Namespace, said, targets_from

PROTOCOL = 196
"""Who made a route (rtnetlink(7), rtm_protocol): none of /etc/iproute2/rt_protos; a route has no other name."""
BEST = {4: 0, 6: 1}
"""The metric that nobody's can beat, by the version of IP; the kernel takes 0 as "none said" in IPv6."""
TOLD = {"unreachable": "No route to host", "blackhole": "Invalid argument", "prohibit": "Permission denied"}
"""What the kernel answers whoever looks for a way, by the type of the route."""


class Route:
    """Makes a peer unreachable for whatever the target sends."""

    name: ClassVar[str] = "network.route"
    about: ClassVar[str] = (
        "Replaces the way from a network namespace to a peer by a route that leads nowhere: senders are told at once."
    )
    needs: ClassVar[tuple[str, ...]] = ("namespaces",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    tagged: ClassVar[bool] = False
    """A route does not say which run made it."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """The way to whom, and what senders are told."""

        peer: str = field(metadata={"help": "Address or network at the other end, such as 10.1.0.2 or 10.1.0.0/24."})
        type: Literal["unreachable", "blackhole", "prohibit"] = field(
            default="unreachable",
            metadata={"help": "What a sender is told: no route to host, invalid argument, permission denied."},
        )

        def __post_init__(self) -> None:
            """An address or a network."""
            ipaddress.ip_network(self.peer)

    def available(self) -> Availability:
        """Where there is ip and namespaces can be entered."""
        return namespace.available("ip")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Refuse a peer whose very network has a route that ours could not stand beside."""
        params = fault.params
        assert isinstance(params, Route.Params)
        spaces = namespace.targets_of(fault, context)
        for space in spaces:
            await asyncio.to_thread(_refuse_same, space, params.peer)
        return self._recipe(spaces, params.peer, params.type, fault.for_s)

    def _recipe(self, spaces: list[Namespace], peer: str, kind: str, lasts_s: float = 0.0) -> Recipe:
        return Recipe(
            injector=self.name,
            says=f"{said(spaces)} finds {peer} {kind}, put back by deleting the route of protocol {PROTOCOL}",
            data={"namespaces": namespace.to_json(spaces), "peer": peer, "type": kind},
            claims=tuple(f"{space.claim}:route:{ipaddress.ip_network(peer)}" for space in spaces),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=lasts_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Add the route."""
        for space in targets_from(recipe):
            if await asyncio.to_thread(namespace.run, space, _command("add", recipe)) is None:
                raise InjectorError(f"{space.says} was gone before its way could be taken")

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """What the kernel itself answers whoever looks for a way to an address of the peer's."""
        peer, told = str(recipe.data["peer"]), TOLD[str(recipe.data["type"])]
        lost: dict[str, str] = {}
        for space in targets_from(recipe):
            if not await asyncio.to_thread(_is_there, space, recipe):
                return namespace.missing(space, f"our route to {peer} is not in {space.says}")
            lost[space.says] = await asyncio.to_thread(_first_lost, space, peer, told)
        says = ", ".join(f"{who} to {at}: {told}" if at else f"{who} has another way" for who, at in lost.items())
        return Evidence(ok=True if all(lost.values()) else None, says=says, data=lost)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Delete the route if it is ours."""
        for space in targets_from(recipe):
            if await asyncio.to_thread(_is_there, space, recipe):
                await asyncio.to_thread(namespace.run, space, _command("del", recipe))

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No such route is ours."""
        for space in targets_from(recipe):
            if await asyncio.to_thread(_is_there, space, recipe):
                return Evidence(ok=False, says=f"our route to {recipe.data['peer']} is left in {space.says}")
        return Evidence(ok=True, says="no route of ours is left")

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """A recipe that deletes it for each route of our protocol in a namespace of the system."""
        spaces = [one for part in system.components.values() if part.namespaces for one in namespace.instances(part)]
        return [
            self._recipe([space], peer, kind)
            for space in spaces
            for peer, kind in await asyncio.to_thread(_routes, space)
        ]


def _ip(version: int, *words: str) -> list[str]:
    return ["ip", f"-{version}", "-j", *words]


def _command(verb: str, recipe: Recipe) -> list[str]:
    peer = ipaddress.ip_network(str(recipe.data["peer"]))
    words = [verb, str(recipe.data["type"]), str(peer), "proto", str(PROTOCOL), "metric", str(BEST[peer.version])]
    return _ip(peer.version, "route", *words)


def _shown(space: Namespace, version: int, *words: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(namespace.run(space, _ip(version, *words)) or "[]")
    return shown


def _routes(space: Namespace) -> list[tuple[str, str]]:
    """Networks and types of all routes that are ours; none when the namespace is gone."""
    return [
        (_network(route["dst"], version), str(route["type"]))
        for version in BEST
        for route in _shown(space, version, "route", "show", "proto", str(PROTOCOL))
        if route.get("type") in TOLD
    ]


def _network(shown: str, version: int) -> str:
    everything = {4: "0.0.0.0/0", 6: "::/0"}[version]
    return str(ipaddress.ip_network(everything if shown == "default" else shown))


def _is_there(space: Namespace, recipe: Recipe) -> bool:
    peer = str(ipaddress.ip_network(str(recipe.data["peer"])))
    return (peer, recipe.data["type"]) in _routes(space)


def _refuse_same(space: Namespace, peer: str) -> None:
    network = ipaddress.ip_network(peer)
    for route in _shown(space, network.version, "route", "show", "exact", str(network)):
        if route.get("metric", 0) <= BEST[network.version]:
            part = next(network.subnets()) if network.prefixlen < network.max_prefixlen else ""
            hint = f"; take a part of it, such as {part}" if part else ""
            raise InjectorError(f"{space.says} has a route to just {network} that ours could not stand beside{hint}")


def _first_lost(space: Namespace, peer: str, told: str) -> str:
    """An address of the peer's to which the kernel knows no way, by our route's answer; empty if it knows one to all.

    A network's first and last addresses are looked at: more specific routes, and those to the target itself, stay.
    """
    network = ipaddress.ip_network(peer)
    size = network.num_addresses
    for number in sorted({offset % size for offset in (1, 2, -3, -2)}):
        address = str(network[number])
        try:
            namespace.run(space, _ip(network.version, "route", "get", address))
        except InjectorError as error:
            if told in str(error):
                return address
    return ""
