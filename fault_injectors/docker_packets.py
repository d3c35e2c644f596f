"""Packets of containers that get lost, are swallowed or refused: an nft table of our own in their network namespace.

The table is named after the run, appears and disappears in one transaction, and matches only interfaces in a set whose
elements expire: the kernel itself ends the fault, even when nobody is left to ask for it. Loopback is never touched,
so what a container says to itself (health checks, the engine's DNS at 127.0.0.11) gets through.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Share
from fault_injectors import docker_engine as engine
from fault_injectors import docker_namespace as namespace
from fault_injectors.docker_aim import Aim, aim, each, host_process, processes_of
from fault_injectors.docker_namespace import Ended
from fault_injectors.processes import Process

GRACE_S = 10.0
"""The kernel ends it this long after the fault should have ended."""
SETTLE_S = 0.5
MARK = "chaosrunner/"
PER = 10_000
"""Shares are counted in so many parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which packets are meant."""

    direction: Literal["both", "in", "out"] = field(
        default="both", metadata={"help": "in: what the container receives; out: what it sends."}
    )
    port: int = field(default=0, metadata={"help": "Only TCP and UDP from or to this port; 0 = every packet."})

    def __post_init__(self) -> None:
        """A port that exists."""
        if not 0 <= self.port <= 65_535:
            raise ValueError("'port' is 1 to 65535, or 0 for all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of packets: ends of nft rules."""

    struck: tuple[str, ...]
    """For packets that are meant; `counter` is among them."""
    spared: tuple[str, ...] = ()
    """For packets that are let through before, whatever is meant."""


class PacketFault:
    """A rule for packets; a subclass says what becomes of those that it matches."""

    name: ClassVar[str]
    about: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("containers",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"
    Params: ClassVar[type]
    did: ClassVar[str]

    def available(self) -> Availability:
        """Where the SDK, root and nft are, and the kernel takes the very table."""
        here = engine.available()
        if not here.ok:
            return here
        trial = _table(f"{MARK}trial", self.fate(self.trial()), Which(), ["eth0"], 1)
        return namespace.can("nft", ("-f", "-"), trial)

    def trial(self) -> Which:
        """Parameters to try the kernel with."""
        return Which()

    def fate(self, params: Which) -> Fate:
        """What becomes of a packet."""
        raise NotImplementedError

    def says(self, params: Which) -> str:
        """What becomes of packets, for people."""
        raise NotImplementedError

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Choose, and find the namespaces; the host's own is refused."""
        params = fault.params
        assert isinstance(params, Which)
        chosen = await aim(fault, context)
        members = entered(chosen)
        tag, ends_s = context.tag(fault), int(fault.for_s + GRACE_S)
        tables = {
            str(member.pid): _table(tag, self.fate(params), params, namespace.interfaces(member), ends_s)
            for member in members
        }
        way = {"both": "", "in": " that it receives", "out": " that it sends"}[params.direction]
        only = f" of port {params.port}" if params.port else ""
        return Recipe(
            injector=self.name,
            says=f"{self.says(params)}{only}{way} at {chosen.says}, put back by deleting table {tag}",
            data={
                **chosen.data(),
                "processes": [member.to_json() for member in members],
                "table": tag,
                "tables": tables,
            },
            claims=chosen.claims("net"),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Add the table in one transaction; one of the same name is replaced."""
        tables: Any = recipe.data["tables"]
        for member in processes_of(recipe):
            await namespace.inside(member, ("nft", "-f", "-"), tables[str(member.pid)])

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel has counted packets that our rules struck, since they are there."""
        struck, quiet = {}, []
        for member in processes_of(recipe):
            try:
                count = await _struck(member, _tag(recipe))
            except Ended:
                return Evidence(ok=False, says=f"{member.says} ended, and its namespace with it", ended=True)
            if count is None:
                return Evidence(ok=False, says=f"the table is not there at {member.says}")
            struck[member.says] = count
            if not count:
                quiet.append(member.says)
        if quiet:
            return Evidence(ok=None, says=f"no packet has come by yet at {', '.join(quiet)}", data=struck)
        says = "; ".join(f"{count:,} packets {self.did} at {who}" for who, count in struck.items())
        return Evidence(ok=True, says=f"{says}, counted by the kernel", data=struck)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Delete the table where it is; adding it first makes that one transaction for either case."""
        tag = _tag(recipe)
        for member in processes_of(recipe):
            try:
                await namespace.inside(member, ("nft", "-f", "-"), f"add table inet {tag}\ndelete table inet {tag}\n")
            except Ended:
                continue  # its namespace is gone: nothing is left in it

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No table of that name."""
        tag, left = _tag(recipe), []
        for member in processes_of(recipe):
            try:
                if tag in await _tables(member):
                    left.append(member.says)
            except Ended:
                continue
        if left:
            return Evidence(ok=False, says=f"table {tag} is still at {', '.join(left)}")
        return Evidence(ok=True, says=f"no table {tag} is left")


class Loss(PacketFault):
    """Packets get lost at random."""

    name: ClassVar[str] = "docker.loss"
    about: ClassVar[str] = "Loses a share of containers' packets at random, in their network namespace (nft)."
    did: ClassVar[str] = "lost"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Which):
        """How many."""

        share: Share = field(metadata={"help": "Part of the packets, each drawn alone."})

        def __post_init__(self) -> None:
            """A share of nothing is no fault; all of them is `docker.drop`."""
            Which.__post_init__(self)
            if not 1 / PER <= self.share < 1:
                raise ValueError("'share' is at least 0.01% and less than 100%; docker.drop loses all")

    def trial(self) -> Which:
        """Half of them."""
        return Loss.Params(share=Share(0.5))

    def fate(self, params: Which) -> Fate:
        """Drawn by the kernel, packet by packet."""
        assert isinstance(params, Loss.Params)
        return Fate(struck=(f"numgen random mod {PER} < {round(params.share * PER)} counter drop",))

    def says(self, params: Which) -> str:
        """The share."""
        assert isinstance(params, Loss.Params)
        return f"{params.share * 100:g}% of packets lost"


class Drop(PacketFault):
    """Packets are swallowed: nobody answers, and nobody says so."""

    name: ClassVar[str] = "docker.drop"
    about: ClassVar[str] = "Swallows containers' packets, so that peers wait, in their network namespace (nft)."
    did: ClassVar[str] = "swallowed"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Which):
        """Which packets."""

    def fate(self, params: Which) -> Fate:
        """Every one."""
        return Fate(struck=("counter drop",))

    def says(self, params: Which) -> str:
        """All."""
        return "all packets swallowed"

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Recipes that delete whatever table of ours any fault of the family left in a system's containers."""
        found = []
        for component in system.components.values():
            if component.containers is None:
                continue
            for alone in await each(component):
                member = host_process(alone.boxes[0])
                found += [
                    Recipe(
                        injector=self.name,
                        says=f"table {tag} at {alone.says}, put back by deleting it",
                        data={**alone.data(), "processes": [member.to_json()], "table": tag, "tables": {}},
                        claims=alone.claims("net"),
                        settle_s=SETTLE_S,
                    )
                    for tag in await _tables(member)
                    if tag.startswith(MARK)
                ]
        return found


class Reject(PacketFault):
    """Packets are refused at once."""

    name: ClassVar[str] = "docker.reject"
    about: ClassVar[str] = "Refuses containers' packets (TCP reset, else ICMP), in their network namespace (nft)."
    did: ClassVar[str] = "refused"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Which):
        """Which packets."""

    def fate(self, params: Which) -> Fate:
        """A reset ends TCP connections; anything else is told that the port is closed."""
        return Fate(
            struck=("meta l4proto tcp counter reject with tcp reset", "counter reject"),
            spared=(  # else the refusal itself would be refused on its way out
                "tcp flags & rst == rst accept",
                "icmp type destination-unreachable accept",
                "icmpv6 type destination-unreachable accept",
            ),
        )

    def says(self, params: Which) -> str:
        """All."""
        return "all packets refused"


def entered(chosen: Aim) -> list[Process]:
    """The main processes whose network namespaces will be entered.

    Raises:
        InjectorError: one shares the network of the host, of another container, or ours.
    """
    members, own = [], namespace.own_numbers()
    for box in chosen.boxes:
        mode = str(chosen.seen[box.id]["HostConfig"]["NetworkMode"])
        member = host_process(box)
        if mode == "host" or mode.startswith("container:") or namespace.number(member) in own:
            raise InjectorError(f"{box.says} shares its network (mode '{mode}'); only its own may be touched")
        if not namespace.interfaces(member):
            raise InjectorError(f"{box.says} is on no network")
        members.append(member)
    return members


def _table(tag: str, fate: Fate, which: Which, interfaces: list[str], ends_s: int) -> str:
    """The nft text that replaces a table of that name by ours, in one transaction."""
    ways = {"in": ("input", "iifname"), "out": ("output", "oifname")}
    wanted = [way for way in ways if which.direction in ("both", way)]
    elements = ", ".join(f'"{name}" timeout {ends_s}s' for name in interfaces)
    ports = [f"th {end} {which.port} " for end in ("sport", "dport")] if which.port else [""]
    protocols = "meta l4proto { tcp, udp } " if which.port else ""
    lines = [f"add table inet {tag}", f"delete table inet {tag}", f"table inet {tag} {{"]
    lines += ["set on {", "type ifname", "flags timeout", f"elements = {{ {elements} }}", "}"]
    for way in wanted:
        hook, name = ways[way]
        lines += [f"chain {way} {{", f"type filter hook {hook} priority -150; policy accept;"]
        lines += [f"{name} @on {rule}" for rule in fate.spared]
        lines += [f"{name} @on {protocols}{port}{rule}" for port in ports for rule in fate.struck]
        lines += ["}"]
    return "\n".join([*lines, "}", ""])


async def _tables(member: Process) -> list[str]:
    answer = json.loads(await namespace.inside(member, ("nft", "-j", "list", "tables")))
    tables = [item["table"] for item in answer["nftables"] if "table" in item]
    return [str(table["name"]) for table in tables if table["family"] == "inet"]


async def _struck(member: Process, tag: str) -> int | None:
    """Packets that the rules of a table struck; None when it is not there."""
    if tag not in await _tables(member):
        return None
    answer = json.loads(await namespace.inside(member, ("nft", "-j", "list", "table", "inet", tag)))
    rules = [item["rule"]["expr"] for item in answer["nftables"] if "rule" in item]
    return sum(int(part["counter"]["packets"]) for rule in rules for part in rule if "counter" in part)


def _tag(recipe: Recipe) -> str:
    return str(recipe.data["table"])
