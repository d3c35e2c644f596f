"""Starting, finding and ending the processes that hold what a resource fault takes."""

from __future__ import annotations

import os
import signal
import time

from chaosrunner.model.fault import Availability, Evidence, Recipe
from fault_injectors import leased, processes
from fault_injectors.processes import Process

HOLDER = "fault_injectors.resources_holder"
BEGIN_S = 30.0
END_S = 5.0


def available() -> Availability:
    """Where a holder can be found again by its command line."""
    if not (processes.PROC / "self/cmdline").exists():
        return Availability(ok=False, why="no /proc: needs Linux")
    return Availability(ok=True)


def start(recipe: Recipe) -> None:
    """Start the holder and wait until it has taken what it is asked to; blocking, bounded by `BEGIN_S`.

    Raises:
        InjectorError: it could not; it has then let go of everything.
    """
    orders = {**recipe.data, "seconds": recipe.lasts_s + leased.GRACE_S}
    leased.begin(HOLDER, _words(recipe), orders, BEGIN_S)


def holders(recipe: Recipe) -> list[Process]:
    """The holder and its children, those that are alive."""
    return processes.running(["-m", HOLDER, *_words(recipe)])


def head(recipe: Recipe) -> Process | None:
    """The holder itself: it leads the session that its children are in."""
    return next((one for one in holders(recipe) if _leads(one.pid)), None)


def children(recipe: Recipe) -> list[Process]:
    """What the holder has started."""
    return [one for one in holders(recipe) if not _leads(one.pid)]


def end(recipe: Recipe) -> None:
    """End them all, and wait a moment until they are gone; blocking, bounded by `END_S`.

    One that waits for its disk dies only then. One that ends has no command line any more a moment before its files are
    closed, and what they took is given back only then.
    """
    until = time.monotonic() + END_S
    seen = set(holders(recipe))
    while (left := [one for one in seen if processes.alive(one)]) and time.monotonic() < until:
        for holder in left:
            processes.send(holder, signal.SIGKILL)
        time.sleep(0.01)
        seen |= set(holders(recipe))


def none_left(recipe: Recipe) -> Evidence:
    """Whether no holder of it is alive."""
    left = len(holders(recipe))
    if left:
        return Evidence(ok=False, says=f"{left} holders of {recipe.data['tag']} left")
    return Evidence(ok=True, says=f"no holder of {recipe.data['tag']} is left")


def tags(kind: str) -> set[str]:
    """Tags of all holders of a kind that live on this host, whichever run they are of."""
    lines = [processes.command_line(int(entry.name)) for entry in processes.PROC.glob("[0-9]*")]
    return {line[-2] for line in lines if line[-4:-2] == ["-m", HOLDER] and line[-1] == kind}


def _leads(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _words(recipe: Recipe) -> tuple[str, str]:
    return str(recipe.data["tag"]), str(recipe.data["kind"])
