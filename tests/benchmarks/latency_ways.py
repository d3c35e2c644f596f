"""Ways to make a fault and to take it back, ours and those of the plain tool that does the same."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from contract_rig import fault_of

from chaosrunner.model.fault import Context, Injector, Target
from chaosrunner.model.system import System
from chaosrunner.world.injectors import RealTools
from chaosrunner.world.payment import SETTLING_S

Step = Callable[[], Awaitable[None]]
KEPT_WITHIN_S = 10.0
SAID_BYTES = 1000
GONE_WITHIN_S = 20.0
OURS = "chaosrunner"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to make a fault.

    Attributes:
        tool: What makes it.
        inject: Makes it.
        undo: Takes it back; `nothing` where there is nothing to take back.
        ready: What comes before an inject and is not timed.
        slow: Whether a tenth of the turns must do.
    """

    tool: str
    inject: Step
    undo: Step
    ready: Step
    slow: bool = False


Faults = Mapping[str, list[Way] | str]
"""Ways by fault; or, where the fault cannot be made here, why not."""


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
        async with asyncio.timeout(GONE_WITHIN_S):
            while True:  # as a run does, whose pauses begin with this one: a look may come too early
                await injector.undo(kept["recipe"], tools)
                if (await injector.absent(kept["recipe"], tools)).ok:
                    return
                await asyncio.sleep(SETTLING_S)

    return Way(tool, inject, undo if injector.reversible else nothing, ready, slow)


def here(injector: Injector, ways: list[Way]) -> list[Way] | str:
    """The ways of a fault, or why it cannot be made here."""
    found = injector.available()
    return ways if found.ok else found.why


def after(first: Step, ways: list[Way]) -> list[Way]:
    """The ways, each made ready only when something else is."""

    def ready(way: Way) -> Step:
        async def both() -> None:
            await first()
            await way.ready()

        return both

    return [replace(way, ready=ready(way)) for way in ways]


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


class Kept:
    """A program that makes a fault for as long as it runs."""

    def __init__(self, *words: str, told: str = "", says: str) -> None:
        """Runs `words`, tells it `told`, and the fault is there as soon as it has said `says`."""
        self._words, self._told, self._says = words, told.encode(), says.encode()
        self._process: asyncio.subprocess.Process | None = None

    async def begin(self) -> None:
        """Start it, and wait for its word."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self._told)
        said = b""
        async with asyncio.timeout(KEPT_WITHIN_S):
            while self._says not in said:
                more = await self._process.stdout.read(SAID_BYTES)
                assert more, f"{self._words}: {said.decode()}"
                said += more

    async def end(self, by: signal.Signals | None = None) -> None:
        """Tell it no more, send it a signal if one is said, and wait until it has ended."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        if by is not None:
            with suppress(ProcessLookupError):  # it may have noticed by itself
                self._process.send_signal(by)
        async with asyncio.timeout(KEPT_WITHIN_S):
            await self._process.communicate()
