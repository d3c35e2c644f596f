"""What is left on other hosts: what the hands there have written down, and what their injectors find by our tag."""

from __future__ import annotations

from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from chaosrunner.world.far import FAMILIES, ask, received

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chaosrunner.model.fault import Recipe
    from chaosrunner.model.system import System


@dataclass(frozen=True, slots=True)
class Recorded:
    """A fault that a hand was told to inject and has not seen gone."""

    recipe: Recipe
    """As it is carried out from here."""
    run: str
    """Whose it is, by its tag."""
    left_s: float
    """Seconds until it ends by itself; 0 when that time is past, or nobody is left there who would end it."""


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


def seen_from_here(system: System, name: str) -> System:
    """What of a system an injector looks at on this host: all of it, unless a hand looks at the parts elsewhere."""
    return part_on(system) if acts_there([name]) else system


async def recorded_on(host: str) -> tuple[list[Recorded], list[str]]:
    """What the hands on a host were told to inject and have not seen gone, by whichever run; and what is unreadable.

    Raises:
        InjectorError: the host cannot be reached, or its hand will not.
    """
    answer = await ask(host, {"do": "recorded"})
    found = [
        Recorded(received(host, answer, one["recipe"], one["tag"]), _run_of(one["tag"]), one["left_s"])
        for one in answer["found"]
    ]
    return found, answer["problems"]


async def scan_on(host: str, system: System, names: Iterable[str]) -> tuple[list[Recipe], list[str]]:
    """What injectors on a host find of ours at its part of a system, and why some of them could not look.

    Args:
        host: where.
        system: the whole.
        names: of the injectors that are to look; the host is not asked when a hand has none of them.

    Raises:
        InjectorError: the host cannot be reached, or its hand will not.
    """
    if not (looking := acts_there(names)):
        return [], []
    order: dict[str, Any] = {"do": "scan", "system": part_on(system, host), "names": looking}
    answer = await ask(host, order)
    found = [received(host, answer, one, f"chaosrunner/scan/{token_hex(4)}") for one in answer["found"]]
    return found, answer["problems"]


def _run_of(tag: str) -> str:
    """The run in what a hand has made of a tag: `chaosrunner_<run>_<index>_<look>`."""
    return tag.removeprefix("chaosrunner_").rsplit("_", 2)[0]
