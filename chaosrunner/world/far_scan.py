"""What is left on other hosts: what the hands there have written down, and what their injectors find by our tag."""

from __future__ import annotations

from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from chaosrunner.errors import InjectorError
from chaosrunner.world.far import FAMILIES, ask, received

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaosrunner.model.fault import Recipe
    from chaosrunner.model.system import System


def hosts_of(system: System) -> list[str]:
    """The other hosts of a system, each once."""
    return list(dict.fromkeys(part.host for part in system.components.values() if part.host))


def part_on(system: System, host: str = "") -> System:
    """A system's part on one host, as whoever is there sees it; on this one, when no host is given."""
    there = {name: replace(part, host="") for name, part in system.components.items() if part.host == host}
    return replace(system, components=there)


def acts_there(names: Iterable[str]) -> list[str]:
    """Those injectors that a hand can have used."""
    return [name for name in names if name.partition(".")[0] in FAMILIES]


async def recorded_on(host: str) -> list[Recipe]:
    """What the hands on a host were told to inject and have not seen gone, by whichever run, as recipes for here.

    Raises:
        InjectorError: the host cannot be reached, or its hand will not.
    """
    answer = await ask(host, {"do": "recorded"})
    return [received(host, answer, one["recipe"], one["tag"]) for one in answer["found"]]


async def scan_on(host: str, system: System, names: Iterable[str]) -> list[Recipe]:
    """What injectors on a host find of ours at its part of a system.

    Args:
        host: where.
        system: the whole.
        names: of the injectors that are to look.

    Raises:
        InjectorError: the host cannot be reached, or one of them could not look.
    """
    order: dict[str, Any] = {"do": "scan", "system": part_on(system, host), "names": acts_there(names)}
    answer = await ask(host, order)
    if answer["problems"]:
        raise InjectorError("; ".join(answer["problems"]))
    return [received(host, answer, one, f"chaosrunner/scan/{token_hex(4)}") for one in answer["found"]]
