"""The question about containers has two true answers on a real engine: what has a restart policy comes back."""

from __future__ import annotations

import asyncio
import socket
import sys
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One experiment on one container."""

    experiment: Path
    policy: str
    name: str


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Played]]:
    """Three runs at the same time, on one engine, each on a container of its own."""
    own, paused = ROOT / "experiments/own-container.yaml", tmp_path_factory.mktemp("experiments") / "paused.yaml"
    paused.write_text(STAYS_PAUSED.format(system=ROOT / "experiments/systems/own-container.yaml"))
    cases = (
        Case(experiment=own, policy="always", name="comes-back"),
        Case(experiment=own, policy="no", name="stays-away"),
        Case(experiment=paused, policy="no", name="freezes"),
    )
    with running_engine(tmp_path_factory.mktemp("engine")) as address:
        yard = Yard(address)

        async def play_all() -> list[Played]:
            return await asyncio.gather(*(_play(yard, case, tmp_path_factory.mktemp(case.name)) for case in cases))

        yield dict(zip((case.name for case in cases), asyncio.run(play_all()), strict=True))
        yard.close()


async def _play(yard: Yard, case: Case, directory: Path) -> Played:
    """Play it on a server with that restart policy, published on a loopback port."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    host = {"port_bindings": {80: ("127.0.0.1", port)}, "restart_policy": {"Name": case.policy}}
    yard.run(case.name, ports=[80], host=host)
    try:
        await yard.all_run(case.name)
        where = {"SERVER_URL": f"http://127.0.0.1:{port}", "SERVER_PATH": "/hosts", "SERVER_CONTAINER": case.name}
        words = ("run", str(case.experiment))
        return await play(*words, directory=directory, **where, DOCKER_HOST=yard.address)
    finally:
        yard.remove(case.name)


def test_a_container_with_a_restart_policy_comes_back(played: dict[str, Played]) -> None:
    """HELD, with the pid gone and another in its place as evidence, and a measured time to recover."""
    seen = played["comes-back"]
    assert seen.code == 0, seen
    assert_trustworthy(seen, offered=200)
    assert seen.recovery["state"] == "recovered", seen


def test_a_container_without_one_never_comes_back(played: dict[str, Played]) -> None:
    """BROKEN and not 'unrestored': a crash owes nothing, and that nobody brings it back is the finding."""
    seen = played["stays-away"]
    assert seen.code == 1, seen
    assert_trustworthy(seen, offered=200)
    assert seen.recovery["state"] == "never", seen
    assert "recovery within 8 s" in seen.broken, seen


def test_a_paused_container_is_noticed_and_thawed(played: dict[str, Played]) -> None:
    """A freeze of 3 s breaks a latency bound while it lasts, is put back, and users recover."""
    seen = played["freezes"]
    assert seen.code == 1, seen
    assert_trustworthy(seen, offered=150)
    assert "during: p95 <= 500ms" in seen.broken, seen
    assert seen.recovery["state"] == "recovered", seen
