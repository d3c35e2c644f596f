"""A network namespace for one part of the demo: a cable to it and nothing else, so that its network breaks alone.

It is named after the demo's base port, on which no second demo can run: what is left by that name is nobody's.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosrunner.demo.options import DemoUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ANSWERS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Isolation:
    """The namespace of the demo that has a base port."""

    base_port: int

    @property
    def name(self) -> str:
        """As `ip netns` has it."""
        return f"chaosrunner-demo-{self.base_port}"

    @property
    def cable(self) -> str:
        """Its end here, as `ip link` has it."""
        return f"crdemo{self.base_port}"

    @property
    def here(self) -> str:
        """Address of this end of the cable; demos are at least 31 ports apart, so no two share four addresses."""
        return self._address(1)

    @property
    def there(self) -> str:
        """Address of the part inside."""
        return self._address(2)

    def command(self, *argv: str) -> tuple[str, ...]:
        """The command that runs another one inside; it becomes that other one, so its pid stays."""
        return ("ip", "netns", "exec", self.name, *argv)

    def _address(self, last: int) -> str:
        first = self.base_port & ~3
        return f"10.213.{first >> 8}.{(first & 255) + last}"


@asynccontextmanager
async def isolated(where: Isolation) -> AsyncIterator[None]:
    """The namespace and its cable, for as long as the body lasts.

    Raises:
        DemoUnavailable: it cannot be made here; says why. Nothing is left of it.
    """
    await _unplug(where)  # of a demo that died too fast to take it along
    try:
        await _plug(where)
        yield
    finally:
        await _unplug(where)


async def _unplug(where: Isolation) -> None:
    """The cable first: the kernel takes its time to clear up what a namespace leaves, and its name would be taken."""
    await _ip("link", "delete", "dev", where.cable, must=False)
    await _ip("netns", "delete", where.name, must=False)


async def _plug(where: Isolation) -> None:
    cable, inside = where.cable, ("-n", where.name)
    await _ip("netns", "add", where.name)
    await _ip("link", "add", "dev", cable, "type", "veth", "peer", "name", "eth0", "netns", where.name)
    await _ip("address", "add", f"{where.here}/30", "dev", cable)
    await _ip("link", "set", "dev", cable, "up")
    await _ip(*inside, "address", "add", f"{where.there}/30", "dev", "eth0")
    for device in ("lo", "eth0"):
        await _ip(*inside, "link", "set", "dev", device, "up")


async def _ip(*words: str, must: bool = True) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            "ip", *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        if must:
            raise DemoUnavailable("a part with a network of its own needs iproute2: there is no program 'ip'") from None
        return
    _, said = await asyncio.wait_for(process.communicate(), ANSWERS_WITHIN_S)
    if process.returncode and must:
        why = said.decode(errors="replace").strip()
        raise DemoUnavailable(f"a part with a network of its own needs root: 'ip {' '.join(words)}' says: {why}")
