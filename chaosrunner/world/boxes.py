"""A system's containers on this host: which there are, their engine says once; which processes, the kernel says.

A container keeps its id when it is started again, and a process names its container's id in its cgroup: so what a
fault restarts is found again, and no engine is asked any more once it has answered. On a crowded host an engine may
take its time, and there it matters most to know who the target is: it is waited for, and asked again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaosrunner.model.containers import is_meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from chaosrunner.model.system import System

Json = Mapping[str, Any]

ANSWERS_S = 10.0
"""How long an engine may take for an answer; without one its containers are not known."""
AGAIN_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Pauses before those are asked again that have not answered."""
HERE = "unix:///var/run/docker.sock"
EVERYONES = ("bridge", "host", "none")
"""Networks that every engine has: who shares them has nothing else in common."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Containers of this host, by their ids."""

    meant: frozenset[str] = frozenset()
    """Those of the system's components, and all on a network with them: they are who a component may talk to."""
    behind: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """Published port → the container that answers there, and all on a network with it."""
    whole: bool = True
    """Whether every engine that was asked has answered."""


class Asking:
    """Asks the engines of a system in a thread that nobody waits for, until all of them have answered.

    Args:
        system: whose engines they are.
        answers_s: how long an engine may take for an answer.
        again_s: pauses before they are asked again; after the last one it is left at that.
    """

    def __init__(self, system: System, answers_s: float = ANSWERS_S, *, again_s: Sequence[float] = AGAIN_S) -> None:
        self._system = system
        self._answers_s = answers_s
        self._again_s = again_s
        self._begun = False
        self.known = Boxes()
        """What they have said; nothing where none has, or there is no SDK to ask with."""

    def begin(self) -> None:
        """Ask, unless that was done already; never waits, never fails."""
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._ask, name="containers", daemon=True).start()

    def _ask(self) -> None:
        for pause_s in (0.0, *self._again_s):
            time.sleep(pause_s)
            try:
                self.known = ask(self._system, self._answers_s)
            except ImportError:
                return
            except Exception:  # noqa: S112 - whatever it is, the run goes on as if there were no engine yet
                continue
            if self.known.whole:
                return


def ask(system: System, answers_s: float = ANSWERS_S) -> Boxes:
    """What the engines of a system say of its containers that live on this host.

    Args:
        system: whose components say how their containers are found.
        answers_s: how long an engine may take for an answer.

    Returns:
        Nothing of an engine that does not answer, and then it is not whole.

    Raises:
        ImportError: there is no SDK to ask with.
    """
    wanted = [part.containers for part in system.components.values() if part.containers and not part.host]
    meant: set[str] = set()
    behind: dict[int, frozenset[str]] = {}
    whole = True
    cgroups = tuple(_cgroups().values())
    for engine in dict.fromkeys([_address(""), *(_address(one.engine) for one in wanted)]):
        running = _running(engine, answers_s)
        whole = whole and running is not None
        live = [one for one in running or () if any(one["Id"] in cgroup for cgroup in cgroups)]
        for one in live:
            near = _near(one, live)
            if any(_address(way.engine) == engine and is_meant(one, way) for way in wanted):
                meant |= near
            behind |= dict.fromkeys(_published(one), near)
    return Boxes(frozenset(meant), behind, whole)


def inside(ids: Iterable[str]) -> frozenset[int]:
    """The processes of containers, except for one that we live in ourselves."""
    wanted = frozenset(ids)
    if not wanted:
        return frozenset()
    cgroups = _cgroups()
    ours = cgroups.get(os.getpid(), "")
    wanted = frozenset(one for one in wanted if one not in ours)
    return frozenset(pid for pid, cgroup in cgroups.items() if any(one in cgroup for one in wanted))


def _address(said: str) -> str:
    return said or os.environ.get("DOCKER_HOST") or HERE


def _running(engine: str, answers_s: float) -> list[Json] | None:
    """What an engine says in short of its running containers; None where none answers. Raises ImportError."""
    from docker import APIClient
    from docker.errors import DockerException
    from requests import RequestException

    try:
        api = APIClient(base_url=engine, version="auto", timeout=answers_s)
    except (DockerException, RequestException):
        return None
    api.trust_env = False  # a proxy in the environment is for the internet, not for an engine
    try:
        return list(api.containers())
    except (DockerException, RequestException):
        return None
    finally:
        api.close()


def _published(summary: Json) -> Iterator[int]:
    """The TCP ports of this host that lead into a container."""
    for port in summary.get("Ports") or ():
        if port.get("PublicPort") and port["Type"] == "tcp":
            yield int(port["PublicPort"])


def _near(one: Json, live: Iterable[Json]) -> frozenset[str]:
    """A container and all that share a network with it, but for those that every engine has."""
    networks = frozenset(_networks(one))
    return frozenset({str(one["Id"]), *(str(other["Id"]) for other in live if networks & frozenset(_networks(other)))})


def _networks(summary: Json) -> Iterator[str]:
    for name, network in (summary.get("NetworkSettings") or {}).get("Networks", {}).items():
        if name not in EVERYONES:
            yield str(network.get("NetworkID") or name)


def _cgroups() -> dict[int, str]:
    """Pid → its cgroup as the kernel writes it, of every process that can be seen."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = Path(entry.path, "cgroup").read_text()
            except OSError:
                continue  # gone meanwhile
    return found
