"""Which containers a fault hits: found on the engine, protected ones and our own refused, then drawn.

A container is its id: another one of the same name is a stranger, whose settings nobody promised to put back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from chaosrunner.errors import InjectorError
from chaosrunner.model.containers import is_meant, own_name
from chaosrunner.model.fault import Context, Fault, Recipe
from chaosrunner.model.system import Component
from fault_injectors import docker_engine as engine
from fault_injectors import processes
from fault_injectors.aim import Miscounted, Traits, choose, component_of, refuse_protected
from fault_injectors.docker_engine import Json
from fault_injectors.processes import Process

PROTECTED = "chaosrunner.protect"
"""A container with this label is never touched, unless it says `false`."""
LONGEST_GRACE_S = 20.0
"""A heal waits 30 s for an inject to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One container, as it was when it was chosen."""

    id: str
    name: str
    pid: int
    """Its main process, in the pids of the engine's host."""
    started: str
    """When it was started last, as the engine writes it."""

    @property
    def says(self) -> str:
        """`api-2 (container 0123456789ab)`."""
        return f"{self.name} (container {self.id[:12]})"

    def claim(self, what: str) -> str:
        """The resource that a fault changes, such as `docker:<id>:cpu`."""
        return claim_on(self.id, what)

    def to_json(self) -> dict[str, object]:
        """JSON values only."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What was chosen, on which engine."""

    engine: str
    boxes: tuple[Box, ...]
    seen: Mapping[str, Json]
    """Container id → all that the engine says of it."""

    @property
    def says(self) -> str:
        """All of them, for people."""
        return ", ".join(box.says for box in self.boxes)

    def data(self) -> dict[str, object]:
        """What every recipe of the family holds."""
        return {"engine": self.engine, "boxes": [box.to_json() for box in self.boxes]}

    def claims(self, what: str) -> tuple[str, ...]:
        """One claim a container."""
        return tuple(box.claim(what) for box in self.boxes)


def claim_on(container: str, what: str) -> str:
    """The claim on something of a container, by its id."""
    return f"docker:{container}:{what}"


async def aim(fault: Fault, context: Context) -> Aim:
    """The containers that a fault will hit: the component's running ones, drawn by the run's seed.

    Raises:
        InjectorError: the target is not as promised, one of its containers is protected, or one is our own.
    """
    component = component_of(fault, context)
    where, live = await running(component)
    _refuse_protected(live)
    await _refuse_guests(context, where, live)
    try:
        chosen = choose(fault, context, live, _traits)
    except Miscounted as error:
        raise await _also_down(error, component) from None
    spared = context.spare()
    seen: dict[str, Json] = {}
    for summary in chosen:
        _refuse_ours(str(summary["Id"]), own_name(summary), spared)
        found = await engine.look(where, str(summary["Id"]))
        if found is None:
            raise InjectorError(f"{own_name(summary)} was removed while it was looked at")
        seen[str(summary["Id"])] = found
    return Aim(engine=where, boxes=tuple(box_of(found) for found in seen.values()), seen=seen)


async def running(component: Component, state: str = "running") -> tuple[str, list[Json]]:
    """The engine, and what it says in short of the component's containers in that state, by name.

    Raises:
        InjectorError: the system file names no containers, or more are running than it allows.
    """
    where, everything = await _meant(component)
    live, wanted = [one for one in everything if one["State"] == state], component.containers
    assert wanted is not None
    if wanted.at_most and len(live) > wanted.at_most:
        raise InjectorError(f"{component.name} means {len(live)} containers, allowed are {wanted.at_most}")
    return where, live


async def _meant(component: Component, *, down: bool = False) -> tuple[str, list[Json]]:
    """The engine, and the component's containers that are up in some way, by name; or those that are `down` as well."""
    wanted = component.containers
    if wanted is None:
        raise InjectorError(f"{component.name} has no 'containers' in the system file")
    where = engine.address(wanted.engine)
    everything: list[Json] = await engine.ask(where, lambda api: api.containers(all=down))
    return where, sorted((one for one in everything if is_meant(one, wanted)), key=own_name)


async def _also_down(error: InjectorError, component: Component) -> InjectorError:
    """An error that says too few are running, with those that do not run: a fault of ours may have seen to that."""
    _, everything = await _meant(component, down=True)
    down = [one for one in everything if one["State"] != "running"]
    if not down:
        return error
    names = ", ".join(f"{own_name(one)} is {one['State']}" for one in down)
    return InjectorError(f"{error}; {names}", claims=[claim_on(one["Id"], "state") for one in down])


async def each(component: Component) -> list[Aim]:
    """The component's running containers, one by one, for whoever looks what is left in them. Raises InjectorError."""
    where, live = await running(component)
    seen = [await engine.look(where, str(summary["Id"])) for summary in live]
    return [Aim(engine=where, boxes=(box_of(found),), seen={found["Id"]: found}) for found in seen if found is not None]


def box_of(found: Json) -> Box:
    """A container from all that the engine says of it."""
    state = found["State"]
    return Box(
        id=found["Id"], name=found["Name"].removeprefix("/"), pid=int(state["Pid"]), started=str(state["StartedAt"])
    )


def boxes_of(recipe: Recipe) -> list[Box]:
    """The containers of a recipe."""
    raw = recipe.data["boxes"]
    assert isinstance(raw, Iterable)
    return [Box(**one) for one in raw]


def ids_of(recipe: Recipe) -> list[str]:
    """The ids of a recipe's containers."""
    return [box.id for box in boxes_of(recipe)]


def is_up(found: Json) -> bool:
    """Whether the engine calls it running; so it does while it is paused, or being restarted by its policy."""
    return bool(found["State"]["Running"])


def is_same_start(found: Json, box: Box) -> bool:
    """Whether it runs and was not started again since it was chosen."""
    return is_up(found) and found["State"]["StartedAt"] == box.started


def state_of(found: Json | None) -> str:
    """`running (pid 123)`, `exited (137)` or `removed`."""
    if found is None:
        return "removed"
    state = found["State"]
    if not is_up(found):
        return f"{state['Status']} ({state['ExitCode']})"
    return f"{state['Status']} (pid {state['Pid']})"


def check_grace(grace_s: float) -> None:
    """A grace that the engine understands. Raises ValueError."""
    if grace_s != int(grace_s) or grace_s > LONGEST_GRACE_S:
        raise ValueError(f"'grace' is whole seconds, at most {LONGEST_GRACE_S:g} s")


def whole(value: object) -> int:
    """A whole number out of a recipe."""
    assert isinstance(value, int)
    return value


def host_process(box: Box) -> Process:
    """The main process of a container as one of this host.

    Raises:
        InjectorError: the host's pids cannot be seen from here.
    """
    found = processes.status(box.pid) if box.pid else None
    if found is None or not in_container(box.pid, box.id):
        raise InjectorError(
            f"pid {box.pid} of {box.says} is not to be seen here: the engine runs on another host, or we live in a "
            "container of our own",
            advice="run chaosrunner on the engine's host, or give its container 'pid: host'",
        )
    return Process(pid=box.pid, start=found.start, boot=processes.boot_id(), says=box.says)


def host_processes(chosen: Aim) -> dict[str, object]:
    """For a recipe: the main processes of all containers as this host's. Raises InjectorError as `host_process`."""
    return {"processes": [host_process(box).to_json() for box in chosen.boxes]}


def processes_of(recipe: Recipe) -> list[Process]:
    """The main processes in a recipe."""
    raw = recipe.data["processes"]
    assert isinstance(raw, Iterable)
    return [processes.from_json(one) for one in raw]


def in_container(pid: int, container: str) -> bool:
    """Whether a process of this host lives in the cgroup of a container, by the container's id in its path."""
    try:
        return container in (processes.PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return False


def refuse_passing_ports(found: Json) -> None:
    """Refuse a container that is published on a port which the engine chooses anew each time.

    Raises:
        InjectorError: what is put back would answer elsewhere.
    """
    name, published = str(found["Name"]).removeprefix("/"), found["HostConfig"].get("PortBindings") or {}
    for inner, places in published.items():
        if any(place["HostPort"] in ("", "0") for place in places or ()):
            raise InjectorError(
                f"{name} publishes {inner} on a port that the engine chooses anew each time; publish a fixed one"
            )


def _refuse_protected(live: Iterable[Json]) -> None:
    for summary in live:
        if (summary.get("Labels") or {}).get(PROTECTED, "false").lower() != "false":
            raise InjectorError(f"{own_name(summary)} is protected by its label {PROTECTED}; select without it")


async def _refuse_guests(context: Context, where: str, live: Sequence[Json]) -> None:
    """A container that has joined the network of another is hit with it."""
    everything: list[Json] = await engine.ask(where, lambda api: api.containers())
    for host in live:
        guests = [one for one in everything if one["HostConfig"].get("NetworkMode") == f"container:{host['Id']}"]
        try:
            _refuse_protected(guests)
            refuse_protected(context, map(_traits, guests))
        except InjectorError as why:
            raise InjectorError(f"{own_name(host)} shares its network: {why}") from None


def _refuse_ours(container: str, name: str, spared: frozenset[int]) -> None:
    # Seen from the host, the cgroup of a spared process names its container; from inside, the files that the engine
    # mounts into every container do.
    ours = re.search(rf"/{container}/\S+ /etc/(?:hostname|hosts|resolv\.conf) ", _mounts())
    if ours or any(in_container(pid, container) for pid in spared):
        raise InjectorError(f"{name} is where chaosrunner itself runs; it is never touched")


def _traits(summary: Json) -> Traits:
    return Traits(name=own_name(summary), labels=summary.get("Labels") or {})


def _mounts() -> str:
    try:
        return (processes.PROC / "self/mountinfo").read_text()
    except OSError:  # no /proc: then we are in no container either
        return ""
