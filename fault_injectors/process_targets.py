"""The processes a fault hits: drawn from the component's live ones, never our own, remembered in the recipe."""

from __future__ import annotations

import os
from collections.abc import Sequence

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Fault, Recipe
from fault_injectors import processes
from fault_injectors.aim import Traits, choose, component_of
from fault_injectors.processes import Process

CAP_SYS_NICE = 23
CAP_SYS_RESOURCE = 24
"""Numbers of capabilities, capabilities(7)."""


def available() -> Availability:
    """Where there are pidfds."""
    if not hasattr(os, "pidfd_open"):
        return Availability(ok=False, why="no pidfds: needs Linux and a Python built with them")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Availability(ok=False, why=f"the kernel refuses pidfds ({error.strerror}); needs Linux 5.3")
    return Availability(ok=True)


def targets_of(fault: Fault, context: Context, *, with_children: bool = False) -> list[Process]:
    """Draw from the live processes of the fault's component.

    Raises:
        InjectorError: the live count is not as promised, or one of them is pid 1, of our own family, or not ours to
            signal.
    """
    spared = context.spare() | {1, os.getpid()}
    chosen = choose(fault, context, processes.instances(component_of(fault, context), spared), _traits)
    targets = chosen + [child for head in chosen if with_children for child in processes.descendants(head)]
    for target in targets:
        if target.pid in spared:
            raise InjectorError(f"{target.says} is never touched: pid 1, or chaosrunner's own family")
        if not processes.send(target, 0):
            raise InjectorError(f"{target.says} ended while it was looked at")
    return targets


def targets_from(recipe: Recipe) -> list[Process]:
    """The targets that a recipe remembers."""
    targets = recipe.data["targets"]
    assert isinstance(targets, Sequence)
    return [processes.from_json(raw) for raw in targets]


def said(targets: Sequence[Process]) -> str:
    """The targets for people."""
    return ", ".join(target.says for target in targets)


def _traits(process: Process) -> Traits:
    """By what people call it; its program's name may be protected as well."""
    try:
        program = (processes.PROC / str(process.pid) / "comm").read_text().strip()
    except OSError:
        program = ""  # it has just ended
    return Traits(name=process.says, others=(program,) if program else ())


def capable(number: int) -> bool:
    """Whether this process has a capability, by its effective set in /proc/self/status."""
    lines = (processes.PROC / "self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)
