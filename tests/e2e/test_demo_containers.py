"""The demo in containers, by the project's own image and compose files, on a real engine."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import docker
import pytest
from real_play import ROOT, Played, assert_trustworthy, play

from chaosrunner.demo.options import SPAN, free_base_port

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

import demo_image
from docker_rig import PATH, can_run, running_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.root, pytest.mark.timeout(240)]

COMPOSE = shutil.which("docker-compose", path=PATH)
TOKEN = "of-this-test"
MEMORY = 512 << 20
INSIDE = {
    "DEMO_ENTRY": "http://gateway:8000",
    "DEMO_FAULT_PROXY": "http://proxy:8474",
    "DEMO_DATABASE": "database",
    "DEMO_CACHE": "cache",
}
"""Where the demo is for a runner on its own network."""
NEVER = "recovery within 20 s"
BROKEN_ON_FRAGILE = {
    "failing-dependency": frozenset({"during: errors < 1%", "after: errors < 1%", NEVER}),
    "full-disk": frozenset({"during: errors < 1%"}),
    "hung-cache": frozenset({"during: errors of log in < 1%", "during: errors < 1%", NEVER}),
    "jittery-dependency": frozenset({"during: p95 of list <= 300ms"}),
    "locked-table": frozenset({"during: errors of log in < 1%", NEVER}),
    "lost-container": frozenset({"during: errors < 2%", "after: errors < 1%", NEVER}),
    "pool-exhausted": frozenset({"during: errors of log in < 1%", NEVER}),
    "read-only-database": frozenset({"during: errors of log in < 1%", NEVER}),
    "silent-container": frozenset({"during: errors < 1%", "after: errors < 1%", NEVER}),
    "slow-database": frozenset({"during: p95 <= 1s"}),
}
"""Question → findings that must be among the broken ones."""
ALONE = {"jittery-dependency"}
"""Played on one demo after the other: they ask for milliseconds, which two demos beside each other take each other."""
EVERY = "CHAOSRUNNER_EVERY_QUESTION" in os.environ
PLAYED = sorted(BROKEN_ON_FRAGILE) if EVERY else ["lost-container"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """One demo in containers."""

    name: str
    base: int
    engine: str

    @property
    def where(self) -> dict[str, str]:
        """What the system file and the engine's clients take from the environment."""
        return {
            "DOCKER_HOST": self.engine,
            "DEMO_NAME": self.name,
            "DEMO_ENTRY": f"http://127.0.0.1:{self.base}",
            "DEMO_FAULT_PROXY": f"http://127.0.0.1:{self.base + 1}",
            "DEMO_DATABASE": f"127.0.0.1:{self.base + 2}",
            "DEMO_CACHE": f"127.0.0.1:{self.base + 3}",
            "CHAOSRUNNER_PROXY_TOKEN": TOKEN,
        }

    def compose(self, *words: str) -> None:
        """One command of docker-compose on this demo."""
        assert COMPOSE is not None
        names = ("DEMO_PORT", "DEMO_PROXY_PORT", "DEMO_DATABASE_PORT", "DEMO_CACHE_PORT")
        files = ["compose.yaml", "compose.own-disk.yaml"] + ["compose.fragile.yaml"] * (self.name == "fragile")
        subprocess.run(
            [COMPOSE, "-p", self.name, *(word for file in files for word in ("-f", f"docker/{file}")), *words],
            cwd=ROOT,
            env=os.environ | {"PATH": PATH, **self.where, "DEMO_IMAGE": demo_image.IMAGE}
            | {name: str(self.base + number) for number, name in enumerate(names)},
            check=True,
            capture_output=True,
        )  # fmt: skip

    def disk(self) -> str:
        """Where this host sees the disk of its audit trails."""
        api = docker.APIClient(base_url=self.engine, version="auto", timeout=30)
        with closing(api):
            return str(api.inspect_volume(f"{self.name}_trails")["Mountpoint"])

    async def ready(self) -> None:
        """Wait until its gateway has replicas to choose from."""
        async with aiohttp.ClientSession() as client, asyncio.timeout(60):
            while not await _is_ok(client, f"{self.where['DEMO_ENTRY']}/gateway/ready"):  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def toxics(self) -> list[str]:
        """Names of the toxics at its fault proxy."""
        url, headers = f"{self.where['DEMO_FAULT_PROXY']}/proxies", {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as client, client.get(url) as response:
            assert response.status == 200, await response.text()
            proxies = await response.json()
        return [toxic["name"] for proxy in proxies.values() for toxic in proxy["toxics"]]


async def _is_ok(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(url, timeout=aiohttp.ClientTimeout(total=2)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Shop]]:
    """The resilient and the fragile one, on one engine."""
    if (COMPOSE is None or demo_image.REDIS is None) and not can_run():
        missing = "docker-compose or redis-server is not installed; 'make packages' installs them"
        assert os.environ.get("CI") != "true", missing
        pytest.skip(missing)
    with running_engine(tmp_path_factory.mktemp("engine"), filtering=True) as engine:
        api = docker.APIClient(base_url=engine, version="auto", timeout=120)
        demo_image.build(api)
        api.close()
        resilient = free_base_port()
        fragile = free_base_port()
        while abs(fragile - resilient) < SPAN:
            fragile = free_base_port()
        both = Shop(name="demo", base=resilient, engine=engine), Shop(name="fragile", base=fragile, engine=engine)
        for shop in both:
            shop.compose("up", "-d", "--no-build")
        yield both


@pytest.mark.parametrize("name", PLAYED)
async def test_a_question_tells_the_two_demos_apart(name: str, shops: tuple[Shop, Shop], tmp_path: Path) -> None:
    """In containers as well it holds on the resilient demo and is broken by the fragile one's defects."""
    for shop in shops if EVERY else ():  # most questions leave the fragile one broken
        shop.compose("up", "-d", "--no-build", "--force-recreate")
    await asyncio.gather(*(shop.ready() for shop in shops))
    words = ("run", f"experiments/{name}.yaml", "--system", "demo-containers")
    at_once = asyncio.Semaphore(1 if name in ALONE else len(shops))

    async def played(shop: Shop) -> Played:
        async with at_once:
            return await play(*words, directory=tmp_path / shop.name, DEMO_DISK=shop.disk(), **shop.where)

    held, broken = await asyncio.gather(*map(played, shops))
    assert held.code == 0, held
    assert_trustworthy(held)
    assert held.recovery["state"] == "recovered", held
    assert broken.code == 1, broken
    assert_trustworthy(broken)
    assert broken.recovery["state"] == ("never" if NEVER in BROKEN_ON_FRAGILE[name] else "recovered"), broken
    assert BROKEN_ON_FRAGILE[name] <= broken.broken, broken


async def test_what_the_target_holds_ends_without_the_runners_container(shops: tuple[Shop, Shop]) -> None:
    """Runner and watchdog die with their container, stopped or out of memory; the proxy itself ends the latency."""
    resilient, fragile = shops
    # There the dead stay dead, and most questions leave it broken.
    fragile.compose("up", "-d", "--no-build", *(["--force-recreate"] if EVERY else []))
    await asyncio.gather(*(shop.ready() for shop in shops))
    await asyncio.gather(_dies(resilient, _kill, out_of_memory=False), _dies(fragile, _eat, out_of_memory=True))


async def _dies(shop: Shop, end: Callable[[docker.APIClient, str], None], *, out_of_memory: bool) -> None:
    """Run an experiment in a container beside the demo, end the container amid the fault, wait for the fault to end."""
    api = docker.APIClient(base_url=shop.engine, version="auto", timeout=30)
    runner = api.create_container(
        demo_image.IMAGE,
        ["run", "experiments/slow-database.yaml", "--system", "demo-containers"],
        environment={**INSIDE, "CHAOSRUNNER_PROXY_TOKEN": TOKEN},
        host_config=api.create_host_config(network_mode=f"{shop.name}_default", mem_limit=MEMORY, memswap_limit=MEMORY),
    )["Id"]
    api.start(runner)
    try:
        async with asyncio.timeout(60):
            while not await shop.toxics():
                assert api.inspect_container(runner)["State"]["Running"], api.logs(runner).decode()
                await asyncio.sleep(0.1)
        await asyncio.to_thread(end, api, runner)
        async with asyncio.timeout(60):
            while api.inspect_container(runner)["State"]["Running"]:  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.1)
        assert await shop.toxics(), "it ended before its lease: nothing was shown"
        async with asyncio.timeout(60):
            while await shop.toxics():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        state = api.inspect_container(runner)["State"]
        assert state["ExitCode"] == 137, state
        assert state["OOMKilled"] is out_of_memory, state
    finally:
        api.remove_container(runner, force=True)
        api.close()


def _kill(api: docker.APIClient, container: str) -> None:
    api.kill(container)


def _eat(api: docker.APIClient, container: str) -> None:
    """Use up its memory, after naming its first process as the one for the kernel to end."""
    eat = "open('/proc/1/oom_score_adj', 'w').write('1000'); b'x' * (1 << 30)"
    api.exec_start(api.exec_create(container, ["python", "-c", eat])["Id"], detach=True)
