"""Break the resolving of names in a network namespace: no answer, refusals, NXDOMAIN, or late answers.

Silence and refusals are rules alone. For NXDOMAIN and delays the rules turn questions to a responder of ours, whose
process is leased: rules and responder end by themselves, the rules first.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from chaosrunner.model.units import Seconds, human_duration
from fault_injectors import leased
from fault_injectors import network_dns_responder as responder
from fault_injectors import network_namespace as namespace
from fault_injectors import resources_lease as lease
from fault_injectors.network import SETTLE_S, Aim, Reject, Ruled, table_of, table_text
from fault_injectors.network_namespace import Namespace, said, targets_from

KIND = "dns"
ZONE = 0xC4A0
"""The connection tracking zone of questions that are turned: what the kernel remembers of others stays apart, and none
is turned any more once the rules are gone."""
FIRST_PORT, PORTS = 20_000, 10_000
"""A responder's ports: below those that the kernel gives away by itself."""
LATER_S = 30.0
"""The responder ends this much later than the rules that lead to it."""
ETC = Path("/etc")


class Dns(Ruled):
    """Takes names away, or makes them slow. A resolver on loopback is hit as well."""

    name: ClassVar[str] = "network.dns"
    about: ClassVar[str] = (
        "Lets DNS questions go unanswered, refuses them, or has them answered NXDOMAIN or late, in a network namespace "
        "(nftables)."
    )

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """How."""

        answer: Literal["none", "refused", "nxdomain"] | None = field(
            default=None,
            metadata={
                "help": "none: answers are lost on their way back; refused: told at once; nxdomain: no such name. "
                "Left out: the resolver's own after 'delay', or none."
            },
        )
        delay: Seconds = field(default=Seconds(0.0), metadata={"help": "How much later the answer comes."})
        names: str = field(
            default="*",
            metadata={"help": "Only these names, with * for any characters, separated by commas: '*.shop.internal'."},
        )
        resolvers: str = field(
            default="",
            metadata={"help": "Addresses whose questions are turned, by commas; none: those of resolv.conf."},
        )

        def __post_init__(self) -> None:
            """What goes together."""
            if not 0 <= self.delay <= 60:
                raise ValueError("'delay' is at most 60s")
            if not _listed(self.names):
                raise ValueError("'names' is one name or several, such as '*.shop.internal'")
            for address in _listed(self.resolvers):
                ipaddress.ip_address(address)
            if not self.turned and (self.delay or self.names != "*" or self.resolvers):
                raise ValueError(
                    "'delay', 'names' and 'resolvers' go with 'answer: nxdomain', or with 'delay' and no 'answer'"
                )

        @property
        def turned(self) -> bool:
            """Whether a responder of ours answers."""
            return self.answer == "nxdomain" or (self.answer is None and self.delay > 0)

    def aim(self, params: object) -> Aim:
        """Lost on their way back, because a sender is told of a datagram that is dropped on its way out."""
        assert isinstance(params, Dns.Params)
        return Aim(port=responder.DNS, way="out" if params.answer == "refused" else "in")

    def fates(self, params: object) -> tuple[str, ...]:
        """Dropped or refused."""
        assert isinstance(params, Dns.Params)
        return Reject().fates(params) if params.answer == "refused" else ("counter drop",)

    def says(self, params: object) -> str:
        """The fault for people."""
        assert isinstance(params, Dns.Params)
        return "DNS questions refused" if params.answer == "refused" else "DNS answers lost"

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Find the namespaces and, for a responder, the resolvers that it stands in for."""
        params = fault.params
        assert isinstance(params, Dns.Params)
        if not params.turned:
            return await super().prepare(fault, context)
        spaces = namespace.targets_of(fault, context)
        ports = _ports(_listed(params.resolvers) or _resolvers(spaces), context.rng)
        tag = context.tag(fault)
        late = f" after {human_duration(params.delay)}" if params.delay else ""
        what = f"{'NXDOMAIN' if params.answer else 'the answer comes'}{late}"
        says = f"DNS questions for {params.names} to {', '.join(ports)} in {said(spaces)}: {what}"
        recipe = self._recipe(spaces, table_of(tag), _turning(table_of(tag), tag, ports), says, fault.for_s)
        orders = {"tag": tag, "kind": KIND, "cgroup": "", "resolvers": ports, "names": _listed(params.names.lower()),
                  "delay_s": params.delay, "nxdomain": params.answer == "nxdomain"}  # fmt: skip
        return replace(
            recipe,
            says=f"{recipe.says} and ending its responder",
            data={**recipe.data, **orders},
            settle_s=max(SETTLE_S, leased.SETTLE_S),
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """First who answers, then the rules that lead there."""
        if "tag" in recipe.data:
            await asyncio.to_thread(lease.start, replace(recipe, lasts_s=recipe.lasts_s + LATER_S))
        await super().inject(recipe, tools)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel's count of questions that were turned, and the responder's of those it answered otherwise."""
        turned = await super().verify(recipe, tools)
        if "tag" not in recipe.data or turned.ok is False:
            return turned
        counts: dict[str, object] = {}
        for space in targets_from(recipe):
            pid = _responder_in(space, recipe)
            if pid is None:
                return Evidence(ok=False, says=f"no responder is alive in {space.says}")
            counts[space.says] = responder.answered(pid)
        hit = ", ".join(f"answers changed in {who}: {count}" for who, count in counts.items())
        ok = True if turned.ok and all(counts.values()) else None
        return Evidence(ok=ok, says=f"{turned.says}; {hit}", data={"turned": turned.data, "answered": counts})

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """First the rules, then who answered."""
        await super().undo(recipe, tools)
        if "tag" in recipe.data:
            await asyncio.to_thread(lease.end, recipe)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Neither table nor responder."""
        rules = await super().absent(recipe, tools)
        return lease.none_left(recipe) if "tag" in recipe.data and rules.ok else rules

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Our tables in namespaces of the system, and responders of ours on this host."""
        alone = [
            Recipe(
                injector=self.name,
                says=f"responders of {tag}, put back by ending them",
                data={"namespaces": [], "table": table_of(tag), "tag": tag, "kind": KIND},
                claims=(tag,),
                settle_s=leased.SETTLE_S,
                guard=self.guard,
            )
            for tag in sorted(lease.tags(KIND))
        ]
        return [*await super().scan(system, tools), *alone]


def _listed(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _resolvers(spaces: Iterable[Namespace]) -> list[str]:
    """Whom programs in these ask, as `ip netns exec` has it: a namespace may have a resolv.conf of its own."""
    found: list[str] = []
    for space in spaces:
        own = ETC / "netns" / space.name / "resolv.conf"
        file = own if own.exists() else ETC / "resolv.conf"
        text = file.read_text(errors="replace") if file.exists() else ""
        named = re.findall(r"^\s*nameserver\s+([0-9A-Fa-f.:]+)\s*$", text, re.MULTILINE)
        if not named:
            raise InjectorError(f"{file} names no nameserver for {space.says}; say which: 'resolvers: 10.0.0.2'")
        found += named
    return list(dict.fromkeys(found))


def _ports(resolvers: list[str], rng: random.Random) -> dict[str, int]:
    """A port of our responder for each resolver."""
    return dict(zip(resolvers, rng.sample(range(FIRST_PORT, FIRST_PORT + PORTS), len(resolvers)), strict=True))


def _turning(table: str, tag: str, ports: dict[str, int]) -> str:
    """The table that turns questions round. Answers find their way back by the zone they are tracked in."""
    zone, turn = [], []
    for resolver, port in ports.items():
        family = "ip6" if ":" in resolver else "ip"
        to = f"{family} daddr {resolver} meta l4proto {{ tcp, udp }} th dport {responder.DNS}"
        zone.append(f"meta nfproto @lease meta mark != {responder.MARK} {to} counter ct zone set {ZONE}")
        zone.append(f'oifname "lo" meta l4proto {{ tcp, udp }} th sport {port} ct zone set {ZONE}')
        turn.append(f"ct zone {ZONE} {to} redirect to :{port}")
    # Before anybody else's: of two rules that turn one packet, the first has it.
    chains: list[tuple[str, str, list[str]]] = [
        ("zone", "type filter hook output priority raw", zone),
        ("turn", "type nat hook output priority -105", turn),
    ]
    return table_text(table, tag, chains)


def _responder_in(space: Namespace, recipe: Recipe) -> int | None:
    for one in lease.children(recipe):
        try:
            where: Any = (Path("/proc") / str(one.pid) / "ns/net").stat()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if where.st_ino == space.inode:
            return one.pid
    return None
