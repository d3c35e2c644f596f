"""A fault that tells a scripted target to begin and to end its behaviour; real for the engine, journal and watchdog."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools

ANSWER_S = 5.0


class TruthScript:
    """Has a scripted target begin, and end, what its script says."""

    name: ClassVar[str] = "truth.script"
    about: ClassVar[str] = "Tells a scripted target to begin its behaviour; undone by telling it to end it."
    needs: ClassVar[tuple[str, ...]] = ()
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Which target."""

        port: int = field(metadata={"help": "Where the scripted target takes orders, on 127.0.0.1."})

    def available(self) -> Availability:
        """Everywhere."""
        return Availability(ok=True)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Claim the target."""
        assert isinstance(fault.params, self.Params)
        port = fault.params.port
        return Recipe(
            injector=self.name,
            says=f"the script of the target at {port} begins",
            data={"port": port, "tag": context.tag(fault)},
            claims=(f"truth:{port}",),
            settle_s=0.0,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Begin."""
        await _ask(recipe, "begin")

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The target says that it has begun."""
        says = await _ask(recipe, "state")
        return Evidence(ok=says == "on", says=f"the target's script is {says}")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """End."""
        await _ask(recipe, "end")

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The target says that it has ended."""
        says = await _ask(recipe, "state")
        return Evidence(ok=says == "off", says=f"the target's script is {says}")


async def _ask(recipe: Recipe, order: str) -> str:
    """One order, and the answer. Raises InjectorError when there is none."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(str(recipe.data["port"])))
            writer.write(f"{order}\n".encode())
            answer = (await reader.readline()).decode().strip()
            writer.close()
    except (OSError, TimeoutError) as error:
        raise InjectorError(f"the scripted target does not answer '{order}': {error}") from error
    if answer not in ("on", "off"):
        raise InjectorError(f"the scripted target answers '{order}' with {answer!r}")
    return answer
