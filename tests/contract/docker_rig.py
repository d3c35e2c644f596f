"""A Docker engine of our own, an image without a registry, and containers to break."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import shutil
import signal
import subprocess
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest

from chaosrunner.model.system import Component, Containers, System

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
DOCKERD, BUSYBOX = (shutil.which(name, path=PATH) for name in ("dockerd", "busybox"))
STARTS_WITHIN_S = 60.0
IMAGE = "chaosrunner/box:1"
APPLETS = ("sh", "httpd", "sleep", "timeout", "wget", "ls", "kill", "ps", "cat")
WORKER = "sleep 98765"
SERVES = f'trap "exit 0" TERM; httpd -f -p 80 -h /etc & {WORKER} & while :; do sleep 98 & wait $!; done'
"""Serves, has a worker beside it, and ends when it is asked to."""


def can_run() -> str:
    """Why no engine can be started here; empty when one can. With CI=true as root, that is a failure."""
    if os.geteuid() != 0:
        return "a Docker engine of our own needs root"
    if DOCKERD is None or BUSYBOX is None:
        missing = "docker.io and busybox-static are not installed; 'make packages' installs them"
        assert os.environ.get("CI") != "true", missing
        return missing
    return ""


@contextmanager
def running_engine(directory: Path, *, filtering: bool = False) -> Iterator[str]:
    """An engine with all its files below a directory; its address. It has the image, and ends with the block.

    With its own packet filter, containers reach each other also where the host forwards nothing; without, engines of
    several tests do not get into each other's way. The host's rules are put back as they were.
    """
    if why := can_run():
        pytest.skip(why)
    assert DOCKERD is not None
    address = f"unix://{directory}/sock"
    before = _rules("iptables-save") if filtering else ""
    with (directory / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                *(DOCKERD, "--host", address, "--pidfile", directory / "pid"),
                *("--data-root", directory / "data", "--exec-root", directory / "exec"),
                *("--bridge", "none", f"--iptables={str(filtering).lower()}", "--ip6tables=false"),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PATH": PATH},
        )
    try:
        api = _answering(daemon, address, directory)
        api.import_image_from_data(_image(), repository="chaosrunner/box", tag="1")
        api.close()
        yield address
    finally:
        _end(daemon, address)
        for left in (directory / "exec/netns").glob("*"):  # the engine leaves these mounted
            subprocess.run(["umount", left], check=False, stderr=subprocess.DEVNULL)
        if filtering:
            _rules("iptables-restore", before)


def _rules(command: str, given: str = "") -> str:
    done = subprocess.run([command], input=given, capture_output=True, text=True, check=True, env={"PATH": PATH})
    return done.stdout


def _answering(daemon: subprocess.Popen[bytes], address: str, directory: Path) -> docker.APIClient:
    end = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            return docker.APIClient(base_url=address, version="auto", timeout=30)
        except docker.errors.DockerException:
            alive = daemon.poll() is None and time.monotonic() < end
            assert alive, (directory / "log").read_text(errors="replace")[-3000:]
            time.sleep(0.05)


def _end(daemon: subprocess.Popen[bytes], address: str) -> None:
    """Remove every container, then end the engine, which ends what it has started."""
    if daemon.poll() is None:
        api = docker.APIClient(base_url=address, version="auto", timeout=30)
        for container in api.containers(all=True):
            api.remove_container(container["Id"], force=True)
        for network in api.networks():
            if network["Driver"] == "bridge":
                api.remove_network(network["Id"])
        api.close()
    for sent in (signal.SIGTERM, signal.SIGKILL):
        daemon.send_signal(sent)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            continue
        return


def _image() -> bytes:
    """A root file system of one static program."""
    assert BUSYBOX is not None
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(Path(BUSYBOX).resolve(), "bin/busybox")
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name in ("tmp", "etc", "link"):
            made = tarfile.TarInfo(name)
            made.type, made.mode = tarfile.DIRTYPE, 0o1777
            if name == "link":
                made.type, made.linkname = tarfile.SYMTYPE, "/etc"
            tar.addfile(made)
    return packed.getvalue()


class Yard:
    """Containers of one engine, on one network with a subnet of its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.api = docker.APIClient(base_url=address, version="auto", timeout=30)
        self.subnet = f"10.{random.randrange(64, 250)}.{random.randrange(250)}"
        pool = docker.types.IPAMPool(subnet=f"{self.subnet}.0/24")
        ipam = docker.types.IPAMConfig(pool_configs=[pool])
        self.network = self.api.create_network("yard", driver="bridge", ipam=ipam)["Id"]

    def close(self) -> None:
        """Nothing more is asked."""
        self.api.close()

    def run(self, name: str, **more: Any) -> str:
        """A container that serves, with the alias `<name>-alias` on the network; its id."""
        host = {"restart_policy": {"Name": "always"}, **more.pop("host", {})}
        if "network_mode" not in host:
            host["network_mode"] = "yard"
            end = self.api.create_endpoint_config(aliases=[f"{name}-alias"])
            more = {"networking_config": {"EndpointsConfig": {"yard": end}}, **more}
        made = self.api.create_container(
            IMAGE,
            ["sh", "-c", SERVES],
            name=name,
            host_config=self.api.create_host_config(**host),
            **more,
        )
        self.api.start(made["Id"])
        return str(made["Id"])

    def remove(self, *names: str) -> None:
        """Remove containers, running or not."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: self.api.remove_container(name, force=True, v=True), names))

    def again(self, names: Sequence[str], **more: Any) -> None:
        """Put new containers in the place of others."""
        self.remove(*names)
        for name in names:
            self.run(name, **more)

    def look(self, name: str) -> dict[str, Any]:
        """What the engine says of one."""
        found: dict[str, Any] = self.api.inspect_container(name)
        return found

    def pid(self, name: str) -> int:
        """Its main process."""
        return int(self.look(name)["State"]["Pid"])

    def inside(self, name: str, *command: str) -> str:
        """The output of a command in its network namespace."""
        words = ["nsenter", f"--net=/proc/{self.pid(name)}/ns/net", *command]
        return subprocess.run(words, capture_output=True, text=True, check=True, env={"PATH": PATH}).stdout

    def tables(self, name: str) -> list[str]:
        """Its nft tables."""
        listed = json.loads(self.inside(name, "nft", "-j", "list", "tables"))["nftables"]
        return [item["table"]["name"] for item in listed if "table" in item]

    def files(self, name: str) -> list[str]:
        """What is in its /tmp."""
        return sorted(path.name for path in Path(f"/proc/{self.pid(name)}/root/tmp").iterdir())

    def has_worker(self, name: str) -> bool:
        """Whether its worker lives."""
        return any(row[-1] == WORKER for row in self.api.top(name)["Processes"])

    def limits(self, name: str) -> dict[str, str]:
        """The kernel's limits of its control groups."""
        groups = Path(f"/proc/{self.pid(name)}/cgroup").read_text()
        mounts = Path("/proc/self/mountinfo").read_text()
        found = {}
        for one in ("cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.limit_in_bytes", "cpu.max", "memory.max"):
            for line in groups.splitlines():
                _, names, path = line.split(":", 2)
                place = Path("/sys/fs/cgroup") / names.split(",")[0] / path.lstrip("/") / one
                if (not names or names.split(",")[0] == one.split(".")[0]) and str(place.parents[2])[:10] in mounts:
                    found |= {one: place.read_text().strip()} if place.exists() else {}
        return found

    def all_of(self, name: str) -> dict[str, Any]:
        """All that a fault may change about one."""
        found = self.look(name)
        state, networks = found["State"], found["NetworkSettings"]["Networks"]
        seen: dict[str, Any] = {
            "status": state["Status"],
            "networks": {
                key: (one["IPAddress"], sorted(set(one["Aliases"] or ()) - {found["Id"][:12]}), one["Links"])
                for key, one in networks.items()
            },
        }
        if state["Pid"]:
            queues = self.inside(name, "tc", "qdisc", "show")
            seen |= {
                "tables": self.tables(name),
                "queues": [line for line in queues.splitlines() if "noqueue" not in line],
                "files": self.files(name),
                "limits": self.limits(name),
            }
        return seen

    def burn(self, name: str) -> None:
        """Have it use all the CPU it gets for 0.3 s."""
        made = self.api.exec_create(name, ["timeout", "0.3", "sh", "-c", "while :; do :; done"])
        self.api.exec_start(made["Id"], detach=True)

    async def call(self, name: str) -> bool:
        """One request to it, as its users send them; whether it was answered."""
        try:
            address = next(iter(self.look(name)["NetworkSettings"]["Networks"].values()))["IPAddress"]
            async with asyncio.timeout(0.3):
                reader, writer = await asyncio.open_connection(address, 80)
                try:
                    writer.write(b"GET / HTTP/1.0\r\n\r\n")
                    return (await reader.read(9)).startswith(b"HTTP/1.")
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError, StopIteration):
            return False

    async def all_run(self, *names: str) -> None:
        """Wait until all of them run and serve."""
        async with asyncio.timeout(20):
            for name in names:
                while self.look(name)["State"]["Status"] != "running" or not await self.call(name):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    def system(self, **where: Any) -> System:
        """A system whose `api` is found in one way on this engine."""
        return System(name="bench", file="bench.yaml", components={"api": self.component(self.address, **where)})

    @staticmethod
    def component(address: str, **where: Any) -> Component:
        """An `api` that is found in one way on an engine."""
        return Component(name="api", containers=Containers(engine=address, **where))
