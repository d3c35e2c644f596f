"""The laws, run over the faults that the real toxiproxy-server has as well, with real bytes through it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from contract_rig import fault_of, system_of
from proxy_bench import ProxyBench, echo

from chaosrunner.contract import Bench, InjectorContract
from chaosrunner.model.fault import Injector, Target
from chaosrunner.model.system import Component
from fault_injectors import proxy as family

sys.path.append(str(Path(__file__).parent.parent / "proxy"))
from toxiproxy_peer import Served, their_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Case = tuple[type[Injector], dict[str, object]]
LATENCY: Case = (family.ProxyLatency, {"add": 0.01, "jitter": 0.005})
OTHERS: dict[str, Case] = {
    "down": (family.ProxyDown, {}),
    "jitter": (family.ProxyJitter, {"spread": 0.01}),
    "bandwidth": (family.ProxyBandwidth, {"rate": 50_000.0}),
    "reset": (family.ProxyReset, {}),
    "timeout": (family.ProxyTimeout, {"after": 0.05}),
    "slice": (family.ProxySlice, {"size": 2, "pause": 0.001}),
    "limit": (family.ProxyLimit, {"after": 2}),
}


@pytest.fixture(scope="module")
def toxiproxy() -> Iterator[Served]:
    """One server for all."""
    with their_server("-proxy-metrics") as served:
        yield served


@asynccontextmanager
async def benched(case: Case, toxiproxy: Served) -> AsyncIterator[Bench]:
    """The server's proxies in front of an echo server that is in use."""
    injector = case[0]()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        rig = ProxyBench(toxiproxy, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await rig.add("db")
        await rig.add("other")
        await rig.call("POST", "/proxies/other/toxics", {"type": "latency", "name": "not-ours"})
        await rig.use()
        try:
            yield Bench(
                injector=injector,
                fault=fault_of(injector, Target(component="database"), **case[1]),
                system=system_of(Component(name="database", proxies=("db",)), fault_proxy=toxiproxy.url),
                observe=rig.observe,
                bystanders=rig.bystanders,
                created=rig.created,
                replace=rig.replace,
                use=rig.use,
            )
        finally:
            rig.user.close()
            for name in ("db", "other"):
                await rig.call("DELETE", f"/proxies/{name}")


class TestToxiproxyLatency(InjectorContract):
    """A toxic keeps every law at Toxiproxy."""

    @pytest.fixture
    async def bench(self, toxiproxy: Served) -> AsyncIterator[Bench]:
        """Its commonest."""
        async with benched(LATENCY, toxiproxy) as bench:
            yield bench


@pytest.mark.parametrize("case", OTHERS.values(), ids=OTHERS.keys())
async def test_every_other_fault_of_toxiproxys_is_proven_and_put_back(case: Case, toxiproxy: Served) -> None:
    """Each is proven by what clients sent into it, touches no other proxy, and leaves all as it was."""
    async with benched(case, toxiproxy) as bench:
        before, around = await bench.observe(), await bench.bystanders()
        async with bench.in_effect() as recipe:
            assert set(await bench.created()) - {"not-ours"} <= {recipe.data["owner"]}
            assert await bench.bystanders() == around
        await bench.seen(before)
        assert await bench.bystanders() == around
