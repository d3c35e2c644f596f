"""Latencies of the network and process families, beside iptables, tc, ip, kill and whatever else does the same."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from contract_rig import servers, system_of
from latency_ways import Faults, Way, nothing, ours, program
from network_rig import cables

from chaosrunner.model.system import Component, Processes
from fault_injectors.network import Loss, Partition, Reject
from fault_injectors.network_mtu import Mtu
from fault_injectors.network_route import Route
from fault_injectors.network_shape import Bandwidth
from fault_injectors.process import Pause
from fault_injectors.process_limits import Fds, Priority

TOOL = "chaosrunner"
RULES = {
    "network.partition": "INPUT -j DROP",
    "network.loss": "INPUT -m statistic --mode random --probability 0.5 -j DROP",
    "network.reject": "INPUT -p tcp --dport 53 -j REJECT --reject-with tcp-reset",
}


@asynccontextmanager
async def network_faults() -> AsyncIterator[Faults]:
    """Faults in a network namespace of our own, one way, so that one rule of iptables does the same."""
    with cables(1) as (cable,):
        system = system_of(Component(name="target", namespaces=(cable.name,)))

        def plain(tool: str, inject: str, undo: str) -> Way:
            enter = ("ip", "netns", "exec", cable.name, tool)
            return Way(tool, program(*enter, *inject.split()), program(*enter, *undo.split()), nothing)

        def iptables(fault: str) -> Way:
            return plain("iptables", f"-A {RULES[fault]}", f"-D {RULES[fault]}")

        shape, route = "tbf rate 160kbit burst 10kb latency 50ms", "unreachable 10.9.0.2/32"
        yield {
            "network.partition": [ours(TOOL, Partition(), system, way="in"), iptables("network.partition")],
            "network.loss": [ours(TOOL, Loss(), system, way="in", share=0.5), iptables("network.loss")],
            "network.reject": [ours(TOOL, Reject(), system, way="in", port=53), iptables("network.reject")],
            "network.bandwidth": [
                ours(TOOL, Bandwidth(), system, rate=20_000.0),
                plain("tc", f"qdisc add dev eth0 root {shape}", "qdisc del dev eth0 root"),
            ],
            "network.mtu": [
                ours(TOOL, Mtu(), system, mtu=1300),
                plain("ip", "link set dev eth0 mtu 1300", "link set dev eth0 mtu 1500"),
            ],
            "network.route": [
                ours(TOOL, Route(), system, peer="10.9.0.2"),
                plain("ip", f"route add {route}", f"route del {route}"),
            ],
        }


@asynccontextmanager
async def process_faults() -> AsyncIterator[Faults]:
    """Faults of a process that serves."""
    async with servers(1) as (server,):
        system = system_of(Component(name="target", processes=Processes(ports=(server.port,))))
        pid, (soft, _) = str(server.pid), resource.prlimit(server.pid, resource.RLIMIT_NOFILE)

        def plain(tool: str, inject: str, undo: str) -> Way:
            return Way(tool, program(*inject.split(), pid), program(*undo.split(), pid), nothing)

        yield {
            "process.pause": [ours(TOOL, Pause(), system), plain("kill", "/bin/kill -STOP", "/bin/kill -CONT")],
            "process.priority": [ours(TOOL, Priority(), system), plain("renice", "renice -n 19", "renice -n 0")],
            "process.fds": [
                ours(TOOL, Fds(), system),
                plain("prlimit", "prlimit --nofile=4: --pid", f"prlimit --nofile={soft}: --pid"),
            ],
        }
