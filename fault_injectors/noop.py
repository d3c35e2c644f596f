"""The fault that does nothing: the template for a new one, and a control for the engine itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools


class Noop:
    """Does nothing, and proves it by doing nothing."""

    name: ClassVar[str] = "noop"
    about: ClassVar[str] = "Does nothing for a while; a control that shows what the engine itself costs."
    needs: ClassVar[tuple[str, ...]] = ()
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Nothing to say."""

    def available(self) -> Availability:
        """Everywhere."""
        return Availability(ok=True)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Claim nothing, so that any number may run at once."""
        return Recipe(
            injector=self.name,
            says="nothing is done, so there is nothing to put back",
            data={"tag": context.tag(fault)},
            claims=(),
            settle_s=0.0,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Do nothing."""

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Nothing was done, as asked."""
        return Evidence(ok=True, says="nothing was done, as asked")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Do nothing."""

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """There never was anything."""
        return Evidence(ok=True, says="there is nothing to put back")
