"""Kill or pause processes of this host."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe, Tools
from chaosrunner.model.system import System
from fault_injectors import processes
from fault_injectors.process_targets import available, said, targets_from, targets_of
from fault_injectors.processes import Process

SETTLE_S = 0.2
"""A signal lands while it is sent; this covers a runner that dies inside the call."""


class Kill:
    """Ends processes and leaves it to the system to bring them back."""

    name: ClassVar[str] = "process.kill"
    about: ClassVar[str] = "Kills processes; that their replacement comes is measured, nothing is put back by us."
    needs: ClassVar[tuple[str, ...]] = ("processes",)
    reversible: ClassVar[bool] = False
    guard: ClassVar[str] = "target"

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """What to say about a kill."""

        comes_back: Literal["by itself"] = field(
            metadata={"help": "Who brings it back. Says that you know: there is no undo."}
        )
        signal: Literal["KILL", "TERM"] = field(default="KILL", metadata={"help": "KILL cannot be caught, TERM asks."})
        with_children: bool = field(default=False, metadata={"help": "Kill its descendants as well."})

    def available(self) -> Availability:
        """Where there are pidfds."""
        return available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Find the live processes and draw from them."""
        assert isinstance(fault.params, Kill.Params)
        targets = targets_of(fault, context, with_children=fault.params.with_children)
        return Recipe(
            injector=self.name,
            says=f"SIG{fault.params.signal} to {said(targets)}; it comes back {fault.params.comes_back}",
            data={"targets": [target.to_json() for target in targets], "signal": fault.params.signal},
            claims=tuple(target.claim for target in targets),
            reversible=False,
            settle_s=0.0,
            guard=self.guard,
            lasts_s=fault.for_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Send the signal."""
        processes.kill(targets_from(recipe), str(recipe.data["signal"]))

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Its pid is gone, or a zombie, or has another owner."""
        targets = targets_from(recipe)
        alive = list(filter(processes.alive, targets))
        if alive:
            return Evidence(ok=None, says=f"{said(alive)} still there")
        return Evidence(ok=True, says=f"{said(targets)} gone")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Nothing: a kill has no undo."""

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """Nothing of ours is ever left."""
        return Evidence(ok=True, says="a kill leaves nothing to put back")


class Pause:
    """Stops processes without ending them: they hold their sockets and answer nothing.

    Only the process itself is stopped, not its children: of a server with workers the head alone would sleep and users
    would notice nothing, so say `with_children` there. Children born after the choice are not stopped.
    """

    name: ClassVar[str] = "process.pause"
    about: ClassVar[str] = (
        "Stops processes so that they hang with open sockets, then continues them (SIGSTOP, SIGCONT)."
    )
    needs: ClassVar[tuple[str, ...]] = ("processes",)
    reversible: ClassVar[bool] = True
    guard: ClassVar[str] = "runner"
    tagged: ClassVar[bool] = False
    """A stopped process does not say who stopped it."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params:
        """What to stop."""

        with_children: bool = field(default=False, metadata={"help": "Stop its descendants as well."})

    def available(self) -> Availability:
        """Where there are pidfds."""
        return available()

    async def prepare(self, fault: Fault, context: Context) -> Recipe:
        """Find the live processes and draw from them; one that is stopped already is refused."""
        assert isinstance(fault.params, Pause.Params)
        targets = targets_of(fault, context, with_children=fault.params.with_children)
        for target in targets:
            found = processes.now(target)
            if found is not None and found.state == "T":
                raise InjectorError(f"{target.says} is stopped already", claims=[target.claim])
        return self._recipe(targets, fault.for_s)

    async def scan(self, system: System, tools: Tools) -> list[Recipe]:
        """Processes of a system that are stopped, by whomever: a recipe for each that continues it."""
        heads = [head for part in system.components.values() if part.processes for head in processes.instances(part)]
        family = {one.claim: one for head in heads for one in (head, *processes.descendants(head))}
        stopped = [one for one in family.values() if (found := processes.now(one)) is not None and found.state == "T"]
        return [self._recipe([one], 0.0) for one in stopped]

    def _recipe(self, targets: list[Process], lasts_s: float) -> Recipe:
        return Recipe(
            injector=self.name,
            says=f"SIGSTOP to {said(targets)}, put back by SIGCONT",
            data={"targets": [target.to_json() for target in targets]},
            claims=tuple(target.claim for target in targets),
            settle_s=SETTLE_S,
            guard=self.guard,
            lasts_s=lasts_s,
        )

    async def inject(self, recipe: Recipe, tools: Tools) -> None:
        """Stop each."""
        for target in targets_from(recipe):
            if not processes.send(target, signal.SIGSTOP):
                raise InjectorError(f"{target.says} was gone before it could be stopped")

    async def verify(self, recipe: Recipe, tools: Tools) -> Evidence:
        """The kernel calls every one of them stopped."""
        targets = targets_from(recipe)
        states = {target.says: processes.now(target) for target in targets}
        gone = [says for says, found in states.items() if found is None or found.state in "ZX"]
        awake = [says for says, found in states.items() if found is not None and found.state != "T"]
        if gone:
            return Evidence(ok=False, says=f"{', '.join(gone)} ended or was replaced instead of hanging", ended=True)
        if awake:
            return Evidence(ok=None, says=f"{', '.join(awake)} not stopped")
        return Evidence(ok=True, says=f"{said(targets)} stopped, says the kernel")

    async def undo(self, recipe: Recipe, tools: Tools) -> None:
        """Continue each that is still there.

        Always, not only when it looks stopped: SIGCONT also takes back a SIGSTOP that is still on its way.
        """
        for target in targets_from(recipe):
            processes.send(target, signal.SIGCONT)

    async def absent(self, recipe: Recipe, tools: Tools) -> Evidence:
        """None of them is stopped; a replaced one has nothing of ours."""
        stopped = [t for t in targets_from(recipe) if (found := processes.now(t)) is not None and found.state == "T"]
        if stopped:
            return Evidence(ok=False, says=f"{said(stopped)} still stopped")
        return Evidence(ok=True, says=f"{said(targets_from(recipe))} not stopped")
