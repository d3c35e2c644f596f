"""Latencies of the network family, in a namespace of our own, beside iptables, tc, ip and ss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from contract_rig import system_of
from latency_ways import OURS, Faults, Step, Way, after, here, nothing, ours, program
from network_rig import PORT, Cable, cables

from chaosrunner.model.fault import Injector
from chaosrunner.model.system import Component, System
from fault_injectors.network import Loss, Partition, Reject
from fault_injectors.network_dns import Dns
from fault_injectors.network_mtu import Mtu
from fault_injectors.network_netem import LIMIT, Duplicate, Latency, Reorder
from fault_injectors.network_reset import Reset
from fault_injectors.network_route import Route
from fault_injectors.network_shape import Bandwidth

Plain = Callable[[str, str, str], Way]
PEER = "10.9.0.2"
DROP = "INPUT -j DROP"
LOSE = "INPUT -m statistic --mode random --probability 0.5 -j DROP"
REJECT = f"INPUT -p tcp --dport {PORT} -j REJECT --reject-with tcp-reset"
SILENCE = f"INPUT -p udp --sport {PORT} -j DROP"
SHAPE = "tbf rate 160kbit burst 10kb latency 50ms"
NETEM = f"netem limit {LIMIT}"


@asynccontextmanager
async def network_faults() -> AsyncIterator[Faults]:
    """Faults one way, so that one rule of iptables does the same."""
    with cables(1) as (cable,):
        system = system_of(Component(name="target", namespaces=(cable.name,)))
        enter = ("ip", "netns", "exec", cable.name)

        def plain(tool: str, inject: str, undo: str) -> Way:
            there, back = (program(*enter, tool, *words.split()) for words in (inject, undo))
            return Way(tool, there, back if undo else nothing, nothing)

        yield {
            **_rules(system, plain),
            **_settings(system, plain),
            **_netem(system, plain),
            "network.reset": after(_connecting(cable), _resets(system, plain)),
        }


def _rules(system: System, plain: Plain) -> Faults:
    """What rules do."""

    def iptables(rule: str) -> Way:
        return plain("iptables", f"-A {rule}", f"-D {rule}")

    silence = plain("iptables", f"-A {SILENCE}", f"-D {SILENCE}")
    return {
        "network.partition": [ours(OURS, Partition(), system, way="in"), iptables(DROP)],
        "network.loss": [ours(OURS, Loss(), system, way="in", share=0.5), iptables(LOSE)],
        "network.reject": [ours(OURS, Reject(), system, way="in", port=PORT), iptables(REJECT)],
        "network.dns": [
            ours(f"{OURS}, none", Dns(), system, answer="none"),
            Way("iptables, none, UDP alone", silence.inject, silence.undo, nothing),
            ours(f"{OURS}, nxdomain", Dns(), system, answer="nxdomain", resolvers=PEER),
        ],
    }


def _settings(system: System, plain: Plain) -> Faults:
    """What an interface or a route is told."""
    route = f"unreachable {PEER}/32"
    return {
        "network.bandwidth": [
            ours(OURS, Bandwidth(), system, rate=20_000.0),
            plain("tc", f"qdisc add dev eth0 root {SHAPE}", "qdisc del dev eth0 root"),
        ],
        "network.mtu": [
            ours(OURS, Mtu(), system, mtu=1300),
            plain("ip", "link set dev eth0 mtu 1300", "link set dev eth0 mtu 1500"),
        ],
        "network.route": [
            ours(OURS, Route(), system, peer=PEER),
            plain("ip", f"route add {route}", f"route del {route}"),
        ],
    }


def _netem(system: System, plain: Plain) -> Faults:
    """What the kernel's netem does, where it has one."""

    def both(injector: Injector, words: str, **params: object) -> list[Way] | str:
        tc = plain("tc", f"qdisc add dev eth0 root {NETEM} {words}", "qdisc del dev eth0 root")
        return here(injector, [ours(OURS, injector, system, **params), tc])

    return {
        "network.latency": both(Latency(), "delay 100ms", add=0.1),
        "network.reorder": both(Reorder(), "delay 10ms reorder 50%", share=0.5),
        "network.duplicate": both(Duplicate(), "duplicate 50%", share=0.5),
    }


def _resets(system: System, plain: Plain) -> list[Way]:
    """What ends connections, for good."""
    return [
        ours(OURS, Reset(), system, port=PORT),
        plain("ss", f"-K -t state established ( sport = :{PORT} or dport = :{PORT} )", ""),
    ]


def _connecting(cable: Cable) -> Step:
    async def connect() -> None:
        await asyncio.to_thread(cable.connect)

    return connect
