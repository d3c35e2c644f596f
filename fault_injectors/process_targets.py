"""The processes a fault hits: drawn from the component's live ones, never our own, remembered in the recipe."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Fault, Recipe
from fault_injectors import processes
from fault_injectors.aim import Traits, choose, component_of, refuse_protected
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
    refuse_protected(context, map(_traits, targets))
    for target in targets:
        if target.pid in spared:
            raise InjectorError(f"{target.says} is never touched: pid 1, or chaosrunner's own family")
        _refuse_unseen(context, target)
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
    """By what people call it; its program may be protected as well, by any name that it goes by.

    The kernel's own name for it ends after 15 letters, so that alone would miss a longer one.
    """
    place = processes.PROC / str(process.pid)
    names = {_read(place / "comm").strip(), Path(_read(place / "cmdline").partition("\0")[0]).name}
    with suppress(OSError):
        names.add((place / "exe").readlink().name.removesuffix(" (deleted)"))
    return Traits(name=process.says, others=tuple(sorted(names - {""})))


def _refuse_unseen(context: Context, target: Process) -> None:
    """A process in a container that may be a protected one: neither its name nor its labels can be seen from here."""
    mine = _containers("self")
    for container in _containers(target.pid) - mine:
        for protect in (rules.protect for rules in context.rules):
            for rule in (*protect.labels, *protect.names):
                raise InjectorError(
                    f"{target.says} runs in container {container[:12]}, whose name and labels are not known here, "
                    f"and some are protected: {rule}; aim a docker fault at it"
                )


def _containers(pid: int | str) -> set[str]:
    """Ids of the containers around a process, as its control groups are called."""
    return set(re.findall(r"[0-9a-f]{64}", _read(processes.PROC / str(pid) / "cgroup")))


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""  # it has just ended


def capable(number: int) -> bool:
    """Whether this process has a capability, by its effective set in /proc/self/status."""
    lines = (processes.PROC / "self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> number & 1)
