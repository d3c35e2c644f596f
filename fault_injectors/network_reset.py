"""Reset established connections of a network namespace, once (`ss -K`, the kernel's INET_DIAG_DESTROY)."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from fault_injectors import network_namespace as namespace
from fault_injectors.network import Aim
from fault_injectors.network_namespace import Namespace, said, targets_from


class Reset:
    """Ends TCP connections as if their peer had reset them; both ends are told. New ones are not hindered."""

    name: ClassVar[str] = "network.reset"
    about: ClassVar[str] = "Resets established TCP connections of a network namespace, once; has no undo."
    needs: ClassVar[tuple[str, ...]] = ("namespaces",)
    reversible: ClassVar[bool] = False
    guard: ClassVar[str] = "target"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Aim):
        """Which connections; a connection has no way, so `way` is not for it."""

        def __post_init__(self) -> None:
            """Both ways at once."""
            Aim.__post_init__(self)
            if self.way != "both":
                raise ValueError("a connection goes both ways: leave out 'way'")

    def available(self) -> Availability:
        """Where there is ss and namespaces can be entered; whether the kernel resets shows when it is asked to."""
        return namespace.available("ss")

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Count resets so far."""
        params = fault.params
        assert isinstance(params, Reset.Params)
        spaces = namespace.targets_of(fault, context)
        before = [await asyncio.to_thread(_resets, space) for space in spaces]
        of = (f" of peer {params.peer}" if params.peer else "") + (f" of port {params.port}" if params.port else "")
        return Recipe(
            injector=self.name,
            says=f"established TCP connections{of} of {said(spaces)} reset",
            data={"namespaces": namespace.to_json(spaces), "which": _which(params), "before": before},
            claims=tuple(f"{space.claim}:connections" for space in spaces),
            reversible=False,
            settle_s=0.0,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Reset what is established now; that there is nothing, or that it stays, is an error."""
        which = str(recipe.data["which"]).split()
        for space in targets_from(recipe):
            before = await asyncio.to_thread(_cookies, space, which)
            if not before:
                raise InjectorError(f"{space.says} has no such connection to reset")
            await asyncio.to_thread(namespace.run, space, ["ss", "-K", "-t", "state", "established", *which])
            if left := before & await asyncio.to_thread(_cookies, space, which):
                raise InjectorError(f"{len(left)} connections of {space.says} stayed: the kernel resets none for us")

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel's own count of established connections that were reset."""
        before = recipe.data["before"]
        assert isinstance(before, list)
        resets = [await asyncio.to_thread(_resets, space) for space in targets_from(recipe)]
        counts = {space.says: now - then for space, now, then in zip(targets_from(recipe), resets, before, strict=True)}
        says = ", ".join(f"{count} connections reset in {who}" for who, count in counts.items())
        return Evidence(ok=True if all(count > 0 for count in counts.values()) else None, says=says, data=counts)

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Nothing: a connection that was reset stays so."""

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Nothing of ours is ever left."""
        return Evidence(ok=True, says="a reset leaves nothing to put back")


def _which(params: Aim) -> str:
    """A filter as ss(8) reads it."""
    parts = [f"dst {params.peer}"] if params.peer else []
    parts += [f"( sport = :{params.port} or dport = :{params.port} )"] if params.port else []
    return " and ".join(parts)


def _cookies(space: Namespace, which: list[str]) -> set[str]:
    """The kernel's ids of connections: unlike addresses they are never used again."""
    printed = namespace.run(space, ["ss", "-H", "-t", "-n", "-e", "state", "established", *which]) or ""
    return set(re.findall(r"\bsk:(\w+)", printed))


def _resets(space: Namespace) -> int:
    """EstabResets of /proc/net/snmp: direct transitions from ESTABLISHED or CLOSE-WAIT to CLOSED, RFC 4022."""
    printed = namespace.run(space, ["cat", "/proc/self/net/snmp"]) or ""
    lines = [line.split() for line in printed.splitlines() if line.startswith("Tcp:")]
    return int(dict(zip(*lines, strict=True)).get("EstabResets", 0)) if lines else 0
