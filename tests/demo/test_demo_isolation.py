"""A part of the demo with a network of its own: named, reachable, and gone afterwards."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chaosrunner.demo.isolation import Isolation, isolated
from chaosrunner.demo.options import SPAN, DemoUnavailable, Ports, free_base_port
from chaosrunner.demo.parts import Blueprint
from chaosrunner.demo.system_file import system_file

MAY = (
    shutil.which("ip") and not subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode
)
TELL = "import socket; print(socket.create_server(('{}', 0)).getsockname()[0])"


def test_no_two_demos_share_a_network():
    """Demos whose ports do not overlap have other names and other addresses."""
    demos = [Isolation(base) for base in range(10_000, 65_000, SPAN)]
    assert len({demo.name for demo in demos}) == len(demos)
    addresses = [address for demo in demos for address in (demo.here, demo.there)]
    assert len(set(addresses)) == len(addresses)
    assert all(0 < int(part) < 256 for address in addresses for part in address.split("."))


def test_only_the_model_moves(tmp_path: Path):
    """With a namespace the model is started inside and the proxy sends there; all other parts stay as they are."""
    where = Isolation(20_000)
    ports = Ports(20_000)
    plain, moved = (
        Blueprint(ports=ports, fragile=False, directory=tmp_path, database="x:1", dsn="", isolation=one)
        for one in (None, where)
    )
    before, after = ({one.name: one.argv for one in blueprint.commands()} for blueprint in (plain, moved))
    assert {name for name, argv in before.items() if argv != after[name]} == {"model"}
    assert after["model"][:4] == ("ip", "netns", "exec", where.name)
    assert f'"upstream": "{where.there}:{ports.model}"' in (tmp_path / "proxies.json").read_text()
    assert f"  namespaces: [{where.name}]\n" in system_file(ports, namespace=where.name)


def test_the_shipped_system_file_of_the_isolated_demo_is_what_it_writes():
    """`experiments/systems/demo-isolated.yaml` is what such a demo on the default ports writes, but for its comment."""
    path = Path(__file__).parents[2] / "experiments/systems/demo-isolated.yaml"
    lines = path.read_text().splitlines(keepends=True)
    text = "".join(line for number, line in enumerate(lines) if number == 0 or not line.startswith("#"))
    assert text == system_file(Ports(18080), namespace=Isolation(18080).name)


@pytest.mark.skipif(not MAY, reason="needs root with CAP_SYS_ADMIN and iproute2: a namespace of our own is made")
async def test_the_namespace_is_there_and_gone():
    """What is started inside has the address inside, an old namespace of that name is replaced, and none is left."""
    where = Isolation(free_base_port())
    place = Path("/run/netns") / where.name
    async with isolated(where), isolated(where):
        inside = await asyncio.create_subprocess_exec(
            *where.command(sys.executable, "-c", TELL.format(where.there)), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await inside.communicate()
        assert said.decode().strip() == where.there
        assert place.exists()
    assert not place.exists()


async def test_what_it_needs_is_said(monkeypatch: pytest.MonkeyPatch):
    """Without iproute2 the demo says so in one line."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DemoUnavailable, match="needs iproute2: there is no program 'ip'"):
        async with isolated(Isolation(20_000)):
            pass
