"""Which processes are a containerised target's, asked of a real engine with real containers."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from docker_rig import Yard, running_engine

from chaosrunner.model.system import System
from chaosrunner.world.boxes import Asking, ask, inside
from chaosrunner.world.pressure import family_of, spent
from chaosrunner.world.spare import targets_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root

PATIENT_S = 20.0
"""A crowded machine may need that long for an answer."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def published() -> int:
    """A port of this host that leads to `api`."""
    return free_port()


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, published: int) -> Iterator[Yard]:
    """Two containers on one network, one of them published, and one that has nothing to do with them."""
    with running_engine(tmp_path_factory.mktemp("engine")) as address:
        yard = Yard(address)
        yard.run("api", ports=[80], host={"port_bindings": {80: ("127.0.0.1", published)}})
        yard.run("database")
        yard.run("stranger", host={"network_mode": "none"})
        yield yard
        yard.close()


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENT_S
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def test_the_targets_processes_are_those_of_its_containers_and_of_their_network(yard: Yard) -> None:
    """All processes of a component's container and of who shares a network with it are the target's; others are not."""
    system = yard.system(names=("api",))
    pids = targets_here(system, Asking(system, PATIENT_S))
    assert eventually(lambda: yard.pid("api") in pids())
    assert family_of([yard.pid("api"), yard.pid("database")], spent()) <= pids()
    assert yard.pid("stranger") not in pids()


def test_behind_a_published_port_is_its_container(yard: Yard, published: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is the target as long as it is unknown to whom a port is forwarded; then it is who is in the container."""
    monkeypatch.setenv("DOCKER_HOST", yard.address)
    system = System(name="s", file="s.yaml", entry=f"http://127.0.0.1:{published}")
    pids = targets_here(system, Asking(system, PATIENT_S))
    assert pids() == frozenset()
    assert eventually(lambda: {yard.pid("api"), yard.pid("database")} <= pids())
    assert yard.pid("stranger") not in pids()


def test_a_container_that_was_started_again_is_found_without_its_engine(yard: Yard) -> None:
    """Its processes are new, its id is not."""
    boxes = ask(yard.system(names=("database",)), PATIENT_S)
    before = yard.pid("database")
    assert before in inside(boxes.meant)
    yard.api.restart("database", timeout=0)
    assert yard.pid("database") != before
    assert yard.pid("database") in inside(boxes.meant)
    assert before not in inside(boxes.meant)
