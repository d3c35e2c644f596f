"""The question about containers has two true answers on a real engine: what has a restart policy comes back."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real_play import ROOT, Played, assert_trustworthy, play

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from docker_rig import Yard, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(180)]

STAYS_PAUSED = """\
question: Does anybody notice when the server freezes?
system: {system}
load:
  each_user:
    - visit: {{GET: /hosts}}
  arrivals: 50 users/s
baseline: 5s
faults:
  - docker.pause: {{target: server}}
    for: 3s
    accept: unguarded
hypothesis:
  before: [p95 <= 500ms, errors < 1%]
  during: [p95 <= 500ms]
  after:  [errors < 1%]
recover: within 8s, hold 4s
"""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """One engine for all."""
    with running_engine(tmp_path_factory.mktemp("engine")) as address:
        yard = Yard(address)
        yield yard
        yard.close()


async def _play(yard: Yard, experiment: Path, directory: Path, policy: str) -> Played:
    """Play it on a server with that restart policy, published on a loopback port."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    host = {"port_bindings": {80: ("127.0.0.1", port)}, "restart_policy": {"Name": policy}}
    yard.run("server", ports=[80], host=host)
    try:
        await yard.all_run("server")
        where = {"SERVER_URL": f"http://127.0.0.1:{port}", "SERVER_PATH": "/hosts", "DOCKER_HOST": yard.address}
        return await play("run", str(experiment), directory=directory, **where)
    finally:
        yard.remove("server")


async def test_a_container_with_a_restart_policy_comes_back(yard: Yard, tmp_path: Path) -> None:
    """HELD, with the pid gone and another in its place as evidence, and a measured time to recover."""
    played = await _play(yard, ROOT / "experiments/own-container.yaml", tmp_path, "always")
    assert played.code == 0, played
    assert_trustworthy(played, offered=200)
    assert played.recovery["state"] == "recovered", played


async def test_a_container_without_one_never_comes_back(yard: Yard, tmp_path: Path) -> None:
    """BROKEN and not 'unrestored': a crash owes nothing, and that nobody brings it back is the finding."""
    played = await _play(yard, ROOT / "experiments/own-container.yaml", tmp_path, "no")
    assert played.code == 1, played
    assert_trustworthy(played, offered=200)
    assert played.recovery["state"] == "never", played
    assert "recovery within 8 s" in played.broken, played


async def test_a_paused_container_is_noticed_and_thawed(yard: Yard, tmp_path: Path) -> None:
    """A freeze of 3 s breaks a latency bound while it lasts, is put back, and users recover."""
    experiment = tmp_path / "paused.yaml"
    experiment.write_text(STAYS_PAUSED.format(system=ROOT / "experiments/systems/own-container.yaml"))
    played = await _play(yard, experiment, tmp_path, "no")
    assert played.code == 1, played
    assert_trustworthy(played, offered=150)
    assert "during: p95 <= 500ms" in played.broken, played
    assert played.recovery["state"] == "recovered", played
