"""What is known of a system's containers where no engine answers."""

from __future__ import annotations

import os
import threading

import pytest

from chaosrunner.model.system import Component, Containers, System
from chaosrunner.world.boxes import Asking, Boxes, ask, inside


def test_without_an_engine_nothing_is_known_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not answer leaves a run as it would be without containers."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/sock")
    part = Component(name="api", containers=Containers(names=("api",), engine="tcp://127.0.0.1:1"))
    system = System(name="s", file="s.yaml", components={"api": part})
    assert ask(system) == Boxes()
    asking = Asking(system)
    asking.begin()
    for thread in [thread for thread in threading.enumerate() if thread.name == "containers"]:
        thread.join(30.0)
        assert not thread.is_alive()
    assert asking.known == Boxes()


def test_no_container_holds_us() -> None:
    """Without containers there are no processes of theirs, and the cgroup that we live in is never the target's."""
    assert inside(()) == frozenset()
    assert os.getpid() not in inside({"/"})
