"""Latencies of the docker family, on an engine of our own, beside docker's own command line and iptables."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from docker_rig import Yard, running_engine
from latency_ways import Faults, Step, Way, nothing, ours, program

from chaosrunner.model.system import Component, Containers, System
from fault_injectors.docker_bandwidth import Bandwidth
from fault_injectors.docker_down import Kill, Stop
from fault_injectors.docker_limits import Cpu, Memory
from fault_injectors.docker_network import Disconnect
from fault_injectors.docker_packets import Drop, Reject
from fault_injectors.docker_state import Pause

BOX = "box"
DROP, REJECT = "INPUT -j DROP", "INPUT -p tcp --dport 80 -j REJECT"
SHAPE = "dev eth0 root tbf rate 80kbit burst 10kb latency 50ms"


@asynccontextmanager
async def docker_faults() -> AsyncIterator[Faults]:
    """Faults of one container; both sides come to it while it runs, and leave it running."""
    with tempfile.TemporaryDirectory(prefix="chaosrunner-latency-") as place, running_engine(Path(place)) as address:
        yard = Yard(address)
        yard.run(BOX)
        component = Component(name="target", containers=Containers(engine=address, names=(BOX,)))
        system = System(name="bench", file="bench.yaml", components={"target": component})

        def docker(*words: str) -> Step:
            return program("docker", "--host", address, *words)

        def inside(tool: str, inject: str, undo: str) -> Way:
            enter = ("nsenter", f"--net=/proc/{yard.pid(BOX)}/ns/net", tool)
            return Way(tool, program(*enter, *inject.split()), program(*enter, *undo.split()), nothing)

        def cli(inject: Step, undo: Step) -> Way:
            return Way("docker", inject, undo, nothing)

        start, again = docker("start", BOX), docker("network", "connect", "--alias", f"{BOX}-alias", "yard", BOX)
        tool = "chaosrunner"
        faults: dict[str, list[Way]] = {
            "docker.pause": [ours(tool, Pause(), system), cli(docker("pause", BOX), docker("unpause", BOX))],
            "docker.cpu": [
                ours(tool, Cpu(), system, cores=0.2),
                cli(docker("update", "--cpu-quota", "20000", BOX), docker("update", "--cpu-quota", "-1", BOX)),
            ],
            "docker.memory": [ours(tool, Memory(), system, limit=64_000_000)],
            "docker.drop": [
                ours(tool, Drop(), system, direction="in"),
                inside("iptables", f"-A {DROP}", f"-D {DROP}"),
            ],
            "docker.reject": [
                ours(tool, Reject(), system, direction="in", port=80),
                inside("iptables", f"-A {REJECT}", f"-D {REJECT}"),
            ],
            "docker.bandwidth": [
                ours(tool, Bandwidth(), system, rate=10_000.0),
                inside("tc", f"qdisc add {SHAPE}", "qdisc del dev eth0 root"),
            ],
            # Last, because these give it another interface, or another process and another network namespace.
            "docker.disconnect": [
                ours(tool, Disconnect(), system),
                cli(docker("network", "disconnect", "yard", BOX), again),
            ],
            "docker.stop": [ours(tool, Stop(), system, grace=0.0), cli(docker("stop", "--time", "0", BOX), start)],
            "docker.kill": [ours(tool, Kill(), system, then="start it"), cli(docker("kill", BOX), start)],
        }
        yield faults
        yard.close()
