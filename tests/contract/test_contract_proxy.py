"""The laws, run over every fault of the fault proxy, with real bytes through the embedded one."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest
from contract_rig import fault_of, system_of
from proxy_bench import ProxyBench, echo

from chaosrunner.contract import Bench, InjectorContract
from chaosrunner.model.fault import Injector, Target
from chaosrunner.model.system import Component
from chaosrunner.proxy import FaultProxy
from chaosrunner.proxy.audit import audit_to
from fault_injectors import proxy as family

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CASES: dict[str, tuple[type[Injector], dict[str, object]]] = {
    "latency": (family.ProxyLatency, {"add": 0.01, "jitter": 0.005}),
    "jitter": (family.ProxyJitter, {"spread": 0.01}),
    "bandwidth": (family.ProxyBandwidth, {"rate": 50_000.0}),
    "reset": (family.ProxyReset, {}),
    "timeout": (family.ProxyTimeout, {"after": 0.05}),
    "down": (family.ProxyDown, {}),
    "slice": (family.ProxySlice, {"size": 2, "pause": 0.001}),
    "limit": (family.ProxyLimit, {"after": 2}),
    "corrupt": (family.ProxyCorrupt, {"bytes": 0.5}),
    "drop": (family.ProxyDrop, {"direction": "upstream"}),
    "silence": (family.ProxySilence, {}),
    "refuse": (family.ProxyRefuse, {}),
    "connect_delay": (family.ProxyConnectDelay, {"add": 0.01}),
    "crowd": (family.ProxyCrowd, {"connections": 0}),
}


class TestProxyFaults(InjectorContract):
    """Every fault of the family keeps every law."""

    @pytest.fixture(params=CASES.values(), ids=CASES.keys())
    async def bench(self, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
        """A fault proxy in front of an echo server that is in use."""
        kind, params = request.param
        injector = kind()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server, FaultProxy("127.0.0.1", 0, audit=audit_to(io.StringIO())) as proxy:
            rig = ProxyBench(proxy, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await rig.add("db")
            await rig.add("other")
            await rig.call("POST", "/proxies/other/toxics", {"type": "latency", "name": "not-ours"})
            await rig.use()
            try:
                yield Bench(
                    injector=injector,
                    fault=fault_of(injector, Target(component="database"), **params),
                    system=system_of(Component(name="database", proxies=("db",)), fault_proxy=proxy.url),
                    observe=rig.observe,
                    bystanders=rig.bystanders,
                    created=rig.created,
                    replace=rig.replace,
                    use=rig.use,
                )
            finally:
                rig.user.close()
