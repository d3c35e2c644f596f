"""A stranger's injectors: a flag in the directory `$STRANGER`, whose author breaks every rule when asked to."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from chaosrunner.model.fault import Availability, Evidence, Recipe


class Flag:
    """A file is the harm; the file's absence is health. Undo raises while there is a file `stuck` beside it."""

    name: ClassVar[str] = "stranger.flag"
    about: ClassVar[str] = "Raises a flag."
    needs: ClassVar[tuple[str, ...]] = ()
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "target"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """What to do wrong."""

        wrong: Literal["nothing", "wait", "prepare", "inject", "verify", "answer"] = field(
            default="nothing", metadata={"help": "Where to go wrong."}
        )
        claim: str = field(default="flag", metadata={"help": "What it claims."})

    def available(self):
        """Everywhere but where there is a file `nowhere`."""
        if (place() / "nowhere").exists():
            raise RuntimeError("a stranger cannot even say so")
        return Availability(ok=True)

    async def prepare(self, fault, context):
        """Claim the flag."""
        if fault.params.wrong == "wait":
            (place() / "waiting").touch()
            await asyncio.sleep(60)
        if fault.params.wrong == "prepare":
            raise ZeroDivisionError("a stranger's sum")
        return Recipe(
            injector=self.name,
            says="a flag is raised, put back by lowering it",
            data={"wrong": fault.params.wrong},
            claims=(f"stranger:{fault.params.claim}",),
            settle_s=0.0,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe, tools):
        """Raise it."""
        (place() / "flag").touch()
        if recipe.data["wrong"] == "inject":
            raise ZeroDivisionError("a stranger's sum")

    async def verify(self, recipe, tools):
        """It is there, unless asked for nonsense."""
        match recipe.data["wrong"]:
            case "verify":
                raise ZeroDivisionError("a stranger's sum")
            case "answer":
                return "it looks fine to me"
        return Evidence(ok=(place() / "flag").exists(), says="the flag is up")

    async def undo(self, recipe, tools):
        """Lower it."""
        if (place() / "stuck").exists():
            raise OSError("the rope is stuck")
        (place() / "flag").unlink(missing_ok=True)

    async def absent(self, recipe, tools):
        """It is not there."""
        up = (place() / "flag").exists()
        return Evidence(ok=not up, says="the flag is up" if up else "the flag is down")


def place() -> Path:
    """Where the flag is."""
    return Path(os.environ["STRANGER"])
