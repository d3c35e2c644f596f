"""A target that lives in files, so that it survives whoever breaks it, and injectors that break it."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from chaosrunner.errors import InjectorError
from chaosrunner.model.experiment import Experiment, RecoveryTarget
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Target, Tools
from chaosrunner.model.http_step import Request
from chaosrunner.model.hypothesis import Hypothesis
from chaosrunner.model.load import Stage, single
from chaosrunner.model.secret import Secret
from chaosrunner.model.system import Component, System
from chaosrunner.world.injection import UndoKit
from chaosrunner.world.state_home import StateHome


@dataclass(frozen=True, slots=True, kw_only=True)
class NoParams:
    """Nothing to say."""


class PlainTools:
    """Secrets are what they look like."""

    def reveal(self, secret: Secret) -> str:
        """The template itself."""
        return secret.template


class Flag:
    """Breaks a component by creating `<folder>/<component>.broken`; undo removes it."""

    name: ClassVar[str] = "test.flag"
    about: ClassVar[str] = "Creates a file."
    needs: ClassVar[tuple[str, ...]] = ()
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    Params: ClassVar[type] = NoParams
    settle_s: ClassVar[float] = 0.0

    def available(self) -> Availability:
        """Everywhere."""
        return Availability(ok=True)

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """The file is the component's."""
        assert fault.target is not None
        component = context.system.components[fault.target.component]
        flag = f"{component.at[0]}/{component.name}.broken"
        return Recipe(
            injector=self.name,
            says=f"{flag} appears and goes again",
            data={"flag": flag},
            claims=(f"flag:{flag}",),
            reversible=self.reversible,
            settle_s=self.settle_s,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Create it."""
        flag_of(recipe).touch()

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """It is there."""
        return Evidence(ok=flag_of(recipe).exists() or None, says="the flag is up")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Remove it."""
        flag_of(recipe).unlink(missing_ok=True)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """It is gone."""
        return Evidence(ok=not flag_of(recipe).exists(), says="a look at the flag")


class LateFlag(Flag):
    """Its inject is only queued: another process creates the file 20 ms later, the asker may be dead by then."""

    name: ClassVar[str] = "test.late"
    settle_s: ClassVar[float] = 0.25

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Queue it, and wait for the answer."""
        await asyncio.to_thread(queue_late(flag_of(recipe)).wait)


class Unreachable(Flag):
    """Cannot be reached, neither to undo nor to look, while there is a file `<flag>.unreachable`."""

    name: ClassVar[str] = "test.unreachable"

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Remove it, if it can be reached."""
        reach(recipe)
        await super().undo(recipe, tools)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """It is gone, if it can be reached."""
        reach(recipe)
        return await super().absent(recipe, tools)


class Unready(Flag):
    """A way back that cannot be gone: whoever looks is refused."""

    name: ClassVar[str] = "test.unready"

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """No."""
        raise InjectorError("password refused")


def queue_late(flag: Path, delay_s: float = 0.02) -> subprocess.Popen[bytes]:
    """Have another process raise a flag after a delay."""
    return subprocess.Popen(["/bin/sh", "-c", f"sleep {delay_s}; : > '{flag}'"], start_new_session=True)


def reach(recipe: Recipe) -> None:
    """Raise InjectorError while the target of a recipe cannot be reached."""
    if Path(f"{recipe.data['flag']}.unreachable").exists():
        raise InjectorError("no route to the flag")


def flag_of(recipe: Recipe) -> Path:
    """The file a recipe is about."""
    return Path(str(recipe.data["flag"]))


def experiment_on(folder: Path, *injectors: str, for_s: float = 0.2, same: bool = False) -> Experiment:
    """An experiment with one fault per injector, on components c0, c1, … (or all on c0) whose flags are in `folder`."""
    names = [f"c{index}" for index in range(len(injectors))]
    return Experiment(
        question="Does harm always find its way back?",
        file="test.yaml",
        source="",
        system=System(
            name="test-system",
            file="system.yaml",
            components={name: Component(name=name, at=(str(folder),)) for name in names},
        ),
        system_source="",
        load=single(steps=(Request(name="s", method="GET", path="/"),), stages=(Stage(start=1, end=1, lasts_s=None),)),
        baseline_s=1.0,
        faults=tuple(
            Fault(
                index=index,
                injector=injector,
                target=Target(component="c0" if same else f"c{index}"),
                params=NoParams(),
                for_s=for_s,
            )
            for index, injector in enumerate(injectors)
        ),
        hypothesis=Hypothesis(),
        recover=RecoveryTarget(),
    )


def kit_for(experiment: Experiment, folder: Path, *injectors: Flag, **more: object) -> UndoKit:
    """A kit whose state home and run directory are in `folder`."""
    known = {injector.name: injector for injector in (Flag(), LateFlag(), *injectors)}

    def context(fault: Fault) -> Context:
        rng = random.Random(fault.index)
        return Context(run="r1", system=experiment.system, tools=PlainTools(), rng=rng, spare=frozenset)

    given: dict[str, object] = {
        "experiment": experiment,
        "injectors": known,
        "tools": PlainTools(),
        "home": StateHome(folder / "state"),
        "run_dir": folder / "run",
        "context": context,
    }
    return UndoKit(**{**given, **more})  # type: ignore[arg-type]


def broken(folder: Path) -> list[str]:
    """Names of the components that are broken now."""
    return sorted(flag.name.removesuffix(".broken") for flag in folder.glob("*.broken"))


async def eventually(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Return once a condition holds; fail if it never does."""
    for _ in range(int(within_s / 0.03)):
        if condition():
            return
        await asyncio.sleep(0.03)
    raise AssertionError(f"not within {within_s} s")


def python(*args: str) -> list[str]:
    """A command line for this interpreter."""
    return [sys.executable, *args]


def lines(path: Path) -> list[dict[str, object]]:
    """The lines of a journal that are whole."""
    return [json.loads(raw) for raw in path.read_bytes().split(b"\n")[:-1] if raw]
