"""What is known of a system's containers where an engine answers late, or never."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chaosrunner.model.system import Component, Containers, System
from chaosrunner.world.boxes import Asking, Boxes, ask, inside


def test_without_an_engine_nothing_is_known_and_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not answer leaves a run as it would be without containers."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/sock")
    part = Component(name="api", containers=Containers(names=("api",), engine="tcp://127.0.0.1:1"))
    system = System(name="s", file="s.yaml", components={"api": part})
    assert ask(system) == Boxes(whole=False)
    asking = Asking(system, again_s=(0.01, 0.01))
    asking.begin()
    joined()
    assert asking.known == Boxes(whole=False)


def joined() -> None:
    """Wait until nobody asks any more."""
    for thread in [thread for thread in threading.enumerate() if thread.name == "containers"]:
        thread.join(30.0)
        assert not thread.is_alive()


@pytest.fixture
def late_engine() -> Iterator[str]:
    """The address of an engine that leaves its first question unanswered; its one container is in every cgroup."""
    asked, over = [], threading.Event()

    class Late(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if len(asked) == 1:
                over.wait(30.0)
                return
            said = {"ApiVersion": "1.41"} if self.path.endswith("/version") else [{"Id": "/", "Names": ["/api"]}]
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Late)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"tcp://127.0.0.1:{server.server_port}"
    over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_engine_too_busy_to_answer_is_asked_again(late_engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a crowded host the target's containers are known a little later, not never."""
    monkeypatch.setenv("DOCKER_HOST", late_engine)
    part = Component(name="api", containers=Containers(names=("api",)))
    asking = Asking(System(name="s", file="s.yaml", components={"api": part}), 0.5, again_s=(0.01, 0.01, 0.01))
    asking.begin()
    joined()
    assert asking.known == Boxes(frozenset({"/"}))


def test_no_container_holds_us() -> None:
    """Without containers there are no processes of theirs, and the cgroup that we live in is never the target's."""
    assert inside(()) == frozenset()
    assert os.getpid() not in inside({"/"})
