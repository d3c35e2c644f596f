"""A fault on a file that keeps every law, and others that each break one: the contract must tell them apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.secret import Secret

LATE_S = 0.3
LATER = """
import json, os, sys, time
path, name, late_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
time.sleep(late_s)
state = json.load(open(path))
state["faults"][name] = True
with open(path + ".late", "w") as file:
    file.write(json.dumps(state))
os.replace(path + ".late", path)
"""


def read(path: str) -> dict[str, Any]:
    """The target: its generation, the faults in it, and what is none of theirs."""
    state: dict[str, Any] = json.loads(Path(path).read_text())
    return state


def write(path: str, state: dict[str, Any]) -> None:
    """Change the target."""
    fresh = Path(f"{path}.{os.getpid()}")
    fresh.write_text(json.dumps(state))
    fresh.replace(path)  # whole or not at all, whoever dies meanwhile


class Lawful:
    """Writes its name into a file and takes it out again."""

    name: ClassVar[str] = "file.lawful"
    about: ClassVar[str] = "Writes its name into a file and takes it out again."
    needs: ClassVar[tuple[str, ...]] = ()
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """Nothing."""

    def available(self) -> Availability:
        """Everywhere."""
        return Availability(ok=True)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look at the generation."""
        path = context.system.components["file"].at[0]
        data = {"path": path, "name": context.tag(fault), "generation": read(path)["generation"]}
        return Recipe(injector=self.name, says="a name in a file", data=data, claims=(f"file:{path}",), settle_s=0.0)

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Write the name."""
        path, state = self._of(recipe)
        state["faults"][recipe.data["name"]] = True
        write(path, state)

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Is the name there?"""
        there = recipe.data["name"] in self._of(recipe)[1]["faults"]
        return Evidence(ok=there or None, says="there" if there else "not there yet")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Take it out, unless the file is another one by now."""
        path, state = self._of(recipe)
        if state["generation"] == recipe.data["generation"] and state["faults"].pop(recipe.data["name"], None):
            write(path, state)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Is it gone?"""
        state = self._of(recipe)[1]
        ours = state["generation"] == recipe.data["generation"] and recipe.data["name"] in state["faults"]
        return Evidence(ok=not ours, says="there" if ours else "gone")

    def _of(self, recipe: Recipe) -> tuple[str, dict[str, Any]]:
        path = str(recipe.data["path"])
        return path, read(path)


class Hasty(Lawful):
    """Breaks law 1: preparing writes."""

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Look, and inject at once."""
        recipe = await super().prepare(fault, context)
        await self.inject(recipe, context.tools)
        return recipe


class Blabber(Lawful):
    """Breaks law 2: the recipe holds a secret's value."""

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Reveal, and tell."""
        recipe = await super().prepare(fault, context)
        return replace(recipe, data={**recipe.data, "password": context.tools.reveal(Secret("${LAWLESS_SECRET}"))})


class Liar(Lawful):
    """Breaks laws 3 and 10: undo does nothing and calls it absent."""

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Do nothing."""

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Lie."""
        return Evidence(ok=True, says="gone, on my word")


class Toggle(Lawful):
    """Breaks laws 4 and 5: undo turns it over."""

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Take it out if it is there, write it if it is not."""
        path, state = self._of(recipe)
        if not state["faults"].pop(recipe.data["name"], None):
            state["faults"][recipe.data["name"]] = True
        write(path, state)


class Stale(Lawful):
    """Breaks law 4: once proven is proven for good."""

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Remember instead of looking."""
        return Evidence(ok=True, says="it was there")


class Forgetful(Lawful):
    """Breaks law 6: what to undo is kept in memory."""

    _injected: ClassVar[set[str]] = set()

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Write and remember."""
        await super().inject(recipe, tools)
        self._injected.add(str(recipe.data["name"]))

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Undo what is remembered."""
        if recipe.data["name"] in self._injected:
            await super().undo(recipe, tools)


class Late(Lawful):
    """Keeps law 7: its request is queued in a remote that applies it later, and the settle time says so."""

    settle_s: ClassVar[float] = 3 * LATE_S

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Say how long it may take to land."""
        return replace(await super().prepare(fault, context), settle_s=self.settle_s)

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Queue it in a process that nobody waits for."""
        path, name = str(recipe.data["path"]), str(recipe.data["name"])
        command = [sys.executable, "-I", "-c", LATER, path, name, str(LATE_S)]
        subprocess.Popen(command, start_new_session=True)  # noqa: ASYNC220 - it is not waited for


class LateUnsaid(Late):
    """Breaks law 7: it lands later than its settle time says."""

    settle_s: ClassVar[float] = 0.0


class Careless(Lawful):
    """Breaks law 8: something else changes as well."""

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Write a little more."""
        await super().inject(recipe, tools)
        path, state = self._of(recipe)
        write(path, {**state, "bystander": state["bystander"] + 1})


class Anonymous(Lawful):
    """Breaks law 8: what it creates does not say whose it is."""

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Name it badly."""
        recipe = await super().prepare(fault, context)
        return replace(recipe, data={**recipe.data, "name": "x"})


class Stubborn(Lawful):
    """Breaks law 9: a replaced target is an error."""

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Insist on the first file."""
        if self._of(recipe)[1]["generation"] != recipe.data["generation"]:
            raise InjectorError("this is not the file I knew")
        await super().undo(recipe, tools)


class Debtor(Lawful):
    """Breaks law 10: its recipes say they cannot be undone, while it says they can."""

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Deny the debt."""
        return replace(await super().prepare(fault, context), reversible=False)
