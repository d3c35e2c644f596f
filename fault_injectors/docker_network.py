"""Containers taken off a network of their engine, and connected again as they were.

The way back holds all that the container had there: aliases, links, driver options, addresses. It is connected first
as it was, and with its address said explicitly if it got another one. Only a network with a subnet that its owner chose
takes that wish; on one whose subnet the engine chose the address may be another, as after any restart, and is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from fault_injectors import docker_engine as engine
from fault_injectors.docker_aim import Box, aim, boxes_of, is_up, refuse_passing_ports
from fault_injectors.docker_engine import Json

if TYPE_CHECKING:
    from docker import APIClient

SETTLE_S = 0.5
"""A call that has reached the engine lands this much later, at most."""


class Disconnect:
    """Takes containers off a network."""

    name: ClassVar[str] = "docker.disconnect"
    about: ClassVar[str] = (
        "Takes containers off a network, then connects them again with their aliases, links and address."
    )
    needs: ClassVar[tuple[str, ...]] = ("containers",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Which network."""

        network: str = field(default="", metadata={"help": "Its name; need not be said where there is only one."})

    def available(self) -> Availability:
        """Where the SDK is."""
        return engine.available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose, and remember how each is connected."""
        assert isinstance(fault.params, Disconnect.Params)
        chosen = await aim(fault, context)
        ends = {box.id: _end(chosen.seen[box.id], box, fault.params.network) for box in chosen.boxes}
        networks = sorted({str(end["network"]) for end in ends.values()})
        return Recipe(
            injector=self.name,
            says=f"{chosen.says} taken off {', '.join(networks)}, put back by connecting with the same aliases, links "
            "and address",
            data={**chosen.data(), "ends": ends},
            claims=chosen.claims("net"),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Disconnect each, by force: also one that is just being stopped."""
        for box, end in _ends(recipe):
            await engine.ask(_engine(recipe), _Way(box, end).off)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The engine lists neither the network at the container, nor the container at the network."""
        says = []
        for box, end in _ends(recipe):
            found = await engine.look(_engine(recipe), box.id)
            if found is None:
                return Evidence(ok=False, says=f"{box.says} was removed", ended=True)
            members = await engine.ask(_engine(recipe), _Way(box, end).members)
            if _connection(found, end) is not None or box.id in members:
                return Evidence(ok=None, says=f"{box.says} is on {end['network']}")
            says.append(f"{box.name} is off {end['network']}, where {len(members)} others are")
        return Evidence(ok=True, says="; ".join(says))

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Connect each that is still there, if its network is, too."""
        for box, end in _ends(recipe):
            found = await engine.look(_engine(recipe), box.id)
            if found is not None and _connection(found, end) is None:
                try:
                    await engine.ask(_engine(recipe), _Way(box, end).on)
                except engine.Gone:
                    continue  # container or network was removed meanwhile: nothing is left to connect (to)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Each that is still there is on its network again."""
        says = []
        for box, end in _ends(recipe):
            found = await engine.look(_engine(recipe), box.id)
            here = None if found is None else _connection(found, end)
            if found is None or not await _exists(recipe, box, end):
                says.append(f"{box.says} or {end['network']} was removed")
            elif here is None:
                return Evidence(ok=False, says=f"{box.says} is not on {end['network']}")
            elif is_up(found) and here["IPAddress"] != end["address"]:
                says.append(f"{box.says} is {here['IPAddress']} on {end['network']} now, was {end['address']}")
            else:
                says.append(f"{box.says} is on {end['network']} as before")
        return Evidence(ok=True, says="; ".join(says))


@dataclass(frozen=True, slots=True)
class _Way:
    """A container's way off a network and back, as calls of the engine."""

    box: Box
    end: Json

    def off(self, api: APIClient) -> None:
        api.disconnect_container_from_network(self.box.id, self.end["id"], force=True)

    def members(self, api: APIClient) -> list[str]:
        return list(api.inspect_network(self.end["id"])["Containers"] or ())

    def on(self, api: APIClient) -> None:
        """Connect as it was; once more with its address if it got another one and the network takes wishes."""
        from docker.errors import APIError, NotFound

        self._connect(api, self.end["wished"], self.end["wished6"])
        here = _connection(api.inspect_container(self.box.id), self.end)
        if here is None or not here["IPAddress"] or here["IPAddress"] == self.end["address"]:
            return
        self.off(api)
        try:
            self._connect(api, self.end["address"], self.end["wished6"])
        except NotFound:
            raise
        except APIError:  # no wishes taken, or somebody else has the address: better another one than none
            self._connect(api, None, None)

    def _connect(self, api: APIClient, address: str | None, address6: str | None) -> None:
        links = [tuple(link.rsplit(":", 1)) for link in self.end["links"]]
        api.connect_container_to_network(
            self.box.id,
            self.end["id"],
            ipv4_address=address,
            ipv6_address=address6,
            aliases=self.end["aliases"] or None,
            links=links or None,
            driver_opt=self.end["options"] or None,
        )


def _end(found: Json, box: Box, wanted: str) -> Json:
    """How a container is connected to the network that is meant.

    Raises:
        InjectorError: it is not on that network, on several and none is named, or would be published elsewhere later.
    """
    mode, networks = str(found["HostConfig"]["NetworkMode"]), found["NetworkSettings"]["Networks"]
    if mode in ("host", "none") or mode.startswith("container:"):
        raise InjectorError(f"{box.says} has no network of its own: its network mode is '{mode}'")
    if not wanted and len(networks) != 1:
        raise InjectorError(f"{box.says} is on {', '.join(sorted(networks)) or 'no network'}; say which 'network'")
    name = wanted or next(iter(networks))
    if name not in networks:
        raise InjectorError(
            f"{box.says} is not on a network '{name}'; it is on {', '.join(sorted(networks)) or 'none'}"
        )
    refuse_passing_ports(found)
    here: Json = networks[name]
    wishes = here.get("IPAMConfig") or {}
    return {
        "network": name,
        "id": here["NetworkID"],
        # The engine adds the short id by itself; said again, it would be there twice.
        "aliases": [alias for alias in here.get("Aliases") or () if alias != box.id[:12]],
        "links": here.get("Links") or [],
        "options": here.get("DriverOpts") or {},
        "wished": wishes.get("IPv4Address") or None,
        "wished6": wishes.get("IPv6Address") or None,
        "address": here["IPAddress"],
    }


async def _exists(recipe: Recipe, box: Box, end: Json) -> bool:
    try:
        await engine.ask(_engine(recipe), _Way(box, end).members)
    except engine.Gone:
        return False
    return True


def _connection(found: Json, end: Json) -> Json | None:
    """The container's end of that very network, not of a later one of the same name."""
    here: Mapping[str, Json] = found["NetworkSettings"]["Networks"] or {}
    return next((one for one in here.values() if one["NetworkID"] == end["id"]), None)


def _ends(recipe: Recipe) -> list[tuple[Box, Json]]:
    ends = recipe.data["ends"]
    assert isinstance(ends, Mapping)
    return [(box, ends[box.id]) for box in boxes_of(recipe)]


def _engine(recipe: Recipe) -> str:
    return str(recipe.data["engine"])
