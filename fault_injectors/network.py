"""Lose or refuse packets of network namespaces, by a table of nftables of our own.

The rules match only while a set of that table has an element, and the element has a timeout: the kernel itself ends
the fault, whoever dies. Undo deletes the table, atomically, and nothing else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Share
from fault_injectors import network_namespace as namespace
from fault_injectors.network_namespace import Namespace, said, targets_from

GRACE_S = 10.0
"""The kernel ends the fault this long after it should have ended, should nobody undo it."""
SETTLE_S = 0.5
"""The nft of a runner that died lands within this."""
PREFIX = "chaosrunner_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Which packets."""

    peer: str = field(
        default="",
        metadata={"help": "Address or network at the other end, such as 10.1.0.2 or 10.1.0.0/24; none: all."},
    )
    port: int = field(default=0, metadata={"help": "Only packets from or to this TCP or UDP port; 0 = all."})
    way: Literal["both", "in", "out"] = field(
        default="both", metadata={"help": "in: what arrives at the target; out: what it sends."}
    )

    def __post_init__(self) -> None:
        """An address, and a port."""
        if self.peer:
            ipaddress.ip_network(self.peer)
        if not 0 <= self.port <= 65535:
            raise ValueError("'port' is 1 to 65535")


class Ruled:
    """What all of these have in common: a table of rules that count what they hit."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("namespaces",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"

    def available(self) -> Availability:
        """Where there are nftables and namespaces can be entered."""
        return namespace.available("nft")

    def fates(self, params: object) -> tuple[str, ...]:
        """What becomes of a packet that is aimed at, as the end of a rule; one rule each."""
        raise NotImplementedError

    def aim(self, params: object) -> Aim:
        """Which packets are aimed at."""
        assert isinstance(params, Aim)
        return params

    def says(self, params: object) -> str:
        """The fault for people."""
        raise NotImplementedError

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Find the namespaces and write the rules."""
        spaces = namespace.targets_of(fault, context)
        table = table_of(context.tag(fault))
        rules = _table(table, context.tag(fault), self.aim(fault.params), self.fates(fault.params))
        return self._recipe(spaces, table, rules, f"{self.says(fault.params)} in {said(spaces)}", fault.for_s)

    def _recipe(self, spaces: list[Namespace], table: str, rules: str, says: str, lasts_s: float) -> Recipe:
        return Recipe(
            injector=self.name,
            says=f"{says}, put back by deleting the table {table}",
            data={"namespaces": namespace.to_json(spaces), "table": table, "rules": rules},
            claims=tuple(f"{space.claim}:filter" for space in spaces),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=lasts_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Load the table, all of it or nothing, with its deadline in it."""
        rules = str(recipe.data["rules"]).replace("LASTS", f"{int(recipe.lasts_s + GRACE_S)}s")
        for space in targets_from(recipe):
            if await asyncio.to_thread(namespace.run, space, ["nft", "-f", "-"], rules) is None:
                raise InjectorError(f"{space.says} was gone before it could be hit")

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel's own count of packets that the rules have hit."""
        hits: dict[str, int] = {}
        for space in targets_from(recipe):
            found = await asyncio.to_thread(_tables, space)
            if str(recipe.data["table"]) not in found:
                return namespace.missing(space, f"the rules are not in {space.says}")
            hits[space.says] = found[str(recipe.data["table"])]
        says = ", ".join(f"{count} packets hit in {who}" for who, count in hits.items())
        return Evidence(ok=True if all(hits.values()) else None, says=says, data=hits)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Delete the table; that it is there is made sure first, in the same transaction."""
        table = recipe.data["table"]
        for space in targets_from(recipe):
            gone = f"add table inet {table}\ndelete table inet {table}\n"
            await asyncio.to_thread(namespace.run, space, ["nft", "-f", "-"], gone)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The table is in none of them."""
        for space in targets_from(recipe):
            if str(recipe.data["table"]) in await asyncio.to_thread(_tables, space):
                return Evidence(ok=False, says=f"table {recipe.data['table']} is left in {space.says}")
        return Evidence(ok=True, says="no table of ours is left")

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """A recipe that deletes it for each table of ours in a namespace of the system."""
        spaces = [one for part in system.components.values() if part.namespaces for one in namespace.instances(part)]
        return [
            self._recipe([space], table, "", f"{table} in {space.says}", 0.0)
            for space in spaces
            for table in await asyncio.to_thread(_tables, space)
        ]


class Partition(Ruled):
    """Drops packets without a word: whoever waits for an answer waits."""

    name: ClassVar[str] = "network.partition"
    about: ClassVar[str] = (
        "Drops all packets, or one way, or those of one peer or port, in a network namespace (nftables)."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Aim):
        """Which packets."""

    def fates(self, params: object) -> tuple[str, ...]:
        """Dropped."""
        return ("counter drop",)

    def says(self, params: object) -> str:
        """The fault for people."""
        return f"packets {_aimed(self.aim(params))} dropped"


class Loss(Ruled):
    """Drops a random share of packets."""

    name: ClassVar[str] = "network.loss"
    about: ClassVar[str] = "Drops a random share of packets in a network namespace (nftables)."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Aim):
        """Which packets, and how many of them."""

        share: Share = field(metadata={"help": "Share of the packets, each way, that is lost."})

        def __post_init__(self) -> None:
            """A share."""
            Aim.__post_init__(self)
            if not 0.0001 <= self.share <= 1:
                raise ValueError("'share' is 0.01 % to 100 %")

    def fates(self, params: object) -> tuple[str, ...]:
        """Dropped, by a random number of the kernel's."""
        assert isinstance(params, Loss.Params)
        return (f"numgen random mod 10000 < {round(params.share * 10000)} counter drop",)

    def says(self, params: object) -> str:
        """The fault for people."""
        assert isinstance(params, Loss.Params)
        return f"{params.share * 100:g} % of packets {_aimed(params)} dropped"


class Reject(Ruled):
    """Refuses packets: whoever connects is told at once, and established connections are reset when used."""

    name: ClassVar[str] = "network.reject"
    about: ClassVar[str] = (
        "Answers packets with a refusal (TCP reset, ICMP unreachable) in a network namespace (nftables)."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Aim):
        """Which packets."""

    def fates(self, params: object) -> tuple[str, ...]:
        """Refused in the way of their protocol."""
        return (
            # The refusals themselves meet these rules again on their way, and must pass: neither RST, which is bit 2 of
            # byte 13 of a TCP header, nor ICMP is refused. (`tcp flags` cannot follow a match on TCP or UDP.)
            "meta l4proto tcp @th,104,8 & 4 == 0 counter reject with tcp reset",
            "meta l4proto != { tcp, icmp, ipv6-icmp } counter reject with icmpx port-unreachable",
        )

    def says(self, params: object) -> str:
        """The fault for people."""
        return f"packets {_aimed(self.aim(params))} refused"


def _aimed(aim: Aim) -> str:
    way = {"both": "both ways", "in": "coming in", "out": "going out"}[aim.way]
    return way + (f" of peer {aim.peer}" if aim.peer else "") + (f" of port {aim.port}" if aim.port else "")


def table_of(tag: str) -> str:
    """The name of a fault's table."""
    return PREFIX + re.sub(r"\W", "_", tag.removeprefix("chaosrunner/"))


def table_text(table: str, tag: str, chains: Iterable[tuple[str, str, Iterable[str]]]) -> str:
    """A table as nft reads it, from the name, hook and rules of its chains; LASTS stands for its time."""
    written = "\n".join(
        f"  chain {name} {{\n    {hook}; policy accept;\n    " + "\n    ".join(rules) + "\n  }"
        for name, hook, rules in chains
    )
    lease = "elements = { ipv4 timeout LASTS, ipv6 timeout LASTS }"
    return (
        f'add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n  comment "{tag}"\n'
        f"  set lease {{ typeof meta nfproto; flags timeout; {lease}; }}\n{written}\n}}\n"
    )


def _table(table: str, tag: str, aim: Aim, fates: tuple[str, ...]) -> str:
    chains = [
        (
            way,
            f"type filter hook {hook} priority -150",
            [f"meta nfproto @lease {match}{fate}" for match in _matches(aim, way) for fate in fates],
        )
        for way, hook in (("in", "input"), ("out", "output"))
        if aim.way in (way, "both")
    ]
    return table_text(table, tag, chains)


def _matches(aim: Aim, way: str) -> Iterator[str]:
    """Beginnings of rules that match what is aimed at, going one way."""
    inwards = way == "in"
    match = "" if aim.port == 53 else f'{"iifname" if inwards else "oifname"} != "lo" '
    if aim.peer:
        family = "ip" if ipaddress.ip_network(aim.peer).version == 4 else "ip6"
        match += f"{family} {'saddr' if inwards else 'daddr'} {aim.peer} "
    if not aim.port:
        yield match
        return
    for end in ("sport", "dport"):
        yield f"{match}meta l4proto {{ tcp, udp }} th {end} {aim.port} "


def _tables(space: Namespace) -> dict[str, int]:
    """Our tables in a namespace, and how many packets each has hit; none when it is gone."""
    printed = namespace.run(space, ["nft", "-j", "list", "ruleset", "inet"])
    found: dict[str, int] = {}
    for item in json.loads(printed)["nftables"] if printed else ():
        if "table" in item and item["table"]["name"].startswith(PREFIX):
            found.setdefault(item["table"]["name"], 0)
        if "rule" in item and item["rule"]["table"].startswith(PREFIX):
            counters = [part["counter"]["packets"] for part in item["rule"]["expr"] if "counter" in part]
            found[item["rule"]["table"]] = found.get(item["rule"]["table"], 0) + sum(counters)
    return found
