"""Named network namespaces of this host (`ip netns`): who they are, and programs run inside them.

A name is reused, so a namespace is its name and the inode that the kernel gave it. The host's own is never one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Availability, Context, Evidence, Fault, Recipe
from chaosrunner.model.system import Component
from fault_injectors.aim import Traits, choose, component_of
from fault_injectors.process_targets import capable

NAMED = Path("/run/netns")
HOSTS = (Path("/proc/self/ns/net"), Path("/proc/1/ns/net"))
COMMAND_S = 5.0
CAP_SYS_ADMIN = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """One network namespace."""

    name: str
    inode: int
    says: str
    born_ns: int = 0
    """When its inode was made: a number that is free again is given again within a second. 0 = not known."""

    @property
    def claim(self) -> str:
        """The resource that a fault in it changes."""
        return f"netns:{self.inode}"


def available(*programs: str) -> Availability:
    """Where one may enter a namespace and has these programs."""
    missing = [name for name in ("nsenter", *programs) if shutil.which(name) is None]
    if missing:
        return Availability(
            ok=False, why=f"not on PATH: {', '.join(missing)} (packages util-linux, nftables, iproute2)"
        )
    if not capable(CAP_SYS_ADMIN):
        return Availability(ok=False, why="entering a network namespace needs CAP_SYS_ADMIN")
    return Availability(ok=True)


def targets_of(fault: Fault, context: Context) -> list[Namespace]:
    """Draw from the component's namespaces that are there.

    Raises:
        InjectorError: the live count is not as promised, or one of them is the host's own network.
    """
    return choose(fault, context, instances(component_of(fault, context)), _traits)


def instances(component: Component) -> list[Namespace]:
    """The component's namespaces that are there now, in the order of the system file.

    Raises:
        InjectorError: the system file names none, or one is no name, or the host's or our own network.
    """
    if not component.namespaces:
        raise InjectorError(f"{component.name} has no 'namespaces' in the system file")
    hosts = {own.st_ino for own in map(_stat, HOSTS) if own is not None}
    found = []
    for number, name in enumerate(component.namespaces, start=1):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise InjectorError(f"'{name}' is no name of a network namespace")
        there = _stat(NAMED / name)
        if there is None:
            continue
        if there.st_ino in hosts:
            raise InjectorError(f"namespace {name} is the network of this host or of chaosrunner: never touched")
        many = f"-{number}" if len(component.namespaces) > 1 else ""
        says = f"{component.name}{many} (namespace {name})"
        found.append(Namespace(name=name, inode=there.st_ino, says=says, born_ns=there.st_ctime_ns))
    return found


def to_json(spaces: Sequence[Namespace]) -> list[dict[str, object]]:
    """JSON values only."""
    return [asdict(space) for space in spaces]


def targets_from(recipe: Recipe) -> list[Namespace]:
    """The namespaces that a recipe remembers."""
    spaces = recipe.data["namespaces"]
    assert isinstance(spaces, Sequence)
    return [_from_json(raw) for raw in spaces]


def said(spaces: Sequence[Namespace]) -> str:
    """The namespaces for people."""
    return ", ".join(space.says for space in spaces)


def missing(space: Namespace, says: str) -> Evidence:
    """That nothing of ours is in a namespace: if that is gone or was made anew, ours went with it by itself."""
    there = _stat(NAMED / space.name)
    if there is None or there.st_ino != space.inode or space.born_ns not in (0, there.st_ctime_ns):
        return Evidence(ok=False, says=f"{space.says} is gone or was made anew, and the fault with it", ended=True)
    return Evidence(ok=False, says=says)


def run(space: Namespace, command: Sequence[str], text: str = "") -> str | None:
    """Run a program in exactly this namespace; blocking, bounded.

    Returns:
        What it printed; None when the namespace is gone or was replaced, and nothing was run.

    Raises:
        InjectorError: it failed; with its complaint.
    """
    try:
        handle = os.open(NAMED / space.name, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        # The handle pins whatever has the name now; only then is it worth looking at what that is.
        if os.fstat(handle).st_ino != space.inode:
            return None
        entered = ["nsenter", f"--net=/proc/self/fd/{handle}", *command]
        done = subprocess.run(
            entered, input=text, capture_output=True, text=True, timeout=COMMAND_S, check=False, pass_fds=[handle]
        )
    except subprocess.TimeoutExpired:
        raise InjectorError(f"{command[0]} in {space.says} did not end in {COMMAND_S:g} s") from None
    finally:
        os.close(handle)
    if done.returncode:
        complaint = (done.stderr.strip().splitlines() or ["it does not say why"])[0]
        raise InjectorError(f"{command[0]} in {space.says}: {complaint}")
    return done.stdout


def interfaces(space: Namespace) -> list[str]:
    """Its interfaces beside loopback; none when it is gone."""
    printed = run(space, ["ip", "-j", "link", "show"])
    return [str(one["ifname"]) for one in json.loads(printed or "[]") if "LOOPBACK" not in one["flags"]]


def interface_of(space: Namespace, wanted: str) -> str:
    """The interface of that name; of no name: the only one beside loopback.

    Raises:
        InjectorError: there is none of that name, or there are several.
    """
    names = interfaces(space)
    if wanted and wanted not in names:
        raise InjectorError(f"{space.says} has no interface {wanted}; it has {', '.join(names) or 'none'}")
    if not wanted and len(names) != 1:
        raise InjectorError(
            f"{space.says} has {len(names)} interfaces; say which: 'interface: {(names or ['eth0'])[0]}'"
        )
    return wanted or names[0]


def _traits(space: Namespace) -> Traits:
    return Traits(name=space.name, namespaces=(space.name,))


def _from_json(raw: Mapping[str, object]) -> Namespace:
    born_ns = int(str(raw.get("born_ns", 0)))  # recipes of earlier versions do not say
    return Namespace(name=str(raw["name"]), inode=int(str(raw["inode"])), says=str(raw["says"]), born_ns=born_ns)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
