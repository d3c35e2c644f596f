"""Which containers a system file means, and what is known where no engine answers."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from chaosrunner.model.system import Component, Containers, System
from chaosrunner.world.boxes import Asking, Boxes, ask, inside, is_meant

API: dict[str, Any] = {
    "Names": ["/gateway/api", "/shop-api-1"],
    "Image": "shop/api",
    "Labels": {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "api",
        "com.docker.compose.oneoff": "False",
        "tier": "front",
    },
}
ONE_OFF = {**API, "Labels": {**API["Labels"], "com.docker.compose.oneoff": "True"}}
BARE: dict[str, Any] = {"Names": ["/bare"], "Image": "127.0.0.1:5000/shop@sha256:0123", "Labels": None}


@pytest.mark.parametrize(
    ("way", "found", "missed"),
    [
        (Containers(names=("shop-api-1", "x")), API, BARE),
        (Containers(labels=("tier", "tier=front")), API, BARE),
        (Containers(compose="shop/api"), API, ONE_OFF),
        (Containers(image="shop/api:latest"), API, BARE),
        (Containers(image="127.0.0.1:5000/shop@sha256:0123"), BARE, API),
    ],
)
def test_each_way_to_find_containers(way: Containers, found: dict[str, Any], missed: dict[str, Any]) -> None:
    """Names, labels, Compose service and image find what they mean, and not what is beside it."""
    assert is_meant(found, way)
    assert not is_meant(missed, way)


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
