"""Starting, finding and ending the processes that hold what a resource fault takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Evidence, Recipe
from fault_injectors import processes
from fault_injectors.processes import Process

HOLDER = "fault_injectors.resources_holder"
BEGIN_S = 30.0
GRACE_S = 10.0
"""A holder lets go this long after the fault should have ended, should nobody undo it."""
END_S = 5.0
SETTLE_S = 0.5
"""A holder whose starter dies is visible by its command line within this; it has then not begun, or is ended."""


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
    holder = subprocess.Popen(
        [sys.executable, "-m", HOLDER, *_words(recipe)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    orders = json.dumps({**recipe.data, "seconds": recipe.lasts_s + GRACE_S})
    try:
        said, _ = holder.communicate(orders.encode(), timeout=BEGIN_S)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.communicate()
        said = json.dumps({"error": f"it said nothing in {BEGIN_S:g} s"}).encode()
    answer: Mapping[str, Any] = json.loads(said) if said else {"error": "it ended without a word"}
    if "began" not in answer:
        raise InjectorError(f"the holder of {recipe.data['tag']} could not begin: {answer.get('error')}")


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

    One that waits for its disk dies only then.
    """
    until = time.monotonic() + END_S
    while (found := holders(recipe)) and time.monotonic() < until:
        for holder in found:
            processes.send(holder, signal.SIGKILL)
        time.sleep(0.01)


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
