"""Ways to make a fault and to take it back, ours and those of the plain tool that does the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from contract_rig import fault_of

from chaosrunner.model.fault import Context, Injector, Target
from chaosrunner.model.system import System
from chaosrunner.world.injectors import RealTools

Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to make a fault.

    Attributes:
        tool: What makes it.
        inject: Makes it.
        undo: Takes it back.
        ready: What comes before an inject and is not timed.
        slow: Whether a tenth of the turns must do.
    """

    tool: str
    inject: Step
    undo: Step
    ready: Step
    slow: bool = False


Faults = Mapping[str, list[Way]]


def ours(tool: str, injector: Injector, system: System, *, slow: bool = False, **params: object) -> Way:
    """An injector of ours at the system's component `target`, prepared anew each time."""
    tools, kept = RealTools({}), {}
    fault = fault_of(injector, Target(component="target"), **params)
    prepared = iter(range(10**6))

    async def ready() -> None:
        run = f"bench{next(prepared)}"
        context = Context(run=run, system=system, tools=tools, rng=random.Random(1), spare=frozenset)
        kept["recipe"] = await injector.prepare(fault, context)

    async def inject() -> None:
        await injector.inject(kept["recipe"], tools)

    async def undo() -> None:
        await injector.undo(kept["recipe"], tools)
        assert (await injector.absent(kept["recipe"], tools)).ok

    return Way(tool, inject, undo, ready, slow)


async def nothing() -> None:
    """A plain tool looks for nothing."""


def program(*words: str) -> Step:
    """Run a program to its end."""

    async def run() -> None:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, complaint = await process.communicate()
        assert process.returncode == 0, f"{words}: {complaint.decode()}"

    return run
